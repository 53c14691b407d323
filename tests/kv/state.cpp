// SPDX-License-Identifier: MIT
// Saved sequences: what is read back is what was saved, bit by bit, and what cannot be read leaves the cache as it was.
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <skald/kv/any_cpu.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/state_file.hpp>

#include "io/temporary_folder.hpp"
#include "kv/policies.hpp"
#include "kv/streams.hpp"
#include "kv/watched.hpp"
#include "reference/naive.hpp"
#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;
using namespace skald::test;

namespace {

template <class Policy>
using kept_codec = typename decltype(Policy::make(1, 1))::cache::run::codec;

/// A source that gives its bytes in one piece after the other, and remembers what it did not give.
struct stream {
    bytes data;
    std::size_t at = 0;
    kv::state_source source() {
        return [this](std::span<std::byte> out) {
            const std::size_t count = std::min(out.size(), data.size() - at);
            std::memcpy(out.data(), data.data() + at, count);
            at += count;
            return count;
        };
    }
};

/// Appends rows of random bytes and commits them.
template <class Cache>
void grow(Cache& cache, kv::sequence_id s, std::size_t rows, std::mt19937& random) {
    const std::array segments{kv::segment{s, 0, rows}};
    const row_range range = cache.plan(segments)[0];
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto [run] = cache.view(layer);
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
            for (std::size_t i = 0; i < rows; ++i)
                for (std::byte* row : {run.key(0, h, range.first_position + static_cast<position>(i)),
                                       run.value(0, h, range.first_position + static_cast<position>(i))})
                    for (std::size_t b = 0; b < run.row_bytes(); ++b) row[b] = static_cast<std::byte>(random());
    }
    cache.commit(s);
}

/// All bytes of the first `rows` committed rows of a sequence, row by row.
template <class Cache>
bytes rows_of(Cache& cache, kv::sequence_id s, std::size_t rows) {
    bytes out;
    cache.select(s);
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const auto [run] = cache.view(layer);
        for (std::size_t h = 0; h < cache.shape().kv_heads; ++h)
            for (std::size_t p = 0; p < rows; ++p)
                for (const std::byte* row : {run.key(0, h, static_cast<position>(p)), run.value(0, h, static_cast<position>(p))})
                    out.insert(out.end(), row, row + run.row_bytes());
    }
    return out;
}

/// A small saved sequence of 5 tokens and what it was made of.
struct small_state {
    static constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};
    std::vector<token_id> tokens = some_tokens(5);
    bytes rows, saved;

    small_state() {
        std::mt19937 random(7);
        auto cache = kv::contiguous<kv::f16>{{.tokens = 8}}.make(shape, std::pmr::new_delete_resource());
        const kv::sequence_id s = cache.open();
        grow(cache, s, 5, random);
        rows = rows_of(cache, s, 5);
        kv::save(cache, s, tokens, into(saved), {.model = 42}, "note");
    }
};

struct watched : watched_cache {
    template <class Source>
    errc refused(const Source& source, std::uint64_t model = 42) {
        return code_of([&] { kv::load(cache, source, {.model = model, .memory = &memory}); });
    }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a saved sequence is the same in every cache of its codec, and refused by others", "[kv]", keeping_policies) {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    for (const std::size_t length : {0, 1, 63, 64, 65, 131}) {
        auto from = TestType::make(200, 2).make(small_shape, std::pmr::new_delete_resource());
        (void)from.open();
        const kv::sequence_id s = from.open();
        const std::size_t more = 3;
        for (std::size_t left = length + more; left != 0;) {
            const std::size_t rows = std::min<std::size_t>(left, 1 + random() % 40);
            grow(from, s, rows, random);
            left -= rows;
        }
        const auto tokens = some_tokens(length);
        bytes saved;
        kv::save(from, s, tokens, into(saved), {.model = 3}, "a note");
        const bytes expected = rows_of(from, s, length);
        CHECK(from.length(s) == static_cast<position>(length + more));

        std::size_t fitting = 0;
        const auto try_in = [&]<class To>(const To&) {
            auto to = To::make(150, 3).make(small_shape, std::pmr::new_delete_resource());
            const kv::sequence_id first = to.open();
            grow(to, first, 21, random);
            const bytes neighbour = rows_of(to, first, 21);
            if constexpr (std::is_same_v<kept_codec<To>, kept_codec<TestType>>) {
                ++fitting;
                const kv::loaded_sequence loaded = kv::load(to, saved, {.model = 3});
                CHECK(loaded.text.tokens == tokens);
                CHECK(loaded.text.note == "a note");
                REQUIRE(to.length(loaded.sequence) == static_cast<position>(length));
                CHECK(rows_of(to, loaded.sequence, length) == expected);
                to.rollback(loaded.sequence, to.mark(loaded.sequence));  // all of it is committed
                CHECK(code_of([&] { to.rollback(loaded.sequence, {-1}); }) == errc::invalid_argument);
                grow(to, loaded.sequence, 2, random);  // and goes on
                CHECK(rows_of(to, loaded.sequence, length) == expected);
                bytes again;
                kv::save(to, loaded.sequence, tokens, into(again), {.model = 3}, "a note");
                CHECK(again == saved);
            } else {
                CHECK(code_of([&] { kv::load(to, saved, {.model = 3}); }) == errc::invalid_argument);
                (void)to.open();
            }
            CHECK(rows_of(to, first, 21) == neighbour);
        };
        std::apply([&](const auto&... to) { (try_in(to), ...); }, keeping_policies{});
        CHECK(fitting >= 2);
        CHECK(kv::check(saved).text.tokens == tokens);
        CHECK(kv::check(saved).bytes == saved.size());
    }
}

TEST_CASE("a saved sequence cut off anywhere or continued is refused", "[kv]") {
    const small_state state;
    watched w;
    for (std::size_t size = 0; size < state.saved.size(); ++size) {
        CAPTURE(size);
        const std::span<const std::byte> cut(state.saved.data(), size);
        REQUIRE(w.refused(cut) == errc::bad_file);
        REQUIRE(code_of([&] { kv::check(cut); }) == errc::bad_file);
        REQUIRE(w.as_it_was());
    }
    bytes longer = state.saved;
    longer.push_back(std::byte{0});
    CHECK(w.refused(longer) == errc::bad_file);
    CHECK(code_of([&] { kv::check(longer); }) == errc::bad_file);
    CHECK(w.as_it_was());
    const kv::loaded_sequence loaded = kv::load(w.cache, state.saved, {.model = 42});
    CHECK(rows_of(w.cache, loaded.sequence, 5) == state.rows);
}

TEST_CASE("a saved sequence with any byte changed is refused", "[kv]") {
    const small_state state;
    watched w;
    for (std::size_t at = 0; at < state.saved.size(); ++at)
        for (const unsigned flip : {1u, 0x80u, 0xffu}) {
            CAPTURE(at, flip);
            bytes changed = state.saved;
            changed[at] ^= static_cast<std::byte>(flip);
            const errc code = w.refused(changed);
            REQUIRE((code == errc::bad_file || (code == errc::unsupported && at >= 8 && at < 12)));  // another version
            REQUIRE(w.as_it_was());
        }
}

TEST_CASE("headers under a right checksum are not trusted either", "[kv]") {
    const small_state state;
    watched w;
    const auto with = [&](std::size_t at, std::uint64_t value, std::size_t size) {
        bytes changed = state.saved;
        std::memcpy(changed.data() + at, &value, size);
        const std::uint64_t sum = checksum(std::span(changed).first(80));
        std::memcpy(changed.data() + 80, &sum, sizeof sum);
        return changed;
    };
    constexpr std::size_t layers = 12, kv_heads = 16, head_dim = 20, row_bytes = 24, note_bytes = 28, tokens = 32, model = 40, codec = 48;
    CHECK(kv::load(w.cache, with(model, 42, 8), {.model = 42}).text.tokens == state.tokens);  // the offsets are right
    w.cache.close({1});
    for (const std::size_t field : {layers, kv_heads, head_dim, row_bytes}) {
        CHECK(w.refused(with(field, 0, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 0xffffffff, 4)) == errc::bad_file);
        CHECK(w.refused(with(field, 9, 4)) == errc::invalid_argument);
        CHECK(code_of([&] { kv::check(with(field, 9, 4)); }) == errc::bad_file);
    }
    for (const std::uint64_t count :
         {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{6}, std::uint64_t{0x7fffffff}, std::uint64_t{1} << 31, ~std::uint64_t{0}}) {
        CHECK(w.refused(with(tokens, count, 8)) == errc::bad_file);
        CHECK(code_of([&] { kv::check(with(tokens, count, 8)); }) == errc::bad_file);
    }
    for (const std::uint64_t size : {0u, 3u, 5u, 1u << 26, 0xffffffffu}) CHECK(w.refused(with(note_bytes, size, 4)) == errc::bad_file);
    CHECK(w.refused(with(codec, 0, 8)) == errc::bad_file);                // no name
    CHECK(w.refused(with(codec + 31, 'x', 1)) == errc::bad_file);         // no end
    CHECK(w.refused(with(codec + 1, ' ', 1)) == errc::bad_file);          // no word
    CHECK(w.refused(with(codec + 1, '3', 1)) == errc::invalid_argument);  // "f36"
    CHECK(w.as_it_was());
}

TEST_CASE("what was saved of another model, shape or codec is refused by name", "[kv]") {
    const small_state state;
    watched w;
    CHECK(w.refused(state.saved, 43) == errc::invalid_argument);
    CHECK(w.as_it_was());
    const auto message = [&](const kv::cache_shape& shape, const auto& policy) {
        auto cache = policy.make(shape, std::pmr::new_delete_resource());
        try {
            kv::load(cache, state.saved, {.model = 42, .place = "here"});
        } catch (const error& e) {
            CHECK(e.code() == errc::invalid_argument);
            CHECK(e.place() == "here");
            CHECK(cache.open().index == 0);
            return std::string(e.what());
        }
        FAIL("nothing was thrown");
        return std::string();
    };
    const kv::paged<kv::f16> f16{{.tokens = 16}};
    CHECK(message({.layers = 3, .kv_heads = 1, .head_dim = 4}, f16) == "here: the number of layers is 2; this cache's is 3");
    CHECK(message({.layers = 2, .kv_heads = 2, .head_dim = 4}, f16) == "here: the number of key/value heads is 1; this cache's is 2");
    CHECK(message({.layers = 2, .kv_heads = 1, .head_dim = 5}, f16) == "here: the head dimension is 4; this cache's is 5");
    CHECK(message(small_state::shape, kv::paged<kv::bf16>{{.tokens = 16}}) == "here: the codec is f16; this cache's is bf16");
}

TEST_CASE("a cache without room refuses a saved sequence and stays as it was", "[kv]") {
    std::mt19937 random(3);
    auto from = kv::contiguous<kv::f16>{{.tokens = 200}}.make(small_state::shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = from.open();
    grow(from, s, 150, random);
    bytes saved;
    kv::save(from, s, some_tokens(150), into(saved), {.model = 42});
    watched w;
    CHECK(w.refused(saved) == errc::cache_full);
    CHECK(w.as_it_was());
    auto two_steps = kv::paged<kv::f16>{{.tokens = 130, .sequences = 1}}.make(small_state::shape, std::pmr::new_delete_resource());
    const std::size_t free = two_steps.free_blocks();
    CHECK(code_of([&] { kv::load(two_steps, saved, {.model = 42}); }) == errc::cache_full);
    CHECK(two_steps.free_blocks() == free);
    const kv::sequence_id empty = two_steps.open();
    CHECK(code_of([&] { kv::restore(two_steps, empty, saved, {.model = 42}); }) == errc::cache_full);
    CHECK(two_steps.length(empty) == 0);
    CHECK(two_steps.free_blocks() == free);
    two_steps.close(empty);
    const kv::sequence_id taken = two_steps.open();
    CHECK(code_of([&] { kv::load(two_steps, saved, {.model = 42}); }) == errc::cache_full);
    grow(two_steps, taken, 1, random);
    CHECK(code_of([&] { kv::restore(two_steps, taken, saved, {.model = 42}); }) == errc::invalid_argument);
    CHECK(two_steps.length(taken) == 1);
}

TEST_CASE("sinks, sources and memory that fail leave the cache as it was", "[kv]") {
    std::mt19937 random(3);
    constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 3, .head_dim = 64};
    constexpr std::size_t length = 200;
    counting_resource memory;
    auto cache = kv::paged<kv::f32>{{.tokens = 512, .sequences = 2}}.make(shape, &memory);
    const kv::sequence_id s = cache.open();
    grow(cache, s, length, random);
    const bytes rows = rows_of(cache, s, length);
    const std::size_t held = memory.bytes(), free = cache.free_blocks();
    const auto tokens = some_tokens(length);
    bytes saved;
    std::size_t pieces = 0;
    kv::save(cache, s, tokens,
             [&](std::span<const std::byte> some) {
                 CHECK(some.size() <= (1u << 16) + 8);
                 into(saved)(some);
                 ++pieces;
             },
             {.memory = &memory});
    REQUIRE(pieces > 4);
    CHECK(memory.bytes() == held);
    CHECK(memory.peak_bytes() <= held + (1u << 16) + 64);  // whatever the length

    const auto unchanged = [&] {
        return rows_of(cache, s, length) == rows && cache.length(s) == static_cast<position>(length) && memory.bytes() == held &&
               cache.free_blocks() == free;
    };
    for (std::size_t broken = 0; broken < pieces; ++broken) {
        std::size_t n = 0;
        const auto fails = [&] {
            if (n++ == broken) throw std::runtime_error("broken");
        };
        CHECK_THROWS_AS(kv::save(cache, s, tokens, [&](std::span<const std::byte>) { fails(); }, {.memory = &memory}), std::runtime_error);
        CHECK(unchanged());
        n = 0;
        stream in{saved};
        const kv::state_source failing = [&](std::span<std::byte> out) {
            fails();
            return in.source()(out);
        };
        CHECK_THROWS_AS(kv::load(cache, failing, {.memory = &memory}), std::runtime_error);
        CHECK(unchanged());
        CHECK(cache.open().index == 1);
        cache.close({1});
    }
    CHECK_THROWS_AS(kv::save(cache, s, tokens, [](auto) {}, {.memory = std::pmr::null_memory_resource()}), std::bad_alloc);
    CHECK_THROWS_AS(kv::load(cache, saved, {.memory = std::pmr::null_memory_resource()}), std::bad_alloc);
    CHECK(code_of([&] { kv::load(cache, kv::state_source([](std::span<std::byte> out) { return out.size() + 1; })); }) ==
          errc::invalid_argument);
    CHECK(unchanged());
    CHECK(rows_of(cache, kv::load(cache, saved).sequence, length) == rows);
}

TEST_CASE("a prefix can be saved, pending tokens and strangers cannot", "[kv]") {
    std::mt19937 random(3);
    auto cache = kv::paged<kv::f16>{{.tokens = 64, .sequences = 3}}.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = cache.open();
    grow(cache, s, 20, random);
    const std::array pending{kv::segment{s, 0, 4}};
    cache.plan(pending);
    bytes saved;
    CHECK(code_of([&] { kv::save(cache, s, some_tokens(21), into(saved)); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::save(cache, kv::sequence_id{2}, some_tokens(1), into(saved)); }) == errc::invalid_argument);
    CHECK(code_of([&] { kv::save(cache, s, std::vector<token_id>{1, -1}, into(saved)); }) == errc::invalid_argument);
    CHECK(saved.empty());
    CHECK(cache.length(s) == 24);
    kv::save(cache, s, some_tokens(7), into(saved));
    CHECK(cache.length(s) == 24);
    const kv::loaded_sequence loaded = kv::load(cache, saved);
    CHECK(cache.length(loaded.sequence) == 7);
    CHECK(rows_of(cache, loaded.sequence, 7) == rows_of(cache, s, 7));
}

TEST_CASE("rows in several runs are saved in order of their positions, and missing ones refused", "[kv]") {
    struct part {
        position first, last;
        std::size_t after;  // positions whose rows follow each other
        position begin(std::size_t) const { return first; }
        position end(std::size_t) const { return last; }
        std::size_t stretch(position) const { return after; }
    };
    const std::tuple runs{part{12, 30, 100}, part{0, 7, 3}, part{7, 12, 1}};
    std::vector<position> seen;
    const auto look = [&](const part& run, position p, std::size_t count) {
        CHECK(count <= run.after);
        CHECK(p >= run.first);
        for (std::size_t i = 0; i < count; ++i) seen.push_back(p + static_cast<position>(i));
        CHECK(seen.back() < run.last);
    };
    kv::detail::each_stretch(runs, 2, 25, look);
    REQUIRE(seen.size() == 23);
    for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == static_cast<position>(2 + i));
    CHECK(code_of([&] { kv::detail::each_stretch(runs, 29, 31, look); }) == errc::unsupported);
    CHECK(code_of([&] { kv::detail::each_stretch(std::tuple{part{5, 9, 4}}, 4, 6, look); }) == errc::unsupported);
}

TEST_CASE("saved sequences can stand one after the other in a stream", "[kv]") {
    const small_state state;
    stream both{state.saved};
    both.data.insert(both.data.end(), state.saved.begin(), state.saved.end());
    auto cache = kv::contiguous<kv::f16>{{.tokens = 8, .sequences = 2}}.make(small_state::shape, std::pmr::new_delete_resource());
    for (const std::size_t end : {1, 2}) {
        const kv::loaded_sequence loaded = kv::load(cache, both.source(), {.model = 42});
        CHECK(rows_of(cache, loaded.sequence, 5) == state.rows);
        CHECK(loaded.text.note == "note");
        CHECK(both.at == end * state.saved.size());
    }
}

TEST_CASE("caches of a run-time kind save and restore as the one they hold", "[kv]") {
    const small_state state;
    using any = kv::any<cpu<>>;
    auto contiguous =
        any{kv::parse_spec("contiguous:f16"), {.tokens = 16, .sequences = 2}}.make(small_state::shape, std::pmr::new_delete_resource());
    auto paged =
        any{kv::parse_spec("paged/3:f16"), {.tokens = 32, .sequences = 2}}.make(small_state::shape, std::pmr::new_delete_resource());
    const kv::loaded_sequence first = kv::load(contiguous, state.saved, {.model = 42});
    bytes again, last;
    kv::save(contiguous, first.sequence, first.text.tokens, into(again), {.model = 42}, first.text.note);
    CHECK(again == state.saved);
    const kv::loaded_sequence second = kv::load(paged, again, {.model = 42});
    kv::save(paged, second.sequence, second.text.tokens, into(last), {.model = 42}, second.text.note);
    CHECK(last == state.saved);
    CHECK(code_of([&] { kv::load(paged, std::span(last).first(100), {.model = 42}); }) == errc::bad_file);
    CHECK(paged.open().index == 1);
}

TEST_CASE("files of saved sequences appear whole, and are named when they are refused", "[kv]") {
    const temporary_folder folder;
    const small_state state;
    auto cache = kv::paged<kv::f16>{{.tokens = 32, .sequences = 2}}.make(small_state::shape, std::pmr::new_delete_resource());
    const kv::loaded_sequence loaded = kv::load(cache, state.saved, {.model = 42});
    const std::filesystem::path path = folder.path() / "talk.kv";
    kv::save(cache, loaded.sequence, loaded.text.tokens, path, {.model = 42}, "note");
    CHECK(std::filesystem::file_size(path) == state.saved.size());
    CHECK(kv::check(path).header.codec == "f16");
    const kv::loaded_sequence again = kv::load(cache, path, {.model = 42});
    CHECK(rows_of(cache, again.sequence, 5) == state.rows);
    cache.close(again.sequence);

    CHECK(code_of([&] { kv::save(cache, loaded.sequence, some_tokens(6), path, {.model = 1}); }) == errc::invalid_argument);
    CHECK(kv::check(path).header.model == 42);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    bytes longer = state.saved;
    longer.push_back(std::byte{1});
    const std::filesystem::path bad = folder.write("bad.kv", longer);
    try {
        kv::load(cache, bad, {.model = 42});
        FAIL("nothing was thrown");
    } catch (const error& e) {
        CHECK(e.code() == errc::bad_file);
        CHECK(e.place() == bad.string());
    }
    CHECK(code_of([&] { kv::load(cache, folder.path() / "absent", {}); }) == errc::io);
    CHECK(code_of([&] { kv::load(cache, folder.path(), {}); }) == errc::io);
    CHECK(cache.open().index == 1);
}

TEST_CASE("a ring is saved and restored as far as it keeps all", "[kv]") {
    const kv::ring<kv::f16> policy{{.window = 30, .step = 70, .sequences = 2}};
    std::mt19937 random(1);
    auto from = policy.make(small_shape, std::pmr::new_delete_resource());
    const kv::sequence_id s = from.open();
    grow(from, s, 70, random);
    grow(from, s, 25, random);
    bytes saved;
    kv::save(from, s, some_tokens(95), into(saved), {.model = 3});
    auto to = policy.make(small_shape, std::pmr::new_delete_resource());
    const kv::loaded_sequence loaded = kv::load(to, saved, {.model = 3});
    CHECK(rows_of(to, loaded.sequence, 95) == rows_of(from, s, 95));
    grow(from, s, 6, random);
    CHECK(code_of([&] { kv::save(from, s, some_tokens(101), into(saved), {.model = 3}); }) == errc::unsupported);
}
