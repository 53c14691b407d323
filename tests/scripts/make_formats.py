#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/data/formats.gguf: blocks of every format that GGUF has, and as f32 what the `gguf` package (PyPI) decodes them to.

Tensor `x` of a format has a twin `x.f32`. Blocks: zeros, ones, random bytes, random bytes under scales that are NaN, infinite, the
least and the greatest.

    python tests/scripts/make_formats.py tests/data/formats.gguf
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize

PLAIN = {"F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
BLOCKS = ("F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL "
          "IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4").split()
# Where a block has its binary16 scales; 0 for the rest.
SCALES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "TQ1_0": [52],
          "TQ2_0": [64]}
EXTREMES = [0x7e01, 0xfc00, 0x8001, 0x7bff]


def blocks_of(name, rng):
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = {256: 4, 64: 8, 32: 10, 1: 64}[values]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if values == 1:
        return raw
    raw[0] = 0
    raw[1] = 255
    for i, extreme in enumerate(EXTREMES[:max(1, count - 4)]):
        extreme = EXTREMES[rng.integers(len(EXTREMES))] if values == 256 else extreme
        for offset in SCALES.get(name, [0]):
            raw[2 + i, offset:offset + 2] = (extreme & 255, extreme >> 8)
    return raw


def main():
    rng = np.random.default_rng(7)
    writer = GGUFWriter(sys.argv[1], "formats")
    for name in BLOCKS:
        kind = GGMLQuantizationType[name]
        raw = blocks_of(name, rng)
        with np.errstate(all="ignore"):
            want = dequantize(raw, kind).reshape(-1)
        writer.add_tensor(name.lower(), raw.reshape(-1), raw_shape=(raw.size,), raw_dtype=kind)
        writer.add_tensor(name.lower() + ".f32", want)
    for name, kind in PLAIN.items():
        raw = rng.integers(0, 256, 64 * np.dtype(kind).itemsize, dtype=np.uint8).view(kind)
        raw[:2] = [0, 1] if kind is np.float64 else [np.iinfo(kind).min, np.iinfo(kind).max]
        with np.errstate(all="ignore"):
            want = raw.astype(np.float32)
        writer.add_tensor(name.lower(), raw)
        writer.add_tensor(name.lower() + ".f32", want)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
