// SPDX-License-Identifier: MIT
// The hash table under the vocabulary: what is put in is found, and keys made to collide are refused, not walked.
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <skald/text/detail/flat_table.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;
namespace td = skald::text::detail;

namespace {

struct entry {
    std::uint32_t key = 0;
    bool empty() const noexcept { return key == 0; }
};
using table = td::flat_table<entry>;

entry* at(const table& t, std::uint32_t key, std::uint64_t hash) {
    return t.find(hash, [&](const entry& e) { return e.key == key; });
}

}  // namespace

TEST_CASE("entries are found again among others, and absent ones are not") {
    for (const std::size_t n : {0u, 1u, 2u, 7u, 64u, 1000u, 200000u}) {
        const table t(n, std::pmr::get_default_resource());
        for (std::uint32_t key = 1; key <= n; ++key) {
            entry* e = at(t, key, td::mix(key));
            REQUIRE(e != nullptr);
            REQUIRE(e->empty());
            e->key = key;
        }
        for (std::uint32_t key = 1; key <= n; ++key) REQUIRE(at(t, key, td::mix(key))->key == key);
        for (std::uint32_t key = static_cast<std::uint32_t>(n) + 1; key < n + 100; ++key) REQUIRE(at(t, key, td::mix(key))->empty());
    }
}

TEST_CASE("more colliding entries than the probe limit have no place") {
    const table t(4 * table::longest_probe, std::pmr::get_default_resource());
    for (std::uint32_t key = 1; key <= table::longest_probe; ++key) {
        REQUIRE(at(t, key, 77) != nullptr);
        at(t, key, 77)->key = key;
    }
    CHECK(at(t, 1 << 20, 77) == nullptr);
    CHECK(at(t, 5, 77)->key == 5);
}

TEST_CASE("several seeds are tried before a file is refused") {
    int tries = 0;
    td::fill_with_some_seed("f", "keys", [&](std::uint64_t) { return ++tries == 3; });
    CHECK(tries == 3);
    check_error([] { td::fill_with_some_seed("f", "keys", [](std::uint64_t) { return false; }); }, errc::bad_file, "f", {"keys collide"});
}

TEST_CASE("hashes of strings depend on every byte, on the length and on the seed") {
    const std::uint64_t h = td::hash_bytes("abcdefghi", 1);
    CHECK(h == td::hash_bytes("abcdefghi", 1));
    CHECK(h != td::hash_bytes("abcdefghi", 2));
    CHECK(h != td::hash_bytes("abcdefgh", 1));
    CHECK(h != td::hash_bytes("abcdefghj", 1));
    CHECK(td::hash_bytes({"a\0", 2}, 1) != td::hash_bytes("a", 1));
}
