// SPDX-License-Identifier: MIT
#pragma once
// Where the groups of sequences lie in a body of equal places: every sequence's in order in its own room, or anywhere in a pool that
// sequences share. It knows numbers only; a group is whole and never written while two hold it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>

#include <skald/core/buffer.hpp>
#include <skald/core/checked.hpp>
#include <skald/kv/detail/block_pool.hpp>

namespace skald::kv::detail {

/// Every sequence has room of its own for `groups`.
class ordered_groups {
public:
    static constexpr bool shared = false;
    ordered_groups(std::size_t, std::size_t, std::pmr::memory_resource*) noexcept {}

    static std::size_t places(std::size_t sequences, std::size_t groups) { return (checked_size(sequences, "kv cache") * groups).size(); }
    static std::size_t bytes(std::size_t, std::size_t) noexcept { return 0; }
    std::size_t bytes() const noexcept { return 0; }

    /// Group i of a sequence is at place table[i], or the i-th of its room where there is no table.
    const std::uint32_t* table(std::uint32_t) const noexcept { return nullptr; }
    void grow(std::uint32_t, std::size_t, std::size_t) noexcept {}
    void shrink(std::uint32_t, std::size_t, std::size_t) noexcept {}
};

/// All sequences share a pool of `groups`.
class pooled_groups {
public:
    static constexpr bool shared = true;
    pooled_groups(std::size_t sequences, std::size_t groups, std::pmr::memory_resource* memory)
        : groups_(groups), tables_((checked_size(sequences, "kv cache") * groups).size(), memory), pool_(groups, memory) {}

    static std::size_t places(std::size_t, std::size_t groups) noexcept { return groups; }
    static std::size_t bytes(std::size_t sequences, std::size_t groups) {
        return buffer<std::uint32_t>::bytes_for((checked_size(sequences, "kv cache") * groups).size()) + block_pool::bytes(groups);
    }
    std::size_t bytes() const noexcept { return tables_.bytes() + pool_.bytes(); }
    std::size_t free() const noexcept { return pool_.free_count(); }

    std::uint32_t* table(std::uint32_t sequence) const noexcept { return row(sequence); }
    block_pool& pool() noexcept { return pool_; }
    const block_pool& pool() const noexcept { return pool_; }
    /// From `from` groups to `to`, which must be free.
    void grow(std::uint32_t sequence, std::size_t from, std::size_t to) noexcept {
        for (; from < to; ++from) row(sequence)[from] = pool_.take();
    }
    /// From `from` groups back to `to`, the last first, so that they are taken again in the order in which they lie.
    void shrink(std::uint32_t sequence, std::size_t from, std::size_t to) noexcept {
        for (; to < from; --from) pool_.drop(row(sequence)[from - 1]);
    }
    /// `copy` gets the first `groups` groups of a sequence.
    void share(std::uint32_t sequence, std::uint32_t copy, std::size_t groups) noexcept {
        for (std::size_t i = 0; i < groups; ++i) pool_.share(row(copy)[i] = row(sequence)[i]);
    }

private:
    std::uint32_t* row(std::uint32_t sequence) const noexcept { return tables_.data() + sequence * groups_; }

    std::size_t groups_;
    buffer<std::uint32_t> tables_;  // (sequences, groups)
    block_pool pool_;
};

}  // namespace skald::kv::detail
