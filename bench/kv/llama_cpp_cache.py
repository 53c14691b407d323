# SPDX-License-Identifier: MIT
"""llama.cpp with keys and values in one of its formats, flash attention on. kv.py starts it with a job as JSON:
{"model", "threads", "cache", "depths", "decode", "text", "window", "needles"}: of speed, perplexity and needles what is there.
"""
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare/engines"))

import llama_cpp as lib  # noqa: E402
import numpy as np  # noqa: E402

from engine import Cannot, answer, loss_of, perplexity  # noqa: E402
from llama_cpp_engine import MOST_ROWS, LlamaCpp  # noqa: E402

BYTES = {"f32": 4, "f16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}  # of a value


class Cache(LlamaCpp):
    def context_params(self, tokens, sequences):
        params = super().context_params(tokens, sequences)
        params.type_k = params.type_v = getattr(lib, f"GGML_TYPE_{self.cache.upper()}")
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        return params

    def bytes_per_token(self):
        head = lib.llama_model_n_embd(self.model) // lib.llama_model_n_head(self.model)
        return 2 * lib.llama_model_n_layer(self.model) * lib.llama_model_n_head_kv(self.model) * head * BYTES[self.cache]

    def speed(self, count, depth):
        """Tokens a second of a prompt of `depth` tokens, read once into fresh memory, and of `count` tokens after it."""
        self.open(count + depth, 1)
        begin = time.perf_counter()
        self.read(self.random_tokens(depth))
        filled = time.perf_counter()
        self.decode_on(min(8, count), depth)
        again = time.perf_counter()
        self.decode_on(count, depth)
        return depth / (filled - begin), count / (time.perf_counter() - again)

    def decode_on(self, count, depth):
        lib.llama_memory_seq_rm(lib.llama_get_memory(self.context), 0, depth, -1)
        for i in range(count):
            self.step([(self.random_tokens(1)[0], depth + i, 0, True)])

    def rows(self, tokens, first):
        """Logits of positions `first` to the last but one, a step's at a time, and the tokens that follow them."""
        self.open(len(tokens), 1)
        for at in range(0, len(tokens) - 1, MOST_ROWS):
            part = tokens[at:min(at + MOST_ROWS, len(tokens) - 1)]
            self.step([(t, at + i, 0, at + i >= first) for i, t in enumerate(part)])
            wanted = min(at + len(part) - first, len(part))
            if wanted > 0:
                begin = at + len(part) - wanted
                yield np.ctypeslib.as_array(lib.llama_get_logits(self.context), shape=(wanted, self.vocabulary)), \
                    tokens[begin + 1:begin + 1 + wanted]

    def window_loss(self, tokens, first):
        if self.bos is not None:
            tokens = [self.bos] + tokens[1:]
        return sum(loss_of(logits, following) for logits, following in self.rows(tokens, first))

    def score(self, prompt, continuation):
        """As `skald score`: the continuation's log-probability, and whether each of its tokens is the most probable one."""
        head, whole = self.tokenize(prompt), self.tokenize(prompt + continuation)
        kept = next((i for i, (a, b) in enumerate(zip(head, whole)) if a != b), len(head))
        loss, greedy = 0.0, True
        for logits, following in self.rows(whole, max(kept, 1) - 1):
            loss += loss_of(logits, following)
            greedy = greedy and bool((logits.argmax(-1) == np.array(following)).all())
        return {"logprob": -loss, "greedy": greedy}


def main(job):
    engine = Cache()
    engine.cache = job["cache"]
    try:
        engine.load(job["model"], {"threads": job["threads"], "prompt": 1, "decode": 1})
        out = {"bytes_per_token": engine.bytes_per_token(), "speed": [], "scores": []}
        for depth in job.get("depths", []):
            prompt, decode = engine.speed(job["decode"], depth)
            out["speed"].append({"depth": depth, "prompt_tok_s": prompt, "decode_tok_s": decode})
        if job.get("text"):
            out["perplexity"] = perplexity(engine, Path(job["text"]).read_text(), job["window"])
        if job.get("needles"):
            out["scores"] = [engine.score(*needle) for needle in json.loads(Path(job["needles"]).read_text())]
        return out
    except Cannot as e:
        return {"why": str(e)}


if __name__ == "__main__":
    answer(main(json.loads(sys.argv[1])))
