# SPDX-License-Identifier: MIT
"""ctranslate2, with 8-bit weights a channel and 8-bit activations. It has no 4-bit form for processors.

A prompt test is one forward over the prompt, which gives the logits of every row: the engine offers no other. A decode test is
generate_batch, less the time of a run that ends after the first token.
"""
import json
import time
from pathlib import Path

import ctranslate2
import numpy as np

from engine import Cannot, Engine, loss_of, run
from forms import hf_folder, made, tokens_of, weight_kind

TYPES = {"int8": "int8", "bf16": "bfloat16", "f16": "float32", "f32": "float32"}


class CTranslate2(Engine):
    def prepare(self, job):
        kind = weight_kind(job["model"])
        if kind not in TYPES:
            raise Cannot(f"no {kind} weights on processors")
        source = hf_folder(job["model"], job["forms"])

        def make(folder):
            from ctranslate2.converters import TransformersConverter
            TransformersConverter(str(source)).convert(str(folder), quantization=TYPES[kind], force=True)

        return made(source.parent / f"ctranslate2-{TYPES[kind]}", make)

    def load(self, path, job):
        self.path = Path(path)
        kind = self.path.name.removeprefix("ctranslate2-")
        self.model = ctranslate2.Generator(str(path), device="cpu", compute_type=kind, inter_threads=1, intra_threads=job["threads"])
        self.words = json.loads((self.path / "vocabulary.json").read_text())
        self.vocabulary = len(self.words)

    def weight_bytes(self):
        return (self.path / "model.bin").stat().st_size

    def forward(self, tokens):
        return np.array(self.model.forward_batch([tokens]))[0]

    def prompt(self, tokens):
        begin = time.perf_counter()
        self.forward(tokens)
        return time.perf_counter() - begin

    def generate(self, prompts, count):
        begin = time.perf_counter()
        self.model.generate_batch([[self.words[t] for t in p] for p in prompts], max_length=count, min_length=count, sampling_topk=1,
                                  include_prompt_in_result=False, max_batch_size=0)
        return time.perf_counter() - begin

    def decode(self, count, depth):
        prompt = [self.random_tokens(max(depth, 1))]
        return self.generate(prompt, count + 1) - self.generate([self.random_tokens(max(depth, 1))], 1)

    def decode_together(self, count, sequences):
        prompts = [self.random_tokens(1) for _ in range(sequences)]
        return self.generate(prompts, count + 1) - self.generate(prompts, 1)

    def tokenize(self, text):
        return tokens_of(self.path, text)

    def window_loss(self, tokens, first):
        return loss_of(self.forward(tokens)[first:-1], tokens[first + 1:])


if __name__ == "__main__":
    run(CTranslate2)
