// SPDX-License-Identifier: MIT
// bench: speed as llama-bench defines it. ppN reads a prompt of N random tokens into an empty cache; tgN decodes N tokens, one
// a step; "tgN xS @D" decodes N of each of S sequences together, which hold D tokens before, and counts them all; "no-cache" reads
// all tokens before each decoded one again. tok_s is the median of the repetitions, spread half their interquartile range over it;
// step_ms and step_ms_p95 are the median and the 95th percentile of single steps, a token's latency. depth_tok_s is how fast the
// tokens before were read, once, into fresh memory. read_gb_s is what the weights and the cached keys and values make a run read,
// over its time, of a cache that keeps or shows a bounded number of tokens no more than these; roof_gb_s is what the same threads read at
// best in the same session. load_s is how long the model took to load, peak_bytes the most memory that the process held up to there and
// through the first of the tests.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/checked.hpp>
#include <skald/core/concurrency.hpp>
#include <skald/core/error.hpp>

#include "bandwidth.hpp"
#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

constexpr std::size_t most_rows = 512;  // of a step
constexpr double least_seconds = 0.5;   // short tests are repeated until they took that long
constexpr std::size_t most_repetitions = 1000;

struct result {
    std::string test;
    std::size_t threads = 0;
    double tok_s = 0, spread = 0, step_ms = 0, step_ms_p95 = 0, depth_tok_s = 0, read_gb_s = 0, roof_gb_s = 0, load_s = 0;
    std::size_t peak_bytes = 0;
};

/// One test: the tokens of each sequence, and what is in the cache before.
struct test {
    std::string name;
    std::size_t tokens, sequences = 1, depth = 0;
    bool decodes = false;  // one token a step, each with its logits; else all in one go
    bool cached = true;    // else every step reads its sequences from their start

    std::size_t rows_together() const { return std::max<std::size_t>(most_rows / sequences, 1); }  // of each sequence, of a long text
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The most memory this process has held, mapped files included; 0 where the system does not tell.
std::size_t peak_memory() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return static_cast<std::size_t>(std::stoull(line.substr(6))) * 1024;
    return 0;
}

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
        const auto begin = std::chrono::steady_clock::now();
        model_ = load_engine(options, work.token());
        load_seconds_ = seconds_since(begin);
    }

    result measure(const test& t) {
        const std::size_t length = t.depth + t.tokens;
        steps_ = model_->make_stepper(
            c_.kv, {.tokens = length, .sequences = t.sequences, .rows = std::min(length * t.sequences, most_rows), .wanted = t.sequences});
        std::mt19937 random(1);
        tokens_.resize(length * t.sequences);
        for (skald::token_id& token : tokens_) token = static_cast<skald::token_id>(random() % model_->config().vocabulary);

        progress_bar bar(skald::concat(t.name, ", ", threads_, threads_ == 1 ? " thread" : " threads"));
        const auto begin = std::chrono::steady_clock::now();
        if (t.cached) read(t, 0, t.depth);
        const double depth_seconds = seconds_since(begin);
        once(t, std::min<std::size_t>(t.tokens, !t.decodes ? most_rows : t.cached ? 8 : 1));  // warms up
        if (!probe_) {
            peak_bytes_ = peak_memory();  // without the probe's own
            probe_ = std::make_unique<bandwidth_probe>(model_->pool());
        }
        double roof = probe_->measure();
        std::vector<double> seconds, steps;
        for (double sum = 0; seconds.size() < c_.repetitions || (sum < least_seconds && seconds.size() < most_repetitions);) {
            const std::vector<double> run = once(t, t.tokens);
            steps.insert(steps.end(), run.begin(), run.end());
            seconds.push_back(std::accumulate(run.begin(), run.end(), 0.0));
            sum += seconds.back();
            bar.show(std::min(seconds.size(), c_.repetitions), c_.repetitions);
        }
        roof = std::max(roof, probe_->measure());

        std::sort(seconds.begin(), seconds.end());
        std::sort(steps.begin(), steps.end());
        const double median = quantile(seconds, 0.5);
        return {.test = t.name,
                .threads = threads_,
                .tok_s = static_cast<double>(t.tokens * t.sequences) / median,
                .spread = (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / 2 / median,
                .step_ms = 1e3 * quantile(steps, 0.5),
                .step_ms_p95 = 1e3 * quantile(steps, 0.95),
                .depth_tok_s = t.cached && t.depth > 0 ? static_cast<double>(t.depth * t.sequences) / depth_seconds : 0,
                .read_gb_s = bytes_read(t) / median / 1e9,
                .roof_gb_s = roof / 1e9,
                .load_s = load_seconds_,
                .peak_bytes = peak_bytes_};
    }

private:
    /// Reads tokens first … first + n of every sequence, as many together as fit a step, for the logits of the last.
    void read(const test& t, std::size_t first, std::size_t n) {
        std::vector<skald::token_id> tokens;
        std::vector<skald::kv::segment> segments;
        std::vector<std::size_t> wanted;
        const std::size_t rows = t.rows_together();
        for (std::size_t at = first, count; at < first + n; at += count) {
            count = std::min({rows, steps_->step_room(), first + n - at});
            tokens.clear(), segments.clear(), wanted.clear();
            for (std::size_t s = 0; s < t.sequences; ++s) {
                segments.push_back({steps_->sequences()[s], tokens.size(), count});
                const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(s * (t.depth + t.tokens) + at);
                tokens.insert(tokens.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
                if (at + count == first + n) wanted.push_back(tokens.size() - 1);
            }
            steps_->step(tokens, segments, wanted, work_.token());
        }
    }

    /// Seconds of each step for n tokens of every sequence after those at the depth; a prompt is one.
    std::vector<double> once(const test& t, std::size_t n) {
        if (t.cached) back_to_depth(t);
        std::vector<double> seconds;
        for (std::size_t done = 0; done < n;) {
            const std::size_t count = t.decodes ? 1 : n;
            const auto begin = std::chrono::steady_clock::now();
            if (t.cached) {
                read(t, t.depth + done, count);
            } else {
                steps_->clear();
                read(t, 0, t.depth + done + count);
            }
            seconds.push_back(seconds_since(begin));
            done += count;
        }
        return seconds;
    }

    /// Leaves the tokens at the depth; a cache that has given up what they need reads them again.
    void back_to_depth(const test& t) {
        if (steps_->keeps(t.depth)) return steps_->truncate(t.depth);
        steps_->clear();
        read(t, 0, t.depth);
    }

    double bytes_read(const test& t) const {
        const double tokens = static_cast<double>(t.tokens);
        const std::size_t rows = t.rows_together();
        const std::size_t passes = !t.decodes ? skald::ceil_div(t.tokens, rows)
                                   : t.cached ? t.tokens
                                              : t.tokens * skald::ceil_div(t.depth + t.tokens, rows);
        const double cached = t.decodes ? model_->kv_bytes_read(c_.kv, t.depth, t.tokens) : model_->kv_bytes_read(c_.kv, 0, 1) * tokens;
        return static_cast<double>(passes) * static_cast<double>(model_->bytes_read_per_token()) +
               cached * static_cast<double>(t.sequences);
    }

    const bench_command& c_;
    std::size_t threads_;
    const interruptible& work_;
    std::unique_ptr<engine> model_;
    std::unique_ptr<stepper> steps_;
    std::unique_ptr<bandwidth_probe> probe_;
    std::vector<skald::token_id> tokens_;  // sequence after sequence
    double load_seconds_ = 0;
    std::size_t peak_bytes_ = 0;
};

std::vector<test> tests_of(const bench_command& c) {
    std::vector<test> tests;
    for (const std::size_t tokens : c.prompts)
        if (tokens > 0) tests.push_back({.name = skald::concat("pp", tokens), .tokens = tokens});
    if (c.generate == 0) return tests;
    for (const std::size_t depth : c.depths)
        for (const std::size_t sequences : c.sequences) {
            std::string name = skald::concat("tg", c.generate);
            if (sequences > 1) name += skald::concat(" x", sequences);
            if (depth > 0) name += skald::concat(" @", depth);
            if (c.no_cache) name += " no-cache";
            tests.push_back({std::move(name), c.generate, sequences, depth, true, !c.no_cache});
        }
    return tests;
}

void print_json(const std::vector<result>& results) {
    auto list = nlohmann::ordered_json::array();
    for (const result& r : results)
        list.push_back({{"test", r.test},
                        {"threads", r.threads},
                        {"tok_s", r.tok_s},
                        {"spread", r.spread},
                        {"step_ms", r.step_ms},
                        {"step_ms_p95", r.step_ms_p95},
                        {"depth_tok_s", r.depth_tok_s},
                        {"read_gb_s", r.read_gb_s},
                        {"roof_gb_s", r.roof_gb_s},
                        {"load_s", r.load_s},
                        {"peak_bytes", r.peak_bytes}});
    write(list.dump(2) + "\n");
}

void print_line(const result& r) {
    write(skald::concat(padded_left(r.test, 24), padded_left(skald::concat(r.threads), 9), padded_left(fixed(r.tok_s, 1), 11),
                        padded_left("±" + fixed(100 * r.spread, 1), 9), padded_left(fixed(r.read_gb_s, 1), 11),
                        padded_left(fixed(r.roof_gb_s, 1), 11), padded_left(fixed(100 * r.read_gb_s / r.roof_gb_s, 0), 9), "\n"));
    flush();
}

}  // namespace

void bench(const bench_command& c) {
    const interruptible work;
    const std::vector<test> tests = tests_of(c);
    if (tests.empty()) skald::fail(skald::errc::invalid_argument, "bench", "nothing to measure: -p and -n are both 0");
    const std::vector<std::size_t> threads = c.threads.empty() ? std::vector{skald::available_concurrency()} : c.threads;
    std::vector<result> results;
    const auto add = [&](const result& r) {
        if (!c.json && results.empty()) write("                    test  threads      tok/s      ± %  read GB/s  roof GB/s   % roof\n");
        results.push_back(r);
        if (!c.json) print_line(r);
    };
    for (const std::size_t t : threads) {
        bencher b(c, t, work);
        for (const test& one : tests) add(b.measure(one));
    }
    if (c.json) print_json(results);
}

}  // namespace cli
