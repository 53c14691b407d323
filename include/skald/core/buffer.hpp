// SPDX-License-Identifier: MIT
#pragma once
// Owned memory for tensors: raw, aligned for vectors and the page-crossing prefetcher, from the memory resource that the host
// injected. Elements are trivial; they are zeroed on demand only.
#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <span>
#include <type_traits>
#include <utility>

#include <skald/core/checked.hpp>

namespace skald {

/// `size` elements of a trivial T from a memory resource, aligned to 64 bytes. Move-only. Throws what the resource throws.
template <class T = std::byte>
    requires(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>)
class buffer {
public:
    static constexpr std::size_t alignment = 64;  // a cache line, and the widest vector register

    buffer() noexcept = default;
    explicit buffer(std::size_t size, std::pmr::memory_resource* memory = std::pmr::get_default_resource())
        : memory_(memory), data_(size == 0 ? nullptr : static_cast<T*>(memory->allocate(bytes_for(size), alignment))), size_(size) {}

    buffer(buffer&& other) noexcept
        : memory_(other.memory_), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    buffer& operator=(buffer&& other) noexcept {
        buffer(std::move(other)).swap(*this);
        return *this;
    }
    ~buffer() {
        if (data_ != nullptr) memory_->deallocate(data_, bytes_for(size_), alignment);
    }

    /// The bytes a buffer of `size` elements takes from its resource.
    static constexpr std::size_t bytes_for(std::size_t size) noexcept { return round_up(size * sizeof(T), alignment); }

    T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return size_ == 0 ? 0 : bytes_for(size_); }
    bool empty() const noexcept { return size_ == 0; }
    std::span<T> span() const noexcept { return {data_, size_}; }
    T& operator[](std::size_t i) const noexcept { return data_[i]; }

    void zero() const noexcept {
        if (data_ != nullptr) std::memset(static_cast<void*>(data_), 0, bytes_for(size_));
    }

private:
    void swap(buffer& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    std::pmr::memory_resource* memory_ = nullptr;
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace skald
