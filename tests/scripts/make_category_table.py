# SPDX-License-Identifier: MIT
"""Writes include/skald/text/detail/category_table.hpp: what regular expressions and pre-tokenizers ask of every code point, as Hugging
Face's `tokenizers` answers. Its sources (Oniguruma, Rust's char, a crate of categories) follow different versions of Unicode.

Usage: make_category_table.py [OUT]        Needs: tokenizers. Takes some minutes.
"""
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODES))
CATEGORIES = "Cn Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs".split()
SPACE_CONTROL = len(CATEGORIES)  # Cc that are \s
SCRIPTS = "Han Hiragana Katakana Hangul Thai Arabic Devanagari".split()

HEAD = """// SPDX-License-Identifier: MIT
#pragma once
// What regular expressions and pre-tokenizers ask of every code point, as Hugging Face's tokenizers {version} answers. Written by
// tests/scripts/make_category_table.py; change that, not this.
#include <cstdint>
#include <string_view>

namespace skald::text::detail {{

/// The general categories, by the number in an entry's lowest five bits. The last are controls that are \\s.
inline constexpr std::string_view category_names[] = {{
    {categories}}};

/// Scripts, by the number in the next three bits; the first is every other one.
inline constexpr std::string_view script_names[] = {{{scripts}}};

/// The bits above these.
enum category_flag : std::uint32_t {{
    is_word = 0x100,   ///< \\w outside of brackets: {word} code points
    is_sign = 0x200,   ///< punctuation for BertPreTokenizer and Punctuation: {sign}
    is_digit = 0x400,  ///< a digit for the pre-tokenizer Digits: {digit}
}};

/// Ranges of equal properties, ascending: the first code point × 2048 + flags, script and category, which hold until the next entry.
inline constexpr std::uint32_t category_ranges[] = {{
"""


def matched(pattern):
    """The code points that a regex matches, alone."""
    rest = set()
    for _, (first, last) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(TEXT):
        rest.update(CODES[first:last])
    return set(CODES) - rest


def isolated(pre_tokenizer):
    """The code points that a pre-tokenizer divides from letters on both sides, but for spaces."""
    pieces = pre_tokenizer.pre_tokenize_str("x".join(TEXT))
    return {CODES[first // 2] for _, (first, last) in pieces if last - first == 1 and first % 2 == 0}


def main():
    category = [0] * 0x110000
    for number, name in enumerate(CATEGORIES):
        if name not in ("Cn", "Cs"):
            for c in matched(rf"\p{{{name}}}"):
                category[c] = number
    spaces = matched(r"\s")
    for c in spaces:
        if category[c] == CATEGORIES.index("Cc"):
            category[c] = SPACE_CONTROL
    assert spaces == {c for c in CODES if category[c] == SPACE_CONTROL or CATEGORIES[category[c]][0] == "Z"}
    for number, name in enumerate(SCRIPTS):
        for c in matched(rf"\p{{{name}}}"):
            category[c] |= (number + 1) << 5
    flags = {"word": matched(r"\w"), "sign": isolated(pre_tokenizers.Punctuation("isolated")),
             "digit": isolated(pre_tokenizers.Digits(individual_digits=True))}
    ranges, last = [], None
    for c in range(0x110000):
        value = category[c] | sum(0x100 << i for i, members in enumerate(flags.values()) if c in members)
        if value != last:
            ranges.append(c << 11 | value)
            last = value
    lines, line = [], "   "
    for word in (f" 0x{r:X}," for r in ranges):
        if len(line) + len(word) > 136:
            lines.append(line)
            line = "   "
        line += word
    lines.append(line)
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "include/skald/text/detail/category_table.hpp"
    quoted = lambda names: ", ".join(f'"{n}"' for n in names)
    head = HEAD.format(version=tokenizers.__version__, categories=quoted(CATEGORIES + ["Cc"]), scripts=quoted([""] + SCRIPTS),
                       **{name: len(members) for name, members in flags.items()})
    out.write_text("    // clang-format off\n".join([head, "\n".join(lines)]) + "\n    // clang-format on\n};\n\n}  // namespace skald::text::detail\n")
    print(f"{len(ranges)} ranges, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
