# SPDX-License-Identifier: MIT
"""Writes tests/data/tokenizer/normalizers.txt: texts and what the normalizers of Hugging Face's tokenizers make of them.

Lines: `text HEX` begins a text; `NAME HEX` is what the normalizer makes of it, left out where it is the text; `all NAME HASH` is the
64-bit FNV-1a hash of the normal forms of all code points, each alone, one after another. `map HEX` is a precompiled map, with which
`Precompiled HEX` is made.
Usage: make_normalizer_fixture.py [OUT]        Needs: tokenizers.
"""
import itertools
import random
import sys
import unicodedata
from pathlib import Path

from charsmap import build_map
from tokenizers import normalizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
MARKS = [c for c in CODES if unicodedata.combining(chr(c))]
CHANGED = [c for c in CODES if unicodedata.decomposition(chr(c))]
CASED = [c for c in CODES if chr(c).lower() != chr(c)]
WRITTEN = [
    "", "plain text", "Ünïcödé Straße ΣΊΣΥΦΟΣ İstanbul ǅ ﬁ ⅷ ①", "e\u0323\u0301 e\u0301\u0323 é\u0323 \u0344\u0301", "각가\u11a8 ᄀ\u1161\u11a8 \u1161",
    "中文ab漢字 \U0002b820\U0002b920", "a\u00a0b\u200bc\u0000d\ufffde\r\n\tf\x0bg\x85h\ufeff", "\u0f73\u0f71 \u1e9b\u0323 \u212b \u2126 \ufb1d \u2add",
    "abcab\r\na\rb\u00a0\u0301 e\u0301x e\u0301\u0323 \u0600x\u06dd \u263a\u0301\u0301 \u1161\u0301 \u1100\u1161\u0301 \U0001f1e6\U0001f1e7\u0301 a\u200db",
    "\U0001d15f\U0001d165 \U00011938 \ufdfa", "नमस्ते ที่ ỆẤǖ",
]
RULES = {"\u00a0": " ", "\n": " ", "\r": " ", "e\u0301": "é", "e\u0301\u0323": "2", "\ufb01": "fi", "ab": "X", "abc": "Y", "\u200d": "", "\u0301": "'",
         "\u1161": "A", "\u0600": "N", "中": "middle "}


def make_normalizers():
    out = {name: getattr(normalizers, name)() for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")}
    for flags in itertools.product((True, False), repeat=4):
        name = "Bert" + "".join("01"[f] for f in flags)
        out[name] = normalizers.BertNormalizer(clean_text=flags[0], handle_chinese_chars=flags[1], strip_accents=flags[2], lowercase=flags[3])
    out["Precompiled"] = normalizers.Precompiled(build_map(RULES))
    return out


def random_text(rng):
    pools = [MARKS, MARKS, CHANGED, CHANGED, CASED, range(0x1100, 0x1200), range(0x61, 0x7B), range(0xAC00, 0xAC40)]
    return "".join(chr(rng.choice(rng.choice(pools))) for _ in range(rng.randint(2, 8)))


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    rng = random.Random(4)
    named = make_normalizers()
    lines = [f"map {build_map(RULES).hex()}"]
    for text in WRITTEN + [random_text(rng) for _ in range(60)]:
        lines.append(f"text {text.encode().hex()}")
        forms = {name: n.normalize_str(text) for name, n in named.items()}
        lines += [f"{name} {form.encode().hex()}" for name, form in forms.items() if form != text and (not name.startswith("Bert") or rng.random() < 0.4)]
    for name, n in named.items():
        if not name.startswith("Bert") or name == "Bert1111":
            lines.append(f"all {name} {fnv(b''.join(n.normalize_str(chr(c)).encode() for c in CODES)):016x}")
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/data/tokenizer/normalizers.txt"
    out.write_text("\n".join(lines) + "\n")
    print(len(lines), "lines,", out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
