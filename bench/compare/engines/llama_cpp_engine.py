# SPDX-License-Identifier: MIT
"""llama.cpp on the GGUF file itself, through the C API that llama-cpp-python carries, as its llama-bench measures.

n_batch = n_ubatch = 512, f16 keys and values, flash attention and repacked weights as llama.cpp chooses. Only wanted rows' logits are
computed and none are copied in timed tests; what Python adds is a few microseconds a call. One thing differs from llama-bench: threads
are OpenMP's, no pool of llama.cpp's own is attached.
"""
import ctypes
import random
import time

import llama_cpp as lib
import numpy as np

from engine import Cannot, Engine, loss_of, run

MOST_ROWS = 512


@lib.llama_log_callback
def silent(level, text, user_data):
    pass


class LlamaCpp(Engine):
    def load(self, path, job):
        lib.llama_log_set(silent, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.threads = job["threads"]
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            raise Cannot("cannot load the file")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.vocabulary = lib.llama_vocab_n_tokens(self.vocab)
        self.context, self.made_for = None, None
        self.open(max(job["prompt"], job["decode"], 1), 1)

    def open(self, tokens, sequences):
        """A context for as many tokens of each sequence, empty."""
        if self.made_for == (tokens, sequences):
            return lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        if self.context:
            lib.llama_batch_free(self.batch)
            lib.llama_free(self.context)
        self.context = lib.llama_init_from_model(self.model, self.context_params(tokens, sequences))
        if not self.context:
            raise Cannot("cannot make a context")
        self.batch = lib.llama_batch_init(MOST_ROWS, 0, 1)
        self.made_for = (tokens, sequences)

    def context_params(self, tokens, sequences):
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = tokens * sequences, sequences
        params.n_batch = params.n_ubatch = MOST_ROWS
        params.n_threads = params.n_threads_batch = self.threads
        params.no_perf = True
        return params

    def step(self, rows):
        """rows: (token, position, sequence, wanted)"""
        self.batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i] = token, position, 1
            self.batch.seq_id[i][0], self.batch.logits[i] = sequence, wanted
        if lib.llama_decode(self.context, self.batch) != 0:
            raise Cannot("llama_decode failed")
        lib.llama_synchronize(self.context)

    def read(self, tokens):
        for at in range(0, len(tokens), MOST_ROWS):
            part = tokens[at:at + MOST_ROWS]
            self.step([(t, at + i, 0, at + i + 1 == len(tokens)) for i, t in enumerate(part)])

    def prompt(self, tokens):
        self.open(len(tokens), 1)
        begin = time.perf_counter()
        self.read(tokens)
        return time.perf_counter() - begin

    def decode(self, count, depth):
        self.open(count + depth, 1)
        self.read(self.random_tokens(depth))
        begin = time.perf_counter()
        for i in range(count):
            self.step([(random.randrange(self.vocabulary), depth + i, 0, True)])
        return time.perf_counter() - begin

    def decode_together(self, count, sequences):
        self.open(count, sequences)
        begin = time.perf_counter()
        for i in range(count):
            self.step([(random.randrange(self.vocabulary), i, s, True) for s in range(sequences)])
        return time.perf_counter() - begin

    def tokenize(self, text):
        raw = text.encode()
        tokens = (lib.llama_token * (len(raw) + 8))()
        count = lib.llama_tokenize(self.vocab, raw, len(raw), tokens, len(tokens), True, False)
        self.bos = lib.llama_vocab_bos(self.vocab) if lib.llama_vocab_get_add_bos(self.vocab) else None
        return list(tokens[:count])

    def window_loss(self, tokens, first):
        if self.bos is not None:
            tokens = [self.bos] + tokens[1:]
        self.open(len(tokens), 1)
        self.step([(t, i, 0, first <= i < len(tokens) - 1) for i, t in enumerate(tokens)])
        rows = len(tokens) - 1 - first
        return loss_of(np.ctypeslib.as_array(lib.llama_get_logits(self.context), shape=(rows, self.vocabulary)), tokens[first + 1:])


if __name__ == "__main__":
    run(LlamaCpp)
