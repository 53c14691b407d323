// SPDX-License-Identifier: MIT
#pragma once
// The format of saved sequences: what stands in a stream, and how it is read without trusting it. Two sections in frames
// (state_stream.hpp), all numbers little endian: the fields of detail::state_head; then the note, and for every 64 tokens, the last ones
// maybe fewer, their ids and layer by layer their keys and values // (kv_heads, tokens, row_bytes); of latents, whose codec's name ends
// with "/latent", the keys alone. That is version 1. Sequences that are more than that (state_terms.hpp) are version 2: after the head, a
// section of their cache's terms, detail::state_more; then the note, the ids and what the cache writes.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/state_stream.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

/// What a sequence is saved and read with.
struct state_options {
    std::uint64_t model = 0;                    ///< stands for what computed the rows (model/identity.hpp); must be the same at reading
    std::string_view place = "saved sequence";  ///< what messages call the stream: a file's name
    std::pmr::memory_resource* memory = std::pmr::get_default_resource();  ///< for one frame, 64 KiB
};

/// What a saved sequence says of itself.
struct state_header {
    cache_shape shape;
    std::string codec;
    std::uint64_t row_bytes = 0;  ///< of one key or value of one head
    std::uint64_t model = 0;      ///< state_options::model, when it was saved
    std::uint64_t tokens = 0;
    std::uint64_t note_bytes = 0;
    state_terms terms{};           ///< none where rows by position are all there is
    std::uint64_t kept_bytes = 0;  ///< with terms: what the cache wrote
};

/// What a saved sequence holds beside keys and values.
struct saved_text {
    std::vector<token_id> tokens;
    std::string note;  ///< bytes of the saver's own: a title, a conversation
};

namespace detail {

inline constexpr std::size_t state_chunk = 64;                        // tokens
inline constexpr std::size_t most_note_bytes = std::size_t{1} << 26;  // 64 MiB
inline constexpr std::size_t most_codec_name = 31;
inline constexpr std::string_view latent_mark = "/latent";  // ends the codec's name where rows are key and value in one

struct state_head {
    std::array<char, 8> magic{'S', 'K', 'A', 'L', 'D', 'K', 'V', '\n'};
    std::uint32_t version = 1;  // 2 with terms
    std::uint32_t layers = 0, kv_heads = 0, head_dim = 0, row_bytes = 0, note_bytes = 0;
    std::uint64_t tokens = 0, model = 0;
    std::array<char, most_codec_name + 1> codec{};  // then zeros
};
static_assert(sizeof(state_head) == 80 && std::is_trivially_copyable_v<state_head>);

struct state_more {
    std::uint64_t kept_bytes = 0;
    std::array<char, 504> terms{};  // a line each, "name=value\n"; then zeros
};
static_assert(sizeof(state_more) == 512 && std::is_trivially_copyable_v<state_more>);

inline checked_size row_set_bytes(const state_header& h, std::string_view place) {
    return ((checked_size(h.shape.layers, place) * h.shape.planes()) * h.shape.kv_heads) * h.row_bytes;
}

inline std::uint64_t body_bytes(const state_header& h, std::string_view place) {
    if (!h.terms.empty()) return (checked_size(h.kept_bytes, place) + sizeof(token_id) * h.tokens + h.note_bytes).value();
    return ((row_set_bytes(h, place) + sizeof(token_id)) * h.tokens + h.note_bytes).value();
}

constexpr bool is_printable(char c) noexcept { return c >= ' ' && c <= '~'; }

/// Throws errc::unsupported where there is no room for the terms, or no line is made of one.
inline state_more more_of(const state_header& h, std::string_view place) {
    std::string lines;
    for (const state_term& t : h.terms) {
        if (t.name.empty() || t.name.find('=') != std::string::npos || !std::ranges::all_of(t.name + t.value, is_printable))
            fail(errc::unsupported, place, "'", t.name, "' and '", t.value, "', which the cache says of itself, are not printable ASCII");
        lines += concat(t.name, "=", t.value, "\n");
    }
    state_more out{.kept_bytes = h.kept_bytes};
    if (lines.size() > out.terms.size())
        fail(errc::unsupported, place, "the cache says ", lines.size(), " bytes of itself; saved sequences have room for ",
             out.terms.size());
    std::copy(lines.begin(), lines.end(), out.terms.begin());
    return out;
}

/// Throws errc::bad_file.
inline state_terms terms_of(const state_more& more, std::string_view place) {
    state_terms out;
    auto at = more.terms.begin();
    for (const auto end = more.terms.end(); at != end && *at != '\0';) {
        const auto line = std::find(at, end, '\n'), sign = std::find(at, line, '=');
        if (line == end || sign == at || sign == line || !std::all_of(at, line, is_printable))
            fail(errc::bad_file, place, "what it says of its cache cannot be read");
        out.push_back({std::string(at, sign), std::string(sign + 1, line)});
        at = line + 1;
    }
    if (out.empty() || std::any_of(at, more.terms.end(), [](char c) { return c != '\0'; }))
        fail(errc::bad_file, place, "what it says of its cache cannot be read");
    return out;
}

/// Throws unless sizes are such as models have; products of them then fit 64 bits.
inline void require_sizes(const state_header& h, errc code, std::string_view place) {
    const auto in_range = [&](std::string_view what, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
        if (value < least || value > most) fail(code, place, what, " is ", value, "; it must be from ", least, " to ", most);
    };
    in_range("the number of layers", h.shape.layers, 1, 65536);
    in_range("the number of key/value heads", h.shape.kv_heads, 1, 65536);
    in_range("the head dimension", h.shape.head_dim, 1, 65536);
    in_range("the size of a row in bytes", h.row_bytes, 1, 1u << 20);
    in_range("the number of tokens", h.tokens, 0, std::numeric_limits<position>::max());
    in_range("the size of the note in bytes", h.note_bytes, 0, most_note_bytes);
}

/// Reads the first section. Throws errc::bad_file, errc::unsupported for another version.
inline state_header read_header(state_reader& in, std::string_view place) {
    state_head head;
    in.begin_section(sizeof head);
    in.get(std::as_writable_bytes(std::span(&head, 1)));
    if (head.magic != state_head{}.magic) fail(errc::bad_file, place, "is no saved sequence");
    if (head.version != 1 && head.version != 2)
        fail(errc::unsupported, place, "holds a saved sequence of version ", head.version, "; this program reads versions 1 and 2");
    const auto end = std::find(head.codec.begin(), head.codec.end(), '\0');
    const bool plain = std::all_of(head.codec.begin(), end, [](char c) { return c > ' ' && c <= '~'; });
    if (end == head.codec.begin() || end == head.codec.end() || !plain ||
        std::any_of(end, head.codec.end(), [](char c) { return c != '\0'; }))
        fail(errc::bad_file, place, "the name of its codec cannot be read");
    const std::string codec(head.codec.begin(), end);
    state_header h{
        .shape = {.layers = head.layers, .kv_heads = head.kv_heads, .head_dim = head.head_dim, .latent = codec.ends_with(latent_mark)},
        .codec = codec,
        .row_bytes = head.row_bytes,
        .model = head.model,
        .tokens = head.tokens,
        .note_bytes = head.note_bytes};
    require_sizes(h, errc::bad_file, place);
    if (head.version == 2) {
        state_more more;
        in.begin_section(sizeof more);
        in.get(std::as_writable_bytes(std::span(&more, 1)));
        h.terms = terms_of(more, place);
        h.kept_bytes = more.kept_bytes;
    }
    return h;
}

/// Writes what read_header() reads. Throws errc::invalid_argument and errc::unsupported for what cannot stand there.
inline void write_header(state_writer& out, const state_header& h, std::string_view place) {
    require_sizes(h, errc::invalid_argument, place);
    state_head head{.version = h.terms.empty() ? 1u : 2u,
                    .layers = static_cast<std::uint32_t>(h.shape.layers),
                    .kv_heads = static_cast<std::uint32_t>(h.shape.kv_heads),
                    .head_dim = static_cast<std::uint32_t>(h.shape.head_dim),
                    .row_bytes = static_cast<std::uint32_t>(h.row_bytes),
                    .note_bytes = static_cast<std::uint32_t>(h.note_bytes),
                    .tokens = h.tokens,
                    .model = h.model};
    std::copy(h.codec.begin(), h.codec.end(), head.codec.begin());
    const state_more more = more_of(h, place);
    out.put(std::as_bytes(std::span(&head, 1)));
    out.end_section();
    if (h.terms.empty()) return;
    out.put(std::as_bytes(std::span(&more, 1)));
    out.end_section();
}

/// Throws errc::invalid_argument unless what was saved fits a cache.
inline void require_same(const state_header& saved, const state_header& cache, std::string_view place) {
    const auto same = [&](std::string_view what, const auto& there, const auto& here) {
        if (there != here) fail(errc::invalid_argument, place, what, " is ", there, "; this cache's is ", here);
    };
    if (saved.model != cache.model)
        fail(errc::invalid_argument, place, "was computed by another model (", saved.model, ") than this one (", cache.model, ")");
    same("the number of layers", saved.shape.layers, cache.shape.layers);
    same("the number of key/value heads", saved.shape.kv_heads, cache.shape.kv_heads);
    same("the head dimension", saved.shape.head_dim, cache.shape.head_dim);
    require_same_terms(saved.terms, cache.terms, place);
    same("the codec", saved.codec, cache.codec);
    same("the size of a row in bytes", saved.row_bytes, cache.row_bytes);
}

/// The note; memory grows as its bytes come.
inline std::string read_note(state_reader& in, const state_header& h) {
    std::string note;
    while (note.size() < h.note_bytes) {
        const std::size_t known = note.size();
        note.resize(std::min<std::size_t>(known + state_frame_bytes, static_cast<std::size_t>(h.note_bytes)));
        in.get(std::as_writable_bytes(std::span(note).subspan(known)));
    }
    return note;
}

/// The ids of the next tokens, appended.
inline void read_tokens(state_reader& in, std::size_t count, std::vector<token_id>& out, std::string_view place) {
    std::array<token_id, state_chunk> ids;
    const std::span<token_id> read(ids.data(), count);
    in.get(std::as_writable_bytes(read));
    for (const token_id id : read)
        if (id < 0) fail(errc::bad_file, place, "token ", out.size(), " is ", id, "; ids are not negative");
    out.insert(out.end(), read.begin(), read.end());
}

/// f(first position, position after the last) for every chunk of a sequence.
template <class F>
void each_chunk(std::uint64_t tokens, F&& f) {
    for (std::uint64_t first = 0; first < tokens; first += state_chunk)
        f(static_cast<position>(first), static_cast<position>(std::min<std::uint64_t>(first + state_chunk, tokens)));
}

}  // namespace detail

}  // namespace skald::kv
