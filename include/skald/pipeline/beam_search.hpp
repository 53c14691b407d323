// SPDX-License-Identifier: MIT
#pragma once
// Beam search: the most probable continuations rather than a drawn one. All beams are one batch a step and forks of one sequence of the
// cache, so with paged storage they share what they have in common.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/model.hpp>
#include <skald/pipeline/beam_frontier.hpp>
#include <skald/pipeline/known_prefix.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/pipeline/stop_strings.hpp>
#include <skald/sampling/chain.hpp>
#include <skald/sampling/detail/log_sum_exp.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/stream_decoder.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald {

/// How a beam search is set up. Its memory is that of plan() with the same policy and limits {.rows = max(chunk, beams),
/// .wanted = beams}.
struct beam_search_options {
    std::size_t beams = 4;    ///< how many are kept
    std::size_t chunk = 512;  ///< rows of the largest step, if not the beams
};

/// Searches on one model, one request at a time. `Policy` needs as many .sequences as there are beams; a paged one, room for the prompt,
/// and for each beam its own tokens and two blocks (its own .context is what a beam reaches). `Processors` is a sampling::chain or
/// dynamic_chain, whose processors see log-probabilities and whose selector is not asked.
///
/// Each call starts from the cache's longest prefix in common with the new prompt; a cache that shares prefixes knows those of all earlier
/// prompts.
template <class Backend, class Policy = kv::paged<>, class Processors = sampling::chain<>>
class beam_search {
    static_assert(kv::require_policy<Policy>());

public:
    /// Allocates cache and workspace from the model's memory resource. Throws errc::invalid_argument for no beams,
    /// errc::cache_full for more than the cache has sequences.
    explicit beam_search(model<Backend> m, const Policy& policy = {}, Processors processors = {}, beam_search_options options = {})
        : model_(std::move(m)),
          processors_(std::move(processors)),
          beams_(options.beams),
          limit_(kv::max_length(policy, model_.config().cache())),
          chunk_(std::min(std::max(options.chunk, beams_), kv::longest_step(policy))),
          limits_(step_limits{.rows = chunk_, .wanted = beams_}.fit(limit_)),
          cache_(policy.make(model_.config().cache(), model_.backend().memory())),
          workspace_(model_.backend(), model_.architecture(), model_.config(), limits_),
          logits_((checked_size(beams_, "beam search") * model_.config().vocabulary).size(), model_.backend().memory()) {
        if (beams_ == 0) fail(errc::invalid_argument, "beam search", "0 beams; it takes at least one");
        if (model_.architecture().learned_positions) limit_ = std::min(limit_, model_.config().context);
        sequences_.reserve(beams_);
        for (std::size_t i = 0; i < beams_; ++i) sequences_.push_back(cache_.open());
        restore();
    }

    /// The best continuations of a text, best first. The model's begin-of-text token is put before it where the model asks for one.
    std::vector<beam> run(std::string_view prompt, const beam_options& options = {}) {
        const text::tokenizer& t = model_.tokenizer();
        return run(t.encode(prompt, {.add_bos = t.add_bos()}), options);
    }

    /// The best continuations of tokens, best first; fewer than asked for where the processors leave fewer. The same for the same
    /// arguments. Throws errc::invalid_argument for an empty prompt or options outside their range, errc::cache_full,
    /// errc::cancelled; after an error the search is as before it, and can be called again.
    std::vector<beam> run(std::span<const token_id> prompt, const beam_options& options = {}) {
        check(prompt, options);
        const restore_guard guard{*this};
        read_prompt(prompt, options);
        history_.assign(prompt.begin(), prompt.end());
        const std::size_t max_tokens = std::min(options.max_tokens, limit_ - prompt.size() + 1);
        detail::beam_frontier frontier(beams_, max_tokens, options.length_penalty, options.early_stopping);
        for (;;) {
            offer(frontier, prompt.size(), options);
            const std::vector<std::size_t> parents = frontier.advance();
            if (parents.empty()) break;
            follow(parents);
            step(frontier.running(), options);
        }
        return results(frontier, options);
    }

    /// The best answers to a conversation, best first.
    std::vector<beam> chat(std::span<const text::message> messages, beam_options options = {}, const text::chat_options& chat = {}) {
        if (const std::string_view stop = model_.chat().stop_string(); !stop.empty()) options.stop.emplace_back(stop);
        return run(text::encode_chat(model_.tokenizer(), model_.chat(), messages, chat), options);
    }

    const model<Backend>& get_model() const noexcept { return model_; }
    std::size_t cache_bytes() const { return cache_.bytes(); }  ///< what the cache took from the memory resource

private:
    struct restore_guard {
        beam_search& search;
        ~restore_guard() { search.restore(); }
    };

    void check(std::span<const token_id> prompt, const beam_options& o) const {
        if (prompt.empty()) fail(errc::invalid_argument, "prompt", "is empty; a search needs at least one token");
        if (prompt.size() > limit_)
            fail(errc::cache_full, "prompt", "has ", prompt.size(), " tokens; the cache holds ", limit_, "; raise .tokens");
        if (o.max_tokens == 0) fail(errc::invalid_argument, "beam search", "max_tokens is 0; it must be at least 1");
        if (o.returned == 0 || o.returned > beams_)
            fail(errc::invalid_argument, "beam search", o.returned, " beams to return; it must be a number from 1 to the ", beams_,
                 " kept");
        if (!std::isfinite(o.length_penalty))
            fail(errc::invalid_argument, "beam search", "the length penalty is ", o.length_penalty, "; it must be a finite number");
    }

    /// Back to one sequence, that of the prompt, or of nothing where the cache does not keep it.
    void restore() {
        for (; sequences_.size() > 1; sequences_.pop_back()) cache_.close(sequences_.back());
        if (!cache_.keeps(sequences_[0], static_cast<position>(cached_.size()))) cached_.clear();
        cache_.truncate(sequences_[0], static_cast<position>(cached_.size()));
    }

    /// Brings the first sequence to the prompt, in chunks; the last token's logits stand in the first row.
    void read_prompt(std::span<const token_id> prompt, const beam_options& o) {
        detail::keep_known_prefix(cache_, sequences_[0], cached_, prompt);
        while (cached_.size() < prompt.size()) {
            const std::size_t rows = std::min({chunk_, kv::step_room(cache_, sequences_[0]), prompt.size() - cached_.size()});
            const std::span<const token_id> chunk = prompt.subspan(cached_.size(), rows);
            segments_.assign({kv::segment{.sequence = sequences_[0], .first_row = 0, .rows = chunk.size()}});
            wanted_.assign({chunk.size() - 1});
            forward_batch(chunk, cached_.size() + chunk.size() == prompt.size(), o);
            cached_.insert(cached_.end(), chunk.begin(), chunk.end());
        }
    }

    /// Runs the last token of every running beam.
    void step(std::span<const detail::beam_frontier::state> running, const beam_options& o) {
        segments_.clear();
        wanted_.clear();
        tokens_.clear();
        for (std::size_t i = 0; i < running.size(); ++i) {
            segments_.push_back({.sequence = sequences_[i], .first_row = i, .rows = 1});
            wanted_.push_back(i);
            tokens_.push_back(running[i].tokens.back().token);
        }
        forward_batch(tokens_, true, o);
    }

    void forward_batch(std::span<const token_id> tokens, bool want_logits, const beam_options& o) {
        const std::span<const std::size_t> wanted = std::span(wanted_).first(want_logits ? wanted_.size() : 0);
        forward(model_, workspace_, cache_, batch{.tokens = tokens, .segments = segments_, .wanted = wanted},
                matrix_view<float>(logits_.data(), {wanted_.size(), model_.config().vocabulary}), o.cancel);
        for (const kv::segment& s : segments_) cache_.commit(s.sequence);
    }

    /// Makes log-probabilities of the logits and offers what the processors leave.
    void offer(detail::beam_frontier& frontier, std::size_t prompt_size, const beam_options& o) {
        const std::size_t vocabulary = model_.config().vocabulary;
        for (std::size_t i = 0; i < frontier.running().size(); ++i) {
            const std::span<float> row = logits_.span().subspan(i * vocabulary, vocabulary);
            const float max = sampling::detail::highest(row);
            const double log_sum = sampling::detail::log_sum_exp(row, max);
            for (float& x : row) x = sampling::detail::logprob_of(x, max, log_sum);
            const std::span<const scored_token> generated = frontier.running()[i].tokens;
            history_.resize(prompt_size);
            for (const scored_token& t : generated) history_.push_back(t.token);
            candidates_.assign(row);
            processors_.process(candidates_, {.history = history_, .step = generated.size()});
            const std::string before = last_text(generated, o);
            frontier.offer(i, candidates_, row, [&](token_id t) { return is_end(t, o) || completes_stop(before, t, o); });
        }
    }

    bool is_end(token_id t, const beam_options& o) const {
        return std::find(o.end_tokens.begin(), o.end_tokens.end(), t) != o.end_tokens.end() || (!o.ignore_end && model_.is_end(t));
    }

    /// The end of a beam's text, in which a stop text could have begun.
    std::string last_text(std::span<const scored_token> generated, const beam_options& o) const {
        std::size_t longest = 0;
        for (const std::string& s : o.stop) longest = std::max(longest, s.size());
        std::string out;
        for (std::size_t i = generated.size(); model_.has_tokenizer() && i-- > 0 && out.size() < longest;)
            out.insert(0, model_.piece(generated[i].token));
        return out;
    }

    bool completes_stop(const std::string& before, token_id t, const beam_options& o) const {
        if (o.stop.empty() || !model_.has_tokenizer()) return false;
        const std::string text = concat(before, model_.piece(t));
        return std::any_of(o.stop.begin(), o.stop.end(), [&](const std::string& s) { return !s.empty() && text.find(s) != text.npos; });
    }

    /// Gives every beam that goes on a sequence: the first continuation of a beam takes its own, others fork it.
    void follow(std::span<const std::size_t> parents) {
        std::vector<kv::sequence_id> next(parents.size());
        std::vector<std::size_t> first(sequences_.size(), parents.size());
        for (std::size_t i = parents.size(); i-- > 0;) first[parents[i]] = i;
        // Closed ones go first: their slots and blocks are needed. The sequences that stay are kept in front, so that all open ones are
        // known.
        std::vector<kv::sequence_id> open;
        open.reserve(beams_);
        for (std::size_t p = 0; p < first.size(); ++p) {
            if (first[p] == parents.size()) continue;
            next[first[p]] = sequences_[p];
            open.push_back(sequences_[p]);
        }
        for (std::size_t p = 0; p < first.size(); ++p)
            if (first[p] == parents.size()) cache_.close(sequences_[p]);
        sequences_.swap(open);
        for (std::size_t i = 0; i < parents.size(); ++i) {
            if (first[parents[i]] == i) continue;
            next[i] = cache_.fork(next[first[parents[i]]]);
            sequences_.push_back(next[i]);
        }
        sequences_.swap(next);
    }

    std::vector<beam> results(const detail::beam_frontier& frontier, const beam_options& o) const {
        std::vector<beam> out;
        for (const detail::beam_frontier::state& s : frontier.complete().first(std::min(o.returned, frontier.complete().size()))) {
            const bool at_end = s.ended && is_end(s.tokens.back().token, o);
            beam b{.tokens = s.tokens, .score = s.score, .finish = finish_reason::length};
            if (s.ended) b.finish = at_end ? finish_reason::end_token : finish_reason::stop_string;
            if (model_.has_tokenizer()) {
                text::stream_decoder decoder;
                stop_strings stops(o.stop);
                for (std::size_t i = 0; i + at_end < s.tokens.size(); ++i)
                    stops.push(decoder.push(model_.piece(s.tokens[i].token)), b.text);
                if (s.ended) stops.push(decoder.flush(), b.text);  // else the code point was only cut off
                stops.flush(b.text);
            }
            out.push_back(std::move(b));
        }
        return out;
    }

    model<Backend> model_;
    Processors processors_;
    std::size_t beams_;
    std::size_t limit_;  // tokens a sequence can reach
    std::size_t chunk_;  // rows of the prompt a step
    step_limits limits_;
    typename Policy::cache cache_;
    workspace<Backend> workspace_;
    buffer<float> logits_;                    // (beams, vocabulary)
    std::vector<kv::sequence_id> sequences_;  // of the running beams; at least one, which holds the prompt
    std::vector<token_id> cached_;            // the prompt as far as it is in the first sequence
    sampling::candidates candidates_;
    std::vector<token_id> history_, tokens_;
    std::vector<kv::segment> segments_;
    std::vector<std::size_t> wanted_;
};

}  // namespace skald
