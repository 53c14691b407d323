# SPDX-License-Identifier: MIT
"""llama.cpp's speed on a GGUF file, measured as its llama-bench does, through the C API that llama-cpp-python carries.

    python llama_cpp_bench.py MODEL.gguf [-p 512] [-n 128] [-t THREADS] [-r REPETITIONS] [--flash-attn auto|on|off] [--json]

pp: one llama_decode of P random tokens (n_batch = n_ubatch = P) in an empty context. tg: N llama_decodes of one random token each,
from an empty context. One unmeasured run of each first; only the last row's logits are computed and none are copied by this script.
compare.py runs this file with the Python that has llama-cpp-python; it needs nothing else.
"""
import argparse
import ctypes
import json
import random
import statistics
import sys
import time

import llama_cpp as lib


@lib.llama_log_callback
def silent(level, text, user_data):
    pass


@lib.llama_log_callback
def to_stderr(level, text, user_data):
    sys.stderr.write(text.decode("utf-8", "replace"))


class Session:
    """A model, a context for one setting, and the two tests."""

    def __init__(self, args):
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(args.model.encode(), lib.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp could not load {args.model}")
        params = lib.llama_context_default_params()
        batch = max(args.prompt, 1)
        params.n_ctx = max(args.prompt, args.decode, 1)
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = args.threads
        params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[args.flash_attn]
        params.no_perf = True
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp could not make a context")
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.tokens = (lib.llama_token * batch)()

    def fresh(self, count):
        for i in range(count):
            self.tokens[i] = random.randrange(self.vocabulary)
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)

    def decode(self, count):
        if lib.llama_decode(self.context, lib.llama_batch_get_one(self.tokens, count)) != 0:
            raise SystemExit("llama_decode failed")

    def prompt(self, length):
        """Tokens a second."""
        self.fresh(length)
        start = time.perf_counter()
        self.decode(length)
        lib.llama_synchronize(self.context)
        return length / (time.perf_counter() - start)

    def generate(self, length):
        """Tokens a second."""
        self.fresh(1)
        start = time.perf_counter()
        for _ in range(length):
            self.decode(1)
            lib.llama_synchronize(self.context)
            self.tokens[0] = random.randrange(self.vocabulary)
        return length / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--decode", type=int, default=128)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-r", "--repetitions", type=int, default=1)
    parser.add_argument("--flash-attn", choices=["auto", "on", "off"], default="auto", help="auto is llama.cpp's own default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="llama.cpp's log to stderr: buffers, repacking, AMX")
    args = parser.parse_args()

    lib.llama_log_set(to_stderr if args.verbose else silent, ctypes.c_void_p(0))
    session = Session(args)
    results = []
    for name, length, run in (("pp", args.prompt, session.prompt), ("tg", args.decode, session.generate)):
        if length <= 0:
            continue
        run(length)
        rates = [run(length) for _ in range(args.repetitions)]
        rate = statistics.median(rates)
        results.append({"test": f"{name}{length}", "threads": args.threads, "tok_s": rate, "spread": (max(rates) - min(rates)) / rate})
    if args.json:
        print(json.dumps(results))
    else:
        print(lib.llama_print_system_info().decode())
        for r in results:
            print(f"{r['test']:>8}  {r['threads']} threads  {r['tok_s']:9.1f} tok/s  spread {100 * r['spread']:.1f}%")


if __name__ == "__main__":
    main()
