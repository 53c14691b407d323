// SPDX-License-Identifier: MIT
// Latent attention, absorbed and expanded, against plain loops in double over what the cache holds.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <tuple>
#include <vector>

#include <skald/attention/mla_layer.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/state.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using attention::mla_shape;
using attention::segment_role;

namespace {

constexpr mla_shape lite{.heads = 16, .nope_dim = 128, .rope_dim = 64, .value_dim = 128, .rank = 512};
constexpr mla_shape odd{.heads = 3, .nope_dim = 10, .rope_dim = 6, .value_dim = 21, .rank = 35};
constexpr mla_shape many{.heads = 19, .nope_dim = 5, .rope_dim = 2, .value_dim = 4, .rank = 20};  // more heads than are expanded at once

std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> out(n);
    for (float& f : out) f = normal(random);
    return out;
}

/// The model's part: kv_b, and of each position of each sequence the query, the latent and the rotated key's source.
struct inputs {
    inputs(const mla_shape& s, std::size_t sequences, std::size_t length)
        : shape(s),
          length(length),
          kv_b(random_floats(s.heads * (s.nope_dim + s.value_dim) * s.rank, 1, 1.0f / std::sqrt(static_cast<float>(s.rank)))),
          query(random_floats(sequences * length * s.heads * s.query_dim(), 2, 2.0f)),
          latent(random_floats(sequences * length * s.rank, 3)),
          rope_key(random_floats(sequences * length * s.rope_dim, 4)) {}

    weight_view weight() const {
        return {.name = "kv_b",
                .type = dtype::f32,
                .rows = shape.heads * (shape.nope_dim + shape.value_dim),
                .cols = shape.rank,
                .data = reinterpret_cast<const std::byte*>(kv_b.data())};
    }
    double key_weight(std::size_t h, std::size_t i, std::size_t r) const {
        return kv_b[(h * (shape.nope_dim + shape.value_dim) + i) * shape.rank + r];
    }
    double value_weight(std::size_t h, std::size_t i, std::size_t r) const { return key_weight(h, shape.nope_dim + i, r); }

    mla_shape shape;
    std::size_t length;
    std::vector<float> kv_b, query, latent, rope_key;
};

void angles(std::size_t p, std::size_t pairs, float* cosine, float* sine) {
    for (std::size_t i = 0; i < pairs; ++i) {
        const double a = static_cast<double>(p) * std::pow(100.0, -static_cast<double>(i) / static_cast<double>(pairs));
        cosine[i] = static_cast<float>(std::cos(a));
        sine[i] = static_cast<float>(std::sin(a));
    }
}

/// Rows of one step of some sequences: `rows` more of each.
struct part {
    std::size_t sequence, rows;
    segment_role role;
    std::vector<std::uint32_t> parents = {};  // of a tree, which is rolled back
};

/// Sequences in a cache that are read step by step; what came out of each position. // out: (sequences, length, heads · value_dim)
template <class Policy>
class reading {
public:
    reading(const inputs& in, const Policy& policy, std::size_t sequences, const cpu<>& backend, std::size_t most_rows)
        : reading(in, policy, sequences, backend, most_rows, in.shape.cache(layers)) {}
    reading(const inputs& in, const Policy& policy, std::size_t sequences, const cpu<>& backend, std::size_t most_rows,
            const kv::cache_shape& kept)
        : out(sequences * in.length * in.shape.heads * in.shape.value_dim),
          in_(in),
          backend_(backend),
          cache_(policy.make(kept, backend.memory())),
          weights_(attention::mla_weights<cpu<>>::split(backend, in.shape, in.weight(), packing::panels)),
          workspace_(backend, in.shape, most_rows),
          result_(backend.make_activations(most_rows, in.shape.heads * in.shape.value_dim)) {
        for (std::size_t s = 0; s < sequences; ++s) ids_.push_back(cache_.open());
    }

    typename Policy::cache& cache() { return cache_; }
    kv::sequence_id id(std::size_t sequence) const { return ids_[sequence]; }
    attention::mla_weights<cpu<>>& weights() { return weights_; }

    void step(const std::vector<part>& parts) {
        const mla_shape& s = in_.shape;
        std::vector<kv::segment> segments;
        std::vector<segment_role> roles;
        std::vector<float> query, latent, rope_key, cosine, sine;
        std::size_t rows = 0;
        const auto take = [](const std::vector<float>& from, std::size_t row, std::size_t cols, std::vector<float>& to) {
            to.insert(to.end(), from.data() + row * cols, from.data() + (row + 1) * cols);
        };
        for (const part& p : parts) {
            segments.push_back({ids_[p.sequence], rows, p.rows, p.parents});
            roles.push_back(p.role);
            for (std::size_t i = 0; i < p.rows; ++i, ++rows) {
                const std::size_t at = static_cast<std::size_t>(cache_.length(ids_[p.sequence])) + i;
                const std::size_t row = p.sequence * in_.length + at;
                take(in_.query, row, s.heads * s.query_dim(), query);
                take(in_.latent, row, s.rank, latent);
                take(in_.rope_key, row, s.rope_dim, rope_key);
                cosine.resize((rows + 1) * (s.rope_dim / 2));
                sine.resize(cosine.size());
                angles(at, s.rope_dim / 2, cosine.data() + rows * (s.rope_dim / 2), sine.data() + rows * (s.rope_dim / 2));
            }
        }
        const std::span<const row_range> ranges = cache_.plan(segments);
        result_.resize(rows, s.heads * s.value_dim);
        for (std::size_t layer = 0; layer < layers; ++layer)
            attention::run_layer(backend_, cache_, layer, weights_,
                                 attention::mla_call<cpu<>>{.query = {query.data(), {rows, s.heads * s.query_dim()}},
                                                            .latent = {latent.data(), {rows, s.rank}},
                                                            .rope_key = {rope_key.data(), {rows, s.rope_dim}},
                                                            .rope = {.dims = s.rope_dim,
                                                                     .interleaved = true,
                                                                     .cosine = {cosine.data(), {rows, s.rope_dim / 2}},
                                                                     .sine = {sine.data(), {rows, s.rope_dim / 2}}},
                                                            .variant = {.scale = s.scale()},
                                                            .ranges = ranges,
                                                            .roles = roles,
                                                            .out = &result_},
                                 workspace_);
        const auto values = std::as_const(result_).values();
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const std::size_t first = parts[i].sequence * in_.length + static_cast<std::size_t>(ranges[i].first_position);
            std::copy_n(values.row(ranges[i].first_row).data(), ranges[i].rows * values.extent(1), out.data() + first * values.extent(1));
            if (parts[i].parents.empty())
                cache_.commit(segments[i].sequence);
            else
                cache_.rollback(segments[i].sequence, {ranges[i].first_position});
        }
    }

    /// What the cache holds of a token. // (latent_dim)
    std::vector<double> row(std::size_t sequence, std::size_t p) {
        cache_.select(ids_[sequence]);
        const auto [run] = cache_.view(layers - 1);
        using codec = typename std::remove_cvref_t<decltype(run)>::codec;
        std::vector<double> x;
        for (std::size_t d = 0; d < in_.shape.latent_dim(); ++d)
            x.push_back(codec::template decode<format::scalar>(run.key(0, 0, static_cast<position>(p)), d).value);
        return x;
    }

    /// The result of one row, in double. // (heads · value_dim)
    std::vector<double> want(std::size_t sequence, std::size_t p) {
        const mla_shape& s = in_.shape;
        const std::size_t pairs = s.rope_dim / 2;
        std::vector<std::vector<double>> rows;
        for (std::size_t j = 0; j <= p; ++j) rows.push_back(row(sequence, j));
        std::vector<float> cosine(pairs), sine(pairs);
        angles(p, pairs, cosine.data(), sine.data());
        std::vector<double> result;
        for (std::size_t h = 0; h < s.heads; ++h) {
            const float* q = in_.query.data() + (sequence * in_.length + p) * s.heads * s.query_dim() + h * s.query_dim();
            std::vector<double> wide(s.latent_dim());
            for (std::size_t i = 0; i < pairs; ++i) {
                const double a = q[s.nope_dim + 2 * i], b = q[s.nope_dim + 2 * i + 1];
                wide[2 * i] = a * cosine[i] - b * sine[i];
                wide[2 * i + 1] = a * sine[i] + b * cosine[i];
            }
            for (std::size_t r = 0; r < s.rank; ++r)
                for (std::size_t i = 0; i < s.nope_dim; ++i) wide[s.rope_dim + r] += in_.key_weight(h, i, r) * q[i];
            std::vector<double> score(p + 1);
            double most = -1e300, sum = 0;
            for (std::size_t j = 0; j <= p; ++j) {
                for (std::size_t d = 0; d < wide.size(); ++d) score[j] += wide[d] * rows[j][d];
                score[j] /= std::sqrt(static_cast<double>(s.query_dim()));
                most = std::max(most, score[j]);
            }
            std::vector<double> mean(s.rank);
            for (std::size_t j = 0; j <= p; ++j) {
                const double w = std::exp(score[j] - most);
                sum += w;
                for (std::size_t r = 0; r < s.rank; ++r) mean[r] += w * rows[j][s.rope_dim + r];
            }
            for (std::size_t i = 0; i < s.value_dim; ++i) {
                double v = 0;
                for (std::size_t r = 0; r < s.rank; ++r) v += in_.value_weight(h, i, r) * mean[r] / sum;
                result.push_back(v);
            }
        }
        return result;
    }

    /// The greatest error of a row.
    double error(std::size_t sequence, std::size_t p) {
        const std::vector<double> right = want(sequence, p);
        const float* got = out.data() + (sequence * in_.length + p) * right.size();
        double most = 0;
        for (std::size_t i = 0; i < right.size(); ++i) most = std::max(most, std::fabs(got[i] - right[i]));
        return most;
    }

    std::vector<float> out;

private:
    static constexpr std::size_t layers = 2;
    const inputs& in_;
    const cpu<>& backend_;
    typename Policy::cache cache_;
    attention::mla_weights<cpu<>> weights_;
    attention::mla_workspace<cpu<>> workspace_;
    cpu<>::activations result_;
    std::vector<kv::sequence_id> ids_;
};

/// Values are about 1, sums of `rank` products; scores are sums of as many that are about 1 each before they are scaled. Words round each
/// operand by 2^-16 of a row's length.
double tolerance_of(compute policy, const mla_shape& s) {
    const double rank = static_cast<double>(s.rank);
    return policy == compute::exact ? 2 * rank * std::numeric_limits<float>::epsilon() : 6.0 / 65536 * (4 + 2 * std::sqrt(rank));
}

using contiguous = kv::contiguous<kv::f32>;
using paged = kv::paged<kv::f16>;

}  // namespace

TEMPLATE_TEST_CASE("latent attention is what it is by plain loops, absorbed and expanded", "[attention]", contiguous, paged) {
    const auto policy = [] {
        if constexpr (std::is_same_v<TestType, contiguous>)
            return contiguous{{.tokens = 80, .sequences = 2}};
        else
            return paged{{.tokens = 160, .sequences = 2, .block = 5}};
    }();
    for (const mla_shape& shape : {odd, many, lite}) {
        const inputs in(shape, 2, 80);
        for (const compute how : {compute::exact, compute::native})
            for (const segment_role role : {segment_role::prompt, segment_role::decode}) {
                CAPTURE(shape.heads, how == compute::exact, role == segment_role::prompt);
                const cpu<> backend({.policy = how});
                reading<TestType> r(in, policy, 2, backend, 100);
                r.step({{0, 66, role}, {1, 30, role}});
                r.step({{1, 3, role}, {0, 2, role}});
                double most = 0;
                for (const auto& [s, p] : {std::pair{0, 0}, {0, 1}, {0, 65}, {0, 67}, {1, 0}, {1, 29}, {1, 32}})
                    most = std::max(most, r.error(static_cast<std::size_t>(s), static_cast<std::size_t>(p)));
                CHECK(most <= tolerance_of(how, shape));
                CHECK(most > 0);
            }
    }
}

namespace {

template <class Policy>
std::vector<float> read_all(const inputs& in, const Policy& policy, const cpu<>& backend, const std::vector<std::vector<part>>& steps) {
    reading<Policy> r(in, policy, 2, backend, 2200);
    for (const std::vector<part>& s : steps) r.step(s);
    return r.out;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr auto prompt = segment_role::prompt, decode = segment_role::decode;

/// The first `length` rows of both sequences in steps of `chunk`.
std::vector<std::vector<part>> in_chunks(std::size_t length, std::size_t chunk, segment_role role) {
    std::vector<std::vector<part>> out;
    for (std::size_t at = 0; at < length; at += chunk) {
        const std::size_t rows = std::min(chunk, length - at);
        out.push_back({{0, rows, role}, {1, rows, role}});
    }
    return out;
}

}  // namespace

TEST_CASE("what latent attention gives a row does not depend on steps, neighbours, blocks and threads", "[attention]") {
    const inputs in(odd, 2, 70);
    const paged blocks{{.tokens = 200, .sequences = 2, .block = 7}};
    for (const compute how : {compute::exact, compute::native}) {
        const cpu<> alone({.policy = how});
        for (const segment_role role : {prompt, decode}) {
            const std::vector<float> whole = read_all(in, blocks, alone, in_chunks(70, 70, role));
            CHECK(same(read_all(in, paged{{.tokens = 160, .sequences = 2, .block = 16}}, alone, in_chunks(70, 1, role)), whole));
            CHECK(same(read_all(in, blocks, alone, in_chunks(70, 9, role)), whole));
            for (const std::size_t threads : {2, 3}) {
                thread_pool pool(threads);
                const cpu<> together({.pool = &pool, .policy = how});
                CHECK(same(read_all(in, blocks, together, in_chunks(70, 33, role)), whole));
            }
        }
        // Prompts and decoded rows side by side, in any order, are as they are alone.
        const auto mixed =
            read_all(in, blocks, alone, {{{0, 40, prompt}}, {{0, 1, decode}, {1, 50, prompt}}, {{1, 20, decode}, {0, 29, prompt}}});
        const auto apart =
            read_all(in, blocks, alone,
                     {{{1, 20, prompt}}, {{1, 30, prompt}}, {{0, 40, prompt}}, {{0, 1, decode}}, {{0, 29, prompt}}, {{1, 20, decode}}});
        CHECK(same(mixed, apart));
    }
}

TEST_CASE("expanded latent attention over several stretches is absorbed attention", "[attention]") {
    constexpr mla_shape small{.heads = 2, .nope_dim = 4, .rope_dim = 2, .value_dim = 3, .rank = 16};
    const std::size_t length = 2100;  // two stretches and a piece
    const inputs in(small, 1, length);
    const contiguous policy{{.tokens = length, .sequences = 2}};
    for (const compute how : {compute::exact, compute::native}) {
        const cpu<> backend({.policy = how});
        reading<contiguous> whole(in, policy, 1, backend, length), chunks(in, policy, 1, backend, length),
            absorbed(in, policy, 1, backend, length);
        whole.step({{0, length, prompt}});
        for (const std::size_t rows : {1000, 24, 1, 1000, 75}) chunks.step({{0, rows, prompt}});
        absorbed.step({{0, length, decode}});
        CHECK(same(whole.out, chunks.out));
        double most = 0;
        for (std::size_t i = 0; i < whole.out.size(); ++i) most = std::max(most, std::fabs(double{whole.out[i]} - absorbed.out[i]));
        CHECK(most <= 2 * tolerance_of(how, small));
        CHECK(whole.error(0, 1023) <= tolerance_of(how, small));
        CHECK(whole.error(0, 1024) <= tolerance_of(how, small));
        CHECK(whole.error(0, length - 1) <= tolerance_of(how, small));
    }
}

TEST_CASE("latents take half the bytes, and what a workspace takes is known before", "[attention]") {
    counting_resource memory;
    const cpu<> backend({.memory = &memory});
    kv::cache_shape shape = lite.cache(3);
    const paged policy{{.tokens = 160, .block = 16}};
    {
        const auto cache = policy.make(shape, &memory);
        CHECK(cache.bytes() == memory.bytes());
        CHECK(cache.bytes() == policy.bytes(shape));
    }
    const std::size_t latents = policy.bytes(shape);
    shape.latent = false;
    CHECK(policy.bytes(shape) - latents == std::size_t{3} * 160 * 576 * 2);
    {
        const attention::mla_workspace<cpu<>> workspace(backend, lite, 40);
        CHECK(memory.bytes() == attention::mla_workspace<cpu<>>::planned_bytes(backend, lite, 40));
    }
    const inputs in(odd, 1, 1);
    const auto weights = attention::mla_weights<cpu<>>::split(backend, odd, in.weight(), packing::panels);
    CHECK(memory.bytes() == weights.planned_bytes(backend, odd, dtype::f32, packing::panels));
}

TEST_CASE("latents are forked, rolled back, saved and restored", "[attention]") {
    const inputs in(odd, 1, 40);
    const cpu<> backend;
    reading<paged> r(in, paged{{.tokens = 80, .sequences = 3, .block = 8}}, 1, backend, 40);
    r.step({{0, 20, prompt}});
    const std::vector<double> kept = r.row(0, 19);
    const auto saved = [](auto& cache, kv::sequence_id s, std::size_t tokens) {
        std::vector<std::byte> out;
        kv::save(cache, s, std::vector<token_id>(tokens, 7),
                 [&](std::span<const std::byte> some) { out.insert(out.end(), some.begin(), some.end()); });
        return out;
    };
    const std::vector<std::byte> before = saved(r.cache(), r.id(0), 20);
    CHECK(before.size() < 20 * 2 * 2 * 48 + 1000);  // tokens, layers, bytes of f16, values of a padded row; what stands around them

    const kv::sequence_id copy = r.cache().fork(r.id(0));
    r.step({{0, 20, prompt}});  // writes into a block that both held
    CHECK(saved(r.cache(), copy, 20) == before);
    CHECK(saved(r.cache(), r.id(0), 20) == before);

    auto other = kv::contiguous<kv::f16>{{.tokens = 30}}.make(odd.cache(2), std::pmr::new_delete_resource());
    const kv::sequence_id restored = kv::load(other, before).sequence;
    CHECK(saved(other, restored, 20) == before);
    auto pairs = kv::contiguous<kv::f16>{{.tokens = 30}}.make({.layers = 2, .kv_heads = 1, .head_dim = odd.latent_dim()},
                                                              std::pmr::new_delete_resource());
    CHECK(test::code_of([&] { kv::load(pairs, before); }) == errc::invalid_argument);
    CHECK(kv::check(before).header.shape.latent);

    const std::vector<float> out = r.out;
    r.cache().truncate(r.id(0), 20);
    CHECK(r.row(0, 19) == kept);
    r.step({{0, 20, prompt}});
    CHECK(same(r.out, out));
}

namespace {

/// A cache that runs layers itself, as one of a run-time kind does.
struct running : kv::contiguous<kv::f32> {
    struct cache : kv::contiguous<kv::f32>::cache {
        using kv::contiguous<kv::f32>::cache::contiguous_cache;
        void run_layer(const cpu<>& backend, std::size_t layer, const attention::layer_call<cpu<>>& call) {
            attention::run_layer(backend, static_cast<kv::contiguous<kv::f32>::cache&>(*this), layer, call);
        }
    };
    cache make(const kv::cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
};

}  // namespace

TEST_CASE("caches that run layers themselves have latents absorbed", "[attention]") {
    const inputs in(odd, 2, 30);
    const cpu<> backend;
    const contiguous plain{{.tokens = 30, .sequences = 2}};
    CHECK(same(read_all(in, running{plain}, backend, in_chunks(30, 8, prompt)), read_all(in, plain, backend, in_chunks(30, 8, decode))));
}

TEST_CASE("a chain of drafts gives what the text does, as a tree that is no prompt", "[attention]") {
    const inputs in(odd, 1, 30);
    const cpu<> backend;
    const paged policy{{.tokens = 40, .block = 8}};
    reading<paged> text(in, policy, 1, backend, 30), tree(in, policy, 1, backend, 30);
    for (reading<paged>* r : {&text, &tree}) r->step({{0, 26, prompt}});
    text.step({{0, 4, decode}});
    CHECK(test::code_of([&] { tree.step({{0, 4, prompt, {no_parent, 0, 1, 2}}}); }) == errc::unsupported);
    tree.cache().rollback(tree.id(0), {26});
    tree.step({{0, 4, decode, {no_parent, 0, 1, 2}}});
    CHECK(same(tree.out, text.out));
}

TEST_CASE("latent attention refuses what it cannot do", "[attention]") {
    const inputs in(odd, 1, 9);
    const cpu<> backend;
    const contiguous policy{{.tokens = 9}};
    reading<contiguous> r(in, policy, 1, backend, 4);
    CHECK(test::code_of([&] { r.step({{0, 5, prompt}}); }) == errc::invalid_argument);  // rows
    reading<contiguous> wrong(in, policy, 1, backend, 9, {.layers = 2, .kv_heads = 1, .head_dim = odd.latent_dim()});
    CHECK(test::code_of([&] { wrong.step({{0, 5, prompt}}); }) == errc::invalid_argument);
    const kv::cache_shape shape = odd.cache(2);
    auto* memory = std::pmr::new_delete_resource();
    CHECK(test::code_of([&] { kv::ring<kv::f16>{{.window = 8}}.make(shape, memory); }) == errc::unsupported);
    CHECK(test::code_of([&] { kv::ring<kv::f16>{{.window = 8}}.bytes(shape); }) == errc::unsupported);
    weight_view w = in.weight();
    --w.cols;
    CHECK(test::code_of([&] { attention::mla_weights<cpu<>>::split(backend, odd, w, packing::panels); }) == errc::invalid_argument);
}

TEST_CASE("split and joined weights of latent attention are the same", "[attention]") {
    const inputs in(odd, 1, 12);
    const cpu<> backend;
    std::vector<float> keys, values;
    for (std::size_t h = 0; h < odd.heads; ++h) {
        for (std::size_t r = 0; r < odd.rank; ++r)
            for (std::size_t i = 0; i < odd.nope_dim; ++i) keys.push_back(static_cast<float>(in.key_weight(h, i, r)));
        for (std::size_t i = 0; i < odd.value_dim; ++i)
            for (std::size_t r = 0; r < odd.rank; ++r) values.push_back(static_cast<float>(in.value_weight(h, i, r)));
    }
    const auto view = [](const std::vector<float>& x, std::size_t cols) {
        return weight_view{.name = "w", .rows = x.size() / cols, .cols = cols, .data = reinterpret_cast<const std::byte*>(x.data())};
    };
    const contiguous policy{{.tokens = 12}};
    for (const segment_role role : {prompt, decode}) {
        reading<contiguous> split(in, policy, 1, backend, 12), joined(in, policy, 1, backend, 12);
        joined.weights() =
            attention::mla_weights<cpu<>>::join(backend, odd, view(keys, odd.nope_dim), view(values, odd.rank), packing::panels);
        split.step({{0, 12, role}});
        joined.step({{0, 12, role}});
        CHECK(same(split.out, joined.out));
    }
}

TEST_CASE("weights in blocks are turned around in f16", "[attention]") {
    constexpr mla_shape blocks{.heads = 2, .nope_dim = 32, .rope_dim = 4, .value_dim = 24, .rank = 64};
    inputs in(blocks, 1, 70);
    std::vector<std::byte> q8_0;  // codes times 2^-8, which f16 has
    for (std::size_t i = 0; i < in.kv_b.size(); ++i) {
        const auto code = static_cast<std::int8_t>(std::clamp(std::nearbyint(in.kv_b[i] * 256), -127.0f, 127.0f));
        const half scale = to_half(0x1p-8f);
        const auto* bytes = reinterpret_cast<const std::byte*>(&scale);
        if (i % 32 == 0) q8_0.insert(q8_0.end(), bytes, bytes + 2);
        q8_0.push_back(static_cast<std::byte>(code));
        in.kv_b[i] = 0x1p-8f * code;
    }
    weight_view w = in.weight();
    w.type = dtype::q8_0;
    w.data = q8_0.data();
    const cpu<> backend({.policy = compute::exact});
    for (const segment_role role : {prompt, decode}) {
        reading<contiguous> r(in, contiguous{{.tokens = 70}}, 1, backend, 70);
        r.weights() = attention::mla_weights<cpu<>>::split(backend, blocks, w, packing::panels);
        r.step({{0, 70, role}});
        CHECK(r.error(0, 69) <= tolerance_of(compute::exact, blocks));
    }
}
