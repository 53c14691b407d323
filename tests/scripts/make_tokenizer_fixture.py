# SPDX-License-Identifier: MIT
"""Writes tests/data/tokenizer/: bpe.gguf, a small byte-level vocabulary trained on the texts below, and bpe.ids, what Hugging Face's
`tokenizers` makes of many texts with every pre-tokenizer.

bpe.ids has lines `text HEX`, each followed by lines `PRE MODE ID...` with MODE plain (control tokens in the text stay text) or special.
Usage: make_tokenizer_fixture.py [FOLDER]        Needs: tokenizers, gguf.
"""
import json
import random
import sys
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|><|im_start|>"]
USER_DEFINED = ["<think>", "<<", "<<<<", "  \n", "été"]
UNREACHABLE = ["Ġwholewordtoken", "zqxj", "ĠĠĠĠĠzq"]  # tokens no merge leads to: only a whole word can be them
MERGES = 1500

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+C|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*C|"
         r"D| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|D| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior)


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def in_sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


# As in the tokenizer.json files of the models that these are named after.
PRE = {
    "gpt-2": byte_level(True),
    "smollm": in_sequence(pre_tokenizers.Digits(individual_digits=True), byte_level(True)),
    "llama-bpe": in_sequence(split(WORDS.replace("D", r"\p{N}{1,3}")), byte_level(False)),
    "qwen2": in_sequence(split(WORDS.replace("D", r"\p{N}")), byte_level(False)),
    "deepseek-coder": in_sequence(split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(r"[一-龥ࠀ-一가-퟿]+"),
                                  pre_tokenizers.Digits(individual_digits=True), byte_level(False)),
    "gpt-4o": in_sequence(split(CASED.replace("D", r"\p{N}{1,3}").replace("C|", CONTRACTIONS + "?|")), byte_level(False)),
    "tekken": in_sequence(split(CASED.replace("D", r"\p{N}").replace("C|", "|")), byte_level(False)),
}
WHOLE_WORDS = {"llama-bpe", "tekken"}  # those with ignore_merges

SENTENCES = [
    "The quick brown fox jumps over the lazy dog. It's what we've said, isn't it? They'll see; I'm sure you'd agree, and we're glad.",
    "All human beings are born free and equal in dignity and rights. The weather in the north is colder than in the south.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Größere Straßen führen über die Brücke.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Où est-ce que l'été a passé ?",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Dónde está el niño? ¡Mañana!",
    "Все люди рождаются свободными и равными в своём достоинстве и правах. Нещо на български.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "人人生而自由,在尊严和权利上一律平等。我想在苹果公司工作1314天～", "すべての人間は、生まれながらにして自由であり、かつ、平等である。カタカナ",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.", "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ", "កាន់តែពិសេសអាចខលចេញ", "Tất cả mọi người sinh ra đều được tự do và bình đẳng. Cửa Việt",
    "for (int i = 0; i < n; ++i) {\n    std::cout << values[i] << '\\n';\n}\n\n\tif x != 3:\n\t\treturn x ** 2\n",
    "3 33 333 3333 33333 3.3 3..3 3...3 1,234,567.89 0xFF ½ Ⅻ ٣٤ 2024-11-21", "🚀 (normal) 😶‍🌫️ 👩‍👩‍👧‍👦 ✅ 🦙🦙 ======= ``````` ''''' !!!!!!",
]

TEXTS = SENTENCES + [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", "\r\n", " \r\n \r", "Hello world", " Hello World!", "  Hello", "    Hello\n    Hello", " (", "\n =",
    "' era", "I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL",
    "it'\u017f 'ſ '\u017fa a'S", "'s't're've'm'll'd'x''s", "x\u00a0y \u2003z\u180ea\u200bb\u3000c\ufeffd\u0085e\u2028f",
    "3", "33", "333", "3333", "33333333", "a1b22c333", " 1 22 333 4444", "①②③ ⅷ ۱۲۳ ４５６", "e\u0301te\u0301 a\u0308\u0323", "\u0301\u0301a \u0301A",
    "HTTPServer iPhone camelCaseWord ABCdef ǅabc ʰaʰ中A中B", "ÀÉÎõü ßſ İı ŉ ﬁ", "\U0001d400\U0001d41a\U00011de0\U00016ff4 \U00020000", "\x00\x01\x7f\u0080\u00ad",
    "a/b//c /d\n/\n!/\r\n/", "...\n\n...\r\n ...", "\u0e40\u0e2a\u0e35 \u0915\u094d\u0937 \u1112\u1161\u11ab", "zqxj wholewordtoken wholewordtoken", "     zq",
    "a" * 40, "ab" * 40 + " " + "the" * 30, "=" * 70, " " * 45 + "x", "一" * 30, "\U0010ffff\ue000\ufffd", "été <<<<<<< <think>été</think>  \n x",
    "<|im_start|>user\nhi<|im_end|><|im_start|>", "<|im_end|>\n<|endoftext|><|im_end", " <|im_start|> a  \n<|im_end|>",
]


def build(vocabulary, merges, pre, control, user_defined):
    """Hugging Face's tokenizer of that vocabulary (token -> id), merges (pairs) and pre-tokenizer name."""
    model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre in WHOLE_WORDS)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = PRE[pre]
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in user_defined])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in control])
    return tokenizer


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level(True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    return tokens, merges


def random_texts(count):
    """Short strings of fragments that pre-tokenizers treat differently."""
    rng = random.Random(7)
    parts = [" ", "  ", "\n", "\r", "\t", "'", "'s", "'LL", "a", "B", "é", "中", "1", "٣", "½", ".", "/", "!", "🙂", "\u0301", "\u00a0", "ʰ", "ǅ", "the", "ſ", "<"]
    return ["".join(rng.choice(parts) for _ in range(rng.randrange(1, 14))) for _ in range(count)]


def write_gguf(path, tokens, kinds, merges):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in merges])
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "data/tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    tokens, merges = train()
    kinds = [1] * len(tokens)
    tokens += UNREACHABLE + CONTROL + USER_DEFINED
    kinds += [1] * len(UNREACHABLE) + [3] * len(CONTROL) + [4] * len(USER_DEFINED)
    write_gguf(folder / "bpe.gguf", tokens, kinds, merges)

    ids = {t: i for i, t in enumerate(tokens)}
    normal = {t: i for t, i in ids.items() if kinds[i] == 1}
    lines = []
    for text in TEXTS + random_texts(100):
        lines.append("text " + text.encode().hex())
        for pre in PRE:
            for mode, control in (("plain", []), ("special", CONTROL)):
                if mode == "special" and "<|" not in text:
                    continue
                tokenizer = build(normal, merges, pre, control, USER_DEFINED)
                # Added tokens get new ids behind the vocabulary here; ours come by name.
                found = [ids[tokenizer.id_to_token(i)] for i in tokenizer.encode(text, add_special_tokens=False).ids]
                lines.append(" ".join([pre, mode, *map(str, found)]))
    (folder / "bpe.ids").write_text("\n".join(lines) + "\n")
    for name in ("bpe.gguf", "bpe.ids"):
        print(name, (folder / name).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
