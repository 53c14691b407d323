# SPDX-License-Identifier: MIT
"""Makes tests/data/hf-*: small random models as Hugging Face folders, with the logits that transformers computes after reading the folder.

    python make_hf_models.py [--out FOLDER] [NAME...]
    python make_hf_models.py --random COUNT --out FOLDER [--seed N]    # models of random sizes and kinds, for checks by hand

Needs torch, transformers 5, numpy; no network. The logits (logits.npy) are those of the folder read back in float32; expected.json has
the tokens and which rows are kept. Cases "old" have a config.json as transformers 4 wrote it.
"""
import argparse
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

import make_models

SIZES = dict(vocab_size=96, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, num_hidden_layers=2,
             max_position_embeddings=256)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 64}


def longrope(dims, rng):
    draw = lambda high: [round(float(x), 4) for x in rng.uniform(1.0, high, dims // 2)]
    return {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": draw(1.5), "long_factor": draw(8.0)}


@dataclass
class Case:
    """One folder. `config`: keys of the family's config class, over SIZES."""

    name: str
    family: str
    config: dict = field(default_factory=dict)
    dtype: str = "bfloat16"
    old: bool = False
    shard: str = "1GB"
    length: int = 48
    sequences: int = 1
    seed: int = 1


def cases():
    rng = np.random.default_rng(3)
    return [
        Case("hf-llama", "Llama", dict(rope_parameters=LLAMA3), length=100, seed=1),
        Case("hf-llama-old", "Llama", dict(attention_bias=True, mlp_bias=True, head_dim=16, tie_word_embeddings=True,
             rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}), dtype="float16", old=True, shard="12KB", seed=2),
        Case("hf-mistral", "Mistral", dict(sliding_window=16), seed=3),
        Case("hf-mixtral", "Mixtral", dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=24), old=True, seed=4),
        Case("hf-qwen2", "Qwen2", dict(use_sliding_window=True, sliding_window=12, max_window_layers=1, rope_parameters=YARN), old=True, seed=5),
        Case("hf-qwen3", "Qwen3", dict(head_dim=16, rope_parameters=YARN), length=100, seed=6),
        Case("hf-qwen3moe", "Qwen3Moe", dict(head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24), shard="30KB", seed=7),
        Case("hf-phi3", "Phi3", dict(pad_token_id=0, original_max_position_embeddings=64, rope_parameters=longrope(8, rng)), seed=8),
        Case("hf-gemma2", "Gemma2", dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=24), seed=9),
        Case("hf-gemma3", "Gemma3Text", dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=24, num_hidden_layers=3, vocab_size=64,
             layer_types=["sliding_attention", "full_attention", "sliding_attention"]), seed=10),
        Case("hf-gemma3-old", "Gemma3Text", dict(head_dim=8, sliding_window=16, query_pre_attn_scalar=8, num_hidden_layers=3, vocab_size=64,
             sliding_window_pattern=2, rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}), old=True, seed=11),
        Case("hf-olmo2", "Olmo2", dict(), dtype="float32", seed=12),
        Case("hf-olmo3", "Olmo3", dict(num_hidden_layers=4, hidden_size=24, intermediate_size=32, sliding_window=12, rope_parameters={
             "full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}}), dtype="float32", length=100, seed=14),
        Case("hf-gpt2", "GPT2", dict(), seed=13),
    ]


def random_case(rng, number):
    """A model of a random family, sizes and settings."""
    family = rng.choice(["Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Qwen3Moe", "Phi3", "Gemma2", "Gemma3Text", "Olmo2", "Olmo3", "GPT2", "Gemma"])
    kv = rng.choice([1, 2, 3])
    heads = kv * rng.choice([1, 2, 3])
    head_dim = rng.choice([8, 16, 24, 32])
    own_head_dim = family not in ("Olmo2", "Olmo3", "Phi3", "GPT2", "Qwen2") and rng.random() < 0.5
    hidden = rng.choice([24, 40, 64, 96]) // heads * heads if own_head_dim else heads * head_dim
    hidden = max(hidden, heads)
    config = dict(vocab_size=rng.randint(20, 200), hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv,
                  intermediate_size=rng.choice([24, 40, 72, 120]), num_hidden_layers=rng.randint(1, 5),
                  max_position_embeddings=rng.choice([128, 200, 512]), tie_word_embeddings=rng.random() < 0.5,
                  rms_norm_eps=rng.choice([1e-5, 1e-6, 1e-3]))
    if own_head_dim or family.startswith("Gemma") or family in ("Mixtral", "Qwen3"):  # Mixtral's scaled ropes need it in transformers 5.23
        config["head_dim"] = head_dim if own_head_dim or family.startswith("Gemma") else hidden // heads
    rope = rng.choice(["default", "default", "linear", "llama3", "yarn", "longrope"])
    theta = rng.choice([100.0, 10000.0, 500000.0])
    dims = config.get("head_dim", hidden // heads)
    parameters = {"default": {"rope_type": "default"}, "linear": {"rope_type": "linear", "factor": rng.choice([2.0, 5.5])},
                  "llama3": dict(LLAMA3, factor=rng.choice([4.0, 8.0])),
                  "yarn": dict(YARN, factor=rng.choice([2.0, 8.0]), original_max_position_embeddings=rng.choice([32, 64]),
                               **rng.choice([{}, {"beta_fast": 16, "beta_slow": 2}, {"attention_factor": 1.3}, {"truncate": False}])),
                  "longrope": dict(longrope(dims, np.random.default_rng(number)), original_max_position_embeddings=rng.choice([16, 1000]))}[rope]
    parameters["rope_theta"] = theta
    if family == "Phi3":
        partial = rng.choice([1.0, 0.5]) if dims % 4 == 0 else 1.0
        parameters = rng.choice([{"rope_type": "default", "rope_theta": theta},
                                 dict(longrope(int(dims * partial), np.random.default_rng(number)), rope_theta=theta)])
        parameters["partial_rotary_factor"] = partial
        config.update(pad_token_id=0, original_max_position_embeddings=rng.choice([16, 1000]))
    if family in ("Gemma3Text", "Olmo3"):
        narrow = 10000.0 if family == "Gemma3Text" else theta
        parameters = {"full_attention": parameters, "sliding_attention": {"rope_type": "default", "rope_theta": narrow}}
    config["rope_parameters"] = parameters
    if family in ("Llama", "Olmo2", "Olmo3", "Qwen3", "Qwen3Moe", "Gemma2", "Gemma3Text"):
        config["attention_bias"] = rng.random() < 0.3
    if family == "Llama":
        config["mlp_bias"] = rng.random() < 0.3
    if family in ("Mistral", "Mixtral", "Phi3", "Olmo3"):
        config["sliding_window"] = rng.choice([5, 16, 70] if family == "Olmo3" else [None, 5, 16, 70])
    if family in ("Qwen2", "Qwen3", "Qwen3Moe"):
        config.update(use_sliding_window=rng.random() < 0.5, sliding_window=rng.choice([7, 33]))
        if family != "Qwen3Moe":
            config["max_window_layers"] = rng.randint(0, 3)
    if family in ("Gemma2", "Gemma3Text"):
        config.update(sliding_window=rng.choice([9, 31]), query_pre_attn_scalar=rng.choice([16, 144]))
        if rng.random() < 0.3:
            config.update(attn_logit_softcapping=rng.choice([None, 20.0]), final_logit_softcapping=rng.choice([None, 15.0]))
    if family == "Gemma3Text" and rng.random() < 0.5:
        config["sliding_window_pattern"] = rng.randint(1, 3)
    if family in ("Mixtral", "Qwen3Moe"):
        count = rng.choice([3, 4, 8])
        config.update({"num_local_experts" if family == "Mixtral" else "num_experts": count, "num_experts_per_tok": rng.randint(1, 3)})
    if family == "Qwen3Moe":
        config.update(moe_intermediate_size=rng.choice([16, 40]), norm_topk_prob=rng.random() < 0.5)
    # Of an old config, transformers 5.23 takes rope_theta for one of OLMo 3's two ropes only.
    old = rng.random() < 0.5 and rope != "longrope" and (family != "Olmo3" or theta == 500000.0)
    return Case(f"hf-random-{number}-{family.lower()}-{rope}{'-old' if old else ''}", family, config,
                dtype=rng.choice(["float32", "bfloat16", "float16"]), old=old, shard=rng.choice(["1GB", "1GB", "20KB", "50KB"]),
                length=rng.choice([20, 60, 120]), seed=number)


def make_config(case):
    if case.family == "GPT2":
        c = {**SIZES, **case.config}
        return transformers.GPT2Config(vocab_size=c["vocab_size"], n_embd=c["hidden_size"], n_head=c["num_attention_heads"],
                                       n_inner=c["intermediate_size"], n_layer=c["num_hidden_layers"],
                                       n_positions=c["max_position_embeddings"], bos_token_id=0, eos_token_id=0)
    config = {**SIZES, "bos_token_id": 1, "eos_token_id": 2, **case.config}
    return getattr(transformers, case.family + "Config")(**config)


def fill(model, case):
    """Random weights, scaled so that activations stay near 1 and attention is not flat."""
    rng = np.random.default_rng(case.seed)
    less_one = case.family.startswith("Gemma")
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            shape = tuple(parameter.shape)
            noise = rng.standard_normal(shape)
            if len(shape) == 1:
                gain = name.endswith("weight") and ("norm" in name or "ln_" in name)
                value = (0.0 if less_one else 1.0) + 0.2 * noise if gain else 0.1 * noise
            elif "embed" in name or "wte" in name or "wpe" in name:
                value = (0.8 / np.sqrt(shape[1]) if less_one else 0.6) * noise
            else:
                inputs = shape[0] if ".c_" in name else shape[-1]
                sharp = any(part in name for part in ("q_proj", "k_proj", "qkv_proj", "c_attn", "gate.weight"))
                value = (1.6 if sharp else 1.0) / np.sqrt(inputs) * noise
            parameter.copy_(torch.from_numpy(value.astype(np.float32)))


def make_old(path):
    """Rewrites a config.json as transformers 4 wrote it."""
    config = json.loads(path.read_text())
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    config.pop("layer_types", None)
    rope = config.pop("rope_parameters")
    key = "rope_type" if "full_attention" in rope or rope["rope_type"] == "llama3" else "type"  # the newer name came with these
    if "full_attention" in rope:
        if config["model_type"] == "gemma3_text":
            config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
            config["sliding_window_pattern"] = config.pop("_sliding_window_pattern", 6)
        rope = rope["full_attention"]
    config["rope_theta"] = rope.pop("rope_theta")
    if (partial := rope.pop("partial_rotary_factor", None)) is not None:
        config["partial_rotary_factor"] = partial
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {key: kind, **rope}
    path.write_text(json.dumps(config, indent=2) + "\n")


def make(case, out):
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    name = case.family.removesuffix("Text")
    model = getattr(transformers, name + ("LMHeadModel" if name == "GPT2" else "ForCausalLM"))(make_config(case)).eval()
    fill(model, case)
    model.to(getattr(torch, case.dtype)).save_pretrained(folder, max_shard_size=case.shard)
    if case.old and name != "GPT2":
        make_old(folder / "config.json")
    read, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                      experts_implementation="eager", output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    rng = np.random.default_rng(1000 + case.seed)
    tokens = rng.integers(0, read.config.vocab_size, (case.sequences, case.length)).tolist()
    rows = [r for r in make_models.kept_rows(case.length) if r % 4 == 3 or r > case.length - 8]
    logits = np.ascontiguousarray(make_models.logits_of(read.eval(), tokens)[:, rows], dtype="<f4")
    assert np.isfinite(logits).all()
    np.save(folder / "logits.npy", logits)
    (folder / "expected.json").write_text(json.dumps({"model": ".", "logits": "logits.npy", "rows": rows, "tokens": tokens}, separators=(",", ":")) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{case.name:40} {case.dtype:9} {len(list(folder.glob('*.safetensors')))} files, {size} bytes, logits' deviation {logits.std():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which folders to make; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    chosen = [random_case(rng, args.seed * 1000 + i) for i in range(args.random)] or cases()
    for case in chosen:
        if not args.names or case.name in args.names:
            make(case, args.out)


if __name__ == "__main__":
    main()
