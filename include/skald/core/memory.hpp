// SPDX-License-Identifier: MIT
#pragma once
// Memory resources that watch: one counts what passes through, one refuses to go past a cap. Both stand before another resource
// and are safe to use from several threads.
#include <atomic>
#include <cstddef>
#include <memory_resource>

#include <skald/core/error.hpp>

namespace skald {

/// Counts the bytes that are allocated through it. What upstream refuses passes through and is not counted.
class counting_resource : public std::pmr::memory_resource {
public:
    explicit counting_resource(std::pmr::memory_resource* upstream = std::pmr::new_delete_resource()) noexcept : upstream_(upstream) {}

    std::size_t bytes() const noexcept { return bytes_.load(); }        ///< allocated now
    std::size_t peak_bytes() const noexcept { return peak_.load(); }    ///< the most that was ever allocated at a time
    std::size_t allocations() const noexcept { return count_.load(); }  ///< successful calls so far
    std::pmr::memory_resource* upstream() const noexcept { return upstream_; }

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        void* p = upstream_->allocate(bytes, alignment);
        const std::size_t now = bytes_.fetch_add(bytes) + bytes;
        for (std::size_t peak = peak_.load(); now > peak && !peak_.compare_exchange_weak(peak, now);) {
        }
        ++count_;
        return p;
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
        upstream_->deallocate(p, bytes, alignment);
        bytes_.fetch_sub(bytes);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

    std::pmr::memory_resource* upstream_;
    std::atomic<std::size_t> bytes_{0}, peak_{0}, count_{0};
};

/// Throws errc::memory_limit for an allocation that would go past `cap` bytes in all; whatever was allocated stays. Counts the bytes
/// asked for, not what upstream adds to them.
class capped_resource : public std::pmr::memory_resource {
public:
    explicit capped_resource(std::size_t cap, std::pmr::memory_resource* upstream = std::pmr::new_delete_resource()) noexcept
        : cap_(cap), upstream_(upstream) {}

    std::size_t cap() const noexcept { return cap_; }
    std::size_t bytes() const noexcept { return bytes_.load(); }  ///< allocated now
    std::pmr::memory_resource* upstream() const noexcept { return upstream_; }

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        std::size_t used = bytes_.load();
        do {
            if (bytes > cap_ - used)
                fail(errc::memory_limit, "memory", bytes, " bytes were asked for while ", used, " of the ", cap_,
                     " bytes of the cap are in use; raise the cap or ask for less");
        } while (!bytes_.compare_exchange_weak(used, used + bytes));
        try {
            return upstream_->allocate(bytes, alignment);
        } catch (...) {
            bytes_.fetch_sub(bytes);
            throw;
        }
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
        upstream_->deallocate(p, bytes, alignment);
        bytes_.fetch_sub(bytes);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

    std::size_t cap_;
    std::pmr::memory_resource* upstream_;
    std::atomic<std::size_t> bytes_{0};
};

}  // namespace skald
