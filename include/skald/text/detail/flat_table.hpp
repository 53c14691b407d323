// SPDX-License-Identifier: MIT
#pragma once
// An open-addressed hash table in one flat array, filled once. Keys come from files, so a long probe is refused rather than
// walked: whoever fills a table tries another seed then, and no file makes filling or looking up take quadratic time.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <string_view>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>

namespace skald::text::detail {

/// A bijection of 64 bits that spreads every input bit over all (the finalizer of MurmurHash3).
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDu;
    x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53u;
    return x ^ (x >> 33);
}

inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) noexcept {
    std::uint64_t h = mix(seed + bytes.size());
    while (!bytes.empty()) {
        std::uint64_t word = 0;
        const std::size_t n = bytes.size() < sizeof word ? bytes.size() : sizeof word;
        std::memcpy(&word, bytes.data(), n);
        h = mix(h ^ word);
        bytes.remove_prefix(n);
    }
    return h;
}

/// Slots of a trivial Entry; `Entry{}` marks an empty one (`empty()` says so). At most half full.
template <class Entry>
class flat_table {
public:
    static constexpr std::size_t longest_probe = 512;  // at half load, chance runs reach some 70 slots with a million entries

    flat_table() noexcept = default;
    flat_table(std::size_t entries, std::pmr::memory_resource* memory) : slots_(std::bit_ceil(2 * entries + 1), memory) { clear(); }

    void clear() noexcept {
        for (Entry& e : slots_.span()) e = Entry{};
    }

    /// The slot of the first entry for which `equal(entry)` holds, or the empty one where it would stand; null past the probe limit.
    template <class Equal>
    Entry* find(std::uint64_t hash, Equal equal) const noexcept {
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t i = 0; i < longest_probe; ++i) {
            Entry& e = slots_[(hash + i) & mask];
            if (e.empty() || equal(e)) return &e;
        }
        return nullptr;
    }

private:
    buffer<Entry> slots_;
};

/// Calls `fill(seed)` with several seeds until it says that every entry found a place. Throws errc::bad_file if none does.
template <class Fill>
void fill_with_some_seed(std::string_view place, std::string_view what, Fill fill) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed)
        if (fill(seed)) return;
    fail(errc::bad_file, place, what, " collide in every hash table tried; the file was made to do so");
}

}  // namespace skald::text::detail
