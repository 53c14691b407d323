// SPDX-License-Identifier: MIT
// Sampling: its options and the chain they make.
#include "sampler.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <skald/sampling/sampling.hpp>

#include "arguments.hpp"

namespace cli {

namespace {

namespace sampling = skald::sampling;

/// `\n`, `\t` and `\\` for people whose shell has no way to write a line's end.
std::string unescaped(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
        const std::size_t known = std::string_view("nt\\").find(next);
        out += known == std::string_view::npos ? text[i] : "\n\t\\"[known];
        i += known != std::string_view::npos;
    }
    return out;
}

/// `15043+1.5`, `15043-inf`: a token and what its logit gets.
sampling::token_bias read_bias(const std::string& text) {
    sampling::token_bias out{};
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out.token);
    char* after = nullptr;
    if (status == std::errc{} && out.token >= 0 && (*end == '+' || *end == '-')) out.bias = std::strtof(end, &after);
    if (after == nullptr || *after != '\0' || after == end || std::isnan(out.bias))
        throw CLI::ValidationError("--logit-bias", "'" + text + "' is no token id followed by +NUMBER or -NUMBER, as in 15043+1 or 2-inf");
    return out;
}

/// For options that a model may have defaults for: notes that the user gave it.
auto noted(sampling_options& s, const char* option) {
    return [&s, option](const std::string&) { s.given.emplace_back(option); };
}

void add_truncations(CLI::App* app, sampling_options& s) {
    app->add_option("--top-k", s.top_k, "keep the k most probable tokens; 0: all")
        ->check(whole(0))
        ->each(noted(s, "--top-k"))
        ->capture_default_str();
    app->add_option("--top-p", s.top_p, "keep the most probable tokens up to this mass; 1: all")
        ->check(real(0, 1))
        ->each(noted(s, "--top-p"))
        ->capture_default_str();
    app->add_option("--min-p", s.min_p, "drop tokens below this share of the best one's probability; 0: none")
        ->check(real(0, 1))
        ->each(noted(s, "--min-p"))
        ->capture_default_str();
    app->add_option("--typical", s.typical, "keep the tokens of most typical surprise up to this mass; 1: all")
        ->check(real(0, 1))
        ->capture_default_str();
    app->add_option("--top-nsigma,--top-n-sigma", s.top_n_sigma, "keep logits within n standard deviations of the best; 0 or less: all")
        ->check(real(-1, 1000))
        ->capture_default_str();
    app->add_option("--epsilon-cutoff", s.epsilon_cutoff, "drop tokens below this probability; 0: none")
        ->check(real(0, 1))
        ->capture_default_str();
    app->add_option("--eta-cutoff", s.eta_cutoff, "the same, lower where the model is unsure; 0: none")
        ->check(real(0, 1))
        ->capture_default_str();
    app->add_option("--xtc-probability", s.xtc_probability, "how often all likely tokens but the least of them are dropped; 0: never")
        ->check(real(0, 1))
        ->capture_default_str();
    app->add_option("--xtc-threshold", s.xtc_threshold, "the probability that counts as likely; above 0.5: none")
        ->check(real(0, 1))
        ->capture_default_str();
}

void add_penalties(CLI::App* app, sampling_options& s) {
    app->add_option("--repeat-penalty", s.repeat_penalty, "weaken tokens that were used lately; 1: not")
        ->check(real(0.01, 100))
        ->each(noted(s, "--repeat-penalty"))
        ->capture_default_str();
    app->add_option("--frequency-penalty", s.frequency_penalty, "weaken tokens by this for every time they were used lately")
        ->check(real(-100, 100))
        ->capture_default_str();
    app->add_option("--presence-penalty", s.presence_penalty, "weaken tokens that were used lately by this")
        ->check(real(-100, 100))
        ->capture_default_str();
    app->add_option("--repeat-last-n,--repeat-last", s.repeat_last, "how many tokens back these three look; -1: all")
        ->check(whole(-1))
        ->capture_default_str();
    app->add_option("--dry-multiplier", s.dry_multiplier, "weaken tokens that continue a repetition; 0: not")
        ->check(real(0, 1000))
        ->capture_default_str();
    app->add_option("--dry-base", s.dry_base, "how much more for each token the repetition is longer")
        ->check(real(1, 1000))
        ->capture_default_str();
    app->add_option("--dry-allowed-length", s.dry_allowed_length, "repetitions shorter than this are free")
        ->check(whole(0))
        ->capture_default_str();
    app->add_option("--dry-penalty-last-n", s.dry_last, "how many tokens back to look for repetitions; -1: all")
        ->check(whole(-1))
        ->capture_default_str();
    app->add_option("--dry-sequence-breaker", s.dry_breakers,
                    "a text that ends repetitions, instead of \\n : \" * (may be given several times); none: no text does")
        ->allow_extra_args(false)
        ->type_name("TEXT");
    app->add_option("--no-repeat-ngram-size", s.no_repeat_ngram, "no sequence of this many tokens comes up twice; 0: any may")
        ->check(whole(0))
        ->capture_default_str();
    app->add_option("--bad-word", s.bad_words, "a text that must not come up (may be given several times)")
        ->allow_extra_args(false)
        ->type_name("TEXT");
    app->add_option_function<std::vector<std::string>>(
           "--logit-bias",
           [&s](const std::vector<std::string>& texts) {
               for (const std::string& text : texts) s.logit_bias.push_back(read_bias(text));
           },
           "makes a token likelier or less likely: 15043+1, 2-inf (may be given several times)")
        ->allow_extra_args(false)
        ->type_name("TOKEN±BIAS");
}

}  // namespace

void add_sampling(CLI::App* app, sampling_options& s) {
    app->option_defaults()->group("Sampling");
    app->add_option("--seed", s.seed, "same seed and same request: same text")->capture_default_str();
    app->add_option("--temp", s.temperature, "temperature; 0 takes the most probable token")
        ->check(real(0, 1000))
        ->each(noted(s, "--temp"))
        ->capture_default_str();
    app->add_option("--dynatemp-range", s.dynatemp_range, "let the temperature follow the entropy, by this much up and down; 0: not")
        ->check(real(0, 1000))
        ->capture_default_str();
    app->add_option("--dynatemp-exp", s.dynatemp_exponent, "the exponent it follows by")->check(real(0, 100))->capture_default_str();
    add_truncations(app, s);
    add_penalties(app, s);
    app->add_option("--mirostat", s.mirostat, "hold the surprise at a target, by version 1 or 2, in place of all that drops tokens; 0: not")
        ->check(whole(0, 2))
        ->capture_default_str();
    app->add_option("--mirostat-ent", s.mirostat_target, "mirostat's target, in bits")->check(real(0, 100))->capture_default_str();
    app->add_option("--mirostat-lr", s.mirostat_rate, "mirostat's learning rate")->check(real(0, 10))->capture_default_str();
    app->option_defaults()->group("Options");
}

sampling_options with_defaults(sampling_options o, const skald::generation_defaults& d) {
    const auto take = [&](std::string_view option, auto& value, const auto& recommended) {
        if (recommended && std::find(o.given.begin(), o.given.end(), option) == o.given.end()) value = *recommended;
    };
    take("--temp", o.temperature, d.temperature);
    take("--top-k", o.top_k, d.top_k);
    take("--top-p", o.top_p, d.top_p);
    take("--min-p", o.min_p, d.min_p);
    take("--repeat-penalty", o.repeat_penalty, d.repetition_penalty);
    return o;
}

void add_search(CLI::App* app, search_options& s) {
    using skald::early_stopping;
    app->option_defaults()->group("Beam search");
    app->add_option("--beams", s.beams,
                    "search for the most probable answer with this many beams; of the options above, penalties and bans count")
        ->check(whole(1, 1024));
    app->add_option("--beams-shown", s.shown, "how many of the best answers to show")->check(whole(1, 1024))->capture_default_str();
    app->add_option("--length-penalty", s.length_penalty, "scores are divided by the number of tokens to this power")
        ->check(real(-100, 100))
        ->capture_default_str();
    app->add_option_function<std::string>(
           "--early-stopping",
           [&s](const std::string& word) {
               constexpr std::array<std::string_view, 3> words{"on", "off", "never"};
               const auto found = std::find(words.begin(), words.end(), word);
               if (found == words.end()) throw CLI::ValidationError("--early-stopping", "'" + word + "' is none of on, off, never");
               s.early_stopping = std::array{early_stopping::on, early_stopping::off,
                                             early_stopping::never}[static_cast<std::size_t>(found - words.begin())];
           },
           "with as many answers as beams, end: on: at once; off: when better ones are unlikely (default); never: when they are impossible")
        ->type_name("on|off|never");
    app->option_defaults()->group("Options");
}

sampling::dynamic_chain make_processors(const sampling_options& o, const skald::text::tokenizer* tokenizer) {
    sampling::dynamic_chain chain;
    if (!o.grammar.empty() || !o.json_schema.empty()) chain.add(read_grammar(o, tokenizer));
    if (!o.logit_bias.empty()) chain.add(sampling::logit_bias(o.logit_bias));
    if (o.repeat_penalty != 1) chain.add(sampling::repetition_penalty{o.repeat_penalty, o.repeat_last});
    if (o.frequency_penalty != 0 || o.presence_penalty != 0)
        chain.add(sampling::frequency_presence_penalty{o.frequency_penalty, o.presence_penalty, o.repeat_last});
    if (o.dry_multiplier != 0) {
        sampling::dry dry{.multiplier = o.dry_multiplier, .base = o.dry_base, .allowed_length = o.dry_allowed_length, .last_n = o.dry_last};
        std::vector<std::string> texts;
        for (const std::string& text : o.dry_breakers)
            if (text != "none") texts.push_back(unescaped(text));
        if (tokenizer != nullptr) dry.breakers = sampling::sequence_breakers(*tokenizer, texts);
        chain.add(std::move(dry));
    }
    if (o.no_repeat_ngram > 0) chain.add(sampling::no_repeat_ngram{o.no_repeat_ngram});
    if (!o.bad_words.empty() && tokenizer != nullptr) chain.add(sampling::bad_words(*tokenizer, o.bad_words));
    return chain;
}

sampling::dynamic_chain make_sampler(const sampling_options& o, const skald::text::tokenizer* tokenizer) {
    sampling::dynamic_chain chain = make_processors(o, tokenizer);
    const auto add_temperature = [&] {
        if (o.temperature != 1 || o.dynatemp_range > 0)
            chain.add(sampling::dynamic_temperature{o.temperature, o.dynatemp_range, o.dynatemp_exponent});
    };

    if (o.temperature == 0 && o.dynatemp_range == 0) return std::move(chain.select(sampling::greedy{}));
    if (o.mirostat != 0) {
        add_temperature();
        if (o.mirostat == 1)
            chain.select(sampling::mirostat(o.mirostat_target, o.mirostat_rate));
        else
            chain.select(sampling::mirostat_v2(o.mirostat_target, o.mirostat_rate));
        return chain;
    }
    if (o.top_n_sigma > 0) chain.add(sampling::top_n_sigma{o.top_n_sigma});
    if (o.top_k > 0) chain.add(sampling::top_k{o.top_k});
    if (o.typical < 1) chain.add(sampling::typical{o.typical});
    if (o.top_p < 1) chain.add(sampling::top_p{o.top_p});
    if (o.min_p > 0) chain.add(sampling::min_p{o.min_p});
    if (o.epsilon_cutoff > 0) chain.add(sampling::epsilon_cutoff{o.epsilon_cutoff});
    if (o.eta_cutoff > 0) chain.add(sampling::eta_cutoff{o.eta_cutoff});
    if (o.xtc_probability > 0) chain.add(sampling::xtc{o.xtc_probability, o.xtc_threshold});
    add_temperature();
    return chain;
}

}  // namespace cli
