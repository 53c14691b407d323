// SPDX-License-Identifier: MIT
#pragma once
// A small executor for hosts that have none: n threads, the caller among them. A decoded token is hundreds of parallel regions
// of some ten microseconds each, so what counts is the time to start and to end one.
//
// A region is a number of parts left to claim. Every thread that sees it above zero claims parts until none is left, then adds
// what it ran to a second number; the region has ended when that one reaches the number of parts. The caller waits for threads
// that claimed a part and for no others: one that sleeps, or that the system has put aside, delays nobody.
#include <atomic>
#include <chrono>
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

/// Regions of several host threads run one after another. A region started from inside a part, of this pool or another, runs its
/// parts there, one after another: pools that call each other cannot block each other. run() allocates nothing (an exception
/// aside). After a region, workers watch for the next one for `linger`, then sleep.
class thread_pool final : public executor {
public:
    /// How long an idle worker keeps its processor busy. The gaps between the regions of a step are shorter; choosing a token
    /// from a large vocabulary fits in as well; a host that draws a frame gets its processors back.
    static constexpr std::chrono::microseconds linger{200};

    /// `threads` counts the caller of run(); 0 means available_concurrency(). Throws std::system_error if the system refuses a thread.
    explicit thread_pool(std::size_t threads = 0)
        : concurrency_(threads == 0 ? available_concurrency() : threads),
          // While every thread has a processor of its own, giving it up for a moment helps nobody at first.
          patience_(concurrency_ <= available_concurrency() ? std::chrono::microseconds(100) : std::chrono::microseconds(0)) {
        workers_.reserve(concurrency_ - 1);
        try {
            while (workers_.size() + 1 < concurrency_) workers_.emplace_back([this] { work(); });
        } catch (...) {
            stop();
            throw;
        }
    }
    ~thread_pool() { stop(); }

    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    std::size_t concurrency() const noexcept override { return concurrency_; }

    /// As executor::run(). If parts throw, the others run all the same, and the first exception is rethrown.
    void run(std::size_t parts, function_ref<void(std::size_t)> body) override {
        if (parts <= 1 || workers_.empty() || inside_) return run_here(parts, body);
        const std::lock_guard one_region(regions_);
        body_ = &body;
        parts_ = parts;
        ended_.store(0, std::memory_order_relaxed);
        left_.store(parts, std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) != 0) ring(doorbell_);
        wait_for_others(parts - take_parts());
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

private:
    using clock = std::chrono::steady_clock;

    static void run_here(std::size_t parts, function_ref<void(std::size_t)> body) {
        std::exception_ptr failure;
        for (std::size_t i = 0; i < parts; ++i) {
            try {
                body(i);
            } catch (...) {
                if (!failure) failure = std::current_exception();
            }
        }
        if (failure) std::rethrow_exception(failure);
    }

    /// Runs parts until none is left to claim; returns how many. What a claim reads was written before `left_`, and stays as it
    /// is until the claimed part has been counted in `ended_`.
    std::size_t take_parts() noexcept {
        std::size_t taken = 0;
        inside_ = true;
        for (std::size_t left = left_.load(std::memory_order_relaxed); left != 0;) {
            if (!left_.compare_exchange_weak(left, left - 1, std::memory_order_acquire, std::memory_order_relaxed)) continue;
            try {
                (*body_)(parts_ - left);
            } catch (...) {
                const std::lock_guard lock(failing_);
                if (!failure_) failure_ = std::current_exception();
            }
            ++taken;
            left = left_.load(std::memory_order_relaxed);
        }
        inside_ = false;
        return taken;
    }

    void work() {
        while (!stopping_.load(std::memory_order_acquire)) {
            if (const std::size_t taken = take_parts(); taken != 0) {
                ended_.fetch_add(taken, std::memory_order_seq_cst);
                if (caller_sleeps_.load(std::memory_order_seq_cst)) ring(all_ended_);
            }
            const auto due = [this] { return left_.load(std::memory_order_seq_cst) != 0 || stopping_.load(std::memory_order_seq_cst); };
            if (watch(due)) continue;
            sleepers_.fetch_add(1, std::memory_order_seq_cst);
            sleep_until(doorbell_, due);
            sleepers_.fetch_sub(1, std::memory_order_relaxed);
        }
    }

    /// Waits until the other threads have ended `parts` parts.
    void wait_for_others(std::size_t parts) noexcept {
        const auto ended = [this, parts] { return ended_.load(std::memory_order_seq_cst) == parts; };
        if (watch(ended)) return;
        caller_sleeps_.store(true, std::memory_order_seq_cst);
        sleep_until(all_ended_, ended);
        caller_sleeps_.store(false, std::memory_order_relaxed);
    }

    /// Watches for up to `linger`: busily at first, then offering the processor to other threads at every look. Whether `done`.
    template <class Done>
    bool watch(Done done) const noexcept {
        if (done()) return true;
        const clock::time_point start = clock::now();
        while (true) {
            for (int i = 0; i < 16; ++i) {
                if (done()) return true;
                pause();
            }
            const clock::duration waited = clock::now() - start;
            if (waited > linger) return false;
            if (waited >= patience_) std::this_thread::yield();
        }
    }

    // Sleeping and waking. Who makes `done` true looks for a sleeper afterwards, who sleeps looks at `done` after having said so:
    // one of them sees the other (all four are sequentially consistent). A bell that rings after it was read ends the wait.

    template <class Done>
    static void sleep_until(const std::atomic<std::uint32_t>& bell, Done done) noexcept {
        for (std::uint32_t heard = bell.load(std::memory_order_seq_cst); !done(); heard = bell.load(std::memory_order_seq_cst))
            bell.wait(heard, std::memory_order_seq_cst);
    }

    static void ring(std::atomic<std::uint32_t>& bell) noexcept {
        bell.fetch_add(1, std::memory_order_seq_cst);
        bell.notify_all();
    }

    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb");
#endif
    }

    void stop() noexcept {
        stopping_.store(true, std::memory_order_seq_cst);
        ring(doorbell_);
        for (std::thread& t : workers_) t.join();
    }

    static inline thread_local bool inside_ = false;  // this thread runs a part, of whatever pool

    std::size_t concurrency_;
    clock::duration patience_;
    std::vector<std::thread> workers_;
    std::mutex regions_, failing_;

    // The region that runs: written before left_, read after a claim.
    function_ref<void(std::size_t)>* body_ = nullptr;
    std::size_t parts_ = 0;
    std::exception_ptr failure_;

    alignas(64) std::atomic<std::size_t> left_{0};   // parts nobody has claimed
    alignas(64) std::atomic<std::size_t> ended_{0};  // parts the workers have ended
    std::atomic<bool> caller_sleeps_{false};
    alignas(64) std::atomic<std::uint32_t> sleepers_{0};  // workers that sleep or are about to
    std::atomic<std::uint32_t> doorbell_{0}, all_ended_{0};
    std::atomic<bool> stopping_{false};
};

}  // namespace skald
