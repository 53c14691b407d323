// SPDX-License-Identifier: MIT
#pragma once
// The words that name a cache at run time: `storage[/number]:codec`, as `--kv` takes them and policies print them:
// `contiguous:f32`, `paged:f16`, `paged/8:bf16`, `radix/32:q8`, `ring/4096:f16`, `paged:kivi4`, `tiered:f16/256,q4`.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <skald/core/error.hpp>

namespace skald::kv {

enum class storage_kind { contiguous, paged, radix, ring, tiered };
enum class codec_kind { f32, f16, bf16, fp8, i16, q8, q4, kivi4, kivi2 };

/// Their words.
inline constexpr std::array<std::pair<std::string_view, codec_kind>, 9> codec_words{{{"f32", codec_kind::f32},
                                                                                     {"f16", codec_kind::f16},
                                                                                     {"bf16", codec_kind::bf16},
                                                                                     {"fp8", codec_kind::fp8},
                                                                                     {"i16", codec_kind::i16},
                                                                                     {"q8", codec_kind::q8},
                                                                                     {"q4", codec_kind::q4},
                                                                                     {"kivi4", codec_kind::kivi4},
                                                                                     {"kivi2", codec_kind::kivi2}}};

/// What parse_spec() reads.
inline constexpr std::string_view known_specs =
    "contiguous:CODEC, paged:CODEC, paged/BLOCK:CODEC, radix:CODEC (keeps what earlier prompts began with), radix/BLOCK:CODEC, "
    "ring/WINDOW:CODEC; CODEC f32, f16, bf16, fp8, i16, q8 or q4; contiguous:KIVI, paged:KIVI; KIVI kivi4 or kivi2; tiered:f16/TOKENS,COLD "
    "(the last tokens, and older ones); COLD q4, kivi4 or kivi2";

/// A cache named in words.
struct spec {
    storage_kind storage = storage_kind::paged;
    codec_kind codec = codec_kind::f16;
    std::size_t block = 16;  ///< tokens a block; paged and radix only
    std::size_t window = 0;  ///< tokens a row sees; ring only
    std::size_t hot = 1;     ///< tokens in f16, the rest is in the codec; tiered only

    /// True when all sequences share one pool of blocks.
    constexpr bool has_blocks() const noexcept { return storage == storage_kind::paged || storage == storage_kind::radix; }
    /// True for codecs that keep groups of tokens.
    constexpr bool has_groups() const noexcept { return codec == codec_kind::kivi4 || codec == codec_kind::kivi2; }
};

/// Reads a spec; the codec may be left out (f16). Throws errc::invalid_argument with the words that are known.
inline spec parse_spec(std::string_view text) {
    spec out;
    const auto bad = [&](std::string_view what) {
        fail(errc::invalid_argument, concat("kv '", text, "'"), what, "; known: ", known_specs);
    };
    const std::size_t colon = text.find(':');
    std::string_view storage = text.substr(0, colon);
    std::string_view codec = colon == std::string_view::npos ? std::string_view("f16") : text.substr(colon + 1);
    const auto number_in = [&](std::string_view digits, std::size_t& number) {
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        return status == std::errc{} && end == digits.data() + digits.size() && number != 0 && number <= (1u << 20);
    };

    if (storage == "tiered") {
        const std::size_t comma = codec.find(',');
        const std::string_view hot = codec.substr(0, comma);
        if (!hot.starts_with("f16/") || comma == std::string_view::npos || !number_in(hot.substr(4), out.hot))
            bad("tiers are f16/TOKENS from 1 to 1048576, a comma and the codec of older tokens, as tiered:f16/256,q4");
        codec = codec.substr(comma + 1);
    }
    if (const std::size_t slash = storage.find('/'); slash != std::string_view::npos) {
        const std::string_view digits = storage.substr(slash + 1);
        storage = storage.substr(0, slash);
        const bool ring = storage == "ring";
        std::size_t& number = ring ? out.window : out.block;
        if (!number_in(digits, number))
            bad(ring ? "the window is no number from 1 to 1048576" : "the block size is no number from 1 to 1048576");
        if (!ring && storage != "paged" && storage != "radix") bad("only paged and radix storage have blocks, and rings a window");
    }
    if (storage == "contiguous")
        out.storage = storage_kind::contiguous;
    else if (storage == "paged")
        out.storage = storage_kind::paged;
    else if (storage == "radix")
        out.storage = storage_kind::radix;
    else if (storage == "ring")
        out.storage = storage_kind::ring;
    else if (storage == "tiered")
        out.storage = storage_kind::tiered;
    else
        bad("unknown storage");
    if (out.storage == storage_kind::ring && out.window == 0) bad("a ring needs the tokens of its window, as ring/4096");

    const auto* const known = std::ranges::find(codec_words, codec, [](const auto& word) { return word.first; });
    if (known == codec_words.end()) bad("unknown codec");
    out.codec = known->second;
    if (out.has_groups() && (out.storage == storage_kind::radix || out.storage == storage_kind::ring || out.block != 16))
        bad("KIVI's groups are kept by contiguous, paged (without a block size) and tiered storage");
    if (out.storage == storage_kind::tiered && !out.has_groups() && out.codec != codec_kind::q4)
        bad("older tokens are in q4, kivi4 or kivi2");
    return out;
}

}  // namespace skald::kv
