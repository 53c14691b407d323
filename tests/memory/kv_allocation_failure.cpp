// SPDX-License-Identifier: MIT
// Every allocation on the way of a cache fails once: none of it is lost, and the cache is as it was.
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <skald/kv/state.hpp>

#include "kv/policies.hpp"
#include "memory/failing_allocations.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

std::vector<token_id> some_tokens(std::size_t n) {
    std::vector<token_id> out(n);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<token_id>(i * 7 % 31);
    return out;
}

/// A cache with two sequences: 15 committed tokens, and 9 of which 4 are pending.
template <class Policy>
struct filled {
    decltype(Policy::make(1, 1)) policy = Policy::make(48, 3);
    typename decltype(policy)::cache cache = policy.make(small_shape, std::pmr::new_delete_resource());
    kv::sequence_id whole = cache.open(), growing = cache.open();
    std::vector<std::uint32_t> writers_of_whole, writers_of_growing;
    std::size_t bytes = cache.bytes(), free = free_blocks();

    filled() {
        add(whole, 15, 1, writers_of_whole);
        cache.commit(whole);
        add(growing, 5, 2, writers_of_growing);
        cache.commit(growing);
        add(growing, 4, 3, writers_of_growing);
        free = free_blocks();
    }

    void add(kv::sequence_id s, std::size_t rows, std::uint32_t writer, std::vector<std::uint32_t>& writers) {
        const std::array step{kv::segment{s, 0, rows}};
        write_rows(cache, cache.plan(step), {writer});
        writers.insert(writers.end(), rows, writer);
    }

    std::size_t free_blocks() const {
        if constexpr (requires { cache.free_blocks(); }) return cache.free_blocks();
        return 0;
    }

    bool reads(kv::sequence_id s, std::vector<std::uint32_t> writers, std::size_t committed) {
        writers.resize(committed);
        cache.select(s);
        return holds(cache, 0, writers, Policy::first(committed));
    }
    bool as_it_was() {
        if (cache.length(whole) != 15 || cache.length(growing) != 9 || cache.bytes() != bytes || free_blocks() != free) return false;
        const kv::sequence_id third = cache.open();  // there is one, and no more
        const bool empty = cache.length(third) == 0;
        bool full = false;
        try {
            (void)cache.open();
        } catch (const error& e) {
            full = e.code() == errc::cache_full;
        }
        cache.close(third);
        return empty && full && reads(whole, writers_of_whole, 15) && reads(growing, writers_of_growing, 5);
    }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a cache that cannot be made leaves nothing behind", "[memory]", policies) {
    const auto policy = TestType::make(48, 3);
    const long count = fail_each([&] { (void)policy.make(small_shape, std::pmr::new_delete_resource()); });
    CHECK(count >= 4);  // sequences, ranges, places, rows
}

TEMPLATE_LIST_TEST_CASE("what a cache does between its making and its end takes no memory", "[memory]", one_run_policies) {
    filled<TestType> f;
    const std::vector<token_id> text = some_tokens(15);
    left = 0;
    f.cache.rollback(f.growing, {7});
    f.cache.commit(f.growing);
    const std::array step{kv::segment{f.growing, 0, 3}, kv::segment{f.whole, 3, 2}};
    (void)f.cache.plan(step);
    const kv::sequence_id copy = f.cache.fork(f.growing);
    f.cache.select(copy);
    const auto seen = f.cache.view(1);
    f.cache.truncate(f.growing, 0);
    f.cache.close(copy);
    f.cache.close(f.growing);
    (void)f.cache.open();
    if constexpr (kv::prefix_sharing<decltype(f.cache)>) {
        f.cache.remember(f.whole, text);
        (void)f.cache.pin(text);
        (void)f.cache.open_with(text);
    }
    const bool took_none = left.exchange(-1) == 0;
    CHECK(took_none);
    CHECK(std::get<0>(seen).row_bytes() > 0);
}

TEMPLATE_LIST_TEST_CASE("a sequence that cannot be saved or restored for want of memory leaves the cache as it was", "[memory]",
                        one_run_policies) {
    filled<TestType> f;
    const std::vector<token_id> text = some_tokens(15);
    std::vector<std::byte> saved;
    saved.reserve(std::size_t{1} << 20);
    const long saving = fail_each(
        [&] {
            saved.clear();
            kv::save(
                f.cache, f.whole, text, [&](std::span<const std::byte> some) { saved.insert(saved.end(), some.begin(), some.end()); }, {},
                "a note of some length, which is not kept in place");
        },
        [&] { return f.as_it_was(); });
    CHECK(saving > 0);
    CHECK(f.as_it_was());

    kv::sequence_id restored;
    const long loading = fail_each([&] { restored = kv::load(f.cache, saved).sequence; }, [&] { return f.as_it_was(); });
    CHECK(loading > 1);
    CHECK(f.cache.length(restored) == 15);
    CHECK(f.reads(restored, f.writers_of_whole, 15));
    f.cache.close(restored);
    CHECK(f.as_it_was());
}
