// SPDX-License-Identifier: MIT
// Encoded sequences over a text: for each quality the bytes a token beside those of q8, the perplexity of what follows a decoded prefix
// beside that after an untouched one, and the speed of encoding and decoding in MB/s of f16 rows.
//
//     bench_kv_transport MODEL TEXT [PREFIX = 768] [SCORED = 256] [EVERY = 1]
//
// The text is cut into windows of PREFIX + SCORED tokens, of which each EVERY-th is read; in each, the last tokens after the first of
// SCORED are predicted.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory_resource>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <skald/skald.hpp>

namespace {

using namespace skald;
using backend = cpu<>;

struct total {
    double logprob = 0, bytes = 0, encoding = 0, decoding = 0;  // seconds
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Two sequences on a model.
class measurement {
public:
    measurement(const model<backend>& m, executor& pool, std::size_t prefix, std::size_t scored)
        : model_(m),
          pool_(pool),
          prefix_(prefix),
          cache_(kv::contiguous<kv::f16>{{.tokens = prefix + scored, .sequences = 2}}.make(m.config().cache(), m.backend().memory())),
          ropes_(key_ropes(m, cache_.context())),
          untouched_(cache_.open()),
          decoded_(cache_.open()),
          workspace_(m.backend(), m.architecture(), m.config(), {.rows = std::max(rows_a_step, scored), .wanted = scored}),
          logits_(scored * m.config().vocabulary) {}

    /// Totals of the untouched sequence, and of each quality.
    void window(std::span<const token_id> tokens, std::span<total> totals) {
        const auto prefix = tokens.first(prefix_), rest = tokens.subspan(prefix_);
        cache_.truncate(untouched_, 0);
        for (std::size_t at = 0; at < prefix_; at += rows_a_step)
            step(untouched_, prefix.subspan(at, std::min(rows_a_step, prefix_ - at)), false);
        totals[0].logprob += score(untouched_, rest);
        cache_.truncate(untouched_, static_cast<position>(prefix_));
        for (unsigned quality = 1; quality < totals.size(); ++quality) {
            total& t = totals[quality];
            std::vector<std::byte> bytes;
            auto start = std::chrono::steady_clock::now();
            kv::encode(cache_, untouched_, prefix,
                       [&](std::span<const std::byte> some) { bytes.insert(bytes.end(), some.begin(), some.end()); },
                       {.quality = quality, .ropes = ropes_});
            t.encoding += seconds_since(start);
            cache_.truncate(decoded_, 0);
            start = std::chrono::steady_clock::now();
            kv::decode(cache_, decoded_, bytes, {.ropes = ropes_});
            t.decoding += seconds_since(start);
            t.bytes += static_cast<double>(bytes.size());
            t.logprob += score(decoded_, rest);
        }
    }

private:
    static constexpr std::size_t rows_a_step = 256;

    void step(kv::sequence_id s, std::span<const token_id> tokens, bool all) {
        std::vector<std::size_t> wanted(all ? tokens.size() : 0);
        std::iota(wanted.begin(), wanted.end(), std::size_t{0});
        const std::array segments{kv::segment{.sequence = s, .first_row = 0, .rows = tokens.size()}};
        forward(model_, workspace_, cache_, batch{.tokens = tokens, .segments = segments, .wanted = wanted},
                matrix_view<float>(logits_.data(), {wanted.size(), model_.config().vocabulary}));
        cache_.commit(s);
    }

    double score(kv::sequence_id s, std::span<const token_id> tokens) {
        step(s, tokens, true);
        std::vector<double> each(tokens.size() - 1);
        const std::size_t n = model_.config().vocabulary;
        pool_.run(each.size(), [&](std::size_t i) {
            each[i] = static_cast<double>(sampling::logprob(std::span<const float>(logits_).subspan(i * n, n), tokens[i + 1]));
        });
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    model<backend> model_;
    executor& pool_;
    std::size_t prefix_;
    kv::contiguous<kv::f16>::cache cache_;
    std::vector<kv::key_rope> ropes_;
    kv::sequence_id untouched_, decoded_;
    workspace<backend> workspace_;
    std::vector<float> logits_;
};

int measure(int argc, char** argv) {
    const auto number = [&](int i, std::size_t normal) {
        return argc > i ? static_cast<std::size_t>(std::strtoull(argv[i], nullptr, 10)) : normal;
    };
    const std::size_t prefix = number(3, 768), scored = number(4, 256), every = number(5, 1);
    if (argc < 3 || prefix == 0 || scored < 2 || every == 0) {
        std::fprintf(stderr, "usage: bench_kv_transport MODEL TEXT [PREFIX] [SCORED] [EVERY]\n");
        return 2;
    }
    thread_pool pool;
    const auto m = load_model<backend>(argv[1], {.pool = &pool});
    std::ifstream file(argv[2], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::vector<token_id> tokens = m.tokenizer().encode(text);

    measurement work(m, pool, prefix, scored);
    std::array<total, kv::most_quality + 1> totals;
    std::size_t windows = 0;
    for (std::size_t at = 0; at + prefix + scored <= tokens.size(); at += every * (prefix + scored), ++windows)
        work.window(std::span(tokens).subspan(at, prefix + scored), totals);
    if (windows == 0) {
        std::fprintf(stderr, "%s has %zu tokens; a window has %zu\n", argv[2], tokens.size(), prefix + scored);
        return 1;
    }

    const kv::cache_shape shape = m.config().cache();
    const auto read = static_cast<double>(windows * prefix), predicted = static_cast<double>(windows * (scored - 1));
    const double heads = 2.0 * static_cast<double>(shape.layers * shape.kv_heads);
    const double f16 = heads * static_cast<double>(kv::f16::row_bytes(shape.width()));
    const double q8 = heads * static_cast<double>(kv::q8::row_bytes(shape.width()));
    const auto perplexity = [&](const total& t) { return std::exp(-t.logprob / predicted); };
    std::printf("%zu windows, %.0f tokens encoded, %.0f predicted\n\n", windows, read, predicted);
    std::printf("| quality | bytes a token | of q8 | perplexity | | encode MB/s | decode MB/s |\n|---|---:|---:|---:|---:|---:|---:|\n");
    std::printf("| f16 | %.0f | | %.4f | | | |\n", f16, perplexity(totals[0]));
    for (std::size_t q = 1; q < totals.size(); ++q) {
        const total& t = totals[q];
        const double p = perplexity(t), bytes = t.bytes / read;
        std::printf("| %zu | %.0f | 1/%.2f | %.4f | %+.2f%% | %.0f | %.0f |\n", q, bytes, q8 / bytes, p,
                    100 * (p / perplexity(totals[0]) - 1), read * f16 / t.encoding / 1e6, read * f16 / t.decoding / 1e6);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) try { return measure(argc, argv); } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
