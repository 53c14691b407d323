// SPDX-License-Identifier: MIT
#pragma once
// Reads a token sequence and hands out what the model makes of its rows: what embeddings and scores are computed from. Generates
// nothing. Rows that nobody asks for are not read again where texts begin alike.
#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/model.hpp>
#include <skald/model/workspace.hpp>
#include <skald/pipeline/known_prefix.hpp>

namespace skald {

/// How texts are read.
struct reader_options {
    std::size_t chunk = 512;  ///< tokens of a step
    std::size_t wanted = 64;  ///< rows a step that logits are computed for: they take wanted · vocabulary floats
};

namespace detail {

/// One sequence, a cache and a workspace on a model. Results do not depend on the options.
template <class Backend, kv::policy Policy>
class reader {
public:
    reader(model<Backend> m, const Policy& policy, const reader_options& options)
        : model_(std::move(m)),
          limit_(kv::max_length(policy, model_.config().cache())),
          limits_(limits(options.chunk, std::min(limit_, kv::longest_step(policy)))),
          wanted_(std::clamp<std::size_t>(options.wanted, 1, limits_.rows)),
          cache_(policy.make(model_.config().cache(), model_.backend().memory())),
          workspace_(model_.backend(), model_.architecture(), model_.config(), limits_),
          sequence_(cache_.open()) {
        if (model_.architecture().learned_positions) limit_ = std::min(limit_, model_.config().context);
    }

    const model<Backend>& get_model() const noexcept { return model_; }

    /// Calls f(row, state) with the state after the last norm of every row from `first` on. // state: (hidden)
    template <class F>
    void hidden(std::span<const token_id> tokens, std::size_t first, const std::stop_token& stop, F&& f) {
        const std::size_t width = model_.config().hidden;
        if (states_.size() == 0) states_ = buffer<float>(limits_.rows * width, model_.backend().memory());
        read(
            tokens, first, limits_.rows, stop, [&](std::size_t rows) { return step_outputs{.hidden = {states_.data(), {rows, width}}}; },
            f);
    }

    /// Calls f(row, logits) with the logits of every row from `first` on. // logits: (vocabulary)
    template <class F>
    void logits(std::span<const token_id> tokens, std::size_t first, const std::stop_token& stop, F&& f) {
        const std::size_t width = model_.config().vocabulary;
        if (logits_.size() == 0) logits_ = buffer<float>(wanted_ * width, model_.backend().memory());
        read(tokens, first, wanted_, stop, [&](std::size_t rows) { return step_outputs{.logits = {logits_.data(), {rows, width}}}; }, f);
    }

private:
    /// Every row of a step may be wanted.
    static step_limits limits(std::size_t chunk, std::size_t tokens) noexcept {
        const std::size_t rows = step_limits{.rows = chunk}.fit(tokens).rows;
        return {.rows = rows, .wanted = rows};
    }

    /// Keeps what the cache has of all but the last of these tokens.
    void go_to_prefix(std::span<const token_id> tokens) {
        if (!kv::reads_by_position(cache_)) {
            cache_.truncate(sequence_, 0);
            cached_.clear();
        }
        keep_known_prefix(cache_, sequence_, cached_, tokens);
    }

    /// Steps of at most chunk rows before `first`, and of at most `wanted` rows from there on.
    template <class Outputs, class F>
    void read(std::span<const token_id> tokens, std::size_t first, std::size_t wanted, const std::stop_token& stop, Outputs outputs, F& f) {
        if (tokens.size() > limit_)
            fail(errc::cache_full, "text", "has ", tokens.size(), " tokens; the cache holds ", limit_, "; raise .tokens");
        if (tokens.empty()) return;
        go_to_prefix(tokens.first(std::min(first, tokens.size() - 1) + 1));
        cached_.reserve(tokens.size());
        for (std::size_t at = cached_.size(); at < tokens.size();) {
            const bool silent = at < first;
            const std::size_t most = std::min(kv::step_room(cache_, sequence_), tokens.size() - at);
            const std::size_t rows = std::min(silent ? std::min(limits_.rows, first - at) : wanted, most);
            rows_.resize(silent ? 0 : rows);
            std::iota(rows_.begin(), rows_.end(), std::size_t{0});
            const std::array segments{kv::segment{.sequence = sequence_, .first_row = 0, .rows = rows}};
            const step_outputs out = silent ? step_outputs{} : outputs(rows);
            forward(model_, workspace_, cache_, batch{.tokens = tokens.subspan(at, rows), .segments = segments, .wanted = rows_}, out,
                    stop);
            cache_.commit(sequence_);
            cached_.insert(cached_.end(), tokens.begin() + static_cast<std::ptrdiff_t>(at),
                           tokens.begin() + static_cast<std::ptrdiff_t>(at + rows));
            for (const std::size_t r : rows_)
                f(at + r, std::span<const float>((out.logits.extent(0) != 0 ? out.logits : out.hidden).row(r)));
            at += rows;
        }
    }

    model<Backend> model_;
    std::size_t limit_;  // tokens of the longest text
    step_limits limits_;
    std::size_t wanted_;
    typename Policy::cache cache_;
    workspace<Backend> workspace_;
    kv::sequence_id sequence_;
    buffer<float> states_, logits_;  // made when first needed
    std::vector<std::size_t> rows_;
    std::vector<token_id> cached_;  // the tokens in the cache
};

}  // namespace detail

}  // namespace skald
