// SPDX-License-Identifier: MIT
#pragma once
// Which tensor of a model gets which format: the mixtures that people know by name (Q4_K_M, …), as a table of what differs from
// the mixture's base format. The choices and the numbers of general.file_type are those of llama.cpp's files.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <skald/core/dtype.hpp>

namespace skald::quantize {

/// What a tensor is for, as far as mixtures care. `output` is the head, or the embedding where it serves as head.
enum class part : std::uint8_t { output, embedding, value, key, query, attention_output, down, other };

/// What mixtures ask about a model.
struct model_facts {
    std::size_t layers = 0;
    std::size_t heads_per_kv_head = 1;
    std::size_t experts = 0;
    bool tied = false;        ///< has no output matrix of its own
    bool importance = false;  ///< an importance matrix is given
};

/// When a rule holds, for a tensor of layer i of n.
enum class condition : std::uint8_t {
    always,
    first_two,     // i < 2
    first_four,    // i < 4
    first_16th,    // i < n/16
    first_8th,     // i < n/8
    spread,        // the first and last eighth, and every third layer between
    few_kv_heads,  // four or more query heads share a kv head
    plain,         // without importance matrix
    plain_first_8th,
    guided_first_8th,  // with importance matrix
    eight_experts,
    some_experts,  // four or more
};

/// One line of a mixture: the first that fits a tensor decides.
struct rule {
    quantize::part part;
    condition when;
    dtype type;
};

/// A mixture.
struct recipe {
    std::string_view name;    ///< as --type takes it
    std::uint32_t file_type;  ///< general.file_type
    dtype base;
    dtype output;  ///< of the head; tied embeddings are one
    std::span<const rule> rules{};
};

namespace detail {

using enum condition;
using enum dtype;

inline constexpr rule down_4_bits[]{{part::down, guided_first_8th, q4_1}};
inline constexpr rule down_5_bits[]{{part::down, guided_first_8th, q5_1}};
inline constexpr rule q2_k_rules[]{
    {part::value, eight_experts, q8_0},    {part::key, eight_experts, q8_0}, {part::attention_output, eight_experts, q5_k},
    {part::value, few_kv_heads, q4_k},     {part::value, always, q3_k},      {part::down, always, q3_k},
    {part::attention_output, always, q3_k}};
inline constexpr rule q3_k_s_rules[]{
    {part::value, eight_experts, q8_0}, {part::key, eight_experts, q8_0}, {part::attention_output, eight_experts, q5_k}};
inline constexpr rule q3_k_m_rules[]{
    {part::value, eight_experts, q8_0}, {part::key, eight_experts, q8_0},      {part::attention_output, eight_experts, q5_k},
    {part::value, first_two, q5_k},     {part::value, always, q4_k},           {part::down, first_16th, q5_k},
    {part::down, always, q4_k},         {part::attention_output, always, q4_k}};
inline constexpr rule q3_k_l_rules[]{{part::value, eight_experts, q8_0},
                                     {part::key, eight_experts, q8_0},
                                     {part::value, always, q5_k},
                                     {part::down, always, q5_k},
                                     {part::attention_output, always, q5_k}};
inline constexpr rule q4_k_s_rules[]{{part::value, eight_experts, q8_0},
                                     {part::key, eight_experts, q8_0},
                                     {part::attention_output, eight_experts, q5_k},
                                     {part::value, first_four, q5_k},
                                     {part::down, first_8th, q5_k}};
inline constexpr rule q4_k_m_rules[]{{part::value, eight_experts, q8_0},
                                     {part::key, eight_experts, q8_0},
                                     {part::attention_output, eight_experts, q5_k},
                                     {part::value, spread, q6_k},
                                     {part::down, spread, q6_k}};
inline constexpr rule q5_k_m_rules[]{
    {part::value, eight_experts, q8_0}, {part::key, eight_experts, q8_0}, {part::value, spread, q6_k}, {part::down, spread, q6_k}};
inline constexpr rule experts_rules[]{{part::value, eight_experts, q8_0}, {part::key, eight_experts, q8_0}};
inline constexpr rule iq4_rules[]{{part::value, eight_experts, q8_0},
                                  {part::key, eight_experts, q8_0},
                                  {part::attention_output, eight_experts, q5_k},
                                  {part::value, few_kv_heads, q5_k},
                                  {part::down, plain_first_8th, q5_k}};

inline constexpr rule iq3_xxs_rules[]{{part::value, eight_experts, q8_0},
                                      {part::key, eight_experts, q8_0},
                                      {part::attention_output, eight_experts, q5_k},
                                      {part::value, few_kv_heads, q4_k},
                                      {part::value, plain, iq3_s},
                                      {part::key, always, iq2_s},
                                      {part::query, always, iq2_s},
                                      {part::down, plain_first_8th, q4_k},
                                      {part::down, plain, q3_k},
                                      {part::attention_output, always, iq3_s},
                                      {part::embedding, always, iq3_s}};
inline constexpr rule iq2_xxs_rules[]{{part::value, few_kv_heads, q4_k},
                                      {part::value, some_experts, q4_k},
                                      {part::value, always, q2_k},
                                      {part::key, eight_experts, q4_k},
                                      {part::attention_output, eight_experts, q5_k},
                                      {part::down, first_8th, q2_k},
                                      {part::embedding, always, q2_k}};

inline constexpr rule iq2_s_rules[]{{part::value, few_kv_heads, q4_k},
                                    {part::value, some_experts, q4_k},
                                    {part::value, always, iq3_s},
                                    {part::key, eight_experts, q4_k},
                                    {part::attention_output, eight_experts, q5_k},
                                    {part::attention_output, always, iq3_s},
                                    {part::down, first_8th, iq3_s},
                                    {part::embedding, always, iq3_s}};
inline constexpr rule iq1_rules[]{{part::value, few_kv_heads, q4_k},
                                  {part::value, some_experts, q4_k},
                                  {part::value, always, q2_k},
                                  {part::key, eight_experts, q4_k},
                                  {part::attention_output, eight_experts, q5_k},
                                  {part::attention_output, always, iq2_xxs},
                                  {part::down, first_8th, q2_k},
                                  {part::embedding, always, q2_k}};
inline constexpr rule ternary_rules[]{{part::embedding, always, q4_k}};

inline constexpr std::array recipes{
    recipe{"F32", 0, f32, f32},
    recipe{"F16", 1, f16, f16},
    recipe{"BF16", 32, bf16, bf16},
    recipe{"Q8_0", 7, q8_0, q8_0},
    recipe{"Q4_0", 2, q4_0, q6_k, down_4_bits},
    recipe{"Q4_1", 3, q4_1, q6_k},
    recipe{"Q5_0", 8, q5_0, q6_k, down_5_bits},
    recipe{"Q5_1", 9, q5_1, q6_k},
    recipe{"Q2_K", 10, q2_k, q6_k, q2_k_rules},
    recipe{"Q3_K_S", 11, q3_k, q6_k, q3_k_s_rules},
    recipe{"Q3_K_M", 12, q3_k, q6_k, q3_k_m_rules},
    recipe{"Q3_K_L", 13, q3_k, q6_k, q3_k_l_rules},
    recipe{"Q4_K_S", 14, q4_k, q6_k, q4_k_s_rules},
    recipe{"Q4_K_M", 15, q4_k, q6_k, q4_k_m_rules},
    recipe{"Q5_K_S", 16, q5_k, q6_k, experts_rules},
    recipe{"Q5_K_M", 17, q5_k, q6_k, q5_k_m_rules},
    recipe{"Q6_K", 18, q6_k, q6_k, experts_rules},
    recipe{"IQ4_NL", 25, iq4_nl, q6_k, iq4_rules},
    recipe{"IQ4_XS", 30, iq4_xs, q6_k, iq4_rules},
    recipe{"IQ3_XXS", 23, iq3_xxs, q5_k, iq3_xxs_rules},
    recipe{"IQ2_M", 29, iq2_s, q5_k, iq2_s_rules},
    recipe{"IQ2_S", 28, iq2_xs, q5_k, iq2_s_rules},
    recipe{"IQ2_XS", 20, iq2_xs, q5_k, iq2_xxs_rules},
    recipe{"IQ2_XXS", 19, iq2_xxs, q5_k, iq2_xxs_rules},
    recipe{"IQ1_M", 31, iq1_m, q5_k, iq1_rules},
    recipe{"IQ1_S", 24, iq1_s, q5_k, iq1_rules},
    recipe{"TQ2_0", 37, tq2_0, q6_k, ternary_rules},
    recipe{"TQ1_0", 36, tq1_0, q6_k, ternary_rules},
    recipe{"MXFP4", 38, mxfp4, q8_0},
};

constexpr bool holds(condition when, std::size_t i, const model_facts& m) noexcept {
    const std::size_t eighth = m.layers / 8;
    switch (when) {
        case always: return true;
        case first_two: return i < 2;
        case first_four: return i < 4;
        case first_16th: return i < m.layers / 16;
        case first_8th: return i < eighth;
        case spread: return i < eighth || i >= 7 * m.layers / 8 || (i - eighth) % 3 == 2;
        case few_kv_heads: return m.heads_per_kv_head >= 4;
        case plain: return !m.importance;
        case plain_first_8th: return !m.importance && i < eighth;
        case guided_first_8th: return m.importance && i < eighth;
        case eight_experts: return m.experts == 8;
        case some_experts: return m.experts >= 4;
    }
    return false;
}

/// N of "blk.N.", or 0.
inline std::size_t layer_of(std::string_view name) noexcept {
    std::size_t layer = 0;
    if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
    return layer;
}

inline part part_of(std::string_view name, const model_facts& m) noexcept {
    constexpr std::array<std::pair<std::string_view, part>, 7> marks{{{"attn_qkv.weight", part::value},
                                                                      {"attn_kv_b.weight", part::value},
                                                                      {"attn_v.weight", part::value},
                                                                      {"attn_k.weight", part::key},
                                                                      {"attn_q.weight", part::query},
                                                                      {"attn_output.weight", part::attention_output},
                                                                      {"ffn_down", part::down}}};
    if (name == "output.weight") return part::output;
    if (name == "token_embd.weight") return m.tied ? part::output : part::embedding;
    for (const auto& [mark, found] : marks)
        if (name.find(mark) != name.npos) return found;
    return part::other;
}

/// What takes the place of a format whose blocks do not divide a row.
constexpr dtype smaller_blocks(dtype type) noexcept {
    switch (type) {
        case q2_k:
        case q3_k:
        case tq1_0:
        case tq2_0: return q4_0;
        case q4_k: return q5_0;
        case q5_k: return q5_1;
        case q6_k: return q8_0;
        case iq1_s:
        case iq1_m:
        case iq2_xxs:
        case iq2_xs:
        case iq2_s:
        case iq3_xxs:
        case iq3_s:
        case iq4_xs: return iq4_nl;
        default: return f16;
    }
}

}  // namespace detail

/// All mixtures, in the order they should be listed.
constexpr std::span<const recipe> recipes() noexcept { return detail::recipes; }

/// The mixture of that name in any case, or null.
constexpr const recipe* find_recipe(std::string_view name) noexcept {
    const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; };
    for (const recipe& r : detail::recipes)
        if (std::ranges::equal(r.name, name, {}, {}, upper)) return &r;
    return nullptr;
}

/// Whether a tensor is one that mixtures change: a matrix, or the matrices of experts, but no norm, router or table of positions.
inline bool is_quantized(std::string_view name, std::span<const std::uint64_t> shape) noexcept {
    std::size_t extents = 0;
    for (const std::uint64_t extent : shape) extents += extent > 1;
    if (extents < 2 || !name.ends_with("weight")) return false;
    for (const std::string_view kept : {"_norm.weight", "ffn_gate_inp.weight", "position_embd", "token_types.weight", "attn_rel_b.weight"})
        if (name.find(kept) != name.npos) return false;
    return true;
}

/// `type`, or what takes its place for rows of `cols` values.
constexpr dtype fitting(dtype type, std::uint64_t cols) noexcept {
    while (cols % info(type).block_size != 0) type = detail::smaller_blocks(type);
    return type;
}

/// The format of a tensor for which is_quantized() holds, in that mixture.
inline dtype type_in(const recipe& r, std::string_view name, std::uint64_t cols, const model_facts& m) noexcept {
    const part p = detail::part_of(name, m);
    if (p == part::output) return cols % info(r.base).block_size == 0 ? fitting(r.output, cols) : fitting(dtype::q8_0, cols);
    for (const rule& line : r.rules)
        if (line.part == p && detail::holds(line.when, detail::layer_of(name), m)) return fitting(line.type, cols);
    return fitting(r.base, cols);
}

}  // namespace skald::quantize
