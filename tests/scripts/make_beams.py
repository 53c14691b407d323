# SPDX-License-Identifier: MIT
"""Makes tests/data/tiny-llama-beams.json: beam searches of transformers' generate on the model of tiny-llama.gguf.

    python make_beams.py [--out FILE] [--cases N]

Needs what make_models.py needs. The file is a list of cases: the request (`prompt`, `beams`, `returned`, `max_tokens`, `length_penalty`,
`early_stopping`, `end_tokens`, `ngram` for no_repeat_ngram_size, `repetition` for repetition_penalty) and `expected`, the sequences with
their scores, best first. A case whose returned scores lie closer than 1e-4 to each other is left out: rounding decides it.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

import make_models

STOPPING = {"off": False, "on": True, "never": "never"}


def load():
    case = next(c for c in make_models.cases() if c.name == "tiny-llama")
    case.config._attn_implementation = "eager"
    model = LlamaForCausalLM(case.config).float().eval()
    weights = make_models.random_weights(model, case.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    return model, case.config.vocab_size


def request(rng, vocabulary):
    beams = int(rng.integers(2, 7))
    ends = int(vocabulary * rng.choice([0, 0.01, 0.08]))
    return {
        "prompt": rng.integers(0, vocabulary, int(rng.integers(1, 20))).tolist(), "beams": beams,
        "returned": int(rng.integers(1, beams + 1)), "max_tokens": int(rng.integers(1, 20)),
        "length_penalty": float(rng.choice([0, 1, 2, -1])), "early_stopping": str(rng.choice(list(STOPPING))),
        "end_tokens": rng.choice(vocabulary, ends, replace=False).tolist(), "ngram": int(rng.choice([0, 0, 1, 2])),
        "repetition": float(rng.choice([1, 1, 1.25])),
    }


@torch.no_grad()
def search(model, r):
    prompt = torch.tensor([r["prompt"]])
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, num_beams=r["beams"], num_return_sequences=r["returned"],
        max_new_tokens=r["max_tokens"], length_penalty=r["length_penalty"], early_stopping=STOPPING[r["early_stopping"]],
        eos_token_id=r["end_tokens"] or None, pad_token_id=0, no_repeat_ngram_size=r["ngram"], repetition_penalty=r["repetition"],
        return_dict_in_generate=True, output_scores=True)
    lengths = (out.beam_indices >= 0).sum(dim=1).tolist()
    generated = out.sequences[:, len(r["prompt"]):].tolist()
    return [{"tokens": g[:n], "score": round(s, 6)} for g, n, s in zip(generated, lengths, out.sequences_scores.tolist())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "tiny-llama-beams.json")
    parser.add_argument("--cases", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, vocabulary = load()
    rng = np.random.default_rng(17)
    cases = []
    while len(cases) < args.cases:
        case = request(rng, vocabulary)
        case["expected"] = search(model, case)
        scores = [e["score"] for e in case["expected"]]
        if len(scores) == 1 or -np.diff(scores).max() > 1e-4:
            cases.append(case)
    args.out.write_text("[" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "]\n")
    print(f"{args.out.name}: {len(cases)} cases, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
