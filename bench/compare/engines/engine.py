# SPDX-License-Identifier: MIT
"""What compare.py asks of an engine, and the process that an engine runs in.

An engine is a class with the members of `Engine`, in a file of its own that ends with `run(ITS_CLASS)`. compare.py starts that
file with a job as JSON: {"model", "forms", "do": "prepare" | "measure", "threads", "prompt", "decode", "depths", "sequences", "text"};
the last line of what it prints is the answer. A test that an engine cannot do raises `Cannot`, and its cell says why.
"""
import json
import math
import random
import sys
import time
from pathlib import Path


class Cannot(Exception):
    pass


class Engine:
    """One engine. Times are seconds; tokens are random, anew in every run, so that no cache of prompts helps."""

    def prepare(self, job):
        """Makes the model's form for this engine below job["forms"], once. Returns its path."""
        return job["model"]

    def load(self, path, job):
        """Sets self.vocabulary, the number of tokens that random ones are drawn from."""
        raise NotImplementedError

    def weight_bytes(self):
        """What one decoded token reads of weights, or None where compare.py knows it from the GGUF file."""
        return None

    def prompt(self, tokens):
        """Seconds until the last row's logits of a prompt are there."""
        raise Cannot("no prompt test")

    def decode(self, count, depth):
        """Seconds for `count` tokens, one a step, after `depth` tokens that are not timed."""
        raise Cannot("no decode test")

    def decode_together(self, count, sequences):
        """Seconds for `count` tokens of each of some sequences, which are decoded side by side."""
        raise Cannot("no test of sequences decoded together")

    def tokenize(self, text):
        raise Cannot("no tokens of a text")

    def window_loss(self, tokens, first):
        """The sum of -log p of tokens first + 1 …, each from those before it."""
        raise Cannot("gives no logits")

    def random_tokens(self, count):
        return [random.randrange(self.vocabulary) for _ in range(count)]


def loss_of(logits, tokens):
    """The sum of -log p of the tokens.  logits: (tokens, vocabulary)"""
    import numpy as np
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return float((np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(tokens)), tokens]).sum())


def peak_bytes():
    """The most memory that this process has held, mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def perplexity(engine, text, window=512):
    """As llama.cpp measures it: windows side by side, and of each the tokens after its middle. BOS where the tokenizer adds one."""
    tokens = engine.tokenize(text)
    length = min(window, len(tokens))
    windows = len(tokens) // length
    loss = sum(engine.window_loss(tokens[i * length:(i + 1) * length], length // 2) for i in range(windows))
    return math.exp(loss / (windows * (length - 1 - length // 2)))


def measure(engine, job):
    """[{"test", "tok_s"} or {"test", "why"}], with load_s and peak_bytes on each."""
    begin = time.perf_counter()
    engine.load(job["path"], job)
    load = time.perf_counter() - begin
    prompt, decode = job["prompt"], job["decode"]
    tests = []  # name, tokens, run; sequences together from an empty context only
    if prompt:
        tests.append((f"pp{prompt}", prompt, lambda: engine.prompt(engine.random_tokens(prompt))))
    if decode and 1 in job["sequences"]:
        for depth in job["depths"]:
            tests.append((f"tg{decode}" + (f" @{depth}" if depth else ""), decode, lambda d=depth: engine.decode(decode, d)))
    if decode:
        for n in job["sequences"]:
            if n > 1:
                tests.append((f"tg{decode} x{n}", decode * n, lambda n=n: engine.decode_together(decode, n)))
    results = []
    if tests:
        (engine.prompt(engine.random_tokens(prompt)) if prompt else engine.decode(min(8, decode), 0))  # warms up
    for name, tokens, run in tests:
        try:
            results.append({"test": name, "tok_s": tokens / run()})
        except Cannot as e:
            results.append({"test": name, "why": str(e)})
    peak = peak_bytes()
    if job.get("text"):
        try:
            results.append({"test": "perplexity", "value": perplexity(engine, Path(job["text"]).read_text())})
        except Cannot as e:
            results.append({"test": "perplexity", "why": str(e)})
    extra = {"load_s": load, "peak_bytes": peak, "weight_bytes": engine.weight_bytes()}
    return [r | extra for r in results]


def answer(value):
    print("\n" + json.dumps(value), flush=True)


def run(kind):
    """The main program of an engine's file."""
    job = json.loads(sys.argv[1])
    try:
        engine = kind()
        answer({"path": str(engine.prepare(job))} if job["do"] == "prepare" else {"results": measure(engine, job)})
    except Cannot as e:
        answer({"why": str(e)})
