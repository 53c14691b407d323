// SPDX-License-Identifier: MIT
#pragma once
// Pre-tokenizers: how a text is divided into words before byte pairs are merged inside each. Models name theirs in the key
// tokenizer.ggml.pre. The patterns that define them are written here as matchers by hand; the divisions are those of Hugging
// Face's tokenizers. Bytes that are no UTF-8 count as symbols, each by itself, and stay in their word.
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/text/detail/split_rules.hpp>

namespace skald::text {

/// A division in steps: each step cuts its matches out of what the step before left, and both go on. Trivially copyable.
struct pre_tokenizer {
    std::string_view name;                      ///< as models give it
    std::array<detail::split_rule, 5> steps{};  ///< null from the last step on
    bool whole_words = false;                   ///< a word that is a token of the vocabulary is not built by merges
    bool add_bos = false;                       ///< default for files that do not say whether texts start with a BOS token
};

namespace detail {

inline constexpr std::array<split_rule, 5> gpt2_steps{match_gpt2};
inline constexpr std::array<split_rule, 5> digits_steps{match_digit, match_gpt2};
inline constexpr std::array<split_rule, 5> llama3_steps{match_words<3>};
inline constexpr std::array<split_rule, 5> qwen2_steps{match_words<1>};
inline constexpr std::array<split_rule, 5> coder_steps{match_newline, match_spaced<letter>, match_spaced<punctuation>, match_cjk,
                                                       match_digit};
inline constexpr std::array<split_rule, 5> gpt4o_steps{match_cased_words<3, true>};
inline constexpr std::array<split_rule, 5> tekken_steps{match_cased_words<1, false>};

}  // namespace detail

/// The pre-tokenizers this version knows.
inline constexpr pre_tokenizer pre_tokenizers[] = {
    {"default", detail::gpt2_steps},
    {"gpt-2", detail::gpt2_steps},
    {"phi-2", detail::gpt2_steps},
    {"jais", detail::gpt2_steps},
    {"mpt", detail::gpt2_steps},
    {"olmo", detail::gpt2_steps},
    {"smollm", detail::digits_steps},
    {"starcoder", detail::digits_steps},
    {"refact", detail::digits_steps},
    {"codeshell", detail::digits_steps},
    {"command-r", detail::digits_steps},
    {"llama-bpe", detail::llama3_steps, true, true},
    {"llama-v3", detail::llama3_steps, true, true},
    {"llama3", detail::llama3_steps, true, true},
    {"falcon3", detail::llama3_steps, true, true},
    {"dbrx", detail::llama3_steps},
    {"smaug-bpe", detail::llama3_steps},
    {"qwen2", detail::qwen2_steps},
    {"deepseek-r1-qwen", detail::qwen2_steps},
    {"stablelm2", detail::qwen2_steps},
    {"deepseek-coder", detail::coder_steps},
    {"gpt-4o", detail::gpt4o_steps},
    {"tekken", detail::tekken_steps, true, true},
};

/// The pre-tokenizer of that name; throws errc::unsupported naming it and, as `place`, its file.
inline const pre_tokenizer& find_pre_tokenizer(std::string_view name, std::string_view place) {
    std::string known;
    for (const pre_tokenizer& p : pre_tokenizers) {
        if (p.name == name) return p;
        known.append(known.empty() ? "" : ", ").append(p.name);
    }
    fail(errc::unsupported, place, "the pre-tokenizer '", name.substr(0, 64), "' (key 'tokenizer.ggml.pre') is not supported; known are ",
         known);
}

namespace detail {

template <class Emit>
void split_from(const pre_tokenizer& p, std::size_t step, std::string_view text, Emit& emit) {
    const split_rule rule = step < p.steps.size() ? p.steps[step] : nullptr;
    if (rule == nullptr) {
        emit(text);
        return;
    }
    std::size_t open = 0;  // start of what no match has taken
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = rule(text, at);
        if (length == 0) {
            at += unit_at(text, at).length;
            continue;
        }
        if (open < at) split_from(p, step + 1, text.substr(open, at - open), emit);
        split_from(p, step + 1, text.substr(at, length), emit);
        open = at += length;
    }
    if (open < text.size()) split_from(p, step + 1, text.substr(open), emit);
}

}  // namespace detail

/// Divides a text: calls `emit(std::string_view)` for each word, in order; the words together are the text. Cost: linear.
template <class Emit>
void split(const pre_tokenizer& p, std::string_view text, Emit&& emit) {
    detail::split_from(p, 0, text, emit);
}

}  // namespace skald::text
