// SPDX-License-Identifier: MIT
#pragma once
// Saved sequences: the tokens of one sequence with their encoded keys and values, written to a sink and read back, bitwise, into any
// cache of the same shape and codec; storage, block size and room may differ. Of tiers and of what an eviction policy left
// (state_terms.hpp) the cache says besides what must be alike. Nothing is computed on the way. For files, state_file.hpp; for what the
// bytes are, state_format.hpp.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/detail/state_kept.hpp>
#include <skald/kv/state_format.hpp>
#include <skald/kv/state_stream.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

struct loaded_sequence {
    sequence_id sequence;
    saved_text text;
};

struct checked_state {
    state_header header;
    saved_text text;
    std::uint64_t bytes = 0;  ///< of the stream
};

/// A cache whose rows can be reached. Another one is a storable_cache, or, as a cache of a run-time kind, has save, restore and require_fit
/// as members.
template <class C>
concept viewable_cache = kv_cache<C> && requires(C c, sequence_id s, std::size_t layer) {
    c.select(s);
    c.view(layer);
};

namespace detail {

/// The codec of all runs of a cache.
template <class Cache>
struct state_codec {
    static_assert(Cache::schedule_invariant, "skald: only caches that read by position alone can be saved");
    using runs = decltype(std::declval<const Cache&>().view(0));
    using type = typename std::tuple_element_t<0, runs>::codec;
    template <class... Runs>
    static constexpr bool all_same(const std::tuple<Runs...>*) {
        return (std::is_same_v<typename Runs::codec, type> && ...);
    }
    static_assert(all_same(static_cast<const runs*>(nullptr)), "skald: a cache that keeps rows in several codecs cannot be saved");
    static_assert(type::name.size() <= most_codec_name,
                  "skald: the codec's name is too long for saved sequences; it may have 31 characters");
};

template <class Cache>
    requires(!storable_cache<Cache>)
state_header header_of(const Cache& cache, const state_options& options) {
    using codec = typename state_codec<Cache>::type;
    const cache_shape shape = cache.shape();
    std::string name(codec::name);
    if constexpr (requires { cache.reading(); }) name += concat("/", cache.reading());
    if (shape.latent) name += latent_mark;
    return header_of(shape, std::move(name), codec::row_bytes(shape.width()), options);
}

/// f(run, first, count) for stretches that together are the positions [from, to) of segment 0, in order.
template <class... Runs, class F>
void each_stretch(const std::tuple<Runs...>& view, position from, position to, F&& f) {
    while (from != to) {
        bool found = false;
        const auto look = [&](const auto& run) {
            if (found || from < run.begin(0) || from >= run.end(0)) return;
            found = true;
            const auto left = static_cast<std::size_t>(std::min(to, run.end(0)) - from);
            const std::size_t count = std::min(run.stretch(from), left);
            f(run, from, count);
            from += static_cast<position>(count);
        };
        std::apply([&](const auto&... run) { (look(run), ...); }, view);
        if (!found) fail(errc::unsupported, "kv cache", "the keys of position ", from, " are not kept; only whole sequences can be saved");
    }
}

/// The bytes of the planned or selected sequence's rows of one layer at [from, to), in the order of the stream, as f sees them piece by
/// piece.
template <class Cache, class F>
void each_row_bytes(const Cache& cache, std::size_t layer, position from, position to, F&& f) {
    const auto view = cache.view(layer);
    const std::size_t heads = cache.shape().kv_heads;
    for (std::size_t h = 0; h < heads; ++h)
        each_stretch(view, from, to,
                     [&](const auto& run, position p, std::size_t count) { f(std::span(run.key(0, h, p), count * run.row_bytes())); });
    for (std::size_t h = 0; h < heads && !cache.shape().latent; ++h)
        each_stretch(view, from, to,
                     [&](const auto& run, position p, std::size_t count) { f(std::span(run.value(0, h, p), count * run.row_bytes())); });
}

template <viewable_cache Cache>
void save_rows(Cache& cache, sequence_id s, std::span<const token_id> tokens, std::string_view note, const state_sink& sink,
               const state_options& options) {
    state_header h = header_of(cache, options);
    cache.select(s);
    require_tokens(tokens, std::apply([](const auto&... run) { return std::max({run.end(0)...}); }, cache.view(0)), options.place);
    h.tokens = tokens.size();
    h.note_bytes = note.size();
    state_writer out(sink, options.memory);
    write_header(out, h, options.place);
    out.put(std::as_bytes(std::span(note)));
    each_chunk(tokens.size(), [&](position from, position to) {
        out.put(std::as_bytes(tokens.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from))));
        for (std::size_t layer = 0; layer < h.shape.layers; ++layer)
            each_row_bytes(cache, layer, from, to, [&](std::span<const std::byte> bytes) { out.put(bytes); });
    });
    out.end_section();
}

template <viewable_cache Cache>
saved_text restore_rows(Cache& cache, sequence_id s, const state_source& source, bool whole, const state_options& options) {
    state_reader in(source, options.place, options.memory);
    const state_header h = begin_restoring(cache, s, header_of(cache, options), in, options);
    saved_text out{.tokens = {}, .note = read_note(in, h)};
    filling guard(cache, s);
    each_chunk(h.tokens, [&](position from, position to) {
        const auto rows = static_cast<std::size_t>(to - from);
        read_tokens(in, rows, out.tokens, options.place);
        const std::array step{segment{.sequence = s, .first_row = 0, .rows = rows}};
        cache.plan(step);
        for (std::size_t layer = 0; layer < h.shape.layers; ++layer)
            each_row_bytes(cache, layer, from, to, [&](std::span<std::byte> bytes) { in.get(bytes); });
        cache.commit(s);
    });
    if (whole) in.expect_end();
    guard.keep();
    return out;
}

template <class Cache>
concept self_saving_cache = kv_cache<Cache> && requires(Cache c, sequence_id s, const state_source& source, const state_options& o) {
    c.restore(s, source, true, o);
};

template <kv_cache Cache>
saved_text restore(Cache& cache, sequence_id s, const state_source& source, bool whole, const state_options& options) {
    if constexpr (self_saving_cache<Cache>)
        return cache.restore(s, source, whole, options);
    else if constexpr (storable_cache<Cache>)
        return restore_kept(cache, s, source, whole, options);
    else if constexpr (viewable_cache<Cache>)
        return restore_rows(cache, s, source, whole, options);
    else
        static_assert(viewable_cache<Cache>,
                      "skald: only a cache that shows its rows can be restored: it needs select(sequence) and view(layer)");
}

/// Bytes in memory as a source. They outlive it.
inline state_source source_of(std::span<const std::byte> bytes) {
    return [bytes](std::span<std::byte> out) mutable {
        const std::size_t count = std::min(out.size(), bytes.size());
        if (count != 0) std::memcpy(out.data(), bytes.data(), count);
        bytes = bytes.subspan(count);
        return count;
    };
}

}  // namespace detail

/// Writes the first tokens.size() committed tokens of a sequence: `tokens` are their ids. The cache keeps all it has, but a step that was
/// planned is over. Throws errc::invalid_argument for more tokens than are committed, errc::unsupported where a cache has dropped some (of
/// tiers and evicting storage, where it could not be truncated to them), and what the sink throws. Cost: the bytes of the rows are copied
/// once; the sink gets at most 64 KiB at a time.
template <kv_cache Cache>
void save(Cache& cache, sequence_id s, std::span<const token_id> tokens, const state_sink& sink, const state_options& options = {},
          std::string_view note = {}) {
    if constexpr (detail::self_saving_cache<Cache>)
        cache.save(s, tokens, note, sink, options);
    else if constexpr (storable_cache<Cache>)
        detail::save_kept(cache, s, tokens, note, sink, options);
    else if constexpr (viewable_cache<Cache>)
        detail::save_rows(cache, s, tokens, note, sink, options);
    else
        static_assert(viewable_cache<Cache>,
                      "skald: only a cache that shows its rows can be saved: it needs select(sequence) and view(layer)");
}

/// Throws errc::invalid_argument unless what was saved is of the model that the options name, of the cache's shape and codec, and of its
/// terms, where it has some.
template <kv_cache Cache>
void require_fit(const Cache& cache, const state_header& saved, const state_options& options = {}) {
    if constexpr (detail::self_saving_cache<Cache>)
        cache.require_fit(saved, options);
    else
        detail::require_same(saved, detail::header_of(cache, options), options.place);
}

/// Reads a saved sequence into an empty one and commits it. The source is read to the end of the saved sequence and no further.
///
/// Throws errc::bad_file for what is none, is damaged or cut off, errc::unsupported for another version, errc::invalid_argument for that
/// of another model, shape, codec or terms and for a sequence that holds tokens, errc::cache_full, and what the source throws; the sequence
/// is then empty as it was.
template <kv_cache Cache>
saved_text restore(Cache& cache, sequence_id s, const state_source& source, const state_options& options = {}) {
    return detail::restore(cache, s, source, false, options);
}

/// The same from memory, which must hold nothing after it.
template <kv_cache Cache>
saved_text restore(Cache& cache, sequence_id s, std::span<const std::byte> bytes, const state_options& options = {}) {
    return detail::restore(cache, s, detail::source_of(bytes), true, options);
}

/// Opens a sequence and restores a saved one into it. Throws as restore() and open() do; the sequence is then closed again.
template <kv_cache Cache, class Source>
loaded_sequence load(Cache& cache, const Source& source, const state_options& options = {}) {
    const sequence_id s = cache.open();
    try {
        return {s, restore(cache, s, source, options)};
    } catch (...) {
        cache.close(s);
        throw;
    }
}

/// Reads a saved sequence without a cache, whoever computed it, and compares all checksums. Throws as restore() does for bad streams.
/// Cost: a read; memory for the tokens and the note.
inline checked_state check(const state_source& source, const state_options& options = {}) {
    detail::state_reader in(source, options.place, options.memory);
    checked_state out{.header = detail::read_header(in, options.place), .text = {}};
    in.begin_section(detail::body_bytes(out.header, options.place));
    out.text.note = detail::read_note(in, out.header);
    const bool by_position = out.header.terms.empty();
    const std::uint64_t rows = by_position ? detail::row_set_bytes(out.header, options.place).value() : 0;
    detail::each_chunk(out.header.tokens, [&](position from, position to) {
        detail::read_tokens(in, static_cast<std::size_t>(to - from), out.text.tokens, options.place);
        in.skip(rows * static_cast<std::uint64_t>(to - from));
    });
    in.skip(out.header.kept_bytes);
    in.expect_end();
    out.bytes = in.position();
    return out;
}

inline checked_state check(std::span<const std::byte> bytes, const state_options& options = {}) {
    return check(detail::source_of(bytes), options);
}

}  // namespace skald::kv
