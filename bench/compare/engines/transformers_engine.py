# SPDX-License-Identifier: MIT
"""transformers on torch, weights and arithmetic in bf16, whatever the file's format: it has no integer arithmetic of its own here."""
import time

from engine import Engine, run
from forms import hf_folder, tokens_of


class Transformers(Engine):
    def prepare(self, job):
        return hf_folder(job["model"], job["forms"])

    def load(self, path, job):
        import torch
        from transformers import AutoModelForCausalLM
        self.torch, self.path = torch, path
        torch.set_num_threads(job["threads"])
        torch.set_grad_enabled(False)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        self.vocabulary = self.model.config.vocab_size

    def weight_bytes(self):
        embedding = 0 if self.model.config.tie_word_embeddings else self.model.get_input_embeddings().weight.numel()
        return 2 * (sum(p.numel() for p in self.model.parameters()) - embedding)

    def forward(self, rows, cache=None, keep=1):
        out = self.model(input_ids=self.torch.tensor(rows), past_key_values=cache, use_cache=True, logits_to_keep=keep)
        return out.logits, out.past_key_values

    def prompt(self, tokens):
        begin = time.perf_counter()
        self.forward([tokens])
        return time.perf_counter() - begin

    def decode(self, count, depth):
        cache = None
        tokens = self.random_tokens(depth)
        for at in range(0, depth, 512):
            cache = self.forward([tokens[at:at + 512]], cache)[1]
        return self.steps(count, 1, cache)

    def decode_together(self, count, sequences):
        return self.steps(count, sequences, None)

    def steps(self, count, sequences, cache):
        begin = time.perf_counter()
        for _ in range(count):
            cache = self.forward([self.random_tokens(1) for _ in range(sequences)], cache)[1]
        return time.perf_counter() - begin

    def tokenize(self, text):
        return tokens_of(self.path, text)

    def window_loss(self, tokens, first):
        logits = self.forward([tokens], keep=0)[0][0, first:-1].double()
        wanted = self.torch.tensor(tokens[first + 1:])
        return float(self.torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))


if __name__ == "__main__":
    run(Transformers)
