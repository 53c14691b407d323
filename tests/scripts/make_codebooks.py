#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes include/skald/format/detail/codebooks_table.hpp: the codebooks of the i-quant formats, as the `gguf` package (PyPI) has them.

    python tests/scripts/make_codebooks.py include/skald/format/detail/codebooks_table.hpp
"""
import sys

import numpy as np
from gguf.quants import IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_NL, MXFP4

HEAD = """// SPDX-License-Identifier: MIT
#pragma once
// Codebooks of the i-quant formats, facts of GGUF: made by tests/scripts/make_codebooks.py. An entry holds the indices of its
// values into `levels`, the first value in the lowest bits. Change the script, not this.
#include <array>
#include <cstddef>
#include <cstdint>

namespace skald::format::detail {
"""


def grid(name, quant):
    """A codebook as indices: 2 bits for three levels, 3 bits for eight."""
    quant.init_grid()
    levels = [int(v) for v in quant.grid_map]
    bits = 2 if len(levels) == 3 else 3
    entries = quant.grid.reshape(quant.grid_shape).astype(np.int64)
    words = [sum(levels.index(int(v)) << (bits * i) for i, v in enumerate(row)) for row in entries]
    lines = "".join("        " + " ".join(f"0x{w:04x}," for w in words[i:i + 16]) + "\n" for i in range(0, len(words), 16))
    return f"""
struct {name} {{
    static constexpr std::size_t values = {entries.shape[1]};
    static constexpr unsigned bits = {bits};
    static constexpr std::array<std::int8_t, {len(levels)}> levels{{{", ".join(map(str, levels))}}};
    static constexpr std::array<std::uint16_t, {len(words)}> entries{{
{lines}    }};
}};
"""


def levels(name, values):
    return f"\ninline constexpr std::int8_t {name}[16]{{{', '.join(map(str, values))}}};\n"


def main():
    grids = {"iq1_grid": IQ1_S, "iq2_xxs_grid": IQ2_XXS, "iq2_xs_grid": IQ2_XS, "iq2_s_grid": IQ2_S, "iq3_xxs_grid": IQ3_XXS,
             "iq3_s_grid": IQ3_S}
    text = HEAD + levels("iq4_levels", IQ4_NL.kvalues) + levels("e2m1_doubled", MXFP4.kvalues)
    text += "".join(grid(name, quant) for name, quant in grids.items()) + "\n}  // namespace skald::format::detail\n"
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write(text)


if __name__ == "__main__":
    main()
