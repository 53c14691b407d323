// SPDX-License-Identifier: MIT
// References to callables, and the executor that is the calling thread.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <skald/core/executor.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

int twice(int x) { return 2 * x; }

struct adder {
    int sum = 0;
    int operator()(int x) { return sum += x; }
};

static_assert(std::is_convertible_v<adder&, function_ref<int(int)>>);
static_assert(!std::is_convertible_v<adder&, function_ref<int(std::string)>>);
static_assert(std::is_convertible_v<adder&, function_ref<void(int)>>);  // the result may be dropped
static_assert(std::is_trivially_copyable_v<function_ref<void(int)>>);

}  // namespace

TEST_CASE("a function_ref calls the object itself, not a copy", "[function_ref]") {
    adder a;
    const function_ref<int(int)> f = a;
    f(3);
    CHECK(f(4) == 7);
    CHECK(a.sum == 7);
}

TEST_CASE("a function_ref takes lambdas, const objects and pointers to functions", "[function_ref]") {
    const auto lambda = [](int x) { return x + 1; };
    CHECK(function_ref<int(int)>(lambda)(1) == 2);
    int (*pointer)(int) = twice;
    CHECK(function_ref<int(int)>(pointer)(21) == 42);
    CHECK([](function_ref<int(int)> f) { return f(5); }([offset = 10](int x) { return offset + x; }) == 15);
}

TEST_CASE("a copy of a function_ref refers to the same object", "[function_ref]") {
    adder a, b;
    function_ref<int(int)> f = a;
    function_ref<int(int)> g = f;
    f = b;
    g(1);
    f(2);
    CHECK(a.sum == 1);
    CHECK(b.sum == 2);
}

TEST_CASE("arguments and results pass through a function_ref without copies", "[function_ref]") {
    auto take = [](std::unique_ptr<int> p) { return p; };
    const auto p = function_ref<std::unique_ptr<int>(std::unique_ptr<int>)>(take)(std::make_unique<int>(9));
    CHECK(*p == 9);
    int x = 0;
    auto same = [](int& i) -> int& { return i; };
    CHECK(&function_ref<int&(int&)>(same)(x) == &x);
}

TEST_CASE("the inline executor runs every part on the calling thread", "[executor]") {
    inline_executor e;
    CHECK(e.concurrency() == 1);
    std::vector<std::size_t> ran;
    static_cast<executor&>(e).run(4, [&](std::size_t i) { ran.push_back(i); });
    e.run(0, [&](std::size_t) { ran.push_back(99); });
    CHECK(ran == std::vector<std::size_t>{0, 1, 2, 3});
    CHECK_THROWS_AS(e.run(2, [](std::size_t) { throw std::logic_error("part"); }), std::logic_error);
}
