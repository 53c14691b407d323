// SPDX-License-Identifier: MIT
// perplexity: how well a model predicts a text; with a reference, how far its predictions are from that model's.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

constexpr std::size_t rows_a_step = 128;  // bounds the logits' memory: 128 × vocabulary floats

/// Logits as log-probabilities, in double: log p(i) = logit(i) - log_sum.
struct distribution {
    explicit distribution(std::span<const float> l) : logits(l) {
        best = static_cast<std::size_t>(std::max_element(l.begin(), l.end()) - l.begin());
        double sum = 0;
        for (const float x : l) sum += std::exp(static_cast<double>(x) - l[best]);
        log_sum = l[best] + std::log(sum);
    }
    double log_p(std::size_t i) const { return logits[i] - log_sum; }

    std::span<const float> logits;
    std::size_t best = 0;
    double log_sum = 0;
};

/// KL(reference ‖ model) in nats.
double divergence(const distribution& reference, const distribution& model) {
    double sum = 0;
    for (std::size_t i = 0; i < reference.logits.size(); ++i)
        if (const double log_p = reference.log_p(i), p = std::exp(log_p); p > 0) sum += p * (log_p - model.log_p(i));
    return sum;
}

/// What one scored token adds.
struct score {
    double log_p = 0, kl = 0;
    bool same_best = false;
};

struct totals {
    double log_p = 0, kl = 0;
    std::size_t same_best = 0, tokens = 0;
};

class evaluation {
public:
    evaluation(const perplexity_command& c, const interruptible& work) : work_(work) {
        model_ = load_engine(c.model, work.token());
        model_->tokenizer();  // says why there is none before another model is loaded
        const stepper::room room{.tokens = c.context, .rows = rows_a_step, .wanted = rows_a_step};
        steps_ = model_->make_stepper(c.kv, room);
        if (c.reference.empty()) return;
        model_options options = c.model;
        options.path = c.reference;
        reference_ = load_engine(options, work.token());
        if (reference_->config().vocabulary != model_->config().vocabulary)
            skald::fail(skald::errc::invalid_argument, c.reference, "the reference has a vocabulary of ", reference_->config().vocabulary,
                        " tokens, the model one of ", model_->config().vocabulary);
        reference_steps_ = reference_->make_stepper(exact_kv, room);
    }

    const skald::text::tokenizer& tokenizer() const { return model_->tokenizer(); }

    /// Reads a window from its start and scores the tokens after position `first`, each from the logits before it.
    void window(std::span<const skald::token_id> tokens, std::size_t first, totals& sums) {
        steps_->clear();
        if (reference_steps_) reference_steps_->clear();
        for (std::size_t at = 0, count; at + 1 < tokens.size(); at += count) {
            count = std::min({rows_a_step, steps_->step_room(), tokens.size() - at});
            const auto rows = tokens.subspan(at, count);
            std::vector<std::size_t> wanted;
            for (std::size_t i = 0; i < rows.size(); ++i)
                if (at + i >= first && at + i + 1 < tokens.size()) wanted.push_back(i);
            const auto logits = steps_->step(rows, wanted, work_.token());
            const auto reference = reference_steps_ ? reference_steps_->step(rows, wanted, work_.token()) : std::span<const float>{};

            std::vector<score> scores(wanted.size());
            const std::size_t n = model_->config().vocabulary;
            model_->pool().run(wanted.size(), [&](std::size_t i) {
                const distribution p(logits.subspan(i * n, n));
                scores[i].log_p = p.log_p(static_cast<std::size_t>(tokens[at + wanted[i] + 1]));
                if (reference.empty()) return;
                const distribution q(reference.subspan(i * n, n));
                scores[i].kl = divergence(q, p);
                scores[i].same_best = q.best == p.best;
            });
            for (const score& s : scores) {
                sums.log_p += s.log_p;
                sums.kl += s.kl;
                sums.same_best += s.same_best ? 1 : 0;
                ++sums.tokens;
            }
        }
    }

private:
    const interruptible& work_;
    std::unique_ptr<engine> model_, reference_;
    std::unique_ptr<stepper> steps_, reference_steps_;
};

}  // namespace

void perplexity(const perplexity_command& c) {
    const interruptible work;
    const std::string text = read_all(c.file);
    evaluation eval(c, work);
    const auto& tokenizer = eval.tokenizer();
    std::vector<skald::token_id> tokens = tokenizer.encode(text, {.add_bos = tokenizer.add_bos()});
    if (tokens.size() < 4) skald::fail(skald::errc::invalid_argument, c.file, "has ", tokens.size(), " tokens; at least 4 are needed");

    // As llama.cpp: windows side by side, the rest at the end unused, and of each the tokens after its middle are scored.
    const std::size_t length = std::min(c.context, tokens.size());
    const std::size_t windows = tokens.size() / length;
    totals sums;
    progress_bar bar("perplexity");
    for (std::size_t i = 0; i < windows; ++i) {
        const std::span<skald::token_id> window = std::span(tokens).subspan(i * length, length);
        if (tokenizer.add_bos()) window[0] = tokenizer.bos();
        eval.window(window, length / 2, sums);
        bar.show(i + 1, windows);
    }
    bar.clear();

    const auto count = static_cast<double>(sums.tokens);
    const double perplexity = std::exp(-sums.log_p / count), kl = sums.kl / count, top1 = static_cast<double>(sums.same_best) / count;
    if (c.json) {
        nlohmann::ordered_json out{{"perplexity", perplexity}, {"tokens", sums.tokens}};
        if (!c.reference.empty()) out["kl"] = kl, out["top1"] = top1;
        write(out.dump() + "\n");
        return;
    }
    write(skald::concat("perplexity ", fixed(perplexity, 4), " over ", sums.tokens, " tokens\n"));
    if (!c.reference.empty())
        write(
            skald::concat("divergence from the reference ", fixed(kl, 6), " nats a token, same best token ", fixed(100 * top1, 2), " %\n"));
}

}  // namespace cli
