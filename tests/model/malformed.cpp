// SPDX-License-Identifier: MIT
// Files that are well-formed GGUF and mean nonsense: each is refused with the file, the place and the value.
#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include <skald/model/gguf_source.hpp>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

using namespace skald;
using test::gguf_writer;

namespace {

std::string refusal(const test::tiny_model& m, errc code = errc::bad_file) {
    const test::open_model file(m);
    try {
        read_source(file.file());
    } catch (const error& e) {
        CHECK(to_string(e.code()) == to_string(code));
        CHECK(std::string(e.place()) == "tiny.gguf");
        return e.what();
    }
    return "nothing was thrown";
}

/// A tiny model with one key given another value.
template <class T>
std::string with_key(std::string_view key, T value, errc code = errc::bad_file) {
    test::tiny_model m;
    m.replace = [=](gguf_writer& w, std::string_view name) { return name == key && (w.key(key, value), true); };
    return refusal(m, code);
}

/// A tiny model with more keys or tensors.
test::tiny_model with_more(std::function<void(gguf_writer&)> write) {
    test::tiny_model m;
    m.replace = [=](gguf_writer& w, std::string_view name) {
        if (name == "llama.block_count") write(w);
        return false;
    };
    return m;
}

test::tiny_model without(std::string_view what) {
    test::tiny_model m;
    m.replace = [=](gguf_writer&, std::string_view name) { return name == what; };
    return m;
}

test::tiny_model with_tensor(std::string_view what, std::vector<std::uint64_t> shape) {
    test::tiny_model m;
    m.replace = [=](gguf_writer& w, std::string_view name) {
        if (name != what) return false;
        std::uint64_t n = 1;
        for (const std::uint64_t extent : shape) n *= extent;
        w.tensor(what, dtype::f32, shape, std::vector<float>(n, 1.0f));
        return true;
    };
    return m;
}

bool says(const std::string& message, std::initializer_list<std::string_view> parts) {
    INFO(message);
    for (const std::string_view part : parts)
        if (message.find(part) == std::string::npos) {
            UNSCOPED_INFO("lacks: " << part);
            return false;
        }
    return true;
}

}  // namespace

TEST_CASE("a sound tiny model is read", "[model]") {
    for (const char* architecture : {"llama", "gpt2"}) {
        test::tiny_model m;
        m.architecture = architecture;
        const test::open_model file(m);
        const model_source source = read_source(file.file());
        CHECK(source.config().layers == 2);
        CHECK(source.config().vocabulary == 101);
        CHECK(source.fetch(tensor_role::down, 1).data != nullptr);
    }
}

TEST_CASE("26: head counts of zero or that do not divide are refused", "[model][malformed]") {
    CHECK(says(with_key("llama.attention.head_count", std::uint32_t{0}), {"attention heads", "0"}));
    CHECK(says(with_key("llama.attention.head_count_kv", std::uint32_t{0}), {"key/value heads", "0"}));
    CHECK(says(with_key("llama.attention.head_count_kv", std::uint32_t{3}), {"3", "does not divide", "4"}));
    CHECK(says(refusal(without("llama.attention.head_count")), {"llama.attention.head_count", "missing"}));
}

TEST_CASE("27: a layer count beyond the file's tensors is refused before anything is allocated", "[model][malformed]") {
    CHECK(says(with_key("llama.block_count", std::numeric_limits<std::uint32_t>::max()),
               {"llama.block_count", "4294967295", "tensors in all"}));
    CHECK(says(with_key("llama.block_count", std::uint32_t{0}), {"layers", "0"}));
    CHECK(says(with_key("llama.block_count", std::uint32_t{3}), {"blk.2.", "missing"}));
    CHECK(says(with_key("llama.block_count", std::uint32_t{1}), {"blk.1.", "layer 1", "1 layers"}));
}

TEST_CASE("28: head and rope dimensions that do not fit are refused", "[model][malformed]") {
    CHECK(says(with_key("llama.attention.key_length", std::uint32_t{17}, errc::unsupported), {"17", "16"}));
    CHECK(says(with_key("llama.attention.key_length", std::uint32_t{0}, errc::bad_file), {"head dimension", "0"}));
    CHECK(says(with_key("llama.attention.value_length", std::uint32_t{8}, errc::unsupported), {"8", "16"}));
    CHECK(says(with_key("llama.rope.dimension_count", std::uint32_t{15}), {"15", "even"}));
    CHECK(says(with_key("llama.rope.dimension_count", std::uint32_t{18}), {"18", "16"}));
    test::tiny_model odd;
    odd.heads = 3;
    odd.kv_heads = 3;
    odd.replace = [](gguf_writer&, std::string_view name) { return name == "llama.attention.key_length"; };
    CHECK(says(refusal(odd), {"64", "no multiple", "3"}));
}

TEST_CASE("29: a rope base or epsilon that is no such number is refused", "[model][malformed]") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(says(with_key("llama.rope.freq_base", 0.0f), {"rope base", "0"}));
    CHECK(says(with_key("llama.rope.freq_base", nan), {"rope base", "nan"}));
    CHECK(says(with_key("llama.attention.layer_norm_rms_epsilon", nan), {"epsilon", "nan"}));
    CHECK(says(with_key("llama.attention.layer_norm_rms_epsilon", -1.0f), {"epsilon", "-1"}));
    const auto scaled = [](const char* kind, const char* key, float value) {
        return with_more([=](gguf_writer& w) { w.key("llama.rope.scaling.type", kind).key(key, value); });
    };
    CHECK(says(refusal(scaled("linear", "llama.rope.scaling.factor", 0.0f)), {"scaling factor", "0"}));
    CHECK(says(refusal(scaled("yarn", "llama.rope.scaling.factor", nan)), {"scaling factor", "nan"}));
    CHECK(says(refusal(scaled("yarn", "llama.rope.scaling.yarn_beta_fast", -1.0f)), {"beta_fast", "-1"}));
    CHECK(says(refusal(scaled("yarn", "llama.rope.scaling.yarn_ext_factor", 7.0f)), {"extrapolation", "7"}));
    CHECK(says(refusal(scaled("yarn", "llama.rope.scaling.attn_factor", nan)), {"magnitude", "nan"}));
    CHECK(says(refusal(scaled("spiral", "llama.rope.scaling.factor", 2.0f), errc::unsupported), {"'spiral'", "longrope"}));
    CHECK(says(refusal(scaled("longrope", "llama.rope.scaling.factor", 2.0f)), {"0 short rope factors", "8 frequencies"}));
    for (const char* key : {"llama.attn_logit_softcapping", "llama.final_logit_softcapping"}) {
        CHECK(says(refusal(with_more([=](gguf_writer& w) { w.key(key, nan); })), {"soft cap", "nan"}));
        CHECK(says(refusal(with_more([=](gguf_writer& w) { w.key(key, -2.0f); })), {"soft cap", "-2"}));
    }
}

TEST_CASE("rope factors of another number than there are frequencies, or not positive, are refused", "[model][malformed]") {
    const auto with_factors = [](std::vector<float> short_ones, std::vector<float> long_ones) {
        return with_more([=](gguf_writer& w) {
            w.tensor("rope_factors_short.weight", dtype::f32, {short_ones.size()}, short_ones);
            w.tensor("rope_factors_long.weight", dtype::f32, {long_ones.size()}, long_ones);
        });
    };
    const std::vector<float> good(8, 2.0f);
    std::vector<float> negative = good, undefined = good;
    negative[3] = -1.0f;
    undefined[7] = std::numeric_limits<float>::quiet_NaN();
    CHECK(says(refusal(with_factors(std::vector<float>(7, 1.0f), good)), {"7 short rope factors", "8 frequencies"}));
    CHECK(says(refusal(with_factors(good, std::vector<float>(16, 1.0f))), {"16 long rope factors", "8 frequencies"}));
    CHECK(says(refusal(with_factors(negative, good)), {"value 3 of the short rope factors", "-1"}));
    CHECK(says(refusal(with_factors(good, undefined)), {"value 7 of the long rope factors", "nan"}));
    const test::open_model sound(with_factors(good, good));
    CHECK(read_source(sound.file()).config().attention_kinds[0].rope.scaling == rope_scaling::longrope);
}

TEST_CASE("30: a tensor's shape must be what the config says", "[model][malformed]") {
    CHECK(says(refusal(with_tensor("blk.1.attn_q.weight", {64, 63})),
               {"tensor 'blk.1.attn_q.weight' has 63 × 64 values; the config says 64 × 64"}));
    CHECK(says(refusal(with_tensor("blk.0.ffn_norm.weight", {65})), {"blk.0.ffn_norm.weight", "1 × 65", "1 × 64"}));
    CHECK(says(refusal(with_tensor("blk.0.ffn_down.weight", {96, 64, 2})), {"blk.0.ffn_down.weight", "3 dimensions"}));
}

TEST_CASE("31: a missing tensor and one too many are refused by name", "[model][malformed]") {
    CHECK(says(refusal(without("blk.1.attn_v.weight")), {"tensor 'blk.1.attn_v.weight' is missing"}));
    CHECK(says(refusal(without("token_embd.weight")), {"token_embd.weight", "missing"}));
    for (const char* extra : {"blk.0.attn_extra.weight", "blk.00.attn_q.weight", "blk.x.attn_q.weight", "blk..attn_q.weight"}) {
        test::tiny_model m;
        m.replace = [=](gguf_writer& w, std::string_view name) {
            if (name == "output_norm.weight") w.tensor(extra, dtype::f32, {32}, std::vector<float>(32));
            return false;
        };
        CHECK(says(refusal(m), {extra, "not part of the architecture"}));
    }
}

TEST_CASE("32: experts that cannot be, and those not computed, are refused", "[model][malformed]") {
    const auto with_experts = [](std::uint32_t count, std::uint32_t used) {
        return with_more([=](gguf_writer& w) { w.key("llama.expert_count", count).key("llama.expert_used_count", used); });
    };
    CHECK(says(refusal(with_experts(4, 5)), {"4 experts", "uses 5"}));
    CHECK(says(refusal(with_experts(4, 0)), {"4 experts", "uses 0"}));
    CHECK(says(refusal(with_experts(0, 2)), {"0 experts", "uses 2"}));
    CHECK(says(refusal(with_experts(70000, 2)), {"70000 experts"}));
    CHECK(says(refusal(with_experts(4, 2)), {"4 experts", "no layer"}));
    const test::open_model dense(with_experts(0, 0));
    CHECK_NOTHROW(read_source(dense.file()));

    const auto mixture = [](std::string_view what, std::function<void(gguf_writer&)> instead) {
        test::tiny_model m;
        m.experts = 4;
        m.replace = [=](gguf_writer& w, std::string_view name) { return name == what && (instead(w), true); };
        return m;
    };
    const test::open_model sound(mixture("", {}));
    const model_source source = read_source(sound.file());
    CHECK(source.has_experts(1));
    CHECK(source.fetch(tensor_role::expert_down, 1, 3).data == source.fetch(tensor_role::expert_down, 1, 0).data + 3 * 64 * 96 * 4);
    const auto nothing = [](gguf_writer&) {};
    CHECK(says(refusal(mixture("blk.1.ffn_up_exps.weight", nothing)), {"blk.1.ffn_up_exps.weight", "missing"}));
    CHECK(says(refusal(mixture("blk.1.ffn_gate_inp.weight", nothing)), {"blk.1.ffn_gate_inp.weight", "missing"}));
    CHECK(says(refusal(mixture(
                   "blk.0.ffn_up_exps.weight",
                   [](gguf_writer& w) { w.tensor("blk.0.ffn_up_exps.weight", dtype::f32, {64, 96, 5}, std::vector<float>(64 * 96 * 5)); })),
               {"blk.0.ffn_up_exps.weight", "of 5", "4 experts"}));
    CHECK(
        says(refusal(mixture("blk.0.ffn_up_exps.weight",
                             [](gguf_writer& w) { w.tensor("blk.0.ffn_up.4.weight", dtype::f32, {64, 96}, std::vector<float>(64 * 96)); })),
             {"blk.0.ffn_up.4.weight", "expert 4", "4 experts"}));
    CHECK(says(refusal(mixture("blk.0.attn_norm.weight",
                               [](gguf_writer& w) {
                                   w.tensor("blk.0.attn_norm.weight", dtype::f32, {64}, std::vector<float>(64));
                                   w.tensor("blk.0.ffn_up.2.weight", dtype::f32, {64, 96}, std::vector<float>(64 * 96));
                               })),
               {"stands for the same as"}));
    CHECK(says(refusal(mixture("blk.1.ffn_norm.weight",
                               [](gguf_writer& w) {
                                   w.tensor("blk.1.ffn_norm.weight", dtype::f32, {64}, std::vector<float>(64));
                                   w.tensor("blk.1.ffn_up.weight", dtype::f32, {64, 96}, std::vector<float>(64 * 96));
                               })),
               {"layer 1", "blk.1.ffn_up.weight", "beside"}));
    for (const char* key : {"llama.expert_shared_count", "llama.leading_dense_block_count", "llama.expert_group_count"})
        CHECK(says(refusal(mixture("llama.expert_used_count", [=](gguf_writer& w) { w.key("llama.expert_used_count", 2u).key(key, 3u); }),
                           errc::unsupported),
                   {"cannot compute"}));
}

TEST_CASE("experts in tensors of their own, or gate and up in one, are the same model", "[model]") {
    test::tiny_model m;
    m.experts = 3;
    const test::open_model together(m);
    const model_source a = read_source(together.file());
    const auto apart = [&](gguf_writer& w, std::string_view name, tensor_role role, std::uint64_t cols, std::uint64_t rows) {
        const std::size_t layer = name[4] == '0' ? 0 : 1, end = name.find("_exps");
        if (end == std::string_view::npos) return false;
        for (std::size_t e = 0; e < 3; ++e) {
            const auto* values = reinterpret_cast<const float*>(a.fetch(role, layer, e).data);
            w.tensor(std::string(name.substr(0, end)) + "." + std::to_string(e) + ".weight", dtype::f32, {cols, rows},
                     std::vector<float>(values, values + cols * rows));
        }
        return true;
    };
    test::tiny_model other = m;
    other.replace = [&](gguf_writer& w, std::string_view name) {
        if (name.find("down_exps") != std::string_view::npos) return apart(w, name, tensor_role::expert_down, 96, 64);
        if (name.find("up_exps") != std::string_view::npos) return apart(w, name, tensor_role::expert_up, 64, 96);
        return apart(w, name, tensor_role::expert_gate, 64, 96);
    };
    test::tiny_model fused = m;
    fused.replace = [&](gguf_writer& w, std::string_view name) {
        const std::size_t layer = name.starts_with("blk.1") ? 1 : 0;
        if (name.find("up_exps") == std::string_view::npos) return name.find("gate_exps") != std::string_view::npos;
        std::vector<float> values;
        for (std::size_t e = 0; e < 3; ++e)
            for (const tensor_role role : {tensor_role::expert_gate, tensor_role::expert_up}) {
                const auto* from = reinterpret_cast<const float*>(a.fetch(role, layer, e).data);
                values.insert(values.end(), from, from + 64 * 96);
            }
        w.tensor("blk." + std::to_string(layer) + ".ffn_gate_up_exps.weight", dtype::f32, {64, 192, 3}, values);
        return true;
    };
    for (const test::tiny_model& model : {other, fused}) {
        const test::open_model file(model);
        const model_source b = read_source(file.file());
        for (const tensor_role role : {tensor_role::expert_gate, tensor_role::expert_up, tensor_role::expert_down})
            for (std::size_t layer = 0; layer < 2; ++layer)
                for (std::size_t e = 0; e < 3; ++e) {
                    const weight_view x = a.fetch(role, layer, e), y = b.fetch(role, layer, e);
                    CHECK((x.rows == y.rows && x.cols == y.cols && std::memcmp(x.data, y.data, x.bytes()) == 0));
                }
    }
}

TEST_CASE("33: a window that cannot be is refused", "[model][malformed]") {
    const auto with_window = [](auto window) {
        return with_more([=](gguf_writer& w) { w.key("llama.attention.sliding_window", window); });
    };
    CHECK(says(refusal(with_window(std::uint32_t{0})), {"window", "0"}));
    CHECK(says(refusal(with_window(std::int32_t{-5})), {"window", "-5"}));
    CHECK(says(refusal(with_window(std::uint64_t{1} << 40)), {"window", "1099511627776"}));
    const test::open_model sound(with_window(std::uint32_t{256}));
    const model_source source = read_source(sound.file());
    CHECK(source.config().variant(1).begin(300) == 45);

    const auto with_pattern = [](const std::vector<bool>& flags) {
        return with_more(
            [=](gguf_writer& w) { w.key("llama.attention.sliding_window", 7u).array("llama.attention.sliding_window_pattern", flags); });
    };
    CHECK(says(refusal(with_pattern({1})), {"sliding_window_pattern", "1 flags", "2 layers"}));
    const test::open_model second(with_pattern({0, 1}));
    const model_source mixed = read_source(second.file());
    CHECK((mixed.config().variant(0).begin(300) == 0 && mixed.config().variant(1).begin(300) == 294));
}

TEST_CASE("34: vocabulary, embedding rows and architecture must agree", "[model][malformed]") {
    test::tiny_model told;
    told.replace = [](gguf_writer& w, std::string_view name) {
        if (name == "llama.block_count") w.key("llama.vocab_size", std::uint32_t{100});
        return false;
    };
    CHECK(says(refusal(told), {"llama.vocab_size", "100", "101 rows"}));
    test::tiny_model tokens;
    tokens.replace = [](gguf_writer& w, std::string_view name) {
        if (name == "llama.block_count") w.array("tokenizer.ggml.tokens", std::vector<std::string>(99, "x"));
        return false;
    };
    CHECK(says(refusal(tokens), {"99 tokens", "101 rows"}));
    CHECK(says(with_key("general.architecture", "mamba", errc::unsupported), {"'mamba'", "llama, mistral3", "gpt2"}));
    CHECK(says(with_key("general.architecture", std::uint32_t{1}), {"general.architecture"}));
}

TEST_CASE("a tensor format without a decoder is refused by name", "[model]") {
    test::tiny_model m;
    m.replace = [](gguf_writer& w, std::string_view name) {
        if (name != "blk.0.ffn_down.weight") return false;
        w.tensor(name, dtype::f64, {96, 64}, std::vector<std::byte>(96 * 64 * 8));
        return true;
    };
    CHECK(says(refusal(m, errc::unsupported), {"blk.0.ffn_down.weight", "f64"}));
}
