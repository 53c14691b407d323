// SPDX-License-Identifier: MIT
#pragma once
// The same sequences in paged storage, where forks share blocks, and in contiguous storage, where nothing is shared.
#include <algorithm>
#include <cstddef>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/erased_run.hpp>
#include <skald/kv/paged.hpp>

#include "backend/support.hpp"

namespace skald::test {

template <class Codec>
class shared_and_apart {
public:
    static constexpr std::size_t room = 2400, sequences = 9;

    shared_and_apart(const attention_shape& shape, std::size_t block)
        : shape_(shape),
          paged_(kv::paged<Codec>{{.tokens = room * sequences, .sequences = sequences, .block = block}}.make(cache_shape(),
                                                                                                             backend_.memory())),
          contiguous_(kv::contiguous<Codec>{{.tokens = room, .sequences = sequences}}.make(cache_shape(), backend_.memory())),
          scratch_(backend_.make_scratch(shape)) {}

    kv::paged_cache<Codec>& paged() { return paged_; }
    kv::sequence_id open() { return contiguous_.open(), paged_.open(); }
    kv::sequence_id fork(kv::sequence_id s) { return contiguous_.fork(s), paged_.fork(s); }
    void append(kv::sequence_id s, std::size_t rows, unsigned seed) {
        if (rows == 0) return;
        plan(std::array{kv::segment{s, 0, rows}}, seed);
        paged_.commit(s), contiguous_.commit(s);
    }

    /// Appends random rows to all segments.
    void plan(std::span<const kv::segment> segments, unsigned seed) {
        const std::size_t rows = segments.back().first_row + segments.back().rows;
        const std::size_t q_cols = shape_.heads * shape_.head_dim, cols = shape_.kv_heads * shape_.head_dim;
        q_ = random_floats(rows * q_cols, seed);
        std::vector<float> k = random_floats(rows * cols, seed + 1), v = random_floats(rows * cols, seed + 2);
        const auto write = [&](auto& cache) {
            const std::span<const row_range> ranges = cache.plan(segments);
            backend_.rope_append({q_.data(), {rows, q_cols}}, {k.data(), {rows, cols}}, {v.data(), {rows, cols}}, shape_, {}, ranges,
                                 kv::erase(cache.view(0)), scratch_);
            return ranges;
        };
        write(contiguous_);
        ranges_ = write(paged_);
    }

    /// The planned step's attention.
    template <class Variant>
    std::pair<std::vector<float>, std::vector<float>> attend(const cpu<>& backend, const Variant& variant) const {
        const auto over = [&](const auto& view) {
            const std::size_t cols = shape_.heads * shape_.head_dim, rows = q_.size() / cols;
            auto out = backend.make_activations(rows, cols);
            out.resize(rows, cols);
            auto scratch = backend.make_scratch(shape_);
            backend.attend({q_.data(), {rows, cols}}, shape_, variant, ranges_, kv::erase(view), out, scratch);
            const auto values = std::as_const(out).values();
            return std::vector<float>(values.data(), values.data() + rows * cols);
        };
        return {over(paged_.view(0)), over(contiguous_.view(0))};
    }

private:
    kv::cache_shape cache_shape() const { return {1, shape_.kv_heads, shape_.head_dim}; }

    cpu<> backend_{};
    attention_shape shape_;
    kv::paged_cache<Codec> paged_;
    kv::contiguous_cache<Codec> contiguous_;
    cpu<>::scratch scratch_;
    std::vector<float> q_;
    std::span<const row_range> ranges_;
};

/// A family of sequences: roots of random lengths, forks of any of them at any time, and a step of some rows of some of them.
template <class Codec>
class random_family : public shared_and_apart<Codec> {
public:
    random_family(const attention_shape& shape, std::size_t block, unsigned seed) : shared_and_apart<Codec>(shape, block), random_(seed) {
        constexpr std::size_t lengths[] = {0, 7, 63, 64, 65, 128, 200, 1000, 1023, 1024, 1025, 1090, 2048, 2060};
        for (std::size_t root = 0; root < 2; ++root) {
            all_.push_back(this->open());
            this->append(all_.back(), lengths[random_() % std::size(lengths)], next());
        }
        while (all_.size() < this->sequences) {
            const kv::sequence_id s = all_[random_() % all_.size()];
            if (random_() % 3 == 0)
                this->append(s, std::min<std::size_t>(random_() % 150, most_rows(s)), next());
            else
                all_.push_back(this->fork(s));
        }
        std::ranges::shuffle(all_, random_);
        all_.resize(2 + random_() % (all_.size() - 1));
        parents_.resize(12);
        for (std::uint32_t i = 0; i < parents_.size(); ++i) parents_[i] = random_() % 4 == 0 || i == 0 ? no_parent : random_() % i;
        const std::size_t most = random_() % 2 == 0 ? 1 : 30;
        std::vector<kv::segment> step;
        std::size_t row = 0;
        for (const kv::sequence_id s : all_) {
            const bool tree = random_() % 8 == 0;
            const std::size_t rows = tree ? parents_.size() : 1 + random_() % most;
            step.push_back({s, row, rows, tree ? std::span<const std::uint32_t>(parents_) : std::span<const std::uint32_t>()});
            row += rows;
        }
        this->plan(step, next());
    }

private:
    unsigned next() { return static_cast<unsigned>(random_() % 100000); }
    std::size_t most_rows(kv::sequence_id s) { return this->room - 40 - static_cast<std::size_t>(this->paged().length(s)); }

    std::mt19937 random_;
    std::vector<kv::sequence_id> all_;
    std::vector<std::uint32_t> parents_;
};

/// Runs a random family on one to three threads, in both ways of computing.
template <class Codec, class Variant>
void check_family(const attention_shape& shape, std::size_t block, unsigned seed, const Variant& variant) {
    CAPTURE(shape.heads, shape.kv_heads, shape.head_dim, block, seed);
    const random_family<Codec> family(shape, block, seed);
    for (const compute policy : {compute::exact, compute::native})
        for (const std::size_t threads : {1, 2, 3}) {
            thread_pool pool(threads);
            const auto [shared, apart] = family.attend(cpu<>({.pool = &pool, .policy = policy}), variant);
            CHECK(same_bits(shared, apart));
        }
}

}  // namespace skald::test
