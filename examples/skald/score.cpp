// SPDX-License-Identifier: MIT
// score: how probable continuations of a text are.
#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

nlohmann::ordered_json as_json(const skald::continuation_score& s) {
    nlohmann::ordered_json out{{"logprob", s.logprob()}, {"perplexity", s.perplexity()}, {"greedy", s.greedy}};
    for (const skald::scored_token& t : s.tokens) {
        out["tokens"].push_back(t.token);
        out["logprobs"].push_back(t.logprob);
    }
    return out;
}

}  // namespace

void score(const score_command& c) {
    const interruptible work;
    const auto model = load_engine(c.model, work.token());
    const auto& tokenizer = model->tokenizer();
    std::size_t longest = 1;
    for (const std::string& text : c.continuations) longest = std::max(longest, tokenizer.encode(c.prompt + text).size() + 1);  // BOS
    const score_function score_of = model->make_scorer(c.kv, longest);

    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    std::size_t best = 0;
    std::vector<skald::continuation_score> scores;
    for (const std::string& text : c.continuations) {
        scores.push_back(score_of(c.prompt, text, work.token()));
        if (scores.back().logprob() > scores[best].logprob()) best = scores.size() - 1;
        all.push_back(as_json(scores.back()));
    }
    if (c.json) {
        write(all.dump() + "\n");
        return;
    }
    write("   log-prob  perplexity  tokens  greedy  continuation\n");
    for (std::size_t i = 0; i < scores.size(); ++i) {
        const auto& s = scores[i];
        write(skald::concat(i == best && scores.size() > 1 ? "*" : " ", padded_left(fixed(s.logprob(), 4), 10),
                            padded_left(fixed(s.perplexity(), 4), 12), padded_left(std::to_string(s.tokens.size()), 8),
                            padded_left(s.greedy ? "yes" : "no", 8), "  ", printable(c.continuations[i], 200), "\n"));
    }
}

}  // namespace cli
