// SPDX-License-Identifier: MIT
// Tiers by importance beside evicting storage that does the same steps: what this keeps is hot, all else is in the cold tier, and rows
// are, bitwise, what their codecs make of them, through random steps, rollbacks, forks and truncations.
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/detail/named_eviction.hpp>
#include <skald/kv/tiered_by.hpp>
#include <skald/kv/word_codec.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 20};
constexpr attention_shape heads{.heads = 6, .kv_heads = 2, .head_dim = 20};
constexpr std::size_t step = 40, tokens = 300;

std::uint32_t mixed(std::initializer_list<std::size_t> all) {
    std::uint32_t x = 17;
    for (const std::size_t next : all) x = (x ^ static_cast<std::uint32_t>(next)) * 2246822519u, x ^= x >> 13;
    return x;
}

/// The row that `writer` puts at a place. // (width)
std::vector<float> row_of(std::uint32_t writer, std::size_t p, std::size_t layer, std::size_t h, bool values) {
    std::vector<float> out(shape.width(), 0.0f);
    for (std::size_t i = 0; i < shape.head_dim; ++i) out[i] = static_cast<float>(mixed({writer, p, layer, h, values, i}) % 2001) / 1000 - 1;
    return out;
}

/// A sequence as the tests know it: who wrote each token, and how many are committed.
struct sequence {
    kv::sequence_id id;
    std::vector<std::uint32_t> writers;
    std::size_t committed = 0;
};

/// What a policy thinks where the tokens behind the last whole group of `Group` must stay.
template <std::size_t Group>
struct tail_stays : kv::detail::named_eviction {
    using kv::detail::named_eviction::named_eviction;
    void worth(const kv::kept_tokens& kept, std::span<float> worth) const {
        kv::detail::named_eviction::worth(kept, worth);
        const auto length = static_cast<std::size_t>(kept.positions.back()) + 1;
        for (std::size_t i = 0; i < worth.size(); ++i)
            if (static_cast<std::size_t>(kept.positions[i]) >= length / Group * Group) worth[i] = kv::stays;
    }
};

/// A backend that gives weights by who wrote what, the same for both caches.
template <class Cache>
struct recorder {
    struct scratch {};
    const Cache& cache;
    std::size_t layer;
    std::vector<const sequence*> stepped;

    template <class Variant, class Runs>
    void attention_weights(matrix_view<const float>, const attention_shape&, const Variant&, std::size_t segment, const row_range& rows,
                           const Runs&, tensor_view<float, 3> out, scratch&) const {
        const sequence& s = *stepped[segment];
        for (std::size_t h = 0; h < heads.heads; ++h)
            for (std::size_t i = 0; i < rows.rows; ++i) {
                const auto kept = cache.positions(s.id, layer, h / 3);
                const auto at = [&](std::size_t slot) {
                    return slot < kept.size() ? static_cast<std::size_t>(kept[slot]) : s.committed + slot - kept.size();
                };
                const std::size_t last = static_cast<std::size_t>(rows.first_position) + i;
                for (std::size_t j = 0; j <= last; ++j)
                    out(h, i, j) = static_cast<float>(mixed({s.writers[at(last)], layer, h, at(last), at(j)}) % 1024) / 4096;
            }
    }
};

/// The rows of a step into the run that has them, then what is sealed of them.
template <class Codec, class Run>
void write(const Run& run, std::size_t i, const row_range& range, const sequence& s, std::size_t layer) {
    for (std::size_t r = 0; r < range.rows; ++r)
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            const std::size_t p = s.writers.size() - range.rows + r;
            const position at = range.first_position + static_cast<position>(r);
            const auto encode = [&](bool values, std::byte* out) {
                Codec::template encode<format::scalar>(row_of(s.writers[p], p, layer, h, values).data(), shape.width(), out);
            };
            encode(false, run.key(i, h, at));
            encode(true, run.value(i, h, at));
        }
}

template <class Codec, class Cache>
void take_step(Cache& cache, const std::vector<sequence*>& sequences, const std::vector<std::size_t>& rows) {
    std::vector<kv::segment> segments;
    std::vector<const sequence*> stepped(sequences.begin(), sequences.end());
    for (std::size_t i = 0, row = 0; i < sequences.size(); row += rows[i++]) segments.push_back({sequences[i]->id, row, rows[i]});
    const auto planned = cache.plan(segments);
    for (std::size_t i = 0; i < planned.size(); ++i)
        REQUIRE(planned[i].first_position + static_cast<position>(rows[i]) == static_cast<position>(sequences[i]->writers.size()));
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        const auto ranges = cache.ranges(layer);
        const auto view = cache.view(layer);
        constexpr std::size_t runs = std::tuple_size_v<std::remove_cvref_t<decltype(view)>>;
        const auto& last = std::get<runs - 1>(view);
        for (std::size_t i = 0; i < ranges.size(); ++i) write<Codec>(last, i, ranges[i], *stepped[i], layer);
        if constexpr (runs == 2)
            for (std::size_t i = 0; i < ranges.size(); ++i)
                for (std::size_t h = 0; h < shape.kv_heads; ++h)
                    std::get<0>(view).template seal<format::scalar>(i, h, ranges[i].first_position,
                                                                    ranges[i].first_position + static_cast<position>(ranges[i].rows));
        typename recorder<Cache>::scratch room;
        cache.observe(recorder<Cache>{cache, layer, stepped}, layer, matrix_view<const float>{}, heads, 0, room);
    }
}

/// A group, by itself, of the rows of a sequence.
template <class Hot, class Cold>
struct sealed_group {
    std::vector<std::byte> keys = std::vector<std::byte>(Cold::key_bytes(shape.width())), values = keys;

    sealed_group(const sequence& s, std::size_t group, std::size_t layer, std::size_t h) {
        values.resize(Cold::value_bytes(shape.width()));
        for (const bool of_values : {false, true}) {
            const std::size_t bytes = Hot::row_bytes(shape.width());
            std::vector<std::byte> rows(Cold::tokens * bytes);
            for (std::size_t i = 0; i < Cold::tokens; ++i) {
                const std::size_t p = group * Cold::tokens + i;
                Hot::template encode<format::scalar>(row_of(s.writers[p], p, layer, h, of_values).data(), shape.width(), &rows[i * bytes]);
            }
            const auto address = [&](std::size_t i) -> const std::byte* { return &rows[i * bytes]; };
            const kv::source_rows<Hot, decltype(address)> source{address};
            if (of_values)
                Cold::template seal_values<format::scalar>(source, shape.width(), values.data());
            else
                Cold::template seal_keys<format::scalar>(source, shape.width(), keys.data());
        }
    }
};

template <class Codec>
bool same_row(const std::byte* a, const std::byte* b) {
    for (std::size_t i = 0; i < shape.width(); ++i)
        if (Codec::template decode<format::scalar>(a, i).value != Codec::template decode<format::scalar>(b, i).value) return false;
    return true;
}

/// Whether what the other cache keeps is hot, what it lost is shown by the cold tier, and all of both is what was written.
template <class Hot, class Cold, class Cache, class Other>
bool agrees(Cache& cache, const sequence& s, const Other& other) {
    cache.select(s.id);
    for (std::size_t layer = 0; layer < shape.layers; ++layer)
        for (std::size_t h = 0; h < shape.kv_heads; ++h) {
            const auto [cold, hot] = cache.view(layer);
            const auto kept = other.positions(s.id, layer, h), got = cache.positions(s.id, layer, h);
            if (!std::equal(got.begin(), got.end(), kept.begin(), kept.end())) return false;
            if (hot.begin(0) % static_cast<position>(attention::restart_size) != 0 || hot.begin(0) < cold.end(0)) return false;
            if (hot.end(0) != hot.begin(0) + static_cast<position>(kept.size())) return false;
            if (cold.end(0) != static_cast<position>(s.committed / Cold::tokens * Cold::tokens)) return false;
            std::vector<bool> is_hot(s.committed, false);
            for (std::size_t i = 0; i < kept.size(); ++i) {
                const auto p = static_cast<std::size_t>(kept[i]);
                const position at = hot.begin(0) + static_cast<position>(i), tile = at / 64 * 64;
                is_hot[p] = true;
                if ((hot.shown(0, h, hot.end(0) - 1, tile) >> (at - tile) & 1) == 0 || cold.shown(0, h, hot.end(0) - 1, tile) != 0)
                    return false;
                for (const bool values : {false, true}) {
                    std::vector<std::byte> row(Hot::row_bytes(shape.width()));
                    Hot::template encode<format::scalar>(row_of(s.writers[p], p, layer, h, values).data(), shape.width(), row.data());
                    if (std::memcmp(row.data(), values ? hot.value(0, h, at) : hot.key(0, h, at), row.size()) != 0) return false;
                }
            }
            for (std::size_t p = 0; p < s.committed; ++p) {
                const std::uint64_t bits = cold.shown(0, h, hot.end(0) - 1, static_cast<position>(p / 64 * 64));
                if (is_hot[p] == ((bits >> p % 64 & 1) != 0)) return false;
            }
            for (std::size_t g = 0; g < s.committed / Cold::tokens; ++g) {
                const sealed_group<Hot, Cold> expected(s, g, layer, h);
                for (std::size_t i = 0; i < Cold::tokens; ++i) {
                    const auto p = static_cast<position>(g * Cold::tokens + i);
                    if (!same_row<typename Cold::key_codec>(cold.key(0, h, p),
                                                            expected.keys.data() + Cold::first_key(shape.width()) + i * cold.row_bytes()) ||
                        !same_row<typename Cold::value_codec>(
                            cold.value(0, h, p), expected.values.data() + Cold::first_value(shape.width()) + i * cold.value_row_bytes()))
                        return false;
                }
            }
        }
    return true;
}

template <class Hot, class Cold>
void run_random(kv::eviction_kind kind, std::size_t budget, std::size_t slack, unsigned seed) {
    using policy = kv::detail::named_eviction;
    CAPTURE(policy{kind}.name(), budget, slack, seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    const kv::tiered_by<policy, Hot, Cold> how{
        {.tokens = tokens, .budget = budget, .sequences = 3, .step = step, .slack = slack, .undo = step}, policy{kind}};
    const tail_stays<Cold::tokens> choice{kind};
    counting_resource memory;
    auto cache = how.make(shape, &memory);
    CHECK(cache.bytes() == memory.bytes());
    CHECK(how.bytes(shape) == memory.bytes());
    kv::evicting_cache<tail_stays<Cold::tokens>, Hot> other(
        choice, shape, {.budget = budget, .step = step, .sequences = 3, .slack = slack, .undo = step}, std::pmr::new_delete_resource());
    std::vector<sequence> all;
    std::uint32_t writer = 0;
    std::size_t lost = 0;
    for (int operation = 0; operation < 120; ++operation) {
        const std::size_t what = all.empty() ? 0 : pick(12);
        if (what == 0 && all.size() < 3) {
            all.push_back({cache.open(), {}, 0});
            REQUIRE(other.open() == all.back().id);
            continue;
        }
        sequence& t = all[pick(all.size())];
        if (what == 1 && all.size() < 3) {
            sequence copy{cache.fork(t.id), t.writers, t.committed};
            copy.writers.resize(copy.committed);
            REQUIRE(other.fork(t.id) == copy.id);
            all.push_back(copy);
        } else if (what == 2 && pick(3) == 0) {
            const std::size_t to = pick(4) == 0 ? 0 : pick(t.writers.size() + 1);
            const bool keeps = cache.keeps(t.id, static_cast<position>(to));
            REQUIRE(keeps == other.keeps(t.id, static_cast<position>(to)));
            if (!keeps) {
                REQUIRE(code_of([&] { cache.truncate(t.id, static_cast<position>(to)); }) == errc::invalid_argument);
            } else {
                cache.truncate(t.id, static_cast<position>(to));
                other.truncate(t.id, static_cast<position>(to));
                t.writers.resize(to);
                t.committed = std::min(t.committed, to);
            }
        } else if (what == 3 && pick(8) == 0) {
            cache.close(t.id);
            other.close(t.id);
            t = all.back();
            all.pop_back();
        } else if (what <= 6) {
            cache.commit(t.id);
            other.commit(t.id);
            t.committed = t.writers.size();
            lost += other.positions(t.id, 0, 0).size() < t.committed ? 1 : 0;
        } else if (what == 7) {
            const std::size_t to = t.committed + pick(t.writers.size() - t.committed + 1);
            cache.rollback(t.id, {static_cast<position>(to)});
            other.rollback(t.id, {static_cast<position>(to)});
            t.writers.resize(to);
        } else {
            std::vector<sequence*> some;
            std::vector<std::size_t> rows;
            for (sequence& u : all) {
                const std::size_t n = pick(step / 2);
                if (n == 0 || u.writers.size() - u.committed + n > step / 2 || u.writers.size() + n > tokens) continue;
                some.push_back(&u);
                rows.push_back(n);
                u.writers.insert(u.writers.end(), n, ++writer);
            }
            if (some.empty()) continue;
            take_step<Hot>(cache, some, rows);
            take_step<Hot>(other, some, rows);
        }
        for (const sequence& u : all) {
            REQUIRE(cache.length(u.id) == static_cast<position>(u.writers.size()));
            REQUIRE(agrees<Hot, Cold>(cache, u, other));
        }
    }
    CHECK(lost > 5);
    CHECK(cache.bytes() == memory.bytes());
}

}  // namespace

TEMPLATE_TEST_CASE("what an evicting cache keeps is hot and all else is cold", "[kv]", (std::pair<kv::f16, kv::grouped<kv::q8, 8>>),
                   (std::pair<kv::f32, kv::kivi2>)) {
    using Hot = typename TestType::first_type;
    using Cold = typename TestType::second_type;
    const unsigned seed = Catch::rngSeed();
    for (const auto kind : {kv::eviction_kind::recent, kv::eviction_kind::sinks, kv::eviction_kind::h2o, kv::eviction_kind::tova}) {
        run_random<Hot, Cold>(kind, Cold::tokens, 0, seed);
        run_random<Hot, Cold>(kind, 2 * Cold::tokens + 5, 0, seed + 1);
        run_random<Hot, Cold>(kind, Cold::tokens + 3, 4, seed + 2);
    }
}

TEST_CASE("tiers by importance refuse what they cannot keep", "[kv]") {
    using policy = kv::tiered_by<kv::detail::named_eviction, kv::f32, kv::kivi2>;
    const auto made = [](const kv::tiered_by_options& o) { return policy{o}.make(shape, std::pmr::new_delete_resource()); };
    CHECK(code_of([&] { made({.budget = 31}); }) == errc::invalid_argument);
    CHECK(code_of([&] { made({.budget = 32, .step = 0}); }) == errc::invalid_argument);
    CHECK(code_of([&] { made({.budget = std::size_t{1} << 31}); }) == errc::invalid_argument);
    CHECK(code_of([&] { policy{{.budget = 64}}.make({1, 1, 520}, std::pmr::new_delete_resource()); }) == errc::unsupported);
    CHECK(code_of([&] { policy{{.tokens = std::numeric_limits<std::size_t>::max() / 2}}.bytes(shape); }) != errc{});
    CHECK(policy{{.tokens = 33}}.max_length() == 64);
    CHECK(policy{{.tokens = 33, .context = 40}}.max_length() == 40);
    CHECK(policy{{.budget = 40}}.name() == "tiered-recent:40:f32,kivi2");

    auto cache = made({.tokens = 64, .budget = 32, .step = 40});
    const kv::sequence_id s = cache.open();
    const kv::segment most{s, 0, 41}, more{s, 0, 33}, some{s, 0, 32};
    CHECK(code_of([&] { cache.plan({&most, 1}); }) == errc::cache_full);
    cache.plan({&some, 1});
    cache.commit(s);
    CHECK(code_of([&] { cache.plan({&more, 1}); }) == errc::cache_full);
    CHECK(cache.length(s) == 32);
    cache.plan({&some, 1});
    CHECK(cache.length(s) == 64);
    CHECK(code_of([&] { cache.require(0, attention::causal{.window = 1055}); }) == errc::unsupported);
    cache.require(0, attention::causal{.window = 1088});
    CHECK(code_of([&] { cache.require(0, attention::alibi{attention::causal{}, nullptr}); }) == errc::unsupported);
}

TEST_CASE("specs name tiers by importance", "[kv]") {
    const kv::spec s = kv::parse_spec("tiered-tova:512:q8,kivi2");
    CHECK(s.storage == kv::storage_kind::tiered_by);
    CHECK(s.eviction == kv::eviction_kind::tova);
    CHECK(s.hot_codec == kv::codec_kind::q8);
    CHECK(s.codec == kv::codec_kind::kivi2);
    CHECK(s.budget == 512);
    CHECK(kv::parse_spec("tiered-h2o/64:kivi2").hot_codec == kv::codec_kind::f16);
    for (const char* text : {"tiered-h2o", "tiered-h2o:kivi2", "tiered-h2o:31:f16,kivi2", "tiered-h2o:64:f16", "tiered-h2o:64:f16,q4",
                             "tiered-h2o:64:f32,kivi2", "tiered-h2o:64:f16,kivi2,", "tiered-h2o:64:,kivi2", "tiered-h2o:x:f16,kivi2"}) {
        CAPTURE(text);
        CHECK(code_of([&] { kv::parse_spec(text); }) == errc::invalid_argument);
    }
}
