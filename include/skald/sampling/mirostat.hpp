// SPDX-License-Identifier: MIT
#pragma once
// Mirostat: the truncation that keeps the text's surprise at a target. Basu, Ramachandran, Keskar, Varshney, "Mirostat: a neural text
// decoding algorithm that directly controls perplexity" (2020). Both versions choose the token, so they stand last in a chain.
//
// The state (the surprise allowed, mu) belongs to one request: it begins anew at step 0 and follows the steps upwards, so the same
// seed and request give the same tokens. A chain with mirostat serves one request at a time.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/sampling/detail/surprisal.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/sample.hpp>

namespace skald::sampling {

namespace detail {

/// Surprise in bits: what the next token may have, learnt from what the last ones had.
class allowed_surprise {
public:
    allowed_surprise(float target, float rate) : target_(target), rate_(rate) {
        if (!(target >= 0) || !std::isfinite(target))
            fail(errc::invalid_argument, "mirostat", "the target surprise is ", target, "; it must be a finite number of bits, 0 or more");
        if (!(rate >= 0) || !std::isfinite(rate))
            fail(errc::invalid_argument, "mirostat", "the learning rate is ", rate, "; it must be a finite number of 0 or more");
        now_ = next_ = 2.0 * target;
    }

    /// mu of a step, which is the first, one after the last (others may have needed no choice), or the last once more.
    double at(std::uint64_t step) {
        if (step == 0)
            now_ = 2.0 * target_;
        else if (step > step_)
            now_ = next_;
        else if (step < step_)
            fail(errc::invalid_argument, "mirostat", "step ", step, " after step ", step_, "; give every request a sampler of its own");
        step_ = step;
        return now_;
    }

    void observe(double surprise) noexcept { next_ = now_ - static_cast<double>(rate_) * (surprise - target_); }

private:
    float target_, rate_;
    std::uint64_t step_ = 0;
    double now_ = 0, next_ = 0;  // of the last step, after it
};

/// Draws a candidate and gives its surprise by `surprisal`, which was taken before the truncation.
inline token_id draw_observed(candidates& c, const context& x, const surprisal& surprisal, allowed_surprise& allowed) {
    const token_id token = sample{}(c, x);
    const candidate* const drawn =
        std::find_if(std::as_const(c).begin(), std::as_const(c).end(), [token](const candidate& k) { return k.token == token; });
    allowed.observe(surprisal(*drawn) / std::numbers::ln2);
    return token;
}

}  // namespace detail

/// Version 2: keeps the candidates whose surprise is at most mu, the best always, draws one, and moves mu by rate · (target - its
/// surprise). Surprise is that among the candidates before the truncation, as in the paper; llama.cpp takes it after. O(size).
/// Throws errc::invalid_argument for a target or rate that is negative or not finite, and for steps out of order.
class mirostat_v2 {
public:
    explicit mirostat_v2(float target = 5.0f, float rate = 0.1f) : allowed_(target, rate) {}

    token_id operator()(candidates& c, const context& x) {
        const double most = allowed_.at(x.step) * std::numbers::ln2;
        const detail::surprisal surprisal(c);
        c.keep_if_or_best(1, [&](const candidate& k) { return surprisal(k) <= most; });
        return detail::draw_observed(c, x, surprisal, allowed_);
    }

private:
    detail::allowed_surprise allowed_;
};

/// Version 1: as version 2 with the truncation to the k best. k follows from mu and the exponent s of a Zipf law fitted to the `fitted`
/// best candidates, over as many as are left of the vocabulary. O(size + fitted log fitted + k log k).
class mirostat {
public:
    explicit mirostat(float target = 5.0f, float rate = 0.1f, std::size_t fitted = 100) : allowed_(target, rate), fitted_(fitted) {}

    token_id operator()(candidates& c, const context& x) {
        const double mu = allowed_.at(x.step);
        const detail::surprisal surprisal(c);
        c.sort_first(fitted_);
        const double k = most_candidates(zipf_exponent(c), mu, static_cast<double>(c.size()));
        if (k < static_cast<double>(c.size())) c.keep_best(std::max<std::size_t>(1, static_cast<std::size_t>(k)));
        return detail::draw_observed(c, x, surprisal, allowed_);
    }

private:
    /// The least-squares slope of log probability over log rank, between neighbours.
    double zipf_exponent(const candidates& c) const noexcept {
        double products = 0, squares = 0;
        for (std::size_t i = 0; i + 1 < std::min(fitted_, c.size()) && std::isfinite(c[i + 1].logit); ++i) {
            const double t = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
            const double b = std::isinf(c[i].logit) ? 0.0 : static_cast<double>(c[i].logit) - c[i + 1].logit;
            products += t * b;
            squares += t * t;
        }
        return squares > 0 ? products / squares : 1.0;
    }

    /// Equation 5 of the paper. At s = 1 its fraction has the limit 2^mu / ln n.
    static double most_candidates(double s, double mu, double n) noexcept {
        const double epsilon = s - 1;
        const double scale = std::abs(epsilon) < 1e-9 ? 1 / std::log(n) : epsilon / (1 - std::pow(n, -epsilon));
        const double k = std::pow(scale * std::exp2(mu), 1 / s);
        return k == k ? k : n;
    }

    detail::allowed_surprise allowed_;
    std::size_t fitted_;
};

static_assert(selector<mirostat> && selector<mirostat_v2>);

}  // namespace skald::sampling
