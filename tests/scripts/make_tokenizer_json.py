# SPDX-License-Identifier: MIT
"""Writes tests/data/tokenizer/json/: small tokenizer.json files set up as published models' are, and NAME.ids, what Hugging Face's
`tokenizers` makes of many texts with each.

NAME.ids has lines `text HEX`, each followed by a line `ids ID...` (special tokens of the text recognised) and, where it can be compared,
`decoded HEX`.
Usage: make_tokenizer_json.py [FOLDER]        Needs: tokenizers.
"""
import json
import random
import sys
from pathlib import Path

from make_tokenizer_fixture import PRE, SENTENCES, TEXTS, byte_level, in_sequence, split
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MARK = "\u2581"
QUICK = dict(show_progress=False)


def template(tokenizer, single):
    names = [part for part in single.split() if part != "$A"]
    return processors.TemplateProcessing(single=single, special_tokens=[(n, tokenizer.token_to_id(n)) for n in names])


def byte_bpe(pre, special, normalizer=None, added=(), single=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=600, special_tokens=list(special),
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **QUICK))
    t.add_tokens(list(added))
    if single:
        t.post_processor = template(t, single)
    return t


def text_bpe(special, normalizer=None, pre=None, decoder=None, train_pre=None, added=(), single=None, byte_fallback=True, trainer=None,
             **model):
    """Trained on words, whatever the tokenizer itself divides by."""
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = train_pre or pre_tokenizers.Metaspace(prepend_scheme="always")
    names = [s if isinstance(s, str) else s.content for s in special]
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    words.train_from_iterator(SENTENCES[:6], trainers.BpeTrainer(vocab_size=700, special_tokens=names + byte_tokens, **(trainer or {}), **QUICK))
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **model))
    for name, part in (("normalizer", normalizer), ("pre_tokenizer", pre), ("decoder", decoder)):
        if part is not None:
            setattr(t, name, part)
    whole, trained = json.loads(t.to_str()), json.loads(words.to_str())["model"]
    whole["model"]["vocab"], whole["model"]["merges"] = trained["vocab"], trained["merges"]
    t = Tokenizer.from_str(json.dumps(whole))
    t.add_special_tokens(list(special))
    t.add_tokens(list(added))
    if single:
        t.post_processor = template(t, single)
    return t


def word_piece(normalizer):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    t.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[UNK]", "[CLS]", "[SEP]"], **QUICK))
    t.post_processor = template(t, "[CLS] $A [SEP]")
    return t


def unigram(normalizer, pre, scheme, single):
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoders.Metaspace(prepend_scheme=scheme)
    t.train_from_iterator(SENTENCES, trainers.UnigramTrainer(vocab_size=500, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", **QUICK))
    t.post_processor = template(t, single)
    return t


def behaviours():
    by = [split(r"\d", "removed"), split(r"[aeiou]", "merged_with_previous"), split(r"[xyz]", "merged_with_next"),
          split(r"\s", "contiguous"), pre_tokenizers.Split(Regex(r"[A-Z]+"), "isolated", invert=True),
          pre_tokenizers.Split("th", "merged_with_next"), pre_tokenizers.CharDelimiterSplit("|")]
    return byte_bpe(in_sequence(*by, byte_level(False)), ["<e>"])


def spaces_marked(prepend):
    steps = ([normalizers.Prepend(MARK)] if prepend else []) + [normalizers.Replace(" ", MARK)]
    return normalizers.Sequence(steps)


def marks_decoded(strip=True):
    last = [decoders.Strip(" ", 1, 0)] if strip else []
    return decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()] + last)


def special(content, **how):
    return AddedToken(content, special=True, normalized=how.pop("normalized", False), **how)


DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
            r"\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")

MAKERS = {
    "roberta": lambda: byte_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "</s>", special("<mask>", lstrip=True)], single="<s> $A </s>"),
    "qwen2": lambda: byte_bpe(PRE["qwen2"], ["<|im_start|>", "<|im_end|>"], normalizers.NFC(), [AddedToken("</think>", normalized=False)]),
    "deepseek-v3": lambda: byte_bpe(in_sequence(split(r"\p{N}{1,3}"), split(r"[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK), byte_level(False)),
                                    ["<｜User｜>"], added=[AddedToken("<think>", normalized=True)]),
    "cl100k": lambda: byte_bpe(in_sequence(split(CL100K), byte_level(False)), ["<|endoftext|>"], ignore_merges=True),
    "falcon": lambda: byte_bpe(in_sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(True), pre_tokenizers.Digits(False),
                                           split("[0-9][0-9][0-9]")), ["<|endoftext|>"]),
    "neox": lambda: byte_bpe(byte_level(True), ["<|endoftext|>"], normalizers.NFC(), [AddedToken(" " * n) for n in range(2, 9)]),
    "behaviours": behaviours,
    "llama-2": lambda: text_bpe(["<unk>", special("<s>", normalized=True), "</s>"], spaces_marked(True), decoder=marks_decoded(), single="<s> $A", fuse_unk=True),
    "mistral": lambda: text_bpe(["<unk>", "<s>", "</s>", "[INST]"], pre=pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                decoder=marks_decoded(), single="<s> $A", fuse_unk=True),
    "gemma": lambda: text_bpe(["<pad>", "<eos>", "<bos>", "<unk>"], spaces_marked(False), pre_tokenizers.Split(" ", "merged_with_previous"),
                              marks_decoded(False), added=[AddedToken("\n" * n, normalized=False) for n in range(1, 4)], single="<bos> $A", fuse_unk=True),
    "phi-3": lambda: text_bpe(["<unk>", special("<|end|>", rstrip=True)], spaces_marked(True), decoder=marks_decoded()),
    "unknown": lambda: text_bpe(["<unk>"], spaces_marked(True), decoder=marks_decoded(), byte_fallback=False),
    "clip": lambda: text_bpe(["<unk>", "<|endoftext|>"], normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
                             pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True), decoders.BPEDecoder("</w>"),
                             pre_tokenizers.WhitespaceSplit(), byte_fallback=False, trainer={"end_of_word_suffix": "</w>"}, end_of_word_suffix="</w>"),
    "bert": lambda: word_piece(normalizers.BertNormalizer()),
    "bert-cased": lambda: word_piece(normalizers.BertNormalizer(lowercase=False)),
    "t5": lambda: unigram(normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]),
                          pre_tokenizers.Metaspace(prepend_scheme="always"), "always", "$A </s>"),
    "albert": lambda: unigram(normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]),
                              in_sequence(pre_tokenizers.Metaspace(prepend_scheme="first")), "first", "<s> $A </s>"),
}


def texts_for(tokenizer):
    rng = random.Random(11)
    names = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    parts = [" ", "  ", "\n", "\t", "'s", "'LL", "a", "the", " the", "B", "é", "e\u0301\u0323", "中", "日本", "한", "1", "123", "½", "²", ".", ",", "!", "🙂",
             "👩\u200d👧", "\u0301", "\u00a0", "ſ", "<", "ﬁ", "\u200d", MARK, "<0x41>", "th", "|", "do not"] + names * 2
    return TEXTS[::2] + ["".join(rng.choice(parts) for _ in range(rng.randrange(1, 16))) for _ in range(40)]


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "data/tokenizer/json"
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MAKERS.items():
        tokenizer = make()
        tokenizer.save(str(folder / f"{name}.json"), pretty=False)
        lines = []
        for text in texts_for(tokenizer):
            ids = tokenizer.encode(text).ids
            decoded = tokenizer.decode(ids)
            lines += ["text " + text.encode().hex(), " ".join(["ids", *map(str, ids)])]
            if "\ufffd" not in decoded and name != "llama-2":  # there a special token that is normalized does not count as one
                lines.append("decoded " + decoded.encode().hex())
        (folder / f"{name}.ids").write_text("\n".join(lines) + "\n")
        print(name, (folder / f"{name}.json").stat().st_size, (folder / f"{name}.ids").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
