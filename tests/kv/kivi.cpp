// SPDX-License-Identifier: MIT
// KIVI's groups: how far what is read is from what was sealed, words that are what decode() gives and small enough to be added up, and
// which positions a row reads from which tier.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/spec.hpp>
#include <skald/kv/tiered.hpp>

#include "backend/support.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

using vector = cpu<>::vector;
using ints = kernels::simd_int<default_arch>;

/// Rows of floats as a group is sealed from them. // (tokens, width)
struct plain_rows {
    const float* values;
    std::size_t width;
    template <format::float_vector V>
    V load(std::size_t row, std::size_t i) const {
        return V::load(values + row * width + i);
    }
};

/// Values of some channels are large, of others not around zero, or all the same.
template <class Group>
std::vector<float> group_of(std::size_t width, unsigned seed, float scale) {
    std::vector<float> x = random_floats(Group::tokens * width, seed);
    for (std::size_t i = 0; i < x.size(); ++i) {
        const std::size_t channel = i % width;
        if (channel % 11 == 3) x[i] = 30 * x[i] + 100;
        if (channel % 11 == 5) x[i] = 0.01f * x[i];
        if (channel % 11 == 7) x[i] = -2.5f;
        if (channel % 11 == 9) x[i] = 0;
        x[i] *= scale;
    }
    return x;
}

template <class Group, class V>
std::vector<std::byte> sealed(const std::vector<float>& x, std::size_t width, bool keys) {
    std::vector<std::byte> out(keys ? Group::key_bytes(width) : Group::value_bytes(width), std::byte{0xff});
    if (keys)
        Group::template seal_keys<V>(plain_rows{x.data(), width}, width, out.data());
    else
        Group::template seal_values<V>(plain_rows{x.data(), width}, width, out.data());
    return out;
}

template <std::size_t Bits, std::size_t Tokens>
struct group : kv::kivi<Bits, Tokens> {
    static constexpr double most = (1 << Bits) - 1;
};
using groups = std::tuple<group<4, 32>, group<4, 64>, group<2, 32>, group<2, 64>>;

/// f(row's address, row, codec) for all rows of a group.
template <class Group, class F>
void each_row(const std::vector<std::byte>& bytes, std::size_t width, bool keys, const F& f) {
    for (std::size_t r = 0; r < Group::tokens; ++r) {
        if (keys)
            f(bytes.data() + Group::first_key(width) + r * Group::key_codec::row_bytes(width), r, typename Group::key_codec{});
        else
            f(bytes.data() + Group::first_value(width) + r * Group::value_codec::row_bytes(width), r, typename Group::value_codec{});
    }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("KIVI's error is half a step of the channel, or of the token's group", "[kv]", groups) {
    for (const std::size_t width : {16, 48, 64, 128, 512})
        for (const float scale : {1.0f, 3e-9f, 2e9f}) {
            const std::vector<float> x = group_of<TestType>(width, static_cast<unsigned>(width), scale);
            const auto at = [&](std::size_t r, std::size_t c) { return static_cast<double>(x[r * width + c]); };
            std::vector<double> channel(width);
            double longest = 0;  // of a row with the greatest of each channel
            for (std::size_t c = 0; c < width; ++c) {
                double low = at(0, c), high = low;
                for (std::size_t r = 0; r < TestType::tokens; ++r) low = std::min(low, at(r, c)), high = std::max(high, at(r, c));
                channel[c] = high - low;
                longest += std::max(low * low, high * high);
            }
            longest = std::sqrt(longest);
            for (const bool keys : {true, false}) {
                const auto bytes = sealed<TestType, vector>(x, width, keys);
                each_row<TestType>(bytes, width, keys, [&]<class Codec>(const std::byte* row, std::size_t r, Codec) {
                    std::vector<double> range(width / 16 + 1), far(width / 16 + 1);
                    double widest = 0, most = 0;
                    for (std::size_t begin = 0; begin < width; begin += kv::word_unit) {
                        double low = at(r, begin), high = low;
                        for (std::size_t c = begin; c < std::min(begin + kv::word_unit, width); ++c)
                            low = std::min(low, at(r, c)), high = std::max(high, at(r, c));
                        range[begin / kv::word_unit] = high - low;
                        far[begin / kv::word_unit] = std::max(-low, high);
                        widest = std::max(widest, high - low), most = std::max(most, far[begin / kv::word_unit]);
                    }
                    double squares = 0;
                    for (const double f : far) squares += 32 * f * f;
                    // A multiple is rounded up by a scale at most, an offset to half of one. Of keys, the scale is the longest row over
                    // 32300 or the greatest value over 8170; of values, also 1/255 of the widest step.
                    const double key_scale = std::max(longest / 32300, longest / 8170);
                    const double value_scale = 1.01 * std::max({std::sqrt(squares) / 32300, most / 8170, widest / (255 * TestType::most)});
                    for (std::size_t c = 0; c < width; ++c) {
                        const double step = (keys ? channel[c] : range[c / kv::word_unit]) / TestType::most;
                        const double bound = step / 2 + 1.1 * (keys ? key_scale : value_scale);
                        CAPTURE(width, scale, keys, r, c, at(r, c));
                        REQUIRE(std::fabs(Codec::template decode<format::scalar>(row, c).value - at(r, c)) <= bound);
                    }
                });
            }
        }
}

TEMPLATE_LIST_TEST_CASE("rows of KIVI are the same values one by one, by vectors and as words", "[kv]", groups) {
    for (const std::size_t width : {16, 48, 64, 512}) {
        const std::vector<float> x = group_of<TestType>(width, static_cast<unsigned>(width) + 7, 5.0f);
        for (const bool keys : {true, false}) {
            const auto bytes = sealed<TestType, vector>(x, width, keys);
            each_row<TestType>(bytes, width, keys, [&]<class Codec>(const std::byte* row, std::size_t r, Codec) {
                CAPTURE(width, keys, r);
                double squares = 0;
                for (std::size_t unit = 0; unit * kv::word_unit < width; ++unit) {
                    std::int16_t words[kv::word_unit];
                    Codec::template words<ints>(row, unit).store(words);
                    for (std::size_t w = 0; w < kv::word_unit; ++w) {
                        const std::size_t i = unit * kv::word_unit + w / 2 + w % 2 * kv::lane_count;
                        REQUIRE(std::abs(words[w]) <= attention::most_word);
                        squares += static_cast<double>(words[w]) * words[w];
                        if (i >= width) {  // multiplied by zeros of queries; no value
                            if (keys) REQUIRE(words[w] == 0);
                            continue;
                        }
                        float some[vector::size];
                        Codec::template decode<vector>(row, i / vector::size * vector::size).store(some);
                        REQUIRE(some[i % vector::size] == Codec::scale(row) * static_cast<float>(words[w]));
                        REQUIRE(some[i % vector::size] == Codec::template decode<format::scalar>(row, i).value);
                    }
                }
                REQUIRE(std::sqrt(squares) <= attention::most_length);
            });
        }
    }
}

TEMPLATE_LIST_TEST_CASE("KIVI lays out words as rows have them one by one", "[kv]", groups) {
    for (const std::size_t width : {16, 48, 64, 512}) {
        const std::vector<float> x = group_of<TestType>(width, static_cast<unsigned>(width) + 9, 5.0f);
        for (const bool keys : {true, false}) {
            const auto bytes = sealed<TestType, vector>(x, width, keys);
            std::vector<const std::byte*> rows(TestType::tokens);
            const auto check = [&]<class Codec>(Codec, std::size_t first) {
                CAPTURE(width, keys, first);
                // Room for units of 32 channels, though no more than `width` of values are written.
                const std::size_t columns = keys ? kv::word_unit : width,
                                  pairs = keys ? round_up(width, kv::word_unit) / 2 : kv::lane_count;
                std::vector<std::int32_t> out(pairs * columns);
                float scales[kv::word_unit];
                Codec::template scales<ints>(rows[first], scales);
                Codec::template each_unit<ints>(rows[first], width, rows[0], [&](std::size_t unit, const attention::woven_unit& some) {
                    std::int32_t* at = out.data() + unit * (keys ? kv::lane_count * columns : kv::word_unit);
                    Codec::codes::template lay_out<ints>(some, keys ? 2 : some.strips_of_values(unit, width), at, columns);
                });
                for (std::size_t r = 0; r < kv::word_unit; ++r) {
                    REQUIRE(scales[r] == Codec::scale(rows[first + r]));
                    for (std::size_t unit = 0; unit * kv::word_unit < width; ++unit) {
                        std::int16_t words[kv::word_unit];
                        Codec::template words<ints>(rows[first + r], unit).store(words);
                        for (std::size_t w = 0; w < kv::word_unit; ++w) {
                            const std::size_t channel = unit * kv::word_unit + w / 2 + w % 2 * kv::lane_count;
                            if (!keys && channel >= width) continue;
                            const std::size_t pair = keys ? unit * kv::lane_count + w / 2 : r % kv::lane_count;
                            const std::int32_t both = out[pair * columns + (keys ? r : channel)];
                            const std::size_t half = keys ? w % 2 : r / kv::lane_count;
                            REQUIRE(static_cast<std::int16_t>(half == 0 ? both : both >> 16) == words[w]);
                        }
                    }
                }
            };
            each_row<TestType>(bytes, width, keys, [&](const std::byte* row, std::size_t r, auto) { rows[r] = row; });
            for (std::size_t first = 0; first < TestType::tokens; first += kv::word_unit) {
                if (keys)
                    check(typename TestType::key_codec{}, first);
                else
                    check(typename TestType::value_codec{}, first);
            }
        }
    }
}

TEMPLATE_LIST_TEST_CASE("KIVI's codes are multiplied as their words are", "[kv]", groups) {
    if constexpr (ints::parts == 1) {  // elsewhere they are laid out
        const std::size_t rows = 4, columns = kv::word_unit;
        for (const std::size_t width : {16, 48, 64, 512})
            for (const bool keys : {true, false}) {
                CAPTURE(width, keys);
                const auto bytes = sealed<TestType, vector>(group_of<TestType>(width, static_cast<unsigned>(width), 5.0f), width, keys);
                const std::size_t words = keys ? round_up(width, kv::word_unit) : kv::word_unit, out = keys ? columns : width;
                std::vector<std::int32_t> left(rows * words / 2);
                for (std::size_t i = 0; i < left.size(); ++i) left[i] = static_cast<std::int32_t>(i * 2654435761u);
                const auto left_word = [&](std::size_t i) { return static_cast<std::int16_t>(left[i / 2] >> 16 * (i % 2)); };
                std::vector<const std::byte*> at(TestType::tokens);
                each_row<TestType>(bytes, width, keys, [&](const std::byte* row, std::size_t r, auto) { at[r] = row; });
                const auto check = [&]<class Codec>(Codec, std::size_t first, std::size_t count, bool add) {
                    std::vector<std::int32_t> c(rows * out, 5), expected(c);
                    std::vector<std::int16_t> word(kv::word_unit * round_up(width, kv::word_unit));  // row by row, in the order of words
                    for (std::size_t r = 0; r < kv::word_unit; ++r)
                        for (std::size_t unit = 0; unit * kv::word_unit < width; ++unit)
                            Codec::template words<ints>(at[first + r], unit)
                                .store(word.data() + r * round_up(width, kv::word_unit) + unit * kv::word_unit);
                    for (std::size_t q = 0; q < count; ++q)
                        for (std::size_t j = 0; j < out; ++j) {
                            std::uint32_t sum = add ? 5 : 0;
                            for (std::size_t i = 0; i < words; ++i) {
                                // Word i of a pair is step i / 2 or i / 2 + 16 of its unit.
                                const std::size_t step = i / kv::word_unit * kv::word_unit + i % kv::word_unit / 2 + i % 2 * kv::lane_count;
                                const std::size_t row = keys ? j : step, channel = keys ? step : j;
                                const std::size_t in_unit = channel % kv::word_unit;
                                const std::size_t place = channel - in_unit + in_unit % kv::lane_count * 2 + in_unit / kv::lane_count;
                                sum += static_cast<std::uint32_t>(left_word(q * words + i)) *
                                       static_cast<std::uint32_t>(word[row * round_up(width, kv::word_unit) + place]);
                            }
                            expected[q * out + j] = static_cast<std::int32_t>(sum);
                        }
                    const kernels::code_product product{left.data(), words / 2, count, at[first], at[0], width, c.data(), out};
                    if constexpr (std::is_same_v<Codec, typename TestType::key_codec>)
                        kernels::multiply_key_codes<default_arch, Codec>(product);
                    else
                        kernels::multiply_value_codes<default_arch, Codec>(product, add);
                    CHECK(c == expected);
                };
                for (std::size_t first = 0; first < TestType::tokens; first += kv::word_unit)
                    for (const std::size_t count : {1, 2, 3, 4}) {
                        CAPTURE(first, count);
                        if (keys)
                            check(typename TestType::key_codec{}, first, count, false);
                        else
                            for (const bool add : {false, true}) check(typename TestType::value_codec{}, first, count, add);
                    }
            }
    }
}

TEMPLATE_LIST_TEST_CASE("KIVI's words are in bounds whatever is sealed", "[kv]", groups) {
    const std::size_t width = 64;
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f, 1e-42f, 0.0f})
        for (const bool all : {true, false}) {
            std::vector<float> x = random_floats(TestType::tokens * width, 3);
            if (all) std::fill(x.begin(), x.end(), bad);
            x[5] = x[70] = bad;
            for (const bool keys : {true, false}) {
                const auto bytes = sealed<TestType, vector>(x, width, keys);
                each_row<TestType>(bytes, width, keys, [&]<class Codec>(const std::byte* row, std::size_t, Codec) {
                    for (std::size_t unit = 0; unit < width / kv::word_unit; ++unit) {
                        std::int16_t words[kv::word_unit];
                        Codec::template words<ints>(row, unit).store(words);
                        for (const std::int16_t w : words) REQUIRE(std::abs(w) <= attention::most_word + 255 * TestType::most);
                        if (all && bad == 0.0f)
                            for (const std::int16_t w : words) REQUIRE(w == 0);
                    }
                });
            }
        }
}

TEST_CASE("a row reads whole groups before its own from KIVI's body, and with a hot tier those that far back", "[kv]") {
    const kv::tier_rule kivi{1, 64}, tiers{100, 32};
    for (position p = 0; p < 1000; ++p) {
        CHECK(kivi.boundary(p) == p / 64 * 64);
        CHECK(tiers.boundary(p) % 32 == 0);
        CHECK(tiers.boundary(p) <= std::max(0, p + 1 - 100));
        CHECK(tiers.boundary(p) > p + 1 - 100 - 32);
    }
}

TEST_CASE("tiers are named in words", "[kv]") {
    using enum kv::codec_kind;
    using enum kv::storage_kind;
    const auto named = [](std::string_view text, kv::storage_kind storage, kv::codec_kind codec, std::size_t hot) {
        const kv::spec got = kv::parse_spec(text);
        CAPTURE(text);
        CHECK((got.storage == storage && got.codec == codec && got.hot == hot));
    };
    named("contiguous:kivi2", contiguous, kivi2, 1);
    named("paged:kivi4", paged, kivi4, 1);
    named("tiered:f16/256,q4", tiered, q4, 256);
    named("tiered:f16/1,kivi4", tiered, kivi4, 1);
    for (const char* text : {"radix/8:kivi4", "ring/64:kivi4", "paged/8:kivi4", "tiered", "tiered:q4", "tiered:f16/0,q4", "tiered:f16/,q4",
                             "tiered:f16/8", "tiered:q8/8,q4", "tiered:f16/8,f16", "tiered:f16/8x,q4", "tiered/4:f16/8,q4"}) {
        CAPTURE(text);
        CHECK_THROWS_AS(kv::parse_spec(text), error);
    }
    CHECK(kv::tiered<>{}.name() == "contiguous:kivi4");
    CHECK(kv::paged_tiered<kv::f16, kv::kivi2>{}.name() == "paged:kivi2");
    CHECK(kv::tiered<kv::f16, kv::grouped<kv::q4>>{{.hot = 256}}.name() == "tiered:f16/256,q4");
    CHECK(kv::tiered<kv::f16, kv::grouped<kv::q4>>{}.name() == "tiered:f16/1,q4");
}

TEST_CASE("KIVI keeps the first tokens as they are where no number is given", "[kv]") {
    const kv::cache_shape shape{1, 1, 64};
    CHECK(kv::layers_apart<kv::f16, kv::kivi4>(shape, std::nullopt).first() == 4);
    CHECK(kv::layers_apart<kv::f16, kv::kivi2>(shape, std::nullopt).first() == 4);
    CHECK(kv::layers_apart<kv::f16, kv::grouped<kv::q4>>(shape, std::nullopt).first() == 0);
    const kv::layers_apart<kv::f32, kv::kivi2> wide(shape, std::nullopt);  // four rows of 256 bytes are more than a group of keys has
    CHECK(wide.first() == std::min(kv::kivi2::key_bytes(64), kv::kivi2::value_bytes(64)) / 256);
    CHECK(wide.first() < 4);
    wide.check();

    const auto bytes = [&](const kv::tiered_options& o) { return kv::tiered<>{o}.bytes(shape); };
    CHECK(bytes({}) == bytes({.sinks = 4}));
    CHECK(bytes({}) > bytes({.sinks = 0}));
    CHECK(kv::paged_tiered<>{}.name() == "paged:kivi4");
    CHECK(kv::paged_tiered<>{{.sinks = 0}}.name() == "paged-tiered:f16/1+0,kivi4");
}

TEST_CASE("tiers refuse what they have no room for, by name", "[kv]") {
    const auto refused = [](const kv::tiered_options& o, const kv::cache_shape& shape) {
        return code_of([&] { kv::tiered<>{o}.make(shape, std::pmr::new_delete_resource()); });
    };
    CHECK(refused({.hot = 0}, {1, 1, 64}) == errc::invalid_argument);
    CHECK(refused({.step = 0}, {1, 1, 64}) == errc::invalid_argument);
    CHECK(refused({}, {1, 1, 1024}) == errc::unsupported);
    auto cache = kv::tiered<>{{.tokens = 100, .step = 10}}.make({1, 1, 64}, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    const kv::segment eleven{s, 0, 11}, ten{s, 0, 10};
    CHECK(code_of([&] { cache.plan({&eleven, 1}); }) == errc::cache_full);
    for (int i = 0; i < 12; ++i) cache.plan({&ten, 1}), cache.commit(s);
    CHECK(code_of([&] { cache.plan({&ten, 1}); }) == errc::cache_full);  // 128 tokens in whole groups
    CHECK(cache.length(s) == 120);
}

TEST_CASE("forks share whole groups of a pool", "[kv]") {
    auto cache =
        kv::paged_tiered<>{{.tokens = 256, .sequences = 3, .step = 64, .sinks = 0}}.make({1, 1, 64}, std::pmr::new_delete_resource());
    const kv::sequence_id a = cache.open();
    const auto grow = [&](kv::sequence_id s, std::size_t rows) {
        const kv::segment step{s, 0, rows};
        cache.plan({&step, 1});
        cache.commit(s);
    };
    for (int i = 0; i < 3; ++i) grow(a, 64);
    const kv::sequence_id b = cache.fork(a), c = cache.fork(a);
    grow(b, 64);  // the fourth group
    const kv::segment more{c, 0, 64};
    CHECK(code_of([&] { cache.plan({&more, 1}); }) == errc::cache_full);
    grow(c, 63);
    cache.close(b);
    grow(c, 1);
    CHECK(cache.length(c) == 256);
    cache.close(a);
    cache.truncate(c, 128);
    for (int i = 0; i < 2; ++i) grow(c, 64);
    CHECK(cache.keeps(c, 64));
    CHECK_FALSE(cache.keeps(c, 66));
    CHECK(code_of([&] { cache.truncate(c, 66); }) == errc::invalid_argument);
}
