# SPDX-License-Identifier: MIT
"""Makes tests/data/tiny-*: small random models as GGUF, each with the logits that transformers computes from the same weights.

    python make_models.py [--out FOLDER] [NAME...]

Needs torch, transformers, tokenizers, gguf, numpy; no network. Files are written as llama.cpp's converter writes them (names, rows of
query and key permuted for interleaved rope, GPT-2's matrices transposed). Each is read back and compared with the weights the
logits come from. Weights depend on numpy's generator alone; the logits' last bits depend on torch's version and the processor.
What the files hold: tests/data/README.md.
"""
import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from transformers import GPT2Config, LlamaConfig

import gguf_tools as tools
import model_families as families
import tiny_tokenizer

TILE = 64      # keys an attention tile
RESTART = 1024  # positions after which the attention state restarts
ROTATION = ("q8_0", "q4_0", "q4_1")


@dataclass
class Case:
    """One fixture. `storage` is the matrices' format, or "mixed" for the quantized formats in turn."""

    name: str
    config: object
    length: int
    sequences: int = 2
    storage: str = "f32"
    seed: int = 1
    tokenizer: bool = False

    @property
    def family(self):
        return families.family_of(self.config)


def llama(self):
        return isinstance(self.config, LlamaConfig)


def llama(vocab, hidden, heads, kv_heads, feed_forward, layers, context, head_dim=None, rope=None, tied=False, biased=False):
    return LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim,
        intermediate_size=feed_forward, num_hidden_layers=layers, max_position_embeddings=context, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, **(rope or {})}, tie_word_embeddings=tied,
        attention_bias=biased, mlp_bias=biased, bos_token_id=1, eos_token_id=2)


def gpt2(vocab, hidden, heads, feed_forward, layers, context):
    return GPT2Config(
        vocab_size=vocab, n_embd=hidden, n_head=heads, n_inner=feed_forward, n_layer=layers, n_positions=context,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)


def config(kind, heads, kv_heads, vocab=96, hidden=32, feed_forward=48, layers=2, context=256, theta=10000.0, rope=None, **more):
    """A small configuration of a class of transformers'."""
    rope = rope or {}
    parameters = rope if "full_attention" in rope else {"rope_type": "default", "rope_theta": theta, **rope}
    return kind(vocab_size=vocab, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=feed_forward,
                num_hidden_layers=layers, max_position_embeddings=context, rope_parameters=parameters, bos_token_id=1, eos_token_id=2,
                pad_token_id=0, **more)


def yarn(factor, original, **more):
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **more}


def longrope(original, pairs):
    return {"rope_type": "longrope", "original_max_position_embeddings": original,
            "short_factor": [1.0 + 0.05 * i for i in range(pairs)], "long_factor": [1.0 + 0.7 * i for i in range(pairs)]}


def families_cases():
    """A case for each family and for each way a rope is stretched; sequences run past windows and original contexts."""
    t = transformers

    def case(name, configuration, length, seed):
        return Case(name, configuration, length, storage="f16", seed=seed)

    local = {"rope_type": "default", "rope_theta": 100.0}
    both = {"full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, "sliding_attention": local}
    moe = {"moe_intermediate_size": 24, "norm_topk_prob": True, "tie_word_embeddings": False}
    return [
        case("tiny-mistral", config(t.MistralConfig, 4, 2, sliding_window=11, tie_word_embeddings=False), 90, 21),
        case("tiny-mixtral", config(t.MixtralConfig, 4, 2, num_local_experts=4, num_experts_per_tok=2, sliding_window=None,
                                    tie_word_embeddings=False), 70, 22),
        case("tiny-qwen2", config(t.Qwen2Config, 4, 2, tie_word_embeddings=True), 70, 23),
        case("tiny-qwen2-yarn", config(t.Qwen2Config, 2, 1, rope=yarn(4.0, 24), tie_word_embeddings=True), 90, 24),
        case("tiny-qwen3", config(t.Qwen3Config, 4, 2, head_dim=16, rope=yarn(8.0, 16, beta_fast=8.0, beta_slow=0.5, attention_factor=1.1),
                                  tie_word_embeddings=False), 80, 25),
        case("tiny-qwen3moe", config(t.Qwen3MoeConfig, 4, 1, head_dim=16, num_experts=6, num_experts_per_tok=3, **moe), 70, 26),
        case("tiny-phi3", config(t.Phi3Config, 4, 2, sliding_window=13, tie_word_embeddings=False), 70, 27),
        case("tiny-phi3-short", config(t.Phi3Config, 4, 4, rope=longrope(64, 4), original_max_position_embeddings=64, tie_word_embeddings=False), 60, 28),
        case("tiny-phi3-long", config(t.Phi3Config, 2, 1, rope=longrope(32, 8), original_max_position_embeddings=32, tie_word_embeddings=False), 90, 29),
        case("tiny-gemma", config(t.GemmaConfig, 4, 1, head_dim=16), 40, 30),
        case("tiny-gemma2", config(t.Gemma2Config, 4, 2, head_dim=16, layers=4, sliding_window=9, query_pre_attn_scalar=16,
                                   attn_logit_softcapping=4.0, final_logit_softcapping=2.5), 80, 31),
        case("tiny-gemma3", config(t.Gemma3TextConfig, 2, 1, head_dim=16, layers=6, feed_forward=40, sliding_window=9,
                                   query_pre_attn_scalar=16, rope=both), 80, 32),
        case("tiny-olmo2", config(t.Olmo2Config, 4, 2, tie_word_embeddings=False), 70, 33),
    ]


def cases():
    llama3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32}
    return [
        Case("tiny-gpt2", gpt2(131, 36, 4, 100, 3, 160), length=150),
        Case("tiny-gpt2-bf16", gpt2(89, 40, 4, 96, 2, 80), length=70, storage="bf16", seed=2),
        Case("tiny-llama", llama(320, 48, 6, 2, 80, 2, 2048), length=150, seed=41, tokenizer=True),
        Case("tiny-llama-mqa", llama(97, 40, 5, 1, 72, 2, 512, head_dim=16, tied=True), length=70, seed=4),
        Case("tiny-llama3", llama(101, 48, 3, 3, 64, 2, 256, head_dim=16, rope=llama3), length=200, seed=5),
        Case("tiny-llama-linear", llama(67, 32, 2, 1, 56, 2, 256, rope={"rope_type": "linear", "factor": 4.0}), length=100, seed=6),
        Case("tiny-llama-bias", llama(61, 32, 4, 2, 48, 2, 128, biased=True), length=40, sequences=3, seed=7),
        Case("tiny-llama-f16", llama(83, 32, 4, 2, 56, 2, 256), length=70, storage="f16", seed=8),
        Case("tiny-llama-quant", llama(160, 64, 4, 2, 128, 3, 256), length=70, storage="mixed", seed=9),
        Case("tiny-llama-long", llama(32, 24, 3, 1, 40, 2, 2048), length=1100, sequences=1, seed=10),
        *families_cases(),
    ]


def random_weights(model, seed, shifted=False):
    """Name → float32 array for the model's parameters, scaled so that activations stay near 1 and attention is not flat. `shifted`:
    norms multiply by 1 + weight, and the sum is exact."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, parameter in sorted(model.named_parameters()):
        shape = tuple(parameter.shape)
        noise = rng.standard_normal(shape)
        if len(shape) == 1:
            norm = "norm" in name or "ln_" in name
            value = 1.0 + 0.2 * noise if norm and name.endswith("weight") else 0.1 * noise
            if shifted and norm:
                value = value.astype(np.float32) - np.float32(1.0)
        elif "embed" in name or "wte" in name:
            value = 0.8 * noise
        elif "wpe" in name:
            value = 0.4 * noise
        else:
            inputs = shape[0] if ".c_" in name else shape[-1]
            gain = 1.6 if any(part in name for part in ("q_proj", "k_proj", "qkv_proj", "c_attn", "mlp.gate.")) else 1.0
            value = gain / np.sqrt(inputs) * noise
        weights[name] = value.astype(np.float32)
    return weights


def storage_of(case, tensor_name, values, index):
    if values.ndim == 1 or tensor_name.startswith("position_embd"):
        return "f32"
    return ROTATION[index % len(ROTATION)] if case.storage == "mixed" else case.storage


def write_tokenizer(case, writer):
    if not case.tokenizer:
        writer.add_tokenizer_model("none")
        return
    _, tokens, merges = tiny_tokenizer.make(case.config.vocab_size)
    control = len(tiny_tokenizer.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * control + [gguf.TokenType.NORMAL] * (len(tokens) - control))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tiny_tokenizer.CHAT_TEMPLATE)


def write_model(case, weights, path):
    """Writes the GGUF file; returns the weights as that file rounds them, in the model's layout."""
    family = case.family
    writer = tools.start_file(path, family.architecture, "q8_0" if case.storage == "mixed" else case.storage)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(case.name)
    families.write_hyperparameters(case.config, writer)
    write_tokenizer(case, writer)
    stored, in_file = {}, {}
    for target, values in families.rope_tensors(case.config).items():
        tools.add_tensor(writer, target, values, "f32")
    matrices = 0
    for name, values in weights.items():
        laid = family.lay(case.config, name, values)
        storage = storage_of(case, next(iter(laid)), values, matrices)
        matrices += values.ndim > 1
        for target, part in laid.items():
            tools.add_tensor(writer, target, part, storage)
        # Rows are rounded each by itself, so their order does not matter; GPT-2's matrices are rounded as they lie in the file.
        turned = family.is_transposed(name, values)
        stored[name] = tools.rounded(values.T, storage).T.copy() if turned else tools.rounded(values, storage)
        in_file.update(family.lay(case.config, name, stored[name]))
    tools.finish(writer)
    for tensor in tools.open_file(path).tensors:
        if tensor.name in in_file:
            np.testing.assert_array_equal(tools.read_tensor(tensor), in_file.pop(tensor.name), err_msg=tensor.name)
    assert not in_file, f"not in the file: {sorted(in_file)}"
    return stored


def kept_rows(length):
    """Every position of short sequences; of longer ones those beside the edges of tiles, restarts and the sequence."""
    if length <= 48:
        return list(range(length))
    edges = [0, 31, 64, 128, 192, length - 1] if length < RESTART else [0, TILE, 512, 960, RESTART, RESTART + TILE, length - 1]
    return sorted({p for e in edges for p in range(e - 3, e + 4) if 0 <= p < length})


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor(tokens), use_cache=False).logits.numpy()


def greedy(model, prompt, count):
    """The most likely continuation, and the least distance between the best and the second best logit on the way."""
    tokens, margin = list(prompt), np.inf
    for _ in range(count):
        last = logits_of(model, [tokens])[0, -1]
        second, best = np.sort(last)[-2:]
        margin = min(margin, float(best - second))
        tokens.append(int(last.argmax()))
    return tokens[len(prompt):], margin


def text_facts(case, model):
    """Of a model with a tokenizer: encodings of some texts, and a greedy answer to a chat prompt."""
    tokenizer, _, _ = tiny_tokenizer.make(case.config.vocab_size)
    texts = ["", "Hello", " the sea  and\n\nthe ships", "In 1874 they'd 12 ships.", "Grüße, 你好 🙂🚢", "\ttabs\r\n", "<|im_start|>user"]
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    plain = "<|im_start|>user\nWhat is the song about?<|im_end|>\n<|im_start|>assistant\n"
    answer, margin = greedy(model, ids(plain), 32)
    assert all(t >= len(tiny_tokenizer.CONTROL) for t in answer) and margin > 0.05, (answer, margin)
    return {
        "encodings": [{"text": t, "tokens": ids(t)} for t in texts],
        "greedy": {"user": "What is the song about?", "text": plain, "prompt": ids(plain), "answer": answer, "margin": round(margin, 4)},
    }


def make(case, folder):
    torch.manual_seed(0)
    case.config._attn_implementation = "eager"
    model = case.family.model(case.config).float().eval()
    stored = write_model(case, random_weights(model, case.seed, case.family.shifted), folder / f"{case.name}.gguf")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(stored[name]))
    rng = np.random.default_rng(1000 + case.seed)
    tokens = rng.integers(0, case.config.vocab_size, (case.sequences, case.length)).tolist()
    rows = kept_rows(case.length)
    logits = np.ascontiguousarray(logits_of(model, tokens)[:, rows], dtype="<f4")
    assert np.isfinite(logits).all()
    np.save(folder / f"{case.name}.npy", logits)
    facts = {"model": f"{case.name}.gguf", "logits": f"{case.name}.npy", "storage": case.storage, "rows": rows, "tokens": tokens}
    if case.tokenizer:
        facts.update(text_facts(case, model))
    (folder / f"{case.name}.json").write_text(json.dumps(facts, ensure_ascii=True, separators=(",", ":")) + "\n")
    sizes = {suffix: (folder / f"{case.name}.{suffix}").stat().st_size for suffix in ("gguf", "npy", "json")}
    print(f"{case.name:18} {sizes}  logits {logits.shape}, rms {np.sqrt((logits**2).mean()):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which fixtures to make; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for case in cases():
        if not args.names or case.name in args.names:
            make(case, args.out)


if __name__ == "__main__":
    main()
