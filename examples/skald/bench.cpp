// SPDX-License-Identifier: MIT
// bench: speed as llama-bench defines it. ppN reads a prompt of N random tokens into an empty cache; tgN decodes N tokens, one
// a step, from an empty cache. tok_s is the median of the repetitions, spread half their interquartile range over it. read_gb_s is
// what the weights and the cached keys and values make a run read, over its time; roof_gb_s is what the same threads read at best
// in the same session.
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/concurrency.hpp>
#include <skald/core/error.hpp>

#include "bandwidth.hpp"
#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

constexpr std::size_t rows_a_step = 512;
constexpr double least_seconds = 0.5;  // short tests are repeated until they took that long
constexpr std::size_t most_repetitions = 1000;

struct result {
    std::string test;
    std::size_t threads = 0;
    double tok_s = 0, spread = 0, read_gb_s = 0, roof_gb_s = 0;
};

/// The q-quantile of sorted values, between neighbours linearly.
double quantile(const std::vector<double>& sorted, double q) {
    const double at = q * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

class bencher {
public:
    bencher(const bench_command& c, std::size_t threads, const interruptible& work) : c_(c), threads_(threads), work_(work) {
        model_options options = c.model;
        options.threads = threads;
        model_ = load_engine(options, work.token());
        const std::size_t length = std::max({c.prompt, c.generate, std::size_t{1}});
        steps_ = model_->make_stepper(c.kv, {.tokens = length, .rows = std::min(length, rows_a_step), .wanted = 1});
        probe_ = std::make_unique<bandwidth_probe>(model_->pool());
        std::mt19937 random(1);
        tokens_.resize(length);
        for (skald::token_id& t : tokens_) t = static_cast<skald::token_id>(random() % model_->config().vocabulary);
    }

    result prompt() { return measure("pp", c_.prompt, rows_a_step); }
    result generate() { return measure("tg", c_.generate, 1); }

private:
    /// Reads the first n tokens into an empty cache, `rows` a step. Logits of the last row of a prompt, of every decoded row.
    double once(std::size_t n, std::size_t rows) {
        steps_->clear();
        const auto begin = std::chrono::steady_clock::now();
        for (std::size_t at = 0; at < n; at += rows) {
            const auto step = std::span(tokens_).subspan(at, std::min(rows, n - at));
            const std::size_t last = step.size() - 1;
            steps_->step(step, {&last, at + step.size() == n || rows == 1 ? std::size_t{1} : 0}, work_.token());
        }
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }

    result measure(std::string_view kind, std::size_t n, std::size_t rows) {
        progress_bar bar(skald::concat(kind, n, ", ", threads_, threads_ == 1 ? " thread" : " threads"));
        double roof = probe_->measure();
        once(std::min<std::size_t>(n, rows == 1 ? 8 : n), rows);  // warms up
        std::vector<double> seconds;
        for (double sum = 0; seconds.size() < c_.repetitions || (sum < least_seconds && seconds.size() < most_repetitions);) {
            seconds.push_back(once(n, rows));
            sum += seconds.back();
            bar.show(std::min(seconds.size(), c_.repetitions), c_.repetitions);
        }
        roof = std::max(roof, probe_->measure());

        std::sort(seconds.begin(), seconds.end());
        const double median = quantile(seconds, 0.5);
        const double tokens = static_cast<double>(n);
        const std::size_t steps = (n + rows - 1) / rows;
        const double cached = rows == 1 ? tokens * (tokens + 1) / 2 : tokens;  // tokens whose keys and values are read
        const double bytes = static_cast<double>(steps) * static_cast<double>(model_->bytes_read_per_token()) +
                             cached * static_cast<double>(model_->kv_bytes_per_token(c_.kv));
        const double spread = (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / 2 / median;
        return {skald::concat(kind, n), threads_, tokens / median, spread, bytes / median / 1e9, roof / 1e9};
    }

    const bench_command& c_;
    std::size_t threads_;
    const interruptible& work_;
    std::unique_ptr<engine> model_;
    std::unique_ptr<stepper> steps_;
    std::unique_ptr<bandwidth_probe> probe_;
    std::vector<skald::token_id> tokens_;
};

void print_json(const std::vector<result>& results) {
    auto list = nlohmann::ordered_json::array();
    for (const result& r : results)
        list.push_back({{"test", r.test},
                        {"threads", r.threads},
                        {"tok_s", r.tok_s},
                        {"spread", r.spread},
                        {"read_gb_s", r.read_gb_s},
                        {"roof_gb_s", r.roof_gb_s}});
    write(list.dump(2) + "\n");
}

void print_line(const result& r) {
    write(skald::concat(padded_left(r.test, 8), padded_left(skald::concat(r.threads), 9), padded_left(fixed(r.tok_s, 1), 11),
                        padded_left("±" + fixed(100 * r.spread, 1), 9), padded_left(fixed(r.read_gb_s, 1), 11),
                        padded_left(fixed(r.roof_gb_s, 1), 11), padded_left(fixed(100 * r.read_gb_s / r.roof_gb_s, 0), 9), "\n"));
    flush();
}

}  // namespace

void bench(const bench_command& c) {
    const interruptible work;
    if (c.prompt == 0 && c.generate == 0) skald::fail(skald::errc::invalid_argument, "bench", "nothing to measure: -p and -n are both 0");
    const std::vector<std::size_t> threads = c.threads.empty() ? std::vector{skald::available_concurrency()} : c.threads;
    std::vector<result> results;
    const auto add = [&](const result& r) {
        if (!c.json && results.empty()) write("    test  threads      tok/s      ± %  read GB/s  roof GB/s   % roof\n");
        results.push_back(r);
        if (!c.json) print_line(r);
    };
    for (const std::size_t t : threads) {
        bencher b(c, t, work);
        if (c.prompt > 0) add(b.prompt());
        if (c.generate > 0) add(b.generate());
    }
    if (c.json) print_json(results);
}

}  // namespace cli
