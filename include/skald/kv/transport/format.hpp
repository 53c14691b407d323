// SPDX-License-Identifier: MIT
#pragma once
// The format of encoded sequences: what stands in a stream, and how it is read without trusting it. In frames (state_stream.hpp), all
// numbers little endian: the fields of detail::encoded_head; the note; and for every 256 tokens, the last ones maybe fewer, the fields of
// detail::encoded_chunk_head, the tokens' ids, and what chunk_coder.hpp makes of their keys and values.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/state_format.hpp>
#include <skald/kv/state_stream.hpp>
#include <skald/kv/transport/chunk_coder.hpp>
#include <skald/kv/transport/key_rope.hpp>

namespace skald::kv {

/// What a sequence is encoded and decoded with.
struct encoding_options {
    std::uint64_t model = 0;                      ///< as state_options::model
    std::string_view place = "encoded sequence";  ///< what messages call the stream: a file's name
    unsigned quality = 3;                         ///< of encoding, from 1, the smallest, to 5, the most exact; see kv/README.md
    std::pmr::memory_resource* memory = std::pmr::get_default_resource();  ///< for one layer's rows and one encoded chunk
    /// Of every layer, as key_ropes(model, context) gives them: keys are encoded as they are before rope, which takes fewer bytes. Without,
    /// as the cache keeps them. Decoding asks for them where the cache keeps keys the other way. They outlive the encoding or decoding.
    std::span<const key_rope> ropes{};
};

inline constexpr unsigned most_quality = 5;

/// What an encoded sequence says of itself; codecs and rows' sizes play no part here.
struct encoded_header : state_header {
    bool before_rope = false;  ///< its keys are as they were before rope
};

namespace detail {

/// Bins of a quality. Errors of values are a bin at most, and a quarter of one in root mean square.
///
/// Their proportions are those at which the last bit of each group of layers saved as much of the divergence of what the model then
/// predicts: by SmolLM2-135M over the first half of the text that kv/README.md's other half is measured on. With equal proportions the
/// divergence is 1.4 times as great at the same bytes. Their sizes are such that quality 3 takes less than 1/3.5 of q8's bytes within 1% of
/// perplexity, and the others what the table of kv/README.md says.
inline bin_sizes bins_of(unsigned quality) noexcept {
    constexpr bin_sizes proportions{{1.2f, 0.6f, 0.55f}, {1.1f, 0.95f, 0.85f}};
    constexpr std::array<float, most_quality> sizes{1.75f, 1.2f, 0.9f, 0.43f, 0.12f};
    bin_sizes out = proportions;
    for (auto* group : {&out.keys, &out.values})
        for (float& bin : *group) bin *= sizes[quality - 1];
    return out;
}

struct encoded_head {
    std::array<char, 8> magic{'S', 'K', 'A', 'L', 'D', 'K', 'V', 'C'};
    std::uint32_t version = 2;
    std::uint32_t layers = 0, kv_heads = 0, head_dim = 0, note_bytes = 0;
    std::uint32_t before_rope = 0;  ///< 1: keys are
    std::uint64_t tokens = 0, model = 0;
};
static_assert(sizeof(encoded_head) == 48 && std::is_trivially_copyable_v<encoded_head>);

struct encoded_chunk_head {
    std::uint32_t tokens = 0, quality = 0;
    std::uint64_t bytes = 0;  ///< of keys and values
};
static_assert(sizeof(encoded_chunk_head) == 16 && std::is_trivially_copyable_v<encoded_chunk_head>);

/// Whether the keys of a cache are as before rope. Those of a model without rope are as after it, too.
template <class Cache>
bool keys_before_rope(const Cache& cache) {
    return cache.shape().rope_pairs != 0 && keeps_before_rope(cache);
}

/// Of what encode() makes.
template <class Cache>
encoded_header encoded_header_of(const Cache& cache, const encoding_options& options) {
    if (cache.shape().latent)
        fail(errc::unsupported, options.place,
             "the cache keeps latents, rows that are key and value in one; these can be saved, not encoded");
    const bool known = std::any_of(options.ropes.begin(), options.ropes.end(), [](const key_rope& r) { return !r.frequencies.empty(); });
    return {{.shape = cache.shape(), .codec = {}, .row_bytes = 1, .model = options.model}, known || keys_before_rope(cache)};
}

/// Which way the keys of an encoded sequence go into a cache. Throws errc::invalid_argument unless it is of the same model and shape, and
/// for keys that would have to be turned by ropes that the options do not have.
template <class Cache>
turning require_turning(const encoded_header& h, const Cache& cache, const encoding_options& options) {
    require_same(h, encoded_header_of(cache, options), options.place);
    if (h.before_rope == keys_before_rope(cache)) return turning::none;
    if (options.ropes.empty())
        fail(errc::invalid_argument, options.place, "holds keys from ", h.before_rope ? "before" : "after",
             " rope, and the cache keeps them ", h.before_rope ? "after" : "before",
             " it; they can be turned with the model's ropes (encoding_options::ropes)");
    return h.before_rope ? turning::forth : turning::back;
}

/// Reads the first section. Throws errc::bad_file, errc::unsupported for another version.
inline encoded_header read_encoded_header(state_reader& in, std::string_view place) {
    encoded_head head;
    in.begin_section(sizeof head);
    in.get(std::as_writable_bytes(std::span(&head, 1)));
    if (head.magic != encoded_head{}.magic) fail(errc::bad_file, place, "is no encoded sequence");
    if (head.version != encoded_head{}.version)
        fail(errc::unsupported, place, "holds an encoded sequence of version ", head.version, "; this program reads version ",
             encoded_head{}.version);
    if (head.before_rope > 1) fail(errc::bad_file, place, "whether keys are before rope is ", head.before_rope, "; it must be 0 or 1");
    const encoded_header h{{.shape = {.layers = head.layers, .kv_heads = head.kv_heads, .head_dim = head.head_dim},
                            .codec = {},
                            .row_bytes = 1,
                            .model = head.model,
                            .tokens = head.tokens,
                            .note_bytes = head.note_bytes},
                           head.before_rope == 1};
    require_sizes(h, errc::bad_file, place);
    return h;
}

/// Reads a chunk: its head, checked, the ids, appended to `tokens`, and its bytes, into `bytes`, which grows as they come.
inline encoded_chunk_head read_encoded_chunk(state_reader& in, const state_header& h, std::uint64_t left, std::vector<token_id>& tokens,
                                             std::pmr::vector<std::byte>& bytes, std::string_view place) {
    encoded_chunk_head head;
    in.begin_section(sizeof head);
    in.get(std::as_writable_bytes(std::span(&head, 1)));
    const std::uint64_t expected = std::min<std::uint64_t>(left, encoded_chunk);
    if (head.tokens != expected)
        fail(errc::bad_file, place, "a chunk of ", head.tokens, " tokens stands where one of ", expected, " must; ", left, " are left");
    if (head.quality < 1 || head.quality > most_quality)
        fail(errc::bad_file, place, "a chunk has the quality ", head.quality, "; it must be from 1 to ", most_quality);
    const std::uint64_t most = chunk_decoder::most_bytes(h.shape, head.tokens, place);
    if (head.bytes > most)
        fail(errc::bad_file, place, "a chunk of ", head.tokens, " tokens says that it has ", head.bytes, " bytes; the most is ", most);
    in.begin_section((checked_size(head.bytes, place) + head.tokens * sizeof(token_id)).value());
    for (std::size_t read = 0; read < head.tokens; read += state_chunk)
        read_tokens(in, std::min<std::size_t>(state_chunk, head.tokens - read), tokens, place);
    bytes.clear();
    while (bytes.size() < head.bytes) {
        const std::size_t known = bytes.size();
        bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(known + state_frame_bytes, head.bytes)));
        in.get(std::span(bytes).subspan(known));
    }
    return head;
}

}  // namespace detail

}  // namespace skald::kv
