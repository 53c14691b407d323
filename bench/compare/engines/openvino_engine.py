# SPDX-License-Identifier: MIT
"""openvino-genai: its LLMPipeline for speed, without prefix cache; the compiled model itself for perplexity.

The model is exported by optimum-intel: 8-bit weights a channel for files of 8 and 6 bits, 4-bit weights in groups for smaller ones, f16
else. A run of `n` tokens is one generate(); the time to its first token and the time after are the pipeline's own figures.
"""
import time
from pathlib import Path

import numpy as np
import openvino

from engine import Engine, loss_of, run
from forms import hf_folder, made, tokens_of, weight_kind


class OpenVino(Engine):
    def prepare(self, job):
        kind = weight_kind(job["model"])
        source = hf_folder(job["model"], job["forms"])

        def make(folder):
            from openvino import save_model
            from openvino_tokenizers import convert_tokenizer
            from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
            from transformers import AutoTokenizer
            how = {"int8": {"bits": 8}, "int4": {"bits": 4, "group_size": 64}}.get(kind)
            options = {"quantization_config": OVWeightQuantizationConfig(**how)} if how else {"load_in_8bit": False}
            OVModelForCausalLM.from_pretrained(source, export=True, compile=False, **options).save_pretrained(folder)
            both = convert_tokenizer(AutoTokenizer.from_pretrained(source), with_detokenizer=True)
            for part, name in zip(both, ("tokenizer", "detokenizer")):
                save_model(part, folder / f"openvino_{name}.xml")

        return made(source.parent / f"openvino-{kind}", make)

    def load(self, path, job):
        import openvino_genai as genai
        self.genai, self.path, self.threads, self.request = genai, Path(path), job["threads"], None
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = 512
        self.pipe = genai.LLMPipeline(str(path), "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=self.threads)
        self.vocabulary = len(self.pipe.get_tokenizer().get_vocab())

    def weight_bytes(self):
        return (self.path / "openvino_model.bin").stat().st_size

    def generate(self, prompts, count):
        config = self.genai.GenerationConfig(max_new_tokens=count, min_new_tokens=count, ignore_eos=True, do_sample=False)
        ids = np.array(prompts, np.int64)
        inputs = self.genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        begin = time.perf_counter()
        metrics = self.pipe.generate(inputs, config).perf_metrics
        return time.perf_counter() - begin, metrics.get_ttft().mean / 1000

    def prompt(self, tokens):
        return self.generate([tokens], 1)[0]

    def decode(self, count, depth):
        whole, first = self.generate([self.random_tokens(max(depth, 1))], count + 1)
        return whole - first

    def decode_together(self, count, sequences):
        whole, first = self.generate([self.random_tokens(1) for _ in range(sequences)], count + 1)
        return whole - first

    def tokenize(self, text):
        return tokens_of(self.path, text)

    def window_loss(self, tokens, first):
        if self.request is None:
            core = openvino.Core()
            model = core.compile_model(core.read_model(self.path / "openvino_model.xml"), "CPU", {"INFERENCE_NUM_THREADS": self.threads})
            self.request = model.create_infer_request()
        length = len(tokens)
        self.request.reset_state()
        inputs = {"input_ids": np.array([tokens], np.int64), "attention_mask": np.ones((1, length), np.int64),
                  "position_ids": np.arange(length, dtype=np.int64)[None], "beam_idx": np.zeros(1, np.int32)}
        return loss_of(self.request.infer(inputs)["logits"][0, first:length - 1], tokens[first + 1:])


if __name__ == "__main__":
    run(OpenVino)
