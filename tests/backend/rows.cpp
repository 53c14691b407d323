// SPDX-License-Identifier: MIT
// Row-wise ops against the naive backend.
#include "backend/support.hpp"

using namespace skald;
using namespace skald::test;
using reference::naive;

namespace {

/// Runs f(backend, activations) on a backend and returns the activations' rows.
template <class Backend, class F>
std::vector<float> rows_of(const Backend& backend, std::size_t rows, std::size_t cols, F&& f) {
    auto out = backend.make_activations(rows, cols);
    out.resize(rows, cols);
    f(backend, out);
    const auto values = std::as_const(out).values();
    return {values.data(), values.data() + rows * cols};
}

/// The same on a cpu backend and on the naive one; the results may differ by c · eps · (|value| + 1).
template <class Arch, class F>
void check_rows(std::size_t rows, std::size_t cols, double c, F&& f) {
    CAPTURE(rows, cols);
    const std::vector<float> want = rows_of(naive(), rows, cols, f), got = rows_of(cpu<Arch>(), rows, cols, f);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
        wrong += !(std::fabs(got[i] - want[i]) <= c * std::numeric_limits<float>::epsilon() * (std::fabs(want[i]) + 1));
    CHECK(wrong == 0);
    thread_pool pool(3);
    const cpu<Arch> threaded({.pool = &pool});
    CHECK(same_bits(rows_of(threaded, rows, cols, f), got));
}

const std::size_t widths[] = {1, 15, 16, 17, 33, 576, 1024 + 3};

}  // namespace

TEMPLATE_LIST_TEST_CASE("both norms, with and without a bias", "[backend]", architectures) {
    for (const std::size_t cols : widths)
        for (const std::size_t rows : {1, 3, 70}) {
            const std::vector<float> x = random_floats(rows * cols, 1, 3.0f), gain = random_floats(cols, 2), bias = random_floats(cols, 3);
            for (const norm_kind kind : {norm_kind::rms, norm_kind::layer})
                for (const float* b : {static_cast<const float*>(nullptr), bias.data()})
                    check_rows<TestType>(rows, cols, static_cast<double>(cols) / 8 + 16, [&](const auto& backend, auto& out) {
                        backend.norm({x.data(), {rows, cols}}, {kind, 1e-5f, gain.data(), b}, out);
                    });
        }
}

TEMPLATE_LIST_TEST_CASE("activation functions, alone and as gates", "[backend]", architectures) {
    for (const std::size_t cols : widths)
        for (const std::size_t rows : {1, 70}) {
            const std::vector<float> x = random_floats(rows * cols, 1, 4.0f), up = random_floats(rows * cols, 2);
            for (const activation_kind kind : {activation_kind::silu, activation_kind::gelu_tanh}) {
                check_rows<TestType>(rows, cols, 16,
                                     [&](const auto& backend, auto& out) { backend.activate({x.data(), {rows, cols}}, kind, out); });
                check_rows<TestType>(rows, cols, 16, [&](const auto& backend, auto& out) {
                    backend.gate({x.data(), {rows, cols}}, {up.data(), {rows, cols}}, kind, out);
                });
            }
        }
}

TEST_CASE("embedded rows are the file's, exactly", "[backend]") {
    const std::size_t vocabulary = 37;
    thread_pool pool(2);
    const cpu<> backend({.pool = &pool});
    const std::vector<token_id> tokens = {36, 0, 15, 16, 17, 0};
    for (const dtype type : matrix_types) {
        const std::size_t cols = info(type).block_size == 1 ? 35 : whole_blocks(type, 320);
        const file_matrix file(type, vocabulary, cols, 4);
        const auto table = backend.pack(file.view);
        const std::vector<float> start = random_floats(tokens.size() * cols, 5);
        std::vector<float> set(tokens.size() * cols), added = start, row(cols);
        backend.embed(table, tokens, {set.data(), {tokens.size(), cols}}, false);
        backend.embed(table, tokens, {added.data(), {tokens.size(), cols}}, true);
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            CAPTURE(to_string(type), t);
            format::decode_row(file.view, static_cast<std::size_t>(tokens[t]), row.data());
            CHECK(same_bits(std::span(set).subspan(t * cols, cols), row));
            for (std::size_t c = 0; c < cols; ++c) row[c] += start[t * cols + c];
            CHECK(same_bits(std::span(added).subspan(t * cols, cols), row));
        }
    }
}

TEMPLATE_LIST_TEST_CASE("rows normalized in parts, in place, and added to others", "[backend]", architectures) {
    for (const std::size_t width : {1, 9, 16, 33, 128})
        for (const std::size_t parts : {1, 5}) {
            const std::size_t rows = 70, cols = width * parts;
            const std::vector<float> x = random_floats(rows * cols, 1, 3.0f), start = random_floats(rows * cols, 2),
                                     gain = random_floats(cols, 3);
            const norm_params norm{norm_kind::rms, 1e-5f, gain.data()};
            check_rows<TestType>(rows, cols, static_cast<double>(cols) / 8 + 16, [&](const auto& backend, auto& out) {
                std::copy(x.begin(), x.end(), out.values().data());
                backend.norm_parts(out.values(), width, norm);
            });
            check_rows<TestType>(rows, cols, static_cast<double>(cols) / 8 + 16, [&](const auto& backend, auto& out) {
                std::vector<float> in = x;
                std::copy(start.begin(), start.end(), out.values().data());
                backend.add_norm({in.data(), {rows, cols}}, norm, out.values());
            });
            check_rows<TestType>(rows, cols, 0,
                                 [&](const auto& backend, auto& out) { backend.norm({x.data(), {rows, cols}}, {norm_kind::none}, out); });
        }
}

TEMPLATE_LIST_TEST_CASE("scaled and soft-capped rows", "[backend]", architectures) {
    for (const std::size_t cols : widths) {
        const std::vector<float> x = random_floats(7 * cols, 1, 10.0f);
        const auto with = [&](auto op) {
            check_rows<TestType>(7, cols, 16, [&](const auto& backend, auto& out) {
                std::copy(x.begin(), x.end(), out.values().data());
                op(backend, out.values());
            });
        };
        with([](const auto& backend, matrix_view<float> rows) { backend.scale(rows, 6.5f); });
        with([](const auto& backend, matrix_view<float> rows) { backend.soft_cap(rows, 5.0f); });
    }
}

TEMPLATE_LIST_TEST_CASE("weighted rows are added where they belong", "[backend]", architectures) {
    const std::vector<std::size_t> rows = {0, 3, 4, 9};
    for (const std::size_t cols : widths) {
        const std::vector<float> x = random_floats(rows.size() * cols, 1), start = random_floats(10 * cols, 2),
                                 weights = random_floats(4, 3);
        check_rows<TestType>(10, cols, 4, [&](const auto& backend, auto& out) {
            std::copy(start.begin(), start.end(), out.values().data());
            backend.add_rows({x.data(), {rows.size(), cols}}, weights, rows, out.values());
        });
    }
}

TEST_CASE("rows are gathered in the order asked for", "[backend]") {
    const std::vector<float> x = random_floats(5 * 7, 1);
    const std::vector<std::size_t> rows = {4, 0, 0, 2};
    std::vector<float> out(4 * 7);
    cpu<>().copy_rows({x.data(), {5, 7}}, rows, {out.data(), {4, 7}});
    for (std::size_t r = 0; r < 4; ++r) CHECK(same_bits(std::span(out).subspan(r * 7, 7), std::span(x).subspan(rows[r] * 7, 7)));
}
