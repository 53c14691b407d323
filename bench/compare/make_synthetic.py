# SPDX-License-Identifier: MIT
"""Writes a GGUF model of a real shape with random weights: for speed, load time and memory, which do not ask what a model says.

    python make_synthetic.py OUT.gguf --shape 1b --type Q4_0 --tokenizer FROM.gguf [--head-type Q6_K] [--tied] [--seed N]

Shapes are Llama's: 1b is 2048 wide with 16 layers, 3b 3072 wide with 28. Blocks of the format are drawn from a pool of random ones,
with scales that give weights the variance 1/width, so that activations stay finite; a file takes about as long as writing it to the
disk. The tokenizer is the given file's, with unused tokens up to the shape's vocabulary. Needs: gguf, numpy.
"""
import argparse
import math
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

SHAPES = {  # width, layers, feed-forward width, heads, heads of keys and values, vocabulary
    "1b": (2048, 16, 8192, 32, 8, 128256),
    "3b": (3072, 28, 8192, 24, 8, 128256),
    "tiny": (512, 2, 1024, 8, 4, 49152),
}
POOL = 1 << 20  # weights

# Where a block keeps its binary16 scale, where its minimum, and minimum / scale for a mean of zero.
SCALES = {
    T.Q4_0: (0, None, 0), T.Q4_1: (0, 2, -7.5), T.Q5_0: (0, None, 0), T.Q5_1: (0, 2, -15.5), T.Q8_0: (0, None, 0),
    T.Q2_K: (80, 82, 1.5), T.Q3_K: (108, None, 0), T.Q4_K: (0, 2, 7.5), T.Q5_K: (0, 2, 15.5), T.Q6_K: (208, None, 0),
    T.IQ4_NL: (0, None, 0), T.IQ4_XS: (0, None, 0), T.IQ3_XXS: (0, None, 0), T.IQ3_S: (0, None, 0), T.IQ2_XXS: (0, None, 0),
    T.IQ2_XS: (0, None, 0), T.IQ2_S: (0, None, 0), T.IQ1_S: (0, None, 0), T.TQ1_0: (52, None, 0), T.TQ2_0: (64, None, 0),
}


def block_pool(kind, deviation, rng):
    """Random blocks of a format whose weights have that standard deviation. // (blocks, bytes)"""
    if kind in (T.F32, T.F16, T.BF16):
        values = rng.standard_normal(POOL, dtype=np.float32) * np.float32(deviation)
        if kind == T.F16:
            values = values.astype(np.float16)
        if kind == T.BF16:
            values = (values.view(np.uint32) >> 16).astype(np.uint16)
        return values.reshape(-1, 32).view(np.uint8)
    if kind not in SCALES:
        raise SystemExit(f"{kind.name} cannot be drawn at random; choose among F32, F16, BF16, {', '.join(t.name for t in SCALES)}")
    size, count = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (POOL // size, count), dtype=np.uint8)
    scale_at, minimum_at, ratio = SCALES[kind]

    def put(scale):
        blocks[:, scale_at:scale_at + 2] = np.array([scale], np.float16).view(np.uint8)
        if minimum_at is not None:
            blocks[:, minimum_at:minimum_at + 2] = np.array([scale * ratio], np.float16).view(np.uint8)

    put(1)
    put(deviation / dequantize(blocks, kind).std())
    return blocks


class Tensors:
    """Tensors of random blocks, written one by one."""

    def __init__(self, writer, width, seed):
        self.writer, self.deviation = writer, 1 / math.sqrt(width)
        self.rng = np.random.default_rng(seed)
        self.pools, self.planned = {}, []

    def plan(self, name, rows, cols, kind):
        size, count = gguf.GGML_QUANT_SIZES[kind]
        if cols % size:
            raise SystemExit(f"{name}: rows of {cols} values are no whole blocks of {kind.name}")
        if rows == 1:
            self.writer.add_tensor_info(name, (cols,), np.dtype(np.float32), cols * 4)
        else:
            self.writer.add_tensor_info(name, (rows, cols // size * count), np.dtype(np.uint8), rows * cols // size * count, raw_dtype=kind)
        self.planned.append((rows, cols, kind))

    def write(self):
        for rows, cols, kind in self.planned:
            if rows == 1:
                self.writer.write_tensor_data(np.ones(cols, np.float32))
                continue
            if kind not in self.pools:
                self.pools[kind] = block_pool(kind, self.deviation, self.rng)
            pool = self.pools[kind]
            weights = max(gguf.GGML_QUANT_SIZES[kind][0], 32 if kind in (T.F32, T.F16, T.BF16) else 0)
            self.writer.write_tensor_data(pool[self.rng.integers(0, len(pool), rows * cols // weights)].reshape(rows, -1))


def add_tokenizer(writer, path, vocabulary):
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    if len(tokens) > vocabulary:
        raise SystemExit(f"{path}: its {len(tokens)} tokens are more than the shape's {vocabulary}")
    extra = vocabulary - len(tokens)
    for name, field in fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        if name == "tokenizer.ggml.tokens":
            value = value + [f"<|unused_{i}|>" for i in range(extra)]
        elif name == "tokenizer.ggml.token_type":
            value = value + [int(gguf.TokenType.UNUSED)] * extra
        elif name == "tokenizer.ggml.scores":
            value = value + [0.0] * extra
        writer.add_key_value(name, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--type", default="Q4_0", help="of the matrices, as Q4_0")
    parser.add_argument("--head-type", help="of the token embedding and the output head (default: as --type)")
    parser.add_argument("--tied", action="store_true", help="the output head is the token embedding")
    parser.add_argument("--tokenizer", required=True, help="a GGUF file")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    kind, head_kind = T[args.type.upper()], T[(args.head_type or args.type).upper()]
    width, layers, inner, heads, kv_heads, vocabulary = SHAPES[args.shape]
    head = width // heads

    writer = gguf.GGUFWriter(args.out, "llama")
    writer.add_name(f"synthetic {args.shape} {kind.name}")
    writer.add_block_count(layers)
    writer.add_context_length(131072)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    add_tokenizer(writer, args.tokenizer, vocabulary)

    tensors = Tensors(writer, width, args.seed)
    tensors.plan("token_embd.weight", vocabulary, width, head_kind)
    for i in range(layers):
        for name, rows, cols in (("attn_norm", 1, width), ("attn_q", width, width), ("attn_k", kv_heads * head, width),
                                 ("attn_v", kv_heads * head, width), ("attn_output", width, width), ("ffn_norm", 1, width),
                                 ("ffn_gate", inner, width), ("ffn_up", inner, width), ("ffn_down", width, inner)):
            tensors.plan(f"blk.{i}.{name}.weight", rows, cols, kind)
    tensors.plan("output_norm.weight", 1, width, kind)
    if not args.tied:
        tensors.plan("output.weight", vocabulary, width, head_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    tensors.write()
    writer.close()
    print(f"{args.out}: {Path(args.out).stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
