// SPDX-License-Identifier: MIT
#include "memory/failing_allocations.hpp"

#include <cstddef>
#include <cstdlib>

namespace skald::test {

std::atomic<long> left{-1}, live{0};

}  // namespace skald::test

namespace {

using skald::test::left, skald::test::live;

void* take(std::size_t bytes, std::size_t alignment) {
    if (left.load() >= 0 && left.fetch_sub(1) == 0) return nullptr;
    void* p = alignment <= alignof(std::max_align_t) ? std::malloc(bytes)
                                                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (p != nullptr) ++live;
    return p;
}

void give(void* p) noexcept {
    if (p == nullptr) return;
    --live;
    std::free(p);
}

}  // namespace

void* operator new(std::size_t n) {
    if (void* p = take(n, 1)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t a) {
    if (void* p = take(n, static_cast<std::size_t>(a))) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void operator delete(void* p) noexcept { give(p); }
void operator delete(void* p, std::size_t) noexcept { give(p); }
void operator delete(void* p, std::align_val_t) noexcept { give(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { give(p); }
