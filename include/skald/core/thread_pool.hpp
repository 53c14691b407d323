// SPDX-License-Identifier: MIT
#pragma once
// A small executor for hosts that have none: n threads, the caller among them. A decoded token is hundreds of parallel regions
// of some ten microseconds, so workers spin for a short while after a region, then sleep.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <skald/core/concurrency.hpp>
#include <skald/core/executor.hpp>

namespace skald {

/// Regions of several host threads run one after another; a region started from inside a region runs inline.
class thread_pool final : public executor {
public:
    /// `threads` counts the caller of run(); 0 means available_concurrency(). Throws std::system_error if the system refuses a thread.
    explicit thread_pool(std::size_t threads = 0) : concurrency_(threads == 0 ? available_concurrency() : threads) {
        // Spinning pays only where every thread has a processor of its own.
        spins_ = concurrency_ <= available_concurrency() ? 20000 : 0;
        workers_.reserve(concurrency_ - 1);
        try {
            for (std::size_t i = 1; i < concurrency_; ++i) workers_.emplace_back([this] { work(); });
        } catch (...) {
            stop();
            throw;
        }
    }
    ~thread_pool() { stop(); }

    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    std::size_t concurrency() const noexcept override { return concurrency_; }

    void run(std::size_t parts, function_ref<void(std::size_t)> body) override {
        if (parts <= 1 || workers_.empty() || inside_ == this) {
            for (std::size_t i = 0; i < parts; ++i) body(i);
            return;
        }
        const std::lock_guard region(regions_);
        body_ = &body;
        parts_ = parts;
        failure_ = nullptr;
        next_.store(0, std::memory_order_relaxed);
        busy_.store(workers_.size(), std::memory_order_relaxed);
        epoch_.fetch_add(1, std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) != 0) epoch_.notify_all();
        take_parts();
        for (std::size_t left, spin = 0; (left = busy_.load(std::memory_order_acquire)) != 0;) {
            if (++spin < spins_)
                pause();
            else
                busy_.wait(left, std::memory_order_acquire);
        }
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

private:
    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#else
        std::this_thread::yield();
#endif
    }

    void work() {
        std::uint32_t seen = 0;
        while (true) {
            std::uint32_t now;
            for (std::size_t spin = 0; (now = epoch_.load(std::memory_order_acquire)) == seen && spin < spins_; ++spin) pause();
            if (now == seen) {
                sleepers_.fetch_add(1, std::memory_order_seq_cst);
                epoch_.wait(seen, std::memory_order_seq_cst);
                sleepers_.fetch_sub(1, std::memory_order_relaxed);
                continue;
            }
            seen = now;
            if (stopping_.load(std::memory_order_acquire)) return;
            take_parts();
            if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
        }
    }

    /// Runs parts until none is left.
    void take_parts() noexcept {
        const thread_pool* const outer = std::exchange(inside_, this);
        for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < parts_;) {
            try {
                (*body_)(i);
            } catch (...) {
                const std::lock_guard lock(failing_);
                if (!failure_) failure_ = std::current_exception();
            }
        }
        inside_ = outer;
    }

    void stop() noexcept {
        stopping_.store(true, std::memory_order_release);
        epoch_.fetch_add(1, std::memory_order_seq_cst);
        epoch_.notify_all();
        for (std::thread& t : workers_) t.join();
    }

    static inline thread_local const thread_pool* inside_ = nullptr;  // the pool whose part this thread runs

    std::size_t concurrency_;
    std::size_t spins_ = 0;
    std::vector<std::thread> workers_;
    std::mutex regions_, failing_;

    // The region that runs: written before the epoch moves, read after.
    function_ref<void(std::size_t)>* body_ = nullptr;
    std::size_t parts_ = 0;
    std::exception_ptr failure_;

    alignas(64) std::atomic<std::uint32_t> epoch_{0};
    std::atomic<std::uint32_t> sleepers_{0};
    std::atomic<bool> stopping_{false};
    alignas(64) std::atomic<std::size_t> next_{0};
    alignas(64) std::atomic<std::size_t> busy_{0};
};

}  // namespace skald
