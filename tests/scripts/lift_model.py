# SPDX-License-Identifier: MIT
"""Writes a small Llama model again as the same function with a wider residual stream, so that every width is a multiple of 256.

    python lift_model.py IN.gguf OUT.gguf [--type f16|bf16|f32] [--seed N]

What it is for: SmolLM2-135M is published in Q4_1 and 576 wide. Its weights sit on that format's 16 levels, so other 4-bit formats
look better on it than they are, and K-quants need rows of 256. The lifted file has neither flaw and gives the same answers, so
quality can be measured on it.

The mathematics. Let n be the old width, N the new one, M an N x n matrix with orthonormal columns, and let the stream carry M x where
it carried x. Then |M x| = |x|, and the RMS norm over N channels with eps n/N is 1/s times the old one, s = sqrt(n/N). So
  - a matrix that writes to the stream becomes M W, and the token embedding's rows become M e;
  - a matrix that reads it through a norm with gains g becomes s W diag(g) M', and the norm's gains become 1;
  - the output head, which may share its matrix with the embedding, reads the stream and gets a matrix of its own.
M is the identity's first n columns after rotations of random pairs of rows, so that each old channel is spread over a few new ones.
Heads are added, whole groups whose matrices are zero, until the attention is a multiple of 256 wide, and zero channels to
the feed-forward likewise: they add zero to the stream. Head dimension, rope and tokenizer stay. Needs: gguf, numpy.
"""
import argparse
import math

import numpy as np

import gguf_tools as tools
from gguf import GGUFValueType

MULTIPLE = 256
READERS = {"attn_q": "attn_norm", "attn_k": "attn_norm", "attn_v": "attn_norm", "ffn_gate": "ffn_norm", "ffn_up": "ffn_norm"}
WRITERS = ("attn_output", "ffn_down")


def round_up(n):
    return -(-n // MULTIPLE) * MULTIPLE


def isometry(old, new, seed, rounds=2):
    """(new, old), orthonormal columns. Each round turns every pair of a random pairing of the rows by 14 to 37 degrees."""
    rng = np.random.default_rng(seed)
    rows = np.eye(new, old)
    for _ in range(rounds):
        order = rng.permutation(new)
        first, second = order[: new // 2], order[new // 2:]
        angles = rng.uniform(0.25, 0.65, new // 2) * rng.choice([-1.0, 1.0], new // 2)
        cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
        rows[first], rows[second] = cosine * rows[first] - sine * rows[second], sine * rows[first] + cosine * rows[second]
    return rows


def grown(values, rows=None, cols=None):
    """The matrix with zeros below and to the right."""
    out = np.zeros((rows or values.shape[0], cols or values.shape[1]))
    out[: values.shape[0], : values.shape[1]] = values
    return out


class Model:
    """A GGUF file's hyperparameters and tensors, the latter decoded when asked for."""

    def __init__(self, path):
        self.reader = tools.open_file(path)
        if self.meta("general.architecture") != "llama":
            raise SystemExit(f"{path}: the architecture is {self.meta('general.architecture')}; only llama can be lifted")
        self.entries = {t.name: t for t in self.reader.tensors}
        self.width = self.meta("llama.embedding_length")
        self.feed_forward = self.meta("llama.feed_forward_length")
        self.layers = self.meta("llama.block_count")
        self.heads = self.meta("llama.attention.head_count")
        self.kv_heads = self.meta("llama.attention.head_count_kv", self.heads)
        self.head_dim = self.meta("llama.attention.key_length", self.width // self.heads)
        self.eps = self.meta("llama.attention.layer_norm_rms_epsilon")

    def meta(self, key, default=None):
        found = self.reader.fields.get(key)
        return default if found is None else found.contents()

    def tensor(self, name):
        return tools.read_tensor(self.entries[name]).astype(np.float64)


def lift(model, writer, storage, seed):
    """Adds the lifted model's metadata and tensors to the writer."""
    width = round_up(model.width)
    feed_forward = round_up(model.feed_forward)
    group = model.heads // model.kv_heads
    step = math.lcm(MULTIPLE, group * model.head_dim) // (group * model.head_dim)  # kv heads whose queries fill whole multiples
    kv_heads = -(-model.kv_heads // step) * step
    heads = kv_heads * group

    replaced = {
        "general.name": f"{model.meta('general.name', 'model')} lifted to {width} channels",
        "llama.embedding_length": width,
        "llama.feed_forward_length": feed_forward,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.key_length": model.head_dim,
        "llama.attention.value_length": model.head_dim,
        "llama.attention.layer_norm_rms_epsilon": model.eps * model.width / width,
    }
    tools.copy_metadata(model.reader, writer, replaced)
    for key in ("key_length", "value_length"):
        if f"llama.attention.{key}" not in model.reader.fields:
            writer.add_key_value(f"llama.attention.{key}", model.head_dim, GGUFValueType.UINT32)

    spread = isometry(model.width, width, seed)
    shrink = math.sqrt(model.width / width)
    rows = {"attn_q": heads * model.head_dim, "attn_k": kv_heads * model.head_dim, "attn_v": kv_heads * model.head_dim,
            "ffn_gate": feed_forward, "ffn_up": feed_forward}
    cols = {"attn_output": heads * model.head_dim, "ffn_down": feed_forward}

    def read_through(matrix, gains):
        return shrink * (matrix * gains) @ spread.T

    def add(name, values, kind):
        tools.add_tensor(writer, name, values, kind)

    head = "output.weight" if "output.weight" in model.entries else "token_embd.weight"
    add("output.weight", read_through(model.tensor(head), model.tensor("output_norm.weight")), storage)
    for name in model.entries:
        part = name.removesuffix(".weight").rsplit(".", 1)[-1]
        prefix = name[: name.rindex(part)]
        if name == "output.weight":
            continue
        if name == "token_embd.weight":
            add(name, model.tensor(name) @ spread.T, storage)
        elif name == "rope_freqs.weight":
            add(name, model.tensor(name), "f32")
        elif part in ("attn_norm", "ffn_norm", "output_norm"):
            add(name, np.ones(width), "f32")
        elif part in READERS:
            add(name, grown(read_through(model.tensor(name), model.tensor(f"{prefix}{READERS[part]}.weight")), rows=rows[part]), storage)
        elif part in WRITERS:
            add(name, grown(spread @ model.tensor(name), cols=cols[part]), storage)
        else:
            raise SystemExit(f"{name}: a tensor this script does not know how to lift")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--type", default="f16", choices=["f16", "bf16", "f32"])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    writer = tools.start_file(args.target, "llama", args.type)
    lift(Model(args.source), writer, args.type, args.seed)
    tools.finish(writer)


if __name__ == "__main__":
    main()
