# SPDX-License-Identifier: MIT
"""How the families of models that make_models.py knows look in GGUF files: tensor names, layouts and keys, as llama.cpp's converter
writes them. The checkpoints are those of transformers 5: experts in two tensors a layer.

Needs: gguf, numpy, transformers.
"""
import math
from dataclasses import dataclass, field

import gguf
import numpy as np
import transformers

PLAIN_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp",
}

# Families that normalize after a block too name that norm as others name the one before the feed-forward block.
POST_NORM_NAMES = PLAIN_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}

GPT2_NAMES = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


@dataclass
class Family:
    """`architecture` is the name in GGUF files, `model_type` that of the configuration."""

    architecture: str
    model_type: str
    model: type
    names: dict = field(default_factory=lambda: PLAIN_NAMES)
    interleaved: bool = False  # rows of query and key are permuted for rope that turns neighbours
    shifted: bool = False      # norms multiply by 1 + weight; the file holds the sum

    def is_norm(self, name):
        return name.endswith("norm.weight")

    def is_transposed(self, name, values):
        """True for GPT-2's Conv1D matrices, (inputs, outputs) in the model and (outputs, inputs) in the file."""
        return self.model_type == "gpt2" and ".c_" in name and values.ndim == 2

    def lay(self, config, name, values):
        """The tensors that a parameter becomes: name in the file → values in the file's layout."""
        layer = name.split(".")[2] if ".layers." in name or ".h." in name else None
        if name.endswith("experts.gate_up_proj"):
            gate, up = np.split(values, 2, axis=1)
            return {f"blk.{layer}.ffn_gate_exps.weight": gate, f"blk.{layer}.ffn_up_exps.weight": up}
        if name.endswith("experts.down_proj"):
            return {f"blk.{layer}.ffn_down_exps.weight": values}
        module, kind = name.rsplit(".", 1)
        if layer is None:
            target = f"{self.names[module]}.{kind}"
        else:
            target = f"blk.{layer}.{self.names[module.split('.', 3)[3]]}.{kind}"
        if self.interleaved and "q_proj" in name:
            values = permute(values, config.num_attention_heads)
        if self.interleaved and "k_proj" in name:
            values = permute(values, config.num_key_value_heads)
        if self.shifted and self.is_norm(name):
            values = values + np.float32(1.0)
        return {target: np.ascontiguousarray(values.T) if self.is_transposed(name, values) else values}


def permute(values, heads):
    """Rows of each head from halves (all first components, then all second) to pairs, as interleaved rope wants them."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


FAMILIES = [
    Family("gpt2", "gpt2", transformers.GPT2LMHeadModel, GPT2_NAMES),
    Family("llama", "llama", transformers.LlamaForCausalLM, interleaved=True),
    Family("llama", "mistral", transformers.MistralForCausalLM, interleaved=True),
    Family("llama", "mixtral", transformers.MixtralForCausalLM, interleaved=True),
    Family("qwen2", "qwen2", transformers.Qwen2ForCausalLM),
    Family("qwen3", "qwen3", transformers.Qwen3ForCausalLM),
    Family("qwen3moe", "qwen3_moe", transformers.Qwen3MoeForCausalLM),
    Family("phi3", "phi3", transformers.Phi3ForCausalLM),
    Family("gemma", "gemma", transformers.GemmaForCausalLM, shifted=True),
    Family("gemma2", "gemma2", transformers.Gemma2ForCausalLM, POST_NORM_NAMES, shifted=True),
    Family("gemma3", "gemma3_text", transformers.Gemma3ForCausalLM, POST_NORM_NAMES, shifted=True),
    Family("olmo2", "olmo2", transformers.Olmo2ForCausalLM, POST_NORM_NAMES),
]


def family_of(config):
    return next(f for f in FAMILIES if f.model_type == config.model_type)


def rope_factors(config):
    """What llama.cpp's converter stores as rope_freqs for Llama 3 scaling: a divisor a frequency."""
    rope, dims = config.rope_parameters, config.head_dim
    context, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, dims, 2) / dims)
    keep = np.clip((context / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / (keep + (1.0 - keep) / rope["factor"])).astype(np.float32)


def rope_of(config):
    """The rope parameters of the layers that see everything."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("full_attention", rope)


def rope_tensors(config):
    """Rope factors that the file keeps as tensors, by name."""
    rope = rope_of(config)
    if rope.get("rope_type") == "llama3":
        return {"rope_freqs.weight": rope_factors(config)}
    if rope.get("rope_type") == "longrope":
        return {f"rope_factors_{which}.weight": np.array(rope[f"{which}_factor"], dtype=np.float32) for which in ("long", "short")}
    return {}


def write_rope(config, writer):
    rope = rope_of(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    if (local := config.rope_parameters.get("sliding_attention")) is not None:
        writer.add_rope_freq_base_swa(local["rope_theta"])
    if config.model_type != "gemma3_text":
        writer.add_rope_dimension_count(int(head_dim_of(config) * rope.get("partial_rotary_factor", 1.0)))
    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for key, add in (("attention_factor", writer.add_rope_scaling_yarn_attn_factor), ("beta_fast", writer.add_rope_scaling_yarn_beta_fast),
                         ("beta_slow", writer.add_rope_scaling_yarn_beta_slow)):
            if rope.get(key) is not None:
                add(rope[key])
    if kind == "longrope":
        original = rope["original_max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(config.max_position_embeddings / original) / math.log(original)))


def head_dim_of(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def write_gpt2(c, writer):
    writer.add_vocab_size(c.vocab_size)
    writer.add_block_count(c.n_layer)
    writer.add_context_length(c.n_positions)
    writer.add_embedding_length(c.n_embd)
    writer.add_feed_forward_length(c.n_inner)
    writer.add_head_count(c.n_head)
    writer.add_layer_norm_eps(c.layer_norm_epsilon)


def write_hyperparameters(c, writer):
    """Every key of a configuration."""
    if c.model_type == "gpt2":
        write_gpt2(c, writer)
        return
    writer.add_vocab_size(c.vocab_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    write_rope(c, writer)
    if head_dim_of(c) * c.num_attention_heads != c.hidden_size or c.model_type.startswith("gemma"):
        writer.add_key_length(head_dim_of(c))
        writer.add_value_length(head_dim_of(c))
    if getattr(c, "sliding_window", None):
        writer.add_sliding_window(c.sliding_window)
    if (experts := getattr(c, "num_local_experts", None) or getattr(c, "num_experts", None)) is not None:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(c.num_experts_per_tok)
        if c.model_type != "mixtral":
            writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    if getattr(c, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
    if getattr(c, "final_logit_softcapping", None):
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
