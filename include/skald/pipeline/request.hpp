// SPDX-License-Identifier: MIT
#pragma once
// What a generation is asked for and what it reports: plain values shared by every pipeline.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/types.hpp>
#include <skald/text/jinja/data.hpp>

namespace skald {

/// What happens when a text grows longer than the cache.
enum class context_overflow : std::uint8_t {
    stop,         ///< prompts are refused, generations end
    drop_oldest,  ///< half of the tokens after the first ones is removed; for caches that can (kv::shifting_cache)
};

/// How a pipeline is set up.
struct pipeline_options {
    std::size_t chunk = 512;               ///< rows of the largest step: prompts are read in chunks of this many tokens
    std::string system{};                  ///< the system message of conversations; empty: what the model's chat template has as default
    text::jinja::data_object variables{};  ///< further variables of the chat template, as enable_thinking
    context_overflow overflow = context_overflow::stop;
    std::size_t keep = 4;  ///< first tokens that drop_oldest leaves: attention rests on them; in conversations the system message, too
};

/// One request.
struct generate_options {
    std::size_t max_tokens = std::numeric_limits<std::size_t>::max();  ///< generated tokens; the cache's room ends it in any case
    std::vector<std::string> stop{};                                   ///< texts that end the generation and are not shown
    std::uint64_t seed = 0;                                            ///< same seed and same request: same tokens
    std::stop_token cancel{};                                          ///< ends the running step within one layer, by errc::cancelled
    std::size_t top_logprobs = 0;                                      ///< how many alternatives to report with every token
    bool ignore_end = false;                                           ///< go on past end-of-text tokens
    bool fast_forward = false;  ///< take text that a grammar leaves no choice about as the tokenizer divides it, several tokens a step
};

/// Why a generation ended.
enum class finish_reason : std::uint8_t {
    none,         ///< it has not: it runs, or was broken off
    end_token,    ///< the model ended its text
    stop_string,  ///< one of the request's stop texts came up
    length,       ///< max_tokens, or the cache is full
};

constexpr std::string_view to_string(finish_reason reason) noexcept {
    switch (reason) {
        case finish_reason::none: return "none";
        case finish_reason::end_token: return "end_token";
        case finish_reason::stop_string: return "stop_string";
        case finish_reason::length: return "length";
    }
    return "unknown";
}

/// A token and its log-probability (natural logarithm) under the model, before any sampling processor.
struct scored_token {
    token_id token = 0;
    float logprob = 0;
};

/// One generated token.
struct generated_token {
    token_id token = 0;
    float logprob = 0;                ///< NaN for a token of a fast-forward: the model was not asked
    std::vector<scored_token> top{};  ///< the most probable tokens, best first, as many as the request's top_logprobs
};

/// Counts and wall times of one generation.
struct statistics {
    std::size_t prompt_tokens = 0;  ///< tokens of the prompt
    std::size_t reused_tokens = 0;  ///< of these, how many the cache held already
    std::size_t generated_tokens = 0;
    std::size_t dropped_tokens = 0;  ///< that left the cache to make room: context_overflow::drop_oldest
    std::size_t forced_tokens = 0;   ///< of these, how many came by fast-forward
    double prompt_seconds = 0;       ///< reading the prompt's other tokens, first token included
    double decode_seconds = 0;       ///< the tokens after the first

    double prompt_rate() const noexcept { return rate(prompt_tokens - reused_tokens, prompt_seconds); }  ///< tokens a second
    double decode_rate() const noexcept { return rate(generated_tokens == 0 ? 0 : generated_tokens - 1, decode_seconds); }

private:
    static double rate(std::size_t tokens, double seconds) noexcept { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0; }
};

/// A whole answer.
struct completion {
    std::string text;
    std::vector<generated_token> tokens;
    finish_reason finish = finish_reason::none;
    statistics stats;
};

}  // namespace skald
