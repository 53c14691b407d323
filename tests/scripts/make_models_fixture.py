# SPDX-License-Identifier: MIT
"""Writes vocabularies of the tokenizer models that are not byte-level BPE, and the tokens that their makers give for texts.

tests/data/tokenizer/spm.gguf, unigram.gguf (both trained and asked with sentencepiece) and wordpiece.gguf (tokenizers) hold no tensors.
models.ids has lines `text HEX` and, for the text before, `spm ID…`, `unigram ID…`, `wordpiece ID…`.
Usage: make_models_fixture.py [FOLDER]        Needs: gguf, protobuf, sentencepiece, tokenizers.
"""
import io
import random
import sys
from pathlib import Path

import sentencepiece
from charsmap import build_map
from gguf import GGUFWriter
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

WORDS = "the a of to and in is it you that he was for on are with as his they be at one have this from hot word but what some we can out other".split()
PARTS = WORDS + "ing ed er est un re pre tion ly ness été naïve größe Straße Привет мир 你好 世界 こんにちは 안녕 🦙 👩‍💻 1 22 333 ' . , ! ? - ( ) # \t é".split(" ")
MAP = build_map({"\t": " ", "\n": " ", "\u3000": " ", "\u200b": "", "Ａ": "A", "e\u0301": "é", "ﬁ": "fi", "½": "1/2"})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def random_text(rng, length, rare=True):
    out = ""
    while len(out) < length:
        kind = rng.random()
        if kind < 0.5:
            out += rng.choice(PARTS) + rng.choice(["", " ", " "])
        elif kind < 0.6:
            out += rng.choice([" ", "  ", "     ", "\n", "\t", "\u3000", "\u200b", "Ａ", "e\u0301", "ﬁ", "½"])
        elif kind < 0.7:
            out += rng.choice("abé") * rng.randint(2, 9)
        elif rare:
            out += chr(rng.choice([rng.randint(0x21, 0x7E), rng.randint(0xC0, 0x2FF), rng.randint(0x400, 0x4FF), rng.randint(0x4E00, 0x9FFF)]))
    return out


def trained(kind, corpus, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, model_type=kind, hard_vocab_limit=False, minloglevel=2,
                                             num_threads=1, **options)
    out = sentencepiece_model_pb2.ModelProto()
    out.ParseFromString(model.getvalue())
    return out


def write_gguf(path, kind, tokens, types, scores=(), **keys):
    w = GGUFWriter(path, "llama")
    w.add_tokenizer_model(kind)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores:
        w.add_token_scores(scores)
    for key, value in keys.items():
        name = "tokenizer.ggml." + key
        if isinstance(value, bool):
            w.add_bool(name, value)
        elif isinstance(value, int):
            w.add_uint32(name, value)
        else:
            w.add_array(name, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def write_sentencepiece(path, kind, model, **keys):
    pieces = [(p.piece, p.type, p.score) for p in model.pieces]
    tokens, types, scores = map(list, zip(*pieces))
    write_gguf(path, kind, tokens, types, scores, bos_token_id=1, eos_token_id=2, unknown_token_id=0,
               add_space_prefix=model.normalizer_spec.add_dummy_prefix, remove_extra_whitespaces=model.normalizer_spec.remove_extra_whitespaces, **keys)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def main():
    root = Path(__file__).resolve().parents[2]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/data/tokenizer"
    rng = random.Random(7)
    corpus = [random_text(rng, 60, rare=False).replace("\n", " ") for _ in range(3000)]
    texts = ["", " ", "a", "  the  word ", "▁▁the", "<0x41><s></s>", "\n\n", "unknown ☃☃ ℵ"] + [random_text(rng, rng.randint(1, 50)) for _ in range(70)]

    spm = trained("bpe", corpus, vocab_size=900, byte_fallback=True, character_coverage=0.99, normalization_rule_name="identity",
                  remove_extra_whitespaces=False)
    unigram = trained("unigram", corpus, vocab_size=500, character_coverage=0.99)
    unigram.normalizer_spec.precompiled_charsmap = MAP
    asked = {
        "spm": write_sentencepiece(folder / "spm.gguf", "llama", spm).encode,
        "unigram": write_sentencepiece(folder / "unigram.gguf", "t5", unigram, precompiled_charsmap=MAP).encode,
    }
    bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    bert.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=700, special_tokens=SPECIAL, limit_alphabet=150, show_progress=False))
    tokens = sorted(bert.get_vocab(), key=bert.get_vocab().get)
    written = [t if t in SPECIAL else t[2:] if t.startswith("##") else "▁" + t for t in tokens]  # as GGUF files have them
    write_gguf(folder / "wordpiece.gguf", "bert", written, [3 if t in SPECIAL else 1 for t in tokens], bos_token_id=2, seperator_token_id=3, unknown_token_id=1)
    asked["wordpiece"] = lambda text: bert.encode(text, add_special_tokens=False).ids

    lines = []
    for text in texts:
        lines.append(f"text {text.encode().hex()}")
        lines += [" ".join([name, *map(str, ask(text))]) for name, ask in asked.items()]
    (folder / "models.ids").write_text("\n".join(lines) + "\n")
    for name in ("spm.gguf", "unigram.gguf", "wordpiece.gguf", "models.ids"):
        print(name, (folder / name).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
