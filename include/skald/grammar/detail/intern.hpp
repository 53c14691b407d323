// SPDX-License-Identifier: MIT
#pragma once
// Two small hash tables in flat arrays: one that numbers equal things alike, one that remembers what a step has seen.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <skald/text/detail/flat_table.hpp>

namespace skald::grammar::detail {

inline std::uint64_t hash_pair(std::uint32_t a, std::uint32_t b) noexcept {
    return text::detail::mix((static_cast<std::uint64_t>(a) << 32 | b) + 0x9E3779B97F4A7C15u);
}

/// Finds the numbers, from 1 on, of things that lie elsewhere.
class number_index {
public:
    /// The number of the thing with this hash for which `equal(number)` holds; else that of a new one, which `add()` makes.
    /// `hash_of(number)` gives a thing's hash again when the table grows.
    template <class Equal, class Add, class HashOf>
    std::uint32_t find_or_add(std::uint64_t hash, Equal equal, Add add, HashOf hash_of) {
        if (2 * (count_ + 1) > slots_.size()) {
            std::vector<std::uint32_t> old(slots_.empty() ? 64 : 2 * slots_.size(), 0);
            old.swap(slots_);
            for (const std::uint32_t number : old)
                if (number != 0) slots_[empty_slot(hash_of(number))] = number;
        }
        std::size_t at = hash & (slots_.size() - 1);
        for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1))
            if (equal(slots_[at])) return slots_[at];
        const std::uint32_t number = add();
        slots_[at] = number;
        ++count_;
        return number;
    }

    void clear() noexcept {
        slots_.clear();
        count_ = 0;
    }
    std::size_t bytes() const noexcept { return slots_.capacity() * sizeof(std::uint32_t); }

private:
    std::size_t empty_slot(std::uint64_t hash) const noexcept {
        std::size_t at = hash & (slots_.size() - 1);
        while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    std::vector<std::uint32_t> slots_;
    std::size_t count_ = 0;
};

/// A set of 64-bit keys that is emptied often: emptying costs nothing.
class visited_set {
public:
    /// Whether the key was not yet there.
    bool insert(std::uint64_t key) {
        if (2 * (count_ + 1) > slots_.size()) grow();
        std::size_t at = text::detail::mix(key) & (slots_.size() - 1);
        for (; slots_[at].round == round_; at = (at + 1) & (slots_.size() - 1))
            if (slots_[at].key == key) return false;
        slots_[at] = {key, round_};
        ++count_;
        return true;
    }
    std::size_t size() const noexcept { return count_; }
    void clear() noexcept {
        ++round_;
        count_ = 0;
    }

private:
    struct slot {
        std::uint64_t key = 0, round = 0;
    };

    void grow() {
        std::vector<slot> old(slots_.empty() ? 64 : 2 * slots_.size());
        old.swap(slots_);
        for (const slot& s : old) {
            if (s.round != round_) continue;
            std::size_t at = text::detail::mix(s.key) & (slots_.size() - 1);
            while (slots_[at].round == round_) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = s;
        }
    }

    std::vector<slot> slots_;
    std::uint64_t round_ = 1;
    std::size_t count_ = 0;
};

}  // namespace skald::grammar::detail
