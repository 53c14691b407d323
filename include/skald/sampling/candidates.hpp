// SPDX-License-Identifier: MIT
#pragma once
// What a sampling chain works on: the tokens that can still be chosen. One object serves every step of a generation; its
// buffers grow to the vocabulary once and are never given back between steps.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/detail/log_sum_exp.hpp>

namespace skald::sampling {

namespace detail {

[[noreturn]] inline void fail_of_nan() {
    fail(errc::invalid_argument, "logits", "a candidate's logit is NaN; a processor of the sampling chain made it");
}

}  // namespace detail

/// A token that can still be chosen.
struct candidate {
    token_id token;
    float logit;
    float probability;  ///< what the last softmax() gave; a later change of a logit leaves it as it was
};

/// The order of candidates: highest logit first, lowest token among equals, NaN last. Total, so that results do not depend on
/// the standard library's sort.
constexpr bool better(const candidate& a, const candidate& b) noexcept {
    if (a.logit > b.logit) return true;
    if (a.logit < b.logit) return false;
    const bool a_nan = a.logit != a.logit, b_nan = b.logit != b.logit;
    return a_nan != b_nan ? b_nan : a.token < b.token;
}

/// The candidates of one step. A contiguous range; writing through it is how a processor changes logits, keep_first() and
/// keep_if() are how it removes tokens.
class candidates {
public:
    /// Starts a step: token i with logits[i], in the order of the vocabulary. Allocates only when the vocabulary grows.
    void assign(std::span<const float> logits) {
        if (logits.size() > items_.size()) items_.resize(logits.size());
        for (std::size_t i = 0; i < logits.size(); ++i) items_[i] = {static_cast<token_id>(i), logits[i], 0.0f};
        size_ = logits.size();
        sorted_ = false;
    }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const candidate* data() const noexcept { return items_.data(); }
    const candidate* begin() const noexcept { return items_.data(); }
    const candidate* end() const noexcept { return items_.data() + size_; }
    const candidate& operator[](std::size_t i) const noexcept { return items_[i]; }

    /// Write access makes the candidates count as unsorted.
    candidate* data() noexcept { return writable(); }
    candidate* begin() noexcept { return writable(); }
    candidate* end() noexcept { return writable() + size_; }
    candidate& operator[](std::size_t i) noexcept { return writable()[i]; }

    /// Whether the candidates are known to stand best first.
    bool sorted() const noexcept { return sorted_; }

    /// Orders all candidates, best first. O(n log n).
    void sort_descending() { sort_first(size_); }

    /// Brings the best `n` to the front, best first; the rest follows in no order. O(size + n log n). The first `done`
    /// are taken to be in place already.
    void sort_first(std::size_t n, std::size_t done = 0) {
        n = std::min(n, size_);
        if (sorted_ || done >= n) return;
        candidate* const first = items_.data() + done;
        candidate* const middle = items_.data() + n;
        candidate* const last = items_.data() + size_;
        if (std::is_sorted(first, last, better)) {
            sorted_ = done == 0;
            return;
        }
        if ((n - done) < size_ / 64) {  // a heap of so few beats a partition: nearly every candidate costs one comparison
            std::partial_sort(first, middle, last, better);
        } else {
            if (middle != last) std::nth_element(first, middle, last, better);
            std::sort(first, middle, better);
        }
        sorted_ = done == 0 && n == size_;
    }

    /// Keeps the first `n` as they stand.
    void keep_first(std::size_t n) noexcept { size_ = std::min(size_, n); }

    /// Keeps the best `n`, best first. O(size + n log n). The first `done` are taken to be in place already.
    void keep_best(std::size_t n, std::size_t done = 0) {
        sort_first(n, done);
        keep_first(n);
        sorted_ = true;
    }

    /// Keeps the fewest best candidates whose probabilities sum to `mass` or more, at least `least` of them; afterwards they are
    /// sorted. Needs softmax(). O(size), and the kept ones are sorted.
    void keep_mass(double mass, std::size_t least) {
        constexpr std::size_t few = 128;  // hold the mass at most steps, and come cheaper than a border
        sort_first(few);
        const std::size_t known = sorted_ ? size_ : std::min(few, size_);
        double sum = 0;
        for (std::size_t i = 0; i < known; ++i) {
            sum += items_[i].probability;
            if (sum < mass || i + 1 < least) continue;
            size_ = i + 1;
            sorted_ = true;
            return;
        }
        if (sorted_) return;
        size_ = mass_border(known, sum, mass, least, better);
        std::sort(items_.data() + known, items_.data() + size_, better);
        sorted_ = true;
    }

    /// The same with the candidates taken in the order of `before`, a total order; afterwards they stand in no order. O(size).
    template <class Before>
    void keep_mass(double mass, std::size_t least, Before before) {
        sorted_ = false;
        size_ = mass_border(0, 0.0, mass, least, before);
    }

    /// Keeps those for which `keep(candidate)` is true, in their order; where they are fewer than `least` (or none), the best `least`.
    template <class Predicate>
    void keep_if_or_best(std::size_t least, Predicate keep) {
        least = std::max<std::size_t>(least, 1);
        const auto kept = static_cast<std::size_t>(std::count_if(items_.data(), items_.data() + size_, keep));
        if (kept < least)
            keep_best(least);
        else if (kept < size_)
            keep_if(keep);
    }

    /// Keeps those for which `keep(candidate)` is true, in their order.
    template <class Predicate>
    void keep_if(Predicate keep) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            if (keep(std::as_const(items_[i]))) items_[kept++] = items_[i];
        }
        size_ = kept;
    }

    /// Keeps those of `tokens`, ascending and distinct, in their order. O(tokens) while the candidates stand in the order of the
    /// vocabulary, else O(size log tokens).
    void keep_tokens(std::span<const token_id> tokens) {
        const bool in_place = std::all_of(tokens.begin(), tokens.end(), [&](token_id t) {
            return t >= 0 && static_cast<std::size_t>(t) < size_ && items_[static_cast<std::size_t>(t)].token == t;
        });
        if (!in_place) return keep_if([&](const candidate& c) { return std::binary_search(tokens.begin(), tokens.end(), c.token); });
        for (std::size_t i = 0; i < tokens.size(); ++i) items_[i] = items_[static_cast<std::size_t>(tokens[i])];
        size_ = tokens.size();
    }

    /// Replaces every logit by `change(logit)`, which must not decrease as the logit grows: what is sorted stays so.
    template <class Monotonic>
    void change_logits(Monotonic change) {
        for (std::size_t i = 0; i < size_; ++i) items_[i].logit = change(items_[i].logit);
    }

    /// The candidate of a token; nullptr where it is none. O(1) while the candidates stand in the order of the vocabulary.
    candidate* find(token_id token) noexcept {
        const std::size_t at = static_cast<std::size_t>(token);
        if (token >= 0 && at < size_ && items_[at].token == token) return writable() + at;
        for (std::size_t i = 0; i < size_; ++i)
            if (items_[i].token == token) return writable() + i;
        return nullptr;
    }

    /// Calls `change(candidate&, count)` for every candidate whose token stands `count` > 0 times in `tokens`, which ascend. One pass
    /// over the tokens while the candidates stand in the order of the vocabulary, else O(size log tokens).
    template <class Change>
    void change_tokens(std::span<const token_id> tokens, Change change) {
        candidate* const items = writable();
        const bool in_place = std::all_of(tokens.begin(), tokens.end(),
                                          [&](token_id t) { return t >= 0 && static_cast<std::size_t>(t) < size_ && items[t].token == t; });
        if (in_place) {
            for (std::size_t i = 0, next = 0; i < tokens.size(); i = next) {
                while (next < tokens.size() && tokens[next] == tokens[i]) ++next;
                change(items[tokens[i]], next - i);
            }
            return;
        }
        for (std::size_t i = 0; i < size_; ++i) {
            const auto [first, last] = std::equal_range(tokens.begin(), tokens.end(), items[i].token);
            if (first != last) change(items[i], static_cast<std::size_t>(last - first));
        }
    }

    /// The candidate that comes first in the order of better().
    /// Throws errc::invalid_argument when there is none with a logit above -inf.
    const candidate& best() const {
        const candidate* const found = sorted_ ? begin() : std::min_element(begin(), end(), better);
        if (found == end() || !(found->logit > -std::numeric_limits<float>::infinity()))
            fail(errc::invalid_argument, "logits", "none of the ", size_, " candidates left has a logit above -inf");
        return *found;
    }

    /// Fills every `probability` from the logits; they sum to 1. Logits of +inf share all of it evenly.
    /// Throws errc::invalid_argument for a NaN, and as best() does. Does not sort.
    void softmax() {
        constexpr float infinity = std::numeric_limits<float>::infinity();
        float max = -infinity;
        for (const candidate& c : std::as_const(*this)) max = c.logit > max ? c.logit : max;
        if (max == -infinity) best();  // throws
        detail::exp_block block;
        double sum = 0;
        bool nan = false;
        for (std::size_t i = 0; i < size_; i += block.size()) {
            const std::size_t n = std::min(block.size(), size_ - i);
            if (n < block.size()) block.fill(-infinity);
            for (std::size_t j = 0; j < n; ++j) {
                const float x = items_[i + j].logit;
                nan |= x != x;
                block[j] = x == max ? 0.0f : x - max;  // inf - inf would be NaN
            }
            detail::exp_nonpositive(block);
            for (std::size_t j = 0; j < n; ++j) items_[i + j].probability = block[j];
            sum += detail::sum_of(block);
        }
        if (nan) detail::fail_of_nan();
        const auto scale = static_cast<float>(1 / sum);
        for (std::size_t i = 0; i < size_; ++i) items_[i].probability *= scale;
    }

    /// Memory a processor may use as it likes while it is called, so that it need not allocate at every step.
    std::vector<token_id>& scratch() noexcept { return scratch_; }

private:
    candidate* writable() noexcept {
        sorted_ = false;
        return items_.data();
    }

    /// The fewest candidates, first in the order of `before`, whose probabilities sum to `mass`, at least `least`; brings them to the
    /// front. The first `done` stand there already, are not enough, and sum to `sum`.
    template <class Before>
    std::size_t mass_border(std::size_t done, double sum, double mass, std::size_t least, Before before) {
        candidate* const items = items_.data();
        std::size_t enough = size_;  // more than `done` and at most these are needed; halved at each turn
        while (enough - done > 1) {
            const std::size_t middle = done + (enough - done) / 2;
            std::nth_element(items + done, items + middle, items + enough, before);
            double part = 0;
            for (std::size_t i = done; i < middle; ++i) part += items[i].probability;
            if (sum + part >= mass && middle >= least) {
                enough = middle;
            } else {
                sum += part;
                done = middle;
            }
        }
        return enough;
    }

    std::vector<candidate> items_;  // at least size_
    std::vector<token_id> scratch_;
    std::size_t size_ = 0;
    bool sorted_ = false;
};

}  // namespace skald::sampling
