// SPDX-License-Identifier: MIT
// The arithmetic coder and its models: what is put is what is got, at the cost that the frequencies say, and no bytes harm a decoder.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <random>
#include <span>
#include <vector>

#include <skald/kv/transport/delta_coder.hpp>
#include <skald/kv/transport/range_coder.hpp>
#include <skald/kv/transport/symbol_model.hpp>

#include "support/catch.hpp"

using namespace skald;
using namespace skald::kv::detail;

namespace {

std::vector<std::byte> random_bytes(std::size_t n, std::mt19937& random) {
    std::vector<std::byte> out(n);
    for (std::byte& b : out) b = static_cast<std::byte>(random());
    return out;
}

}  // namespace

TEST_CASE("symbols of any frequencies come back, and cost what they say", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    for (const std::size_t alphabet : {1, 2, 3, 17, 256, 65536})
        for (const std::size_t length : {0, 1, 2, 1000, 20000}) {
            CAPTURE(alphabet, length);
            std::vector<std::uint32_t> begins{0};
            for (std::size_t i = 0; i < alphabet; ++i)
                begins.push_back(begins.back() + 1 + (alphabet <= 256 && random() % 4 == 0 ? random() % 200 : 0));
            const std::uint32_t total = begins.back();
            std::vector<std::size_t> symbols(length);
            double bits = 0;
            for (std::size_t& s : symbols) {
                const std::uint32_t at = random() % total;
                s = static_cast<std::size_t>(std::upper_bound(begins.begin(), begins.end(), at) - begins.begin()) - 1;
                bits -= std::log2((begins[s + 1] - begins[s]) / static_cast<double>(total));
            }
            range_encoder out(std::pmr::new_delete_resource());
            for (const std::size_t s : symbols) out.put(begins[s], begins[s + 1] - begins[s], total);
            const auto bytes = out.finish();
            CHECK(static_cast<double>(bytes.size()) <= bits / 8 + static_cast<double>(length) / 8 / 128 + 6);
            range_decoder in(bytes);
            for (const std::size_t s : symbols) {
                const std::uint32_t at = in.find(total);
                REQUIRE(at >= begins[s]);
                REQUIRE(at < begins[s + 1]);
                in.take(begins[s], begins[s + 1] - begins[s]);
            }
            CHECK(in.at_end());
        }
}

TEST_CASE("carries run through bytes that wait", "[kv]") {
    // The last symbol of many and the first one in turn: the lower end comes close to the next byte and passes it.
    for (const std::uint32_t last : {1u, 2u, 255u}) {
        range_encoder out(std::pmr::new_delete_resource());
        std::vector<bool> upper;
        std::mt19937 random(last);
        for (std::size_t i = 0; i < 50000; ++i) upper.push_back(i % 1000 < 990 || random() % 2 == 0);
        for (const bool u : upper) u ? out.put(65536 - last, last, 65536) : out.put(0, 65536 - last, 65536);
        range_decoder in(out.finish());
        for (const bool u : upper) {
            REQUIRE((in.find(65536) >= 65536 - last) == u);
            u ? in.take(65536 - last, last) : in.take(0, 65536 - last);
        }
        CHECK(in.at_end());
    }
}

TEST_CASE("bell tables are frequencies of their widths", "[kv]") {
    const bell_tables both(std::pmr::new_delete_resource());
    const std::span<const bell_table> tables = both.whole();
    for (std::size_t i = 0; i < tables.size(); ++i) {
        CAPTURE(i);
        const bell_table &t = both.at(i, false), &between = both.at(i, true);
        REQUIRE(&t == &tables[i]);
        REQUIRE(between.begins.front() == 0);
        REQUIRE(between.begins.back() == bell_table::total);
        for (std::size_t k = 0; k < bell_table::radius; ++k) {  // the same on both sides of the middle between -1 and 0, and falling
            const auto at = [&](std::size_t s) { return between.begins[s + 1] - between.begins[s]; };
            REQUIRE(at(bell_table::radius + k) > 0);
            REQUIRE(at(bell_table::radius + k) >= at(bell_table::radius - 1 - k));
            REQUIRE(at(bell_table::radius + k) - at(bell_table::radius - 1 - k) <= (k == 0 ? 256 : 0));  // what is left over stands at 0
            if (k > 0) REQUIRE(at(bell_table::radius + k) <= at(bell_table::radius + k - 1));
        }
        REQUIRE(t.begins.front() == 0);
        REQUIRE(t.begins.back() == bell_table::total);
        for (std::size_t s = 0; s < bell_table::symbols; ++s) REQUIRE(t.begins[s] < t.begins[s + 1]);
        for (std::size_t k = 0; k <= bell_table::radius; ++k) {  // alike on both sides, and falling
            const auto at = [&](std::size_t s) { return t.begins[s + 1] - t.begins[s]; };
            REQUIRE(at(bell_table::radius - k) == at(bell_table::radius + k));
            if (k > 0) REQUIRE(at(bell_table::radius + k) <= at(bell_table::radius + k - 1));
        }
        if (i > 0) CHECK(t.moment > tables[i - 1].moment);
        const double width = 0.25 * std::exp2(static_cast<double>(i) / widths_an_octave);
        if (width > 1 && width < 25) CHECK(std::sqrt(static_cast<double>(t.moment) / 65536) == Approx(width).epsilon(0.06));
        CHECK(nearest_width(tables, t.moment) == i);
    }
}

TEST_CASE("numbers and counted symbols come back", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    std::vector<std::int32_t> numbers{0, 1, -1, 2, -2, INT32_MAX, INT32_MIN, INT32_MIN + 1, INT32_MAX - 1};
    for (int i = 0; i < 5000; ++i) numbers.push_back(static_cast<std::int32_t>(random()) >> random() % 32);
    range_encoder out(std::pmr::new_delete_resource());
    number_model put;
    counting_model<7> put_small;
    for (const std::int32_t n : numbers) put.put(out, n), put_small.put(out, static_cast<std::uint32_t>(n) % 7);
    range_decoder in(out.finish());
    number_model get;
    counting_model<7> get_small;
    for (const std::int32_t n : numbers) {
        REQUIRE(get.get(in) == n);
        REQUIRE(get_small.get(in) == static_cast<std::uint32_t>(n) % 7);
    }
    CHECK(in.at_end());
}

TEST_CASE("a trellis' symbols are the nearest of all that it allows", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    constexpr std::size_t length = 10;
    const std::vector<std::uint8_t> anchor(length, 0);
    trellis_search search(length, std::pmr::new_delete_resource());
    const auto error_of = [](std::span<const std::int32_t> values, std::span<const std::int32_t> symbols) {
        channel_state state;
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::int64_t error = values[i] - state.next_symbol(symbols[i], true);
            sum += error * error;
        }
        return sum;
    };
    for (int round = 0; round < 50; ++round) {
        std::vector<std::int32_t> values(length), symbols(length), other(length);
        for (std::int32_t& v : values) v = static_cast<std::int32_t>(random() % 201) - 100;
        search.find(values, anchor, 0, symbols);
        // Farther points than the two about a value are even or odd as one of these, and lead to the same states.
        std::int64_t least = std::numeric_limits<std::int64_t>::max();
        for (std::uint32_t choice = 0; choice < (1u << length); ++choice) {
            channel_state state;
            for (std::size_t i = 0; i < length; ++i) {
                const std::int32_t below = (values[i] - (state.halfway() ? units_a_bin / 2 : 0)) >> 3;
                other[i] = below + static_cast<std::int32_t>(choice >> i & 1);
                state.next_symbol(other[i], true);
            }
            least = std::min(least, error_of(values, other));
        }
        REQUIRE(error_of(values, symbols) == least);
    }
}

TEST_CASE("channels come back within a bin, a quarter of one in the mean, and their anchors exactly", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const bell_tables tables(std::pmr::new_delete_resource());
    std::normal_distribution<double> normal;
    for (const double share : {0.0, 0.9, 1.0, -0.7})
        for (const double width : {0.0, 1.0, 20.0, 3000.0, 1e6})
            for (const std::size_t length : {1, 2, 3, 64, 256}) {
                CAPTURE(share, width, length);
                std::vector<std::int32_t> values(length);
                std::vector<std::uint8_t> anchor(length);
                const double mean = normal(random) * width * 3;
                double last = 0;
                for (std::size_t i = 0; i < length; ++i) {
                    last = share * last + normal(random) * width;
                    values[i] = static_cast<std::int32_t>(std::clamp(mean + last, -1.0 * most_units, 1.0 * most_units));
                    anchor[i] = length == 3 || random() % 16 == 0;
                }
                if (length == 64) std::fill(values.begin(), values.end(), values[0]);
                if (length == 256) values[100] = -most_units, values[101] = most_units;
                range_encoder out(std::pmr::new_delete_resource());
                channel_models put, get;
                delta_encoder encoder(3, 256, "here", std::pmr::new_delete_resource());
                delta_decoder decoder(3, 256, "here", std::pmr::new_delete_resource());
                for (std::size_t c = 0; c < 3; ++c) encoder.put(out, put, tables, c, values, anchor);
                range_decoder in(out.finish());
                double squares = 0;
                for (std::size_t c = 0; c < 3; ++c)
                    decoder.get(in, get, tables, c, anchor, [&](std::size_t i, std::int32_t value) {
                        const std::int32_t error = std::abs(value - values[i]);
                        REQUIRE(error <= (anchor[i] != 0 ? 0 : units_a_bin));
                        squares += error * error;
                    });
                // The trellis' error is 0.245 bins, that of a bin's nearest point 0.289.
                if (length == 256 && width > 10) CHECK(std::sqrt(squares / (3 * 256)) < 0.27 * units_a_bin);
                CHECK(in.at_end());
            }
}

TEST_CASE("what is correlated from token to token or from channel to channel takes fewer bytes", "[kv]") {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    const bell_tables tables(std::pmr::new_delete_resource());
    const std::vector<std::uint8_t> anchor(256, 0);
    const auto size_of = [&](double share, double of_other) {
        range_encoder out(std::pmr::new_delete_resource());
        channel_models models;
        delta_encoder encoder(64, 256, "here", std::pmr::new_delete_resource());
        std::vector<double> last(256);
        std::vector<std::int32_t> values(256);
        for (std::size_t c = 0; c < 64; ++c) {
            double before = normal(random) * 100;
            for (std::size_t i = 0; i < 256; ++i) {
                before = share * before + std::sqrt(1 - share * share) * normal(random) * 100;
                last[i] = of_other * last[i] + std::sqrt(1 - of_other * of_other) * before;
                if (c == 0) last[i] = before;
                values[i] = static_cast<std::int32_t>(last[i]);
            }
            encoder.put(out, models, tables, c, values, anchor);
        }
        return static_cast<double>(out.finish().size()) * 8 / (64 * 256);
    };
    // Entropies of 12.5 bins: log2(12.5 · sqrt(2πe)) = 5.69; with a correlation r less by -log2(sqrt(1 - r²)).
    CHECK(size_of(0, 0) == Approx(5.69).margin(0.12));
    CHECK(size_of(0.95, 0) == Approx(5.69 - 1.68).margin(0.15));
    CHECK(size_of(0, 0.95) == Approx(5.69 - 1.68).margin(0.2));
}

TEST_CASE("any bytes are decoded to bounded values", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const bell_tables tables(std::pmr::new_delete_resource());
    for (int round = 0; round < 300; ++round) {
        auto bytes = random_bytes(random() % 600, random);
        if (round % 3 == 0) std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
        if (round % 3 == 1) std::fill(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2), std::byte{0});
        range_decoder in(bytes);
        channel_models models;
        std::vector<std::uint8_t> anchor(256);
        for (std::uint8_t& a : anchor) a = random() % 2;
        delta_decoder decoder(20, 256, "here", std::pmr::new_delete_resource());
        for (std::size_t c = 0; c < 20; ++c)
            decoder.get(in, models, tables, c, anchor,
                        [&](std::size_t, std::int32_t value) { REQUIRE(std::abs(value) <= 8 * most_units); });
    }
}
