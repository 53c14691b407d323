// SPDX-License-Identifier: MIT
#pragma once
// What a beam search keeps and what it lets go, apart from any model: the beams that go on, the ones that are complete, and when
// neither can get better. The rules are those of transformers' generate(num_beams=…, do_sample=False).
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/sampling/candidates.hpp>

namespace skald {

/// When a search ends that has as many complete beams as it keeps.
enum class early_stopping : std::uint8_t {
    on,     ///< at once
    off,    ///< when the best beam going on, were it complete as it is, would not be better than the worst complete one
    never,  ///< when it would not be, even if it reached max_tokens for free; only a length_penalty above 0 makes a difference
};

/// One request of a beam search.
struct beam_options {
    std::size_t max_tokens = 128;  ///< generated tokens; the cache's room ends it in any case
    std::size_t returned = 1;      ///< how many beams to return, at most those kept
    float length_penalty = 1.0f;   ///< a score is the sum of log-probabilities / tokens^length_penalty: above 0 favours longer texts
    skald::early_stopping early_stopping = early_stopping::off;
    std::vector<token_id> end_tokens{};  ///< besides the model's own
    std::vector<std::string> stop{};     ///< texts that end a beam and are not shown
    bool ignore_end = false;             ///< go on past the model's own
    std::stop_token cancel{};            ///< ends the running step within one layer, by errc::cancelled
};

/// A result.
struct beam {
    std::string text{};                  ///< whole UTF-8, without the end token or stop text; empty without a tokenizer
    std::vector<scored_token> tokens{};  ///< with those that end it, each with its log-probability under the model
    float score = 0;                     ///< what the search maximized: of processed log-probabilities
    finish_reason finish = finish_reason::none;
};

namespace detail {

/// The state of one search.
class beam_frontier {
public:
    struct state {
        std::vector<scored_token> tokens{};
        double sum = 0;  // of the processed log-probabilities
        float score = 0;
        bool ended = false;
    };

    beam_frontier(std::size_t beams, std::size_t max_tokens, float length_penalty, early_stopping stopping)
        : beams_(beams), max_tokens_(max_tokens), length_penalty_(length_penalty), stopping_(stopping), running_(1) {}

    /// The beams that go on, best first.
    std::span<const state> running() const noexcept { return running_; }
    /// The complete beams, best first.
    std::span<const state> complete() const noexcept { return complete_; }

    /// Offers the continuations of a running beam: `c` holds their processed log-probabilities, `logprobs` the model's own.
    /// `ends(token)` tells tokens that complete it. // logprobs: (vocabulary)
    template <class Ends>
    void offer(std::size_t parent, sampling::candidates& c, std::span<const float> logprobs, Ends ends) {
        // The best `beams` of all may become complete, the best `beams` that do not end may go on.
        std::size_t going_on = 0;
        for (std::size_t done = 0; done < c.size() && going_on < beams_;) {
            const std::size_t next = std::min(c.size(), std::max(beams_, 2 * done));
            c.sort_first(next, done);
            for (; done < next; ++done) {
                const sampling::candidate& k = std::as_const(c)[done];
                if (!(k.logit > -std::numeric_limits<float>::infinity())) return;
                const bool end = ends(k.token);
                const scored_token token{k.token, logprobs[static_cast<std::size_t>(k.token)]};
                offered_.push_back({parent, token, running_[parent].sum + static_cast<double>(k.logit), end});
                going_on += !end;
            }
        }
    }

    /// Takes the best of what was offered. Gives for each beam that goes on the one it continues; nothing: the search is over.
    /// Throws errc::invalid_argument when there is neither an offer nor a complete beam.
    std::vector<std::size_t> advance() {
        if (offered_.empty() && complete_.empty())
            fail(errc::invalid_argument, "beam search", "the processors leave no token possible in any beam");
        std::sort(offered_.begin(), offered_.end(), [](const continuation& a, const continuation& b) {
            if (a.sum != b.sum) return a.sum > b.sum;
            return a.parent != b.parent ? a.parent < b.parent : a.token.token < b.token.token;
        });
        ++length_;
        std::vector<state> next;
        std::vector<std::size_t> parents;
        for (std::size_t i = 0; i < offered_.size(); ++i) {
            const continuation& o = offered_[i];
            const bool done = o.ends || length_ == max_tokens_;
            if (done && i < beams_) keep(extended(o));
            if (done || next.size() == beams_) continue;
            next.push_back(extended(o));
            parents.push_back(o.parent);
        }
        offered_.clear();
        running_ = std::move(next);
        if (!can_improve()) parents.clear();
        return parents;
    }

private:
    struct continuation {
        std::size_t parent;
        scored_token token;
        double sum;
        bool ends;
    };

    double scored(double sum, std::size_t length) const noexcept {
        return sum / std::pow(static_cast<double>(length), static_cast<double>(length_penalty_));
    }

    state extended(const continuation& c) const {
        state out{.sum = c.sum, .score = static_cast<float>(scored(c.sum, length_)), .ended = c.ends};
        out.tokens.reserve(length_);
        out.tokens = running_[c.parent].tokens;
        out.tokens.push_back(c.token);
        return out;
    }

    /// Puts a complete beam among the best ones, behind those of its score.
    void keep(state s) {
        const auto worse = [](float score, const state& other) { return score > other.score; };
        complete_.insert(std::upper_bound(complete_.begin(), complete_.end(), s.score, worse), std::move(s));
        if (complete_.size() > beams_) complete_.pop_back();
    }

    bool can_improve() const noexcept {
        if (running_.empty()) return false;
        if (complete_.size() < beams_) return true;
        if (stopping_ == early_stopping::on) return false;
        const bool longest = stopping_ == early_stopping::never && length_penalty_ > 0;
        return scored(running_[0].sum, longest ? max_tokens_ : length_) > static_cast<double>(complete_.back().score);
    }

    std::size_t beams_, max_tokens_;
    float length_penalty_;
    early_stopping stopping_;
    std::size_t length_ = 0;  // tokens of the running beams
    std::vector<state> running_, complete_;
    std::vector<continuation> offered_;
};

}  // namespace detail

}  // namespace skald
