// SPDX-License-Identifier: MIT
#pragma once
// Runs token sequences through a model under different schedules, for tests that compare logits bitwise.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <skald/kv/contiguous.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/model.hpp>

namespace skald::test {

using tokens = std::vector<token_id>;

inline tokens random_tokens(std::size_t n, std::size_t vocabulary, unsigned seed) {
    std::mt19937 random(seed);
    tokens out(n);
    for (token_id& t : out) t = static_cast<token_id>(random() % vocabulary);
    return out;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline double greatest_difference(std::span<const float> a, std::span<const float> b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(static_cast<double>(a[i]) - b[i]));
    return most;
}

/// The length of a - b over that of b; 1 where they are not equally many.
inline double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
    double square = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        square += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
        norm += static_cast<double>(b[i]) * b[i];
    }
    return a.size() == b.size() ? std::sqrt(square / norm) : 1.0;
}

/// A cache and a workspace to run steps with; keeps the logits of every row of every sequence it runs.
template <class Backend, class Policy>
class runner {
public:
    runner(model<Backend> m, const Policy& policy, std::size_t rows)
        : model_(std::move(m)),
          cache_(policy.make(model_.config().cache(), model_.backend().memory())),
          workspace_(model_.backend(), model_.architecture(), model_.config(), {.rows = rows, .wanted = rows}) {}

    typename Policy::cache& cache() { return cache_; }

    /// One step of `rows` tokens for each of several sequences. Returns their logits, sequence after sequence. // (rows, vocabulary)
    std::vector<float> step(std::span<const kv::sequence_id> sequences, std::span<const std::span<const token_id>> rows,
                            std::stop_token stop = {}) {
        std::vector<kv::segment> segments;
        tokens all;
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            segments.push_back({sequences[i], all.size(), rows[i].size()});
            all.insert(all.end(), rows[i].begin(), rows[i].end());
        }
        std::vector<std::size_t> wanted(all.size());
        for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = i;
        std::vector<float> logits(all.size() * model_.config().vocabulary);
        forward(model_, workspace_, cache_, batch{all, segments, wanted}, {logits.data(), {all.size(), model_.config().vocabulary}}, stop);
        return logits;
    }

    /// One sequence in chunks; the tokens are committed. // (tokens, vocabulary)
    std::vector<float> run(kv::sequence_id s, std::span<const token_id> text, std::size_t chunk) {
        std::vector<float> logits;
        for (std::size_t at = 0, rows_here; at < text.size(); at += rows_here) {
            rows_here = std::min({chunk, kv::step_room(cache_, s), text.size() - at});
            const std::array rows{text.subspan(at, rows_here)};
            const std::vector<float> more = step(std::array{s}, rows);
            cache_.commit(s);
            logits.insert(logits.end(), more.begin(), more.end());
        }
        return logits;
    }

private:
    model<Backend> model_;
    typename Policy::cache cache_;
    workspace<Backend> workspace_;
};

/// The logits of a text read in one go into a contiguous f32 cache.
template <class Backend>
std::vector<float> plain_logits(const model<Backend>& m, const tokens& text) {
    runner run(m, kv::contiguous<kv::f32>{{.tokens = text.size(), .sequences = 1}}, text.size());
    return run.run(run.cache().open(), text, text.size());
}

}  // namespace skald::test
