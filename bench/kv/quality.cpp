// SPDX-License-Identifier: MIT
// What caches that round, drop or skip cost in perplexity, each beside what it has to beat:
//
// - codecs: q8 and kivi4 beside f16, and kivi2 beside 2 bits a token for keys, as for values;
// - a fifth of the tokens kept, by attention (H2O, TOVA) beside the most recent ones;
// - a window with sinks (StreamingLLM) over eight times its tokens, beside windows that are read anew for every token;
// - tiers beside q4 in as many bytes.
//
//     bench_kv_quality MODEL TEXT [EVERY = 1]
//
// The text is cut into windows, of which each EVERY-th is read; the second half of each is scored. Exits with 1 where a bound is missed.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <skald/skald.hpp>

namespace {

using namespace skald;
using backend = cpu<>;
using tokens_view = std::span<const token_id>;

/// What KIVI compares its keys with: 2 bits, with a multiple and an offset for 32 channels of each token.
using two_bits_a_token = kv::grouped<kv::token_codes<2>, kv::kivi2::tokens>;

struct loss {
    double logprob = 0;
    std::size_t tokens = 0, bytes = 0;  // scored; of the cache
    double perplexity() const { return std::exp(-logprob / static_cast<double>(tokens)); }
};

class measurement {
public:
    measurement(model<backend> m, std::vector<token_id> text, std::size_t every)
        : model_(std::move(m)), text_(std::move(text)), every_(every) {}

    /// The second halves of windows, read in steps of `chunk` tokens.
    template <class Policy>
    loss windows_by(const Policy& policy, std::size_t window, std::size_t chunk) const {
        scorer s(model_, policy, {.chunk = chunk});
        loss out{.bytes = policy.bytes(model_.config().cache())};
        for (std::size_t at = 0; at + window <= text_.size(); at += every_ * window) {
            const auto score = s.score(some(at, window / 2 + 1), some(at + window / 2 + 1, window / 2 - 1));
            out.logprob += score.logprob();
            out.tokens += score.tokens.size();
        }
        return out;
    }
    loss windows(const std::string& cache, std::size_t window, std::size_t chunk = 512) const {
        return windows_by(named(cache, window, chunk), window, chunk);
    }

    /// Each step-th token of texts of `length` tokens, but for the first `window`: read by a cache.
    loss places(const std::string& cache, std::size_t length, std::size_t window, std::size_t step) const {
        scorer s(model_, named(cache, length, 512), {.chunk = 512});
        loss out;
        for (std::size_t at = 0; at + length <= text_.size(); at += every_ * length) {
            const auto score = s.score(some(at, window), some(at + window, length - window));
            for (std::size_t i = 0; i < score.tokens.size(); i += step, ++out.tokens)
                out.logprob += static_cast<double>(score.tokens[i].logprob);
        }
        return out;
    }
    /// The same tokens, each after the `window` before it, and nothing else.
    loss places_anew(std::size_t length, std::size_t window, std::size_t step) const {
        scorer s(model_, named("contiguous:f16", window, 512), {.chunk = 512});
        loss out;
        for (std::size_t at = 0; at + length <= text_.size(); at += every_ * length)
            for (std::size_t i = window; i < length; i += step, ++out.tokens)
                out.logprob += s.score(some(at + i - window, window), some(at + i, 1)).logprob();
        return out;
    }

private:
    static kv::any<backend> named(const std::string& cache, std::size_t tokens, std::size_t step) {
        return {kv::parse_spec(cache), {.tokens = tokens, .context = tokens, .step = step}};
    }
    tokens_view some(std::size_t at, std::size_t n) const { return tokens_view(text_).subspan(at, n); }

    model<backend> model_;
    std::vector<token_id> text_;
    std::size_t every_;
};

/// The table, line by line; what is bounded says whether its bound holds.
class table {
public:
    void title(const std::string& what) const {
        std::printf("\n%s\n\n| cache | MB | perplexity | | bound |\n|---|---:|---:|---:|---|\n", what.c_str());
    }
    void line(const std::string& cache, const loss& l, const loss& against, const std::string& bound = {}, bool holds = true) {
        std::printf("| %s | ", cache.c_str());
        if (l.bytes > 0) std::printf("%.2f", static_cast<double>(l.bytes) / 1e6);
        std::printf(" | %.4f | %+.2f%% | %s%s |\n", l.perplexity(), 100 * (l.perplexity() / against.perplexity() - 1), bound.c_str(),
                    bound.empty() ? ""
                    : holds       ? ": holds"
                                  : ": misses");
        std::fflush(stdout);
        all_hold_ = all_hold_ && holds;
    }
    bool all_hold() const { return all_hold_; }

private:
    bool all_hold_ = true;
};

void codecs(const measurement& m, table& out) {
    for (const std::size_t window : {512, 2048}) {
        out.title(concat("Codecs, windows of ", window, " tokens"));
        const loss f16 = m.windows("paged:f16", window), q8 = m.windows("paged:q8", window), kivi4 = m.windows("paged:kivi4", window),
                   kivi2 = m.windows("paged:kivi2", window);
        const loss plain =
            m.windows_by(kv::paged_tiered<kv::f16, two_bits_a_token>{{.tokens = window, .sequences = 1, .step = 512}}, window, 512);
        out.line("paged:f16", f16, f16);
        out.line("paged:q8", q8, f16, "0.1%", q8.perplexity() <= 1.001 * f16.perplexity());
        out.line("paged:kivi4", kivi4, f16, "1%", kivi4.perplexity() <= 1.01 * f16.perplexity());
        out.line("2 bits a token", plain, f16);
        out.line("paged:kivi2", kivi2, f16, "half of that",
                 kivi2.perplexity() - f16.perplexity() <= (plain.perplexity() - f16.perplexity()) / 2);
    }
}

void eviction(const measurement& m, table& out) {
    out.title("A fifth of 1024 tokens kept, steps of 16");
    const loss all = m.windows("paged:f16", 1024, 16), recent = m.windows("recent:205:f16", 1024, 16);
    out.line("paged:f16", all, all);
    out.line("recent:205:f16", recent, all);
    for (const char* cache : {"sinks:205:f16", "h2o:205:f16", "tova:205:f16"}) {
        const loss l = m.windows(cache, 1024, 16);
        out.line(cache, l, all, "less than recent", l.perplexity() < recent.perplexity());
    }
}

void streaming(const measurement& m, table& out) {
    const std::size_t window = 512, length = 8 * window, step = 32;
    out.title("Eight times a window of 512 tokens, each 32nd token scored");
    const loss anew = m.places_anew(length, window, step), sinks = m.places("window:508+4:f16", length, window, step);
    out.line("windows read anew", anew, anew);
    out.line("window:508+4:f16", sinks, anew, "3%", sinks.perplexity() <= 1.03 * anew.perplexity());
    out.line("paged:f16, all tokens", m.places("paged:f16", length, window, step), anew);
}

void tiers(const measurement& m, table& out) {
    out.title("Tiers in as many bytes as q4, 2048 tokens, steps of 32");
    const loss f16 = m.windows("paged:f16", 2048, 32), q4 = m.windows("paged:q4", 2048, 32);
    out.line("paged:f16", f16, f16);
    out.line("paged:q4", q4, f16);
    for (const char* cache : {"tiered:q8/256+4,kivi2", "tiered:q8/64+4,kivi4v2"}) {
        const loss l = m.windows(cache, 2048, 32);
        out.line(cache, l, f16, "less than q4 in bytes and in loss", l.bytes <= q4.bytes && l.perplexity() < q4.perplexity());
    }
}

int measure(int argc, char** argv) {
    const std::size_t every = argc > 3 ? static_cast<std::size_t>(std::strtoull(argv[3], nullptr, 10)) : 1;
    if (argc < 3 || every == 0) {
        std::fprintf(stderr, "usage: bench_kv_quality MODEL TEXT [EVERY]\n");
        return 2;
    }
    thread_pool pool;
    auto m = load_model<backend>(argv[1], {.pool = &pool});
    std::ifstream file(argv[2], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::vector<token_id> tokens = m.tokenizer().encode(text);
    if (tokens.size() < 4096) {
        std::fprintf(stderr, "%s has %zu tokens; 4096 are needed\n", argv[2], tokens.size());
        return 1;
    }
    const measurement work(std::move(m), std::move(tokens), every);
    table out;
    codecs(work, out);
    eviction(work, out);
    streaming(work, out);
    tiers(work, out);
    return out.all_hold() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try { return measure(argc, argv); } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
