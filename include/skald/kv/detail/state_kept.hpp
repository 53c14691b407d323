// SPDX-License-Identifier: MIT
#pragma once
// How a cache that says itself what is kept of a sequence (state_terms.hpp) is saved and restored, and what saving any cache begins with
// and ends with. For kv/state.hpp.
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/state_format.hpp>
#include <skald/kv/state_stream.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv::detail {

/// Throws errc::unsupported for a name that no stream has room for.
inline state_header header_of(const cache_shape& shape, std::string codec, std::size_t row_bytes, const state_options& options) {
    if (codec.empty() || codec.size() > most_codec_name)
        fail(errc::unsupported, options.place, "the codec's name, '", codec, "', does not fit saved sequences; it may have 1 to ",
             most_codec_name, " characters");
    return {.shape = shape, .codec = std::move(codec), .row_bytes = row_bytes, .model = options.model};
}

template <storable_cache Cache>
state_header header_of(const Cache& cache, const state_options& options) {
    state_form form = cache.form();
    state_header out = header_of(cache.shape(), std::move(form.codec), form.row_bytes, options);
    out.terms = std::move(form.terms);
    return out;
}

/// Throws for what cannot be saved of a sequence of so many committed tokens.
inline void require_tokens(std::span<const token_id> tokens, position committed, std::string_view place) {
    if (tokens.size() > static_cast<std::size_t>(committed))
        fail(errc::invalid_argument, place, tokens.size(), " tokens were to be saved of a sequence of ", committed);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if (tokens[i] < 0) fail(errc::invalid_argument, place, "token ", i, " is ", tokens[i], "; ids are not negative");
}

template <class Cache>
void require_empty(const Cache& cache, sequence_id s, const state_options& options) {
    if (cache.length(s) != 0)
        fail(errc::invalid_argument, options.place, "the sequence to restore it into holds ", cache.length(s), " tokens; it must be empty");
}

/// Empties a sequence again, unless it is kept.
template <class Cache>
class filling {
public:
    filling(Cache& cache, sequence_id s) noexcept : cache_(cache), sequence_(s) {}
    filling(const filling&) = delete;
    filling& operator=(const filling&) = delete;
    ~filling() {
        if (!kept_) cache_.truncate(sequence_, 0);
    }
    void keep() noexcept { kept_ = true; }

private:
    Cache& cache_;
    sequence_id sequence_;
    bool kept_ = false;
};

/// Reads what stands before a sequence's note, which must be of such a cache. Throws as restore() does.
template <class Cache>
state_header begin_restoring(const Cache& cache, sequence_id s, const state_header& expected, state_reader& in,
                             const state_options& options) {
    require_empty(cache, s, options);
    const state_header h = read_header(in, options.place);
    require_same(h, expected, options.place);
    in.begin_section(body_bytes(h, options.place));
    return h;
}

template <storable_cache Cache>
void save_kept(Cache& cache, sequence_id s, std::span<const token_id> tokens, std::string_view note, const state_sink& sink,
               const state_options& options) {
    state_header h = header_of(cache, options);
    require_tokens(tokens, cache.committed(s), options.place);
    const auto length = static_cast<position>(tokens.size());
    if (!cache.keeps(s, length))
        fail(errc::unsupported, options.place, "of the first ", length, " tokens of a sequence of ", cache.committed(s),
             " not all is kept that a next one would read; save the whole sequence");
    h.tokens = tokens.size();
    h.note_bytes = note.size();
    cache.write_kept(s, length, [&](std::span<const std::byte> bytes) { h.kept_bytes += bytes.size(); });
    state_writer out(sink, options.memory);
    write_header(out, h, options.place);
    out.put(std::as_bytes(std::span(note)));
    out.put(std::as_bytes(tokens));
    cache.write_kept(s, length, [&](std::span<const std::byte> bytes) { out.put(bytes); });
    out.end_section();
}

template <storable_cache Cache>
saved_text restore_kept(Cache& cache, sequence_id s, const state_source& source, bool whole, const state_options& options) {
    state_reader in(source, options.place, options.memory);
    const state_header h = begin_restoring(cache, s, header_of(cache, options), in, options);
    saved_text out{.tokens = {}, .note = read_note(in, h)};
    each_chunk(h.tokens,
               [&](position from, position to) { read_tokens(in, static_cast<std::size_t>(to - from), out.tokens, options.place); });
    filling guard(cache, s);
    const auto require_left = [&](bool enough) {
        if (!enough) fail(errc::bad_file, options.place, "what it says of its length and what it holds of its keys and values differ");
    };
    const auto get = [&](std::span<std::byte> bytes) {
        require_left(bytes.size() <= in.left());
        in.get(bytes);
    };
    cache.read_kept(s, static_cast<position>(h.tokens), [&](const segment& step) { cache.plan({&step, 1}); }, get, options.place);
    require_left(in.left() == 0);
    if (whole) in.expect_end();
    guard.keep();
    return out;
}

}  // namespace skald::kv::detail
