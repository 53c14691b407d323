// SPDX-License-Identifier: MIT
#pragma once
// Where work runs. The library starts no thread of its own: a kernel hands its independent parts to the executor that the
// host gave, and waits. Without one, the calling thread works alone.
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace skald {

/// A non-owning reference to a callable; the callable must outlive the call it is passed to.
template <class Signature>
class function_ref;

template <class R, class... Args>
class function_ref<R(Args...)> {
public:
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, F&, Args...>)
    constexpr function_ref(F&& f) noexcept  // NOLINT(google-explicit-constructor)
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))), call_([](void* object, Args... args) -> R {
              return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
          }) {}

    R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

private:
    void* object_;
    R (*call_)(void*, Args...);
};

/// Runs the independent parts of one kernel. Implement it over the host's own job system, or use `thread_pool`.
class executor {
public:
    virtual ~executor() = default;

    /// How many parts can run at the same time, at least 1; constant over the executor's life.
    virtual std::size_t concurrency() const noexcept = 0;

    /// Calls body(0) … body(parts - 1), each once, in any order, on any threads, the caller's among them, and returns when all
    /// have returned. At most concurrency() of them run at one time. `parts` may be smaller or greater than concurrency().
    /// If parts throw, one of the exceptions is rethrown here after all have ended. May be called from several threads at
    /// once, and from inside a body (then it may run the parts one after another).
    virtual void run(std::size_t parts, function_ref<void(std::size_t)> body) = 0;

protected:
    executor() = default;
    executor(const executor&) = default;
    executor& operator=(const executor&) = default;
};

/// The calling thread, alone.
class inline_executor final : public executor {
public:
    std::size_t concurrency() const noexcept override { return 1; }
    void run(std::size_t parts, function_ref<void(std::size_t)> body) override {
        for (std::size_t i = 0; i < parts; ++i) body(i);
    }
};

}  // namespace skald
