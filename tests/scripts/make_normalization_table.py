# SPDX-License-Identifier: MIT
"""Writes include/skald/text/detail/normalization_table.hpp: what the normalizers of tokenizers ask of code points.

Everything is asked of Hugging Face's `tokenizers` itself, because its parts follow different versions of Unicode, and none is that of
Python's unicodedata (from which only one old code point of each combining class is taken, to compare with).
Usage: make_normalization_table.py [OUT]        Needs: tokenizers. Takes half a minute.
"""
import sys
import unicodedata
from pathlib import Path

import tokenizers
from charsmap import build_map
from tokenizers import normalizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BETWEEN = "一丁"  # no normalizer asked here changes these two
HANGUL = range(0xAC00, 0xD7A4)
PREPENDED = [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD, 0x111C2, 0x111C3, 0x113D1, 0x1193F, 0x11941,
             0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46, 0x11F02]  # Prepend in some version of Unicode

# name, bit, what it is
FLAGS = [
    ("not_composed", 0x01, "changed by NFC"),
    ("not_compat_composed", 0x02, "changed by NFKC"),
    ("decomposes", 0x04, "changed by NFD"),
    ("compat_decomposes", 0x08, "changed by NFKD"),
    ("joins", 0x10, "may become one with a code point before it"),
    ("nonstarter", 0x20, "has a combining class, and no decomposition"),
    ("accent", 0x40, "what StripAccents removes"),
    ("nonspacing", 0x80, "what BertNormalizer removes as an accent"),
]


def normalized(normalizer, texts):
    """The normal form of every text, independent of its neighbours."""
    out = normalizer.normalize_str(BETWEEN.join(texts)).split(BETWEEN)
    return out if len(out) == len(texts) else [normalizer.normalize_str(t) for t in texts]


def changed(normalizer):
    return {c: n for c, n in zip(CODES, normalized(normalizer, [chr(c) for c in CODES])) if n != chr(c)}


def combining_classes(decomposed):
    """The class of every code point that canonical ordering moves, found by what it changes places with."""
    nfd = normalizers.NFD()
    plain = [c for c in CODES if c not in decomposed and c not in HANGUL]

    def moved(pairs):
        return {p for p, n in zip(pairs, normalized(nfd, pairs)) if n != p}

    lowest, highest = "\u0334", "\u0345"  # classes 1 and 240
    movable = moved([chr(c) + lowest for c in plain]) | moved([highest + chr(c) for c in plain])
    nonstarters = sorted({c for pair in movable for c in map(ord, pair) if pair in (chr(c) + lowest, highest + chr(c))})
    examples = {}
    for c in nonstarters:
        k = unicodedata.ucd_3_2_0.combining(chr(c))
        if k:
            examples.setdefault(k, c)
    for c in nonstarters:  # classes that only later code points have
        k = unicodedata.combining(chr(c))
        if k:
            examples.setdefault(k, c)
    found = {}
    for k, example in sorted(examples.items()):
        before = moved([chr(c) + chr(example) for c in nonstarters])
        after = moved([chr(example) + chr(c) for c in nonstarters])
        for c in nonstarters:
            if chr(c) + chr(example) not in before and chr(example) + chr(c) not in after:
                assert c not in found or found[c] == k, hex(c)
                found[c] = k
    assert sorted(found) == nonstarters, [hex(c) for c in nonstarters if c not in found]
    return found


def compositions(decomposed):
    """(left, right) → composite."""
    nfc = normalizers.NFC()
    out = {}
    for c, parts in decomposed.items():
        if c in HANGUL or nfc.normalize_str(chr(c)) != chr(c):
            continue
        left = nfc.normalize_str(parts[:-1])
        assert len(left) == 1 and nfc.normalize_str(left + parts[-1]) == chr(c), hex(c)
        out[ord(left), ord(parts[-1])] = c
    return out


def takes_along(key, codes):
    """The code points that are in one cluster (UAX #29) with the key before them: the normalizer replaces short clusters wholly."""
    forms = normalized(normalizers.Precompiled(build_map({key: "!"})), [key + chr(c) for c in codes])
    return {c for c, n in zip(codes, forms) if n == "!"}


def clusters():
    """What matters of code points in clusters of less than 6 bytes; longer ones are normalized code point by code point."""
    attaching = takes_along("a", CODES)
    prepending = {c for c in PREPENDED if takes_along(chr(c), [ord("x")])}
    mark, other = "\u05b0", "\u0301"  # a cluster of their own only after what stands alone
    forms = normalized(normalizers.Precompiled(build_map({mark: "!"})), [chr(c) + mark + other for c in CODES])
    breaking = {c for c, n in zip(CODES, forms) if n == chr(c) + "!"}
    return {c: (c in attaching) | (c in prepending) << 1 | (c in breaking) << 2 for c in CODES}


def ranges(value_of):
    out, last = [], None
    for c in range(0x110000):
        value = value_of(c)
        if value != last:
            out.append(c << 8 | value)
            last = value
    return out


def array(kind, name, comment, values):
    lines, line = [], "   "
    for word in (f" 0x{v:X}," for v in values):
        if len(line) + len(word) > 136:
            lines.append(line)
            line = "   "
        line += word
    body = "\n".join(lines + [line])
    return f"/// {comment}\ninline constexpr {kind} {name}[] = {{\n    // clang-format off\n{body}\n    // clang-format on\n}};\n\n"


HEAD = """// SPDX-License-Identifier: MIT
#pragma once
// Normal forms, lower case and accents of all code points as Hugging Face's tokenizers {version} sees them. Written by
// tests/scripts/make_normalization_table.py; change that, not this.
#include <cstdint>

namespace skald::text::detail {{

/// Bits of a code point that normalizers ask for.
enum normal_flag : std::uint8_t {{
{flags}
}};

"""


def main():
    forms = {name: changed(getattr(normalizers, name)()) for name in ("NFC", "NFD", "NFKC", "NFKD")}
    canonical = forms["NFD"]
    classes = combining_classes(canonical)
    pairs = compositions(canonical)
    accents = {c for c, n in changed(normalizers.StripAccents()).items() if n == ""}
    quiet = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    stripped = changed(normalizers.BertNormalizer(**{**quiet, "strip_accents": True}))
    cleaned = changed(normalizers.BertNormalizer(**{**quiet, "clean_text": True}))
    controls = {c for c, n in cleaned.items() if n == ""}
    lower = changed(normalizers.Lowercase())
    assert lower.pop(0x130) == "i\u0307" and all(len(n) == 1 for n in lower.values())

    sets = {
        "not_composed": set(forms["NFC"]),
        "not_compat_composed": set(forms["NFKC"]),
        "decomposes": set(canonical),
        "compat_decomposes": set(forms["NFKD"]),
        "joins": {right for _, right in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3)),
        "nonstarter": set(classes),
        "accent": accents,
        "nonspacing": {c for c, n in stripped.items() if n == ""},
    }
    pool = []
    text_of_pool = ""

    def entry(c, parts):
        nonlocal text_of_pool
        at = text_of_pool.find(parts)
        if at < 0:
            at = len(text_of_pool)
            text_of_pool += parts
            pool.extend(map(ord, parts))
        return c << 32 | at << 8 | len(parts)

    compat = {c: n for c, n in forms["NFKD"].items() if n != canonical.get(c)}
    for c, n in sorted(compat.items(), key=lambda item: -len(item[1])):
        entry(c, n)
    width = max(len(f"{name} = 0x{bit:02X},") for name, bit, _ in FLAGS)
    flags = "\n".join(f"    {f'{name} = 0x{bit:02X},':{width}}  ///< {what}: {len(sets[name])} code points" for name, bit, what in FLAGS)
    text = HEAD.format(version=tokenizers.__version__, flags=flags)
    text += array("std::uint32_t", "normal_ranges", "Ranges of equal flags, ascending: the first code point × 256 + its flags.",
                  ranges(lambda c: sum(bit for name, bit, _ in FLAGS if c in sets[name])))
    text += array("std::uint32_t", "combining_ranges", "Ranges of equal combining class: the first code point × 256 + the class.",
                  ranges(lambda c: classes.get(c, 0)))
    text += array("std::uint32_t", "control_ranges", "Ranges that BertNormalizer removes as controls (1) or keeps (0): the first code point × 256 + that.",
                  ranges(lambda c: int(c in controls)))
    cluster = clusters()
    text += array("std::uint32_t", "cluster_ranges", "Ranges of code points that join what is before them (1) or what follows (2), or always stand alone (4).",
                  ranges(lambda c: cluster.get(c, 0)))
    text += array("std::uint64_t", "canonical_decompositions", "Code point × 2^32 + place in `decomposed` × 256 + length; without the syllables of Hangul.",
                  [entry(c, n) for c, n in sorted(canonical.items()) if c not in HANGUL])
    text += array("std::uint64_t", "compatible_decompositions", "The same for those that differ from the canonical ones.",
                  [entry(c, n) for c, n in sorted(compat.items())])
    text += array("char32_t", "decomposed", "What code points decompose into, wholly.", pool)
    text += array("std::uint64_t", "compositions", "First code point × 2^42 + second × 2^21 + what they become, ascending; without the syllables of Hangul.",
                  sorted(a << 42 | b << 21 | c for (a, b), c in pairs.items()))
    text += array("std::uint64_t", "lower_cases", "Code point × 2^32 + its lower case; without U+0130, which has two: i and U+0307.",
                  [c << 32 | ord(n) for c, n in sorted(lower.items())])
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "include/skald/text/detail/normalization_table.hpp"
    out.write_text(text + "}  // namespace skald::text::detail\n")
    print(f"{out.stat().st_size} bytes; classes {len(set(classes.values()))}, pairs {len(pairs)}, pool {len(pool)}")


if __name__ == "__main__":
    main()
