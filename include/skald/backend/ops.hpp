// SPDX-License-Identifier: MIT
#pragma once
// The op set: what a model asks of a backend, and the plain types the two exchange. The model's forward is written once
// against the concept `backend` below; `cpu` (backend/cpu/cpu.hpp) implements it with SIMD, and the naive backend of
// tests/reference/ with plain loops in double, as the oracle of every kernel test.
//
// Activations are rows of floats. A matrix product reads them through `Backend::activations`, a buffer that also holds the
// encodings (int8 blocks, bf16) the product's weights ask for, filled by the op that produces the rows, so that they are
// encoded once however many matrices read them.
//
// Every op treats each row on its own, in an order of arithmetic that depends on that row and the weights only: that is what
// makes logits bitwise independent of threads, chunks and batch neighbours.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <skald/core/executor.hpp>
#include <skald/core/tensor_view.hpp>
#include <skald/core/types.hpp>
#include <skald/format/weight_view.hpp>

namespace skald {

/// How matrix products compute.
enum class compute : std::uint8_t {
    exact,   ///< weights decoded to f32, activations and accumulation in f32
    native,  ///< activations rounded to what the weights' format is fastest with: int8 per row and block of 32 for quantized
             ///< weights, bf16 for bf16 weights where the target has a bf16 dot product; f32 otherwise
};

/// How a model's matrices lie in memory.
enum class packing : std::uint8_t {
    panels,  ///< as the backend's kernels read them fastest
    none,    ///< rows as in the file. The CPU backend multiplies them in f32, as `exact` does
};

enum class norm_kind : std::uint8_t { none, rms, layer };

/// none: x. rms: x · gain / sqrt(mean(x²) + eps). layer: (x - mean) · gain / sqrt(variance + eps) + bias.
struct norm_params {
    norm_kind kind = norm_kind::rms;
    float eps = 1e-5f;
    const float* gain = nullptr;  // (cols)
    const float* bias = nullptr;  // (cols); null: none
};

enum class activation_kind : std::uint8_t {
    silu,       ///< x · sigmoid(x)
    gelu_tanh,  ///< 0.5 · x · (1 + tanh(sqrt(2/π) · (x + 0.044715 · x³))), GPT-2's "gelu_new"
};

/// One product of a matmul call: out = in · wᵀ + bias, or out += … when `accumulate`.
template <class Matrix>
struct matmul_job {
    const Matrix* weight = nullptr;  // (n, k)
    const float* bias = nullptr;     // (n); null: none
    matrix_view<float> out;          // (rows, n)
    bool accumulate = false;
};

/// Rotary embedding of a step. Row r of cos/sin belongs to row r of the batch. Pairs are (2i, 2i+1) when interleaved (GGUF's
/// "llama"), else (i, i + dims/2). Values past `dims` are not rotated. No rope: dims = 0.
struct rope_rows {
    std::size_t dims = 0;
    bool interleaved = true;
    matrix_view<const float> cosine, sine;  // (rows, dims / 2), times the scaling's magnitude factor
    /// Of the position that queries are turned to where they read a turning_run, divided by that factor. // (dims / 2); null: no such run
    const float *turned_cosine = nullptr, *turned_sine = nullptr;
    /// Of every position that the step reads, as row p; read for unrotated runs only. // (positions, dims / 2)
    const float *key_cosine = nullptr, *key_sine = nullptr;
};

/// The heads of an attention layer.
struct attention_shape {
    std::size_t heads = 0;     ///< query heads
    std::size_t kv_heads = 0;  ///< divides heads; query head h reads kv head h / (heads / kv_heads)
    std::size_t head_dim = 0;
};

/// The parent of a tree's row that follows what its sequence held before the step.
inline constexpr std::uint32_t no_parent = std::numeric_limits<std::uint32_t>::max();

/// Rows of a step that belong to one sequence: row first_row + i stands at first_position + i.
///
/// Or rows that are a tree of tokens, each of which follows its parent: row i then stands at first_position + its depth and sees what lies
/// before first_position, its ancestors, and itself. Its key and value are stored at first_position + i all the same.
struct row_range {
    std::size_t first_row = 0;
    std::size_t rows = 0;
    position first_position = 0;
    const std::uint32_t* parents = nullptr;  // (rows), each less than its row or no_parent; null: no tree

    /// Where row i stands. Cost in a tree: its depth.
    position at(std::size_t i) const noexcept { return parents == nullptr ? first_position + static_cast<position>(i) : at_depth(i); }
    /// f(p, where) for each position p >= first_position that row i of a tree sees: `where` its key and value are stored; from the last to
    /// the first.
    template <class F>
    void each_ancestor(std::size_t i, const F& f) const noexcept {
        position p = at(i);
        for (auto up = static_cast<std::uint32_t>(i); up != no_parent; up = parents[up], --p)
            f(p, first_position + static_cast<position>(up));
    }

private:
    /// Not inlined, so that kernels' loops over rows of a text stay small.
    [[gnu::noinline]] position at_depth(std::size_t i) const noexcept {
        position p = first_position;
        for (std::uint32_t up = parents[i]; up != no_parent; up = parents[up]) ++p;
        return p;
    }
};

/// Positions [from, to); none: from >= to.
struct position_range {
    position from = 0, to = 0;
    friend bool operator==(position_range, position_range) = default;
};

/// What a kernel may know of a KV cache at one layer. Trivially copyable. A view is a tuple of homogeneous runs; a run holds
/// the positions [begin(segment), end(segment)) of each segment of the step, encoded by one codec. The rows of as many positions as
/// stretch(p) says follow that of p, row_bytes() apart.
///
/// Where several runs hold a position, each says which rows read it there: seen_by(p) is the position_range that a row at p reads of the
/// run, and no two runs of a view show a row the same position. Without it rows read all that the run holds. Which of the runs does so is a
/// function of the row's position and the one read, never of the step.
template <class R>
concept kv_run = std::is_trivially_copyable_v<R> && requires(const R run, std::size_t segment, std::size_t kv_head, position p) {
    typename R::codec;
    { run.begin(segment) } -> std::same_as<position>;
    { run.end(segment) } -> std::same_as<position>;
    { run.key(segment, kv_head, p) } -> std::same_as<std::byte*>;
    { run.value(segment, kv_head, p) } -> std::same_as<std::byte*>;
    { run.row_bytes() } -> std::same_as<std::size_t>;
    { run.stretch(p) } -> std::same_as<std::size_t>;
};

/// A run whose rows are made from those of another one, a group of positions at a time, once the step's rows are stored there:
/// run.seal<V>(segment, kv_head, first, last) makes all groups that the rows [first, last) of the segment complete, for one kv head. V is
/// the vector type to decode and encode with.
template <class R, class V>
concept sealing_run = kv_run<R> && requires(const R run, std::size_t segment, std::size_t kv_head, position p) {
    run.template seal<V>(segment, kv_head, p, p);
};

/// A run of which not every row reads all.
template <class R>
concept selective_run = kv_run<R> && requires(const R run, position p) {
    { run.seen_by(p) } -> std::same_as<position_range>;
};

/// A run of which each row reads what was chosen for it: bit i of shown(segment, kv_head, p, t) is set where a row at p reads the position
/// t + i of that kv head. // t: a multiple of 64. A row reads its own position.
template <class R>
concept choosing_run = kv_run<R> && requires(const R run, std::size_t segment, std::size_t kv_head, position p) {
    { run.shown(segment, kv_head, p, p) } -> std::same_as<std::uint64_t>;
};

/// A run that no row reads from farther than the position farthest(): the queries of rows past it are turned as if they stood there.
template <class R>
concept turning_run = selective_run<R> && requires(const R run) {
    { run.farthest() } -> std::same_as<position>;
};

/// Where a row at p stands when it reads a run.
template <kv_run Run>
constexpr position standing(const Run& run, position p) noexcept {
    if constexpr (turning_run<Run>)
        return p < run.farthest() ? p : run.farthest();
    else
        return p;
}

/// A run whose values are not encoded as its keys are, but by value_codec, value_row_bytes() apart.
template <class R>
concept split_run = kv_run<R> && requires(const R run) {
    typename R::value_codec;
    { run.value_row_bytes() } -> std::same_as<std::size_t>;
};

/// A segment of a step, and how many of its first positions lie in the places of those of the one listed before it.
struct shared_prefix {
    std::uint32_t segment = 0;
    position length = 0;
};

/// A run of storage that sequences share: run.sharing() lists the segments of the step, each once, such that those which share a prefix
/// stand together; or nothing, where none do. All positions shared stand before the segments' first rows. A kernel may read them once for
/// all who share them; one that does not look gives the same.
template <class R>
concept sharing_run = kv_run<R> && requires(const R run) {
    { run.sharing() } -> std::same_as<std::span<const shared_prefix>>;
};

/// A codec whose rows are those of C::row_codec, keys before rope: who reads one rotates it by the position it is read at.
template <class C>
concept unrotated_codec = requires { typename C::row_codec; } && C::before_rope;

/// A run of such a codec. Views have none but such, or none.
template <class R>
concept unrotated_run = kv_run<R> && unrotated_codec<typename R::codec>;

/// A codec whose rows are those of C::row_codec, keys and values transformed by format::hadamard: who reads some transforms the query
/// first, which keeps its products, and the result back.
template <class C>
concept hadamard_codec = requires { typename C::row_codec; } && C::transformed;

/// A run of such a codec. Views have none but such, or none.
template <class R>
concept hadamard_run = kv_run<R> && hadamard_codec<typename R::codec>;

namespace detail {

template <class C>
struct row_codec_of {
    using type = C;
};
template <class C>
    requires requires { typename C::row_codec; }
struct row_codec_of<C> {
    using type = typename C::row_codec;
};

template <class Run, bool Key>
struct codec_of_run {
    using type = typename Run::codec;
};
template <split_run Run>
struct codec_of_run<Run, false> {
    using type = typename Run::value_codec;
};

}  // namespace detail

/// The codec of a run's keys or values, and how far their rows are apart.
template <kv_run Run, bool Key>
using codec_of = typename detail::codec_of_run<Run, Key>::type;
/// How rows of a codec are decoded, whether they are rotated or not, transformed or not.
template <class Codec>
using row_codec = typename detail::row_codec_of<Codec>::type;
template <bool Key, kv_run Run>
constexpr std::size_t row_bytes_of(const Run& run) noexcept {
    if constexpr (!Key && split_run<Run>)
        return run.value_row_bytes();
    else
        return run.row_bytes();
}

/// What a row at p reads of a run.
template <kv_run Run>
constexpr position_range seen(const Run& run, std::size_t segment, position p) noexcept {
    position_range all{run.begin(segment), run.end(segment)};
    if constexpr (selective_run<Run>) {
        const position_range some = run.seen_by(p);
        all = {some.from > all.from ? some.from : all.from, some.to < all.to ? some.to : all.to};
    }
    return all;
}

/// The backend concept. `B` is a cheap value (pointers to the executor and the memory resource, the compute policy).
///
/// | member                                            | meaning                                                            |
/// |---------------------------------------------------|--------------------------------------------------------------------|
/// | B::vector                                         | the float_vector that codecs are instantiated with                 |
/// | B::matrix                                         | a packed weight: rows(), cols(), bytes(); move-only                |
/// | B::activations                                    | rows for a product: resize(rows, cols), values() → matrix_view     |
/// | b.memory(), b.policy()                            | what it was built from                                             |
/// | b.packed_bytes(dtype, rows, cols, packing)        | the bytes pack() will take from the memory resource                |
/// | b.pack(weight_view, packing)                      | matrix; throws errc::unsupported for a dtype without a kernel      |
/// | b.activations_bytes(rows, cols)                   | the bytes make_activations takes                                   |
/// | b.make_activations(rows, cols)                    | activations with room for that many                                |
/// | b.scratch_bytes(shape)  b.make_scratch(shape)     | per-thread memory of attend()                                      |
/// | b.embed(table, tokens, out, accumulate)           | rows of a matrix, decoded exactly                                  |
/// | b.copy_rows(in, rows, out)                        | gather                                                             |
/// | b.add_rows(in, weights, rows, out)                | out[rows[i]] += weights[i] · in[i]; no row twice                   |
/// | b.scale(x, factor), b.soft_cap(x, cap)            | x · factor; cap · tanh(x / cap); in place                          |
/// | b.norm(in, params, out)                           | normalizes rows and encodes them for the products that follow      |
/// | b.norm_parts(x, width, params)                    | normalizes each `width` values of a row by themselves, in place    |
/// | b.add_norm(in, params, out)                       | out += the normalized rows of `in`, which it may overwrite         |
/// | b.matmul(in, jobs)                                | one parallel region for all jobs                                   |
/// | b.rope_append(q, k, v, shape, rope, ranges, runs, scratch) | rotates q and k in place, writes k and v into the cache;  |
/// |                                                   | of a run whose values lie where its keys do k alone, and then v may be empty |
/// | b.attend(q, shape, variant, ranges, runs, out, scratch, rope) | canonical attention; writes heads side by side into          |
/// |                                                   | activations. The rope is read for turning runs only                |
/// | b.attention_weights(q, shape, variant, segment, rows, runs, out, scratch) | what each query gives the positions it sees, for   |
/// |                                                   | those who ask: row i of `rows`, which are of that segment and have |
/// |                                                   | been appended, into out(head, i, 0 … its position), zero where the |
/// |                                                   | variant shows nothing; only caches that look at weights need it    |
/// | b.activate(x, kind, out)                          | elementwise                                                        |
/// | b.gate(gate, up, kind, out)                       | f(gate) · up                                                       |
template <class B>
concept backend = requires(const B b, typename B::matrix m, typename B::activations a, matrix_view<float> x, matrix_view<const float> in,
                           std::span<const token_id> tokens, std::span<const std::size_t> rows, norm_params norm, activation_kind kind,
                           std::span<const matmul_job<typename B::matrix>> jobs, std::span<const float> weights, weight_view w,
                           std::size_t n, float f, dtype type) {
    typename B::vector;
    { b.packed_bytes(type, n, n, packing::none) } -> std::same_as<std::size_t>;
    { b.pack(w, packing::none) } -> std::same_as<typename B::matrix>;
    { b.activations_bytes(n, n) } -> std::same_as<std::size_t>;
    { b.make_activations(n, n) } -> std::same_as<typename B::activations>;
    b.embed(m, tokens, x, false);
    b.copy_rows(in, rows, x);
    b.add_rows(in, weights, rows, x);
    b.scale(x, f);
    b.soft_cap(x, f);
    b.norm(in, norm, a);
    b.norm_parts(x, n, norm);
    b.add_norm(x, norm, x);
    b.matmul(a, jobs);
    b.activate(in, kind, a);
    b.gate(in, in, kind, a);
};

/// A backend that attends to the positions of one sequence a stretch at a time, as keys and values that are made for the moment ask for.
///
/// | member                                            | meaning                                                            |
/// |---------------------------------------------------|--------------------------------------------------------------------|
/// | b.totals_bytes(shape, rows)  b.make_totals(shape, rows) | what remains of the stretches so far, of that many rows      |
/// | b.attend_stretch(q, shape, variant, range, stretch, runs, totals, out, scratch) | positions from stretch · restart_size on, as |
/// |                                                   | many as restart_size, of segment 0 of the runs; called for every   |
/// |                                                   | stretch that the range's rows see something of, in order, it       |
/// |                                                   | writes into `out`, bitwise, what attend() would for all together   |
template <class B>
concept stretch_backend = backend<B> && requires(const B b, attention_shape shape, std::size_t rows) {
    { b.totals_bytes(shape, rows) } -> std::same_as<std::size_t>;
    { b.make_totals(shape, rows) } -> std::same_as<typename B::totals>;
};

/// A backend whose matrices can lie in memory that is not theirs, so that a mapped file can hold them.
///
/// | member                     | meaning                                                                                               |
/// |----------------------------|-------------------------------------------------------------------------------------------------------|
/// | m.data()                   | the packed bytes of a matrix; rows from a multiple of row_unit on are packed alike alone              |
/// | b.view(w, packing)         | a matrix of w's shape over packed bytes at w.data, which outlive it; for packing::none a file's rows  |
/// | b.view_bytes(w, packing)   | how many bytes these are                                                                              |
/// | B::row_unit, B::layout     | see data(); a number that changes when the packed form does                                           |
template <class B>
concept viewing_backend = backend<B> && requires(const B b, const typename B::matrix m, weight_view w) {
    { m.data() } -> std::same_as<const std::byte*>;
    { b.view(w, packing::panels) } -> std::same_as<typename B::matrix>;
    { b.view_bytes(w, packing::panels) } -> std::same_as<std::size_t>;
    { B::row_unit } -> std::convertible_to<std::size_t>;
    { B::layout } -> std::convertible_to<std::uint32_t>;
};

}  // namespace skald
