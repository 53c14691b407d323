// SPDX-License-Identifier: MIT
#pragma once
// Encoded sequences: the tokens of one sequence with their keys and values in a seventh of the bytes of f16, nearly as they were, for
// storage and transport (CacheGen, Liu et al. 2023: token deltas, bins by layer, arithmetic coding with a distribution a channel; here of
// keys before rope and with a trellis' bins). Any cache of the same shape reads them, whatever its storage and codec. Saved sequences
// (state.hpp) are those that come back bitwise.
//
// A receiver may take a sequence in chunk by chunk: sequence_decoder. For files, transport_file.hpp; what the bytes are,
// transport/format.hpp.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/row_access.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/transport/chunk_coder.hpp>
#include <skald/kv/transport/format.hpp>

namespace skald::kv {

/// Encodes the first tokens.size() committed tokens of a sequence: `tokens` are their ids. The cache keeps all it has, but a step that was
/// planned is over. Throws errc::invalid_argument for a quality that there is not and for more tokens than are committed,
/// errc::unsupported where a cache has dropped some, and what the sink throws. Values that are not finite become 0. Cost: about 15 million
/// values a second; the sink gets at most 64 KiB at a time.
template <transcodable_cache Cache>
void encode(Cache& cache, sequence_id s, std::span<const token_id> tokens, const state_sink& sink, const encoding_options& options = {},
            std::string_view note = {}) {
    static_assert(Cache::schedule_invariant || row_access<Cache>, "skald: only caches that read by position alone can be encoded");
    if (options.quality < 1 || options.quality > most_quality)
        fail(errc::invalid_argument, options.place, "a quality of ", options.quality, " was asked for; there are 1 to ", most_quality);
    const cache_shape shape = cache.shape();
    const position committed = detail::select_rows(cache, s);
    if (tokens.size() > static_cast<std::size_t>(committed))
        fail(errc::invalid_argument, options.place, tokens.size(), " tokens were to be encoded of a sequence of ", committed);
    encoded_header h = detail::encoded_header_of(cache, options);
    h.tokens = tokens.size();
    h.note_bytes = note.size();
    detail::require_sizes(h, errc::invalid_argument, options.place);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if (tokens[i] < 0) fail(errc::invalid_argument, options.place, "token ", i, " is ", tokens[i], "; ids are not negative");

    const auto way = h.before_rope == detail::keys_before_rope(cache) ? detail::turning::none : detail::turning::back;
    detail::chunk_encoder coder(shape, options.place, options.memory);
    detail::key_turner turner(options.ropes, shape, detail::encoded_chunk, options.place, options.memory);
    detail::state_writer out(sink, options.memory);
    const detail::encoded_head head{.layers = static_cast<std::uint32_t>(shape.layers),
                                    .kv_heads = static_cast<std::uint32_t>(shape.kv_heads),
                                    .head_dim = static_cast<std::uint32_t>(shape.head_dim),
                                    .note_bytes = static_cast<std::uint32_t>(note.size()),
                                    .before_rope = h.before_rope ? 1u : 0u,
                                    .tokens = tokens.size(),
                                    .model = h.model};
    const auto put_section = [&](std::span<const std::byte> bytes) {
        out.put(bytes);
        out.end_section();
    };
    put_section(std::as_bytes(std::span(&head, 1)));
    put_section(std::as_bytes(std::span(note)));
    for (std::size_t first = 0; first < tokens.size(); first += detail::encoded_chunk) {
        const std::size_t count = std::min(detail::encoded_chunk, tokens.size() - first);
        coder.encode(
            first, count, detail::bins_of(options.quality),
            [&](std::size_t layer, std::span<float> rows) {
                detail::load_rows(cache, layer, static_cast<position>(first), static_cast<position>(first + count), rows);
                turner.turn_keys(way, layer, static_cast<position>(first), count, rows.first(rows.size() / 2));
            },
            [&](std::span<const std::byte> bytes) {
                const detail::encoded_chunk_head chunk{
                    .tokens = static_cast<std::uint32_t>(count), .quality = options.quality, .bytes = bytes.size()};
                put_section(std::as_bytes(std::span(&chunk, 1)));
                out.put(std::as_bytes(tokens.subspan(first, count)));
                put_section(bytes);
            });
    }
}

/// Decodes a sequence chunk by chunk into an empty one. What was decoded is committed, and stays when a later chunk is refused. The cache,
/// the source and the options' place and memory outlive it.
template <transcodable_cache Cache>
class sequence_decoder {
public:
    /// Reads what stands before the chunks. Throws as decode() does.
    sequence_decoder(Cache& cache, sequence_id s, const state_source& source, const encoding_options& options = {})
        : cache_(cache),
          sequence_(s),
          options_(options),
          in_(source, options.place, options.memory),
          header_(read_header(cache, s, in_, options)),
          way_(detail::require_turning(header_, cache, options)),
          coder_(header_.shape, options.place, options.memory),
          turner_(options.ropes, header_.shape, detail::encoded_chunk, options.place, options.memory),
          bytes_(options.memory) {
        in_.begin_section(header_.note_bytes);
        text_.note = detail::read_note(in_, header_);
    }

    const encoded_header& header() const noexcept { return header_; }

    /// The tokens so far, and the note.
    const saved_text& text() const noexcept { return text_; }
    saved_text take_text() noexcept { return std::move(text_); }

    bool done() const noexcept { return text_.tokens.size() == header_.tokens; }

    /// Decodes the next chunk, at most 256 tokens, and commits it; false when there is none. What it throws leaves cache and text as they
    /// were; nothing more can then be read.
    bool next() {
        if (done()) return false;
        const std::size_t known = text_.tokens.size();
        const checkpoint before = cache_.mark(sequence_);
        try {
            const detail::encoded_chunk_head chunk =
                detail::read_encoded_chunk(in_, header_, header_.tokens - known, text_.tokens, bytes_, options_.place);
            const segment rows{.sequence = sequence_, .first_row = 0, .rows = chunk.tokens};
            const position first = cache_.plan(std::span(&rows, 1))[0].first_position;
            coder_.decode(bytes_, chunk.tokens,
                          [&](std::size_t layer, std::size_t head, std::span<float> keys, std::span<const float> values) {
                              turner_.turn_keys(way_, layer, first, chunk.tokens, keys);
                              detail::store_rows(cache_, layer, head, first, keys, values, padded_);
                          });
            cache_.commit(sequence_);
        } catch (...) {
            cache_.rollback(sequence_, before);
            text_.tokens.resize(known);
            throw;
        }
        return true;
    }

    /// Throws errc::bad_file unless the stream ends here.
    void expect_end() { in_.expect_end(); }

private:
    static encoded_header read_header(const Cache& cache, sequence_id s, detail::state_reader& in, const encoding_options& options) {
        if (cache.length(s) != 0)
            fail(errc::invalid_argument, options.place, "the sequence to decode it into holds ", cache.length(s),
                 " tokens; it must be empty");
        return detail::read_encoded_header(in, options.place);
    }

    Cache& cache_;
    sequence_id sequence_;
    encoding_options options_;
    detail::state_reader in_;
    encoded_header header_;
    detail::turning way_;
    detail::chunk_decoder coder_;
    detail::key_turner turner_;
    std::pmr::vector<std::byte> bytes_;
    std::vector<float> padded_;
    saved_text text_;
};

namespace detail {

template <transcodable_cache Cache>
saved_text decode_sequence(Cache& cache, sequence_id s, const state_source& source, bool whole, const encoding_options& options) {
    sequence_decoder<Cache> decoder(cache, s, source, options);
    filling guard(cache, s);
    while (decoder.next()) {
    }
    if (whole) decoder.expect_end();
    guard.keep();
    return decoder.take_text();
}

}  // namespace detail

/// Decodes an encoded sequence into an empty one and commits it. The source is read to the end of the encoded sequence and no further.
///
/// Throws errc::bad_file for what is none, is damaged or cut off, errc::unsupported for another version, errc::invalid_argument for that
/// of another model or shape and for a sequence that holds tokens, errc::cache_full (rings need steps of 256), and what the source throws;
/// the sequence is then empty as it was.
template <transcodable_cache Cache>
saved_text decode(Cache& cache, sequence_id s, const state_source& source, const encoding_options& options = {}) {
    return detail::decode_sequence(cache, s, source, false, options);
}

/// The same from memory, which must hold nothing after it.
template <transcodable_cache Cache>
saved_text decode(Cache& cache, sequence_id s, std::span<const std::byte> bytes, const encoding_options& options = {}) {
    return detail::decode_sequence(cache, s, detail::source_of(bytes), true, options);
}

/// What check_encoded() tells.
struct checked_encoding {
    encoded_header header;  ///< of no codec
    saved_text text;
    std::uint64_t bytes = 0;  ///< of the stream
    unsigned quality = 0;     ///< of its first chunk; 0 without chunks
};

/// Reads an encoded sequence without a cache, whoever computed it, and compares all checksums; keys and values are not decoded. Throws as
/// decode() does for bad streams. Cost: a read; memory for a chunk, the tokens and the note.
inline checked_encoding check_encoded(const state_source& source, const encoding_options& options = {}) {
    detail::state_reader in(source, options.place, options.memory);
    checked_encoding out{.header = detail::read_encoded_header(in, options.place), .text = {}};
    in.begin_section(out.header.note_bytes);
    out.text.note = detail::read_note(in, out.header);
    std::pmr::vector<std::byte> bytes(options.memory);
    while (out.text.tokens.size() < out.header.tokens) {
        const std::uint64_t left = out.header.tokens - out.text.tokens.size();
        const unsigned quality = detail::read_encoded_chunk(in, out.header, left, out.text.tokens, bytes, options.place).quality;
        if (out.quality == 0) out.quality = quality;
    }
    in.expect_end();
    out.bytes = in.position();
    return out;
}

/// Throws errc::invalid_argument unless what was encoded is of the model that the options name and of the cache's shape, and its keys are
/// as the cache has them or the options have ropes to turn them by.
template <transcodable_cache Cache>
void require_fit(const Cache& cache, const checked_encoding& encoded, const encoding_options& options = {}) {
    detail::require_turning(encoded.header, cache, options);
}

inline checked_encoding check_encoded(std::span<const std::byte> bytes, const encoding_options& options = {}) {
    return check_encoded(detail::source_of(bytes), options);
}

}  // namespace skald::kv
