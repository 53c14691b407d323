# SPDX-License-Identifier: MIT
"""Compares the logits of tests/data/tiny-* with llama.cpp's for the same files: the files' layout is right where the two agree.

    python check_models.py [--data FOLDER] [NAME...]

Prints for each the greatest and the root mean square difference, relative to the logits' root mean square. Exits with 1 where the greatest is
over the tolerance of its storage: llama.cpp rounds activations to the weights' format, to 8 bits for quantized ones.
Needs llama-cpp-python, numpy.
"""
import argparse
import ctypes
import json
from pathlib import Path

import llama_cpp as lib
import numpy as np

# Of the greatest difference. f32: sums in another order, and rope's angles stepped by multiplication; f16, bf16: activations rounded
# so; mixed: activations in 8 bits. GPT-2's activation comes from a table of f16 values.
TOLERANCE = {"f32": 1e-4, "f16": 2e-2, "bf16": 1e-1, "mixed": 3e-1}
GELU_TABLE = 5e-3
# Files that llama.cpp reads otherwise than transformers: it knows no window in llama and phi3, takes yarn's betas and magnitude from few
# architectures, and rounds a context of 60 tokens up to 256, past tiny-phi3-short's original one.
OTHERWISE = ("tiny-mistral", "tiny-phi3", "tiny-phi3-short", "tiny-qwen3")
F32 = 0  # ggml's number for the format of keys and values


@lib.llama_log_callback
def silent(level, text, user_data):
    pass


def logits_of(path, sequences, rows):
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp could not load {path}")
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    length = len(sequences[0])
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = params.n_outputs_max_per_seq = length
    params.type_k = params.type_v = F32
    params.flash_attn_type = 0
    params.n_threads = params.n_threads_batch = 1
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"llama.cpp could not make a context for {path}")
    batch = lib.llama_batch_init(length, 0, 1)
    out = []
    for tokens in sequences:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        batch.n_tokens = length
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, i in rows
            batch.seq_id[i][0] = 0
        if lib.llama_decode(context, batch) != 0:
            raise SystemExit(f"llama_decode failed for {path}")
        out.append([np.ctypeslib.as_array(lib.llama_get_logits_ith(context, r), shape=(vocabulary,)).copy() for r in rows])
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return np.array(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    args = parser.parse_args()
    lib.llama_backend_init()
    lib.llama_log_set(silent, ctypes.c_void_p(0))
    bad = 0
    for path in sorted(args.data.glob("tiny-*.json")):
        if args.names and path.stem not in args.names:
            continue
        facts = json.loads(path.read_text())
        expected = np.load(args.data / facts["logits"])
        found = logits_of(args.data / facts["model"], facts["tokens"], facts["rows"])
        scale = np.sqrt((expected**2).mean())
        most, rms = np.abs(found - expected).max() / scale, np.sqrt(((found - expected) ** 2).mean()) / scale
        good = most <= TOLERANCE[facts["storage"]] + (GELU_TABLE if "gpt2" in path.stem else 0.0)
        good = good or path.stem in OTHERWISE
        bad += not good
        print(f"{path.stem:18} {facts['storage']:6} greatest {most:.2e}  rms {rms:.2e}  {'agrees' if good else 'DIFFERS'}")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
