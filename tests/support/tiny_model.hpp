// SPDX-License-Identifier: MIT
#pragma once
// Small random models as GGUF bytes, made in memory: for tests of what does not depend on trained weights. A test can replace or
// leave out any key or tensor.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>

#include "support/gguf_writer.hpp"

namespace skald::test {

struct tiny_model {
    std::string architecture = "llama";  ///< or gpt2
    std::uint32_t layers = 2, hidden = 64, heads = 4, kv_heads = 2, head_dim = 16, feed_forward = 96, vocabulary = 101, context = 512;
    std::uint32_t experts = 0, experts_used = 2;  ///< 0: a plain feed-forward block
    dtype type = dtype::f32;                      ///< of the matrices; in formats without a test encoder they are random blocks
    bool tied = false;
    unsigned seed = 1;

    /// Called for every key and tensor name; true: it stands in for it (it may write something else, or nothing).
    std::function<bool(gguf_writer&, std::string_view)> replace{};

    std::vector<std::byte> bytes() const {
        gguf_writer w;
        std::mt19937 random(seed);
        const bool llama = architecture == "llama";
        const auto key = [&](const std::string& name, auto value) {
            if (!replace || !replace(w, name)) w.key(name, value);
        };
        const auto put = [&](const std::string& name, dtype t, const std::vector<std::uint64_t>& shape, float scale, float mean = 0.0f) {
            std::normal_distribution<float> normal(mean, scale);
            std::uint64_t count = 1;
            for (const std::uint64_t n : shape) count *= n;
            std::vector<float> values(count);
            for (float& v : values) v = normal(random);
            if (replace && replace(w, name)) return;
            if (can_encode(t))
                w.tensor(name, t, shape, values);
            else
                w.tensor(name, t, shape, random_blocks(t, count / info(t).block_size, seed));
        };
        const auto matrix = [&](const std::string& name, std::uint64_t rows, std::uint64_t cols) {
            put(name, type, {cols, rows}, 1.0f / std::sqrt(static_cast<float>(cols)));
        };
        const auto gain = [&](const std::string& name) { put(name, dtype::f32, {hidden}, 0.1f, 1.0f); };
        const auto bias = [&](const std::string& name, std::uint64_t n) { put(name, dtype::f32, {n}, 0.1f); };

        const std::string a = architecture + ".";
        key("general.architecture", std::string_view(architecture));
        key(a + "block_count", layers);
        key(a + "context_length", context);
        key(a + "embedding_length", hidden);
        key(a + "feed_forward_length", feed_forward);
        key(a + "attention.head_count", heads);
        if (llama) {
            key(a + "attention.head_count_kv", kv_heads);
            key(a + "attention.key_length", head_dim);
            key(a + "attention.value_length", head_dim);
            key(a + "attention.layer_norm_rms_epsilon", 1e-5f);
            key(a + "rope.dimension_count", head_dim);
            key(a + "rope.freq_base", 10000.0f);
        } else {
            key(a + "attention.layer_norm_epsilon", 1e-5f);
        }
        if (experts != 0) {
            key(a + "expert_count", experts);
            key(a + "expert_used_count", experts_used);
        }
        const std::uint64_t q = llama ? heads * head_dim : hidden, kv = llama ? kv_heads * head_dim : hidden;
        put("token_embd.weight", type, {hidden, vocabulary}, 1.0f);
        if (!llama) put("position_embd.weight", dtype::f32, {hidden, context}, 0.3f);
        gain("output_norm.weight");
        if (!llama) bias("output_norm.bias", hidden);
        if (!tied) matrix("output.weight", vocabulary, hidden);
        for (std::uint32_t i = 0; i < layers; ++i) {
            const std::string b = "blk." + std::to_string(i) + ".";
            gain(b + "attn_norm.weight");
            gain(b + "ffn_norm.weight");
            matrix(b + "attn_output.weight", hidden, q);
            if (experts == 0) {
                matrix(b + "ffn_up.weight", feed_forward, hidden);
                matrix(b + "ffn_down.weight", hidden, feed_forward);
            } else {
                matrix(b + "ffn_gate_inp.weight", experts, hidden);
                put(b + "ffn_gate_exps.weight", type, {hidden, feed_forward, experts}, 0.125f);
                put(b + "ffn_up_exps.weight", type, {hidden, feed_forward, experts}, 0.125f);
                put(b + "ffn_down_exps.weight", type, {feed_forward, hidden, experts}, 0.1f);
            }
            if (llama) {
                matrix(b + "attn_q.weight", q, hidden);
                matrix(b + "attn_k.weight", kv, hidden);
                matrix(b + "attn_v.weight", kv, hidden);
                if (experts == 0) matrix(b + "ffn_gate.weight", feed_forward, hidden);
            } else {
                matrix(b + "attn_qkv.weight", q + 2 * kv, hidden);
                bias(b + "attn_qkv.bias", q + 2 * kv);
                bias(b + "attn_norm.bias", hidden);
                bias(b + "ffn_norm.bias", hidden);
                bias(b + "attn_output.bias", hidden);
                bias(b + "ffn_up.bias", feed_forward);
                bias(b + "ffn_down.bias", hidden);
            }
        }
        return w.bytes();
    }
};

/// Bytes and the file open on them.
class open_model {
public:
    explicit open_model(const tiny_model& m) : bytes_(m.bytes()), file_(io::gguf_file::from_bytes(bytes_, "tiny.gguf")) {}
    const io::gguf_file& file() const noexcept { return file_; }

private:
    std::vector<std::byte> bytes_;
    io::gguf_file file_;
};

}  // namespace skald::test
