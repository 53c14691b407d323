# SPDX-License-Identifier: MIT
"""A small byte-level BPE tokenizer for the tiny models: control tokens, the 256 bytes, and merges trained on the text below.

Training counts pairs inside pre-tokens and merges the most frequent pair, the alphabetically first of equals, until the vocabulary is
full; so the same text gives the same tokens everywhere. Pre-tokens are SmolLM's: digits alone, then GPT-2's pattern.
Needs: tokenizers.
"""
from collections import Counter

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers import AddedToken

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEXT = """
The wind took the sails and the ship went north. On the third day they saw the coast, and on the fourth the snow.
There was a singer on the ship who knew the old songs, and when the night was long he sang them all from the first to the last.
"What is the song about?" the young ones asked. "It is about the sea," he said, "and the sea is about everything else."
They'd heard that before; they didn't mind. In the year 872 there were 12 ships, in the year 874 there were 40.
user system assistant user system assistant The user asks and the assistant answers. You are a helpful assistant.
Größe, Straße, Grüße; über die See und über das Land. Été, forêt, fenêtre. 你好，世界！你好，海。你们好。🙂🙂🚢
"""


def bytes_to_letters():
    """GPT-2's table: a printable character for each byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in kept}
    table.update((b, chr(256 + i)) for i, b in enumerate(b for b in range(256) if b not in table))
    return dict(sorted(table.items(), key=lambda item: item[1]))


def pre_tokenizer():
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def merged(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train(size):
    """(tokens, merges): `size` tokens, the control tokens first, then the bytes, then a token a merge."""
    tokens = CONTROL + list(bytes_to_letters().values())
    merges = []
    words = Counter(tuple(word) for word, _ in pre_tokenizer().pre_tokenize_str(TEXT))
    while len(tokens) < size:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        known = set(tokens)
        best = min((p for p in pairs if p[0] + p[1] not in known), key=lambda p: (-pairs[p], p))
        merges.append(best)
        tokens.append(best[0] + best[1])
        words = Counter({merged(word, best): count for word, count in words.items()})
    return tokens, merges


def make(size):
    """The same as a `tokenizers` object, its tokens and its merges."""
    tokens, merges = train(size)
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    assert tokenizer.get_vocab_size() == size
    return tokenizer, tokens, merges
