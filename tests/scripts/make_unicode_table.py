# SPDX-License-Identifier: MIT
"""Writes include/skald/text/detail/unicode_table.hpp: the character classes that pre-tokenizers ask for, of every code point.

The classes are asked of Hugging Face's `tokenizers` itself, because its two sources (the regex engine Oniguruma, and Rust's char for
the Digits pre-tokenizer) follow different versions of Unicode, and neither is that of Python's unicodedata.
Usage: make_unicode_table.py [OUT]        Needs: tokenizers. Takes half a minute.
"""
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODES))

# name, bit, what it is, how to ask
CLASSES = [
    ("letter", 0x01, r"\p{L}"),
    ("number", 0x02, r"\p{N}"),
    ("space", 0x04, r"\s"),
    ("punctuation", 0x08, r"\p{P}"),
    ("mark", 0x10, r"\p{M}"),
    ("digit", 0x20, None),
    ("upper", 0x40, r"[\p{Lu}\p{Lt}]"),
    ("lower", 0x80, r"\p{Ll}"),
]


def matched(pattern):
    """The code points that a regex matches, alone."""
    rest = set()
    for _, (first, last) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(TEXT):
        rest.update(CODES[first:last])
    return set(CODES) - rest


def digits():
    """The code points that the Digits pre-tokenizer isolates."""
    pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("x".join(TEXT))
    return {CODES[first // 2] for _, (first, last) in pieces if last - first == 1 and first % 2 == 0}


def case_folds():
    """Code points other than the ASCII letters themselves that a case-insensitive contraction accepts, as (letter, code point)."""
    found = []
    for letter in "stmdrevl":
        found += [(letter, c) for c in sorted(matched(f"(?i:{letter})")) if chr(c) not in (letter, letter.upper())]
    return found


HEAD = """// SPDX-License-Identifier: MIT
#pragma once
// Character classes of all code points as Hugging Face's tokenizers {version} sees them. Written by
// tests/scripts/make_unicode_table.py; change that, not this.
#include <cstdint>

namespace skald::text::detail {{

/// Bits of a code point's class; unassigned code points, symbols and controls have none.
enum char_class : std::uint8_t {{
    letter = 0x01,       ///< \\p{{L}}: {letter} code points
    number = 0x02,       ///< \\p{{N}}: {number}
    space = 0x04,        ///< \\s: {space}
    punctuation = 0x08,  ///< \\p{{P}}: {punctuation}
    mark = 0x10,         ///< \\p{{M}}: {mark}
    digit = 0x20,        ///< what the Digits pre-tokenizer isolates (\\p{{N}} of a later Unicode): {digit}
    upper = 0x40,        ///< \\p{{Lu}} and \\p{{Lt}}: {upper}
    lower = 0x80,        ///< \\p{{Ll}}: {lower}
}};

/// The one code point outside ASCII that matches a letter of "stmdrevl" without regard to case: it matches s.
inline constexpr char32_t long_s = 0x17F;

/// Ranges of equal class, ascending: the first code point × 256 + the class, which holds until the next entry.
inline constexpr std::uint32_t class_ranges[] = {{
"""


def main():
    sets = {name: digits() if pattern is None else matched(pattern) for name, _, pattern in CLASSES}
    folds = case_folds()
    assert folds == [("s", 0x17F)], folds
    ranges, last = [], None
    for c in range(0x110000):
        value = sum(bit for name, bit, _ in CLASSES if c in sets[name])
        if value != last:
            ranges.append(c << 8 | value)
            last = value
    lines, line = [], "   "
    for word in (f" 0x{r:X}," for r in ranges):
        if len(line) + len(word) > 136:
            lines.append(line)
            line = "   "
        line += word
    lines.append(line)
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "include/skald/text/detail/unicode_table.hpp"
    head = HEAD.format(version=tokenizers.__version__, **{name: len(s) for name, s in sets.items()})
    out.write_text("    // clang-format off\n".join([head, "\n".join(lines)]) + "\n    // clang-format on\n};\n\n}  // namespace skald::text::detail\n")
    print(f"{len(ranges)} ranges, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
