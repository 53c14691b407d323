# SPDX-License-Identifier: MIT
"""Writes include/skald/text/jinja/python_text_table.hpp: what Python's str methods know of every code point.

Usage: make_python_text_table.py [OUT]        Needs nothing but Python, whose version of Unicode it writes.
"""
import sys
import unicodedata
from pathlib import Path

BITS = [("alpha", str.isalpha), ("decimal", str.isdecimal), ("digit", str.isdigit), ("numeric", str.isnumeric),
        ("printable", str.isprintable), ("lower", str.islower), ("upper", str.isupper),
        ("title", lambda c: unicodedata.category(c) == "Lt")]
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

HEAD = """// SPDX-License-Identifier: MIT
#pragma once
// What Python's str methods know of every code point (Unicode {unicode}). Written by tests/scripts/make_python_text_table.py; change
// that, not this.
#include <cstdint>

namespace skald::text::jinja::detail {{

/// Bits of a code point, by the method of str that asks for it; `title`: a title-case letter.
enum python_class : std::uint8_t {{
    py_alpha = 0x01,
    py_decimal = 0x02,
    py_digit = 0x04,
    py_numeric = 0x08,
    py_printable = 0x10,
    py_lower = 0x20,
    py_upper = 0x40,
    py_title = 0x80,
}};

/// Every `step`-th code point from `first` to `last` maps to itself plus `delta`.
struct case_range {{
    std::uint32_t first, last;
    std::int32_t delta;
    std::uint32_t step;
}};

/// A code point that maps to several.
struct case_expansion {{
    std::uint32_t code;
    const char* upper;
    const char* title;
}};

// clang-format off
"""


def wrapped(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 138:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(lines + [line])


def runs(mapping):
    """(first, last, delta, step) of code points that move by the same distance, one or two apart."""
    out = []
    for code, to in sorted(mapping.items()):
        if out:
            first, last, delta, step = out[-1]
            if delta == to - code and (code - last == step or (first == last and code - last == 2)):
                out[-1] = (first, code, delta, code - last)
                continue
        out.append((code, code, to - code, 1))
    return out


def escaped(text):
    return '"' + "".join(f"\\x{b:02X}" for b in text.encode()) + '"'


def main():
    ranges, last = [], None
    for code in range(0x110000):
        surrogate = 0xD800 <= code < 0xE000
        value = 0 if surrogate else sum(1 << i for i, (_, test) in enumerate(BITS) if test(chr(code)))
        if value != last:
            ranges.append(f"0x{code << 8 | value:X}")
            last = value
    maps = {"upper": str.upper, "title": str.title, "lower": str.lower}
    simple = {name: {c: ord(f(chr(c))) for c in CODES if len(f(chr(c))) == 1 and f(chr(c)) != chr(c)} for name, f in maps.items()}
    simple["title"] = {c: t for c, t in simple["title"].items() if simple["upper"].get(c) != t}  # else as upper
    several = [c for c in CODES if len(chr(c).upper()) > 1 or len(chr(c).title()) > 1]
    assert [c for c in CODES if len(chr(c).lower()) > 1] == [0x130]
    same = [c for c in CODES if chr(c).title() == chr(c) != chr(c).upper() and len(chr(c).upper()) == 1]
    simple["title"].update({c: c for c in same})
    parts = [HEAD.format(unicode=unicodedata.unidata_version),
             "/// Ranges of equal class, ascending: the first code point x 256 + the class, which holds until the next entry.\n"
             f"inline constexpr std::uint32_t python_classes[] = {{\n{wrapped(ranges)}\n}};\n\n"]
    notes = {"upper": "Upper case", "title": "Title case, where it is not upper case", "lower": "Lower case; U+0130 becomes two"}
    for name, mapping in simple.items():
        items = [f"{{0x{f:X}, 0x{l:X}, {d}, {s}}}" for f, l, d, s in runs(mapping)]
        parts.append(f"/// {notes[name]}.\ninline constexpr case_range {name}_ranges[] = {{\n{wrapped(items)}\n}};\n\n")
    items = [f"{{0x{c:X}, {escaped(chr(c).upper())}, {escaped(chr(c).title())}}}" for c in several]
    parts.append(f"inline constexpr case_expansion case_expansions[] = {{\n{wrapped(items)}\n}};\n")
    parts.append("// clang-format on\n\n}  // namespace skald::text::jinja::detail\n")
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "include/skald/text/jinja/python_text_table.hpp"
    out.write_text("".join(parts))
    print(f"{len(ranges)} classes, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
