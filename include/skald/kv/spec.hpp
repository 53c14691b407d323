// SPDX-License-Identifier: MIT
#pragma once
// The words that name a cache at run time: `storage[/number]:codec`, as `--kv` takes them and policies print them:
// `contiguous:f32`, `paged:f16`, `paged/8:bf16`, `radix/32:q8`, `ring/4096:f16`, `window/1024+4:f16`.
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

enum class storage_kind { contiguous, paged, radix, ring, window };
enum class codec_kind { f32, f16, bf16, fp8, i16, q8, q4 };

/// Their words.
inline constexpr std::array<std::pair<std::string_view, codec_kind>, 7> codec_words{{{"f32", codec_kind::f32},
                                                                                     {"f16", codec_kind::f16},
                                                                                     {"bf16", codec_kind::bf16},
                                                                                     {"fp8", codec_kind::fp8},
                                                                                     {"i16", codec_kind::i16},
                                                                                     {"q8", codec_kind::q8},
                                                                                     {"q4", codec_kind::q4}}};

/// What parse_spec() reads.
inline constexpr std::string_view known_specs =
    "contiguous:CODEC, paged:CODEC, paged/BLOCK:CODEC, radix:CODEC (keeps what earlier prompts began with), radix/BLOCK:CODEC, "
    "ring/WINDOW:CODEC, window/WINDOW+SINKS:CODEC (the first tokens and the last); CODEC f32, f16, bf16, fp8, i16, q8 or q4";

/// A cache named in words.
struct spec {
    storage_kind storage = storage_kind::paged;
    codec_kind codec = codec_kind::f16;
    std::size_t block = 16;  ///< tokens a block; paged and radix only
    std::size_t window = 0;  ///< tokens a row sees; ring and window only
    std::size_t sinks = 4;   ///< first tokens that every row sees besides; window only

    /// True when all sequences share one pool of blocks.
    constexpr bool has_blocks() const noexcept { return storage == storage_kind::paged || storage == storage_kind::radix; }
};

/// Reads a spec; the codec may be left out (f16). Throws errc::invalid_argument with the words that are known.
inline spec parse_spec(std::string_view text) {
    spec out;
    const auto bad = [&](std::string_view what) {
        fail(errc::invalid_argument, concat("kv '", text, "'"), what, "; known: ", known_specs);
    };
    const std::size_t colon = text.find(':');
    std::string_view storage = text.substr(0, colon);
    const std::string_view codec = colon == std::string_view::npos ? std::string_view("f16") : text.substr(colon + 1);

    if (const std::size_t slash = storage.find('/'); slash != std::string_view::npos) {
        std::string_view digits = storage.substr(slash + 1);
        storage = storage.substr(0, slash);
        const auto read = [&](std::string_view word, std::size_t least, std::size_t& number, std::string_view what) {
            const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), number);
            if (status != std::errc{} || end != word.data() + word.size() || number < least || number > (1u << 20))
                bad(concat("the ", what, " no number from ", least, " to 1048576"));
        };
        const bool windowed = storage == "ring" || storage == "window";
        if (const std::size_t plus = digits.find('+'); storage == "window" && plus != std::string_view::npos) {
            read(digits.substr(plus + 1), 0, out.sinks, "sinks are");
            digits = digits.substr(0, plus);
        }
        read(digits, 1, windowed ? out.window : out.block, windowed ? "window is" : "block size is");
        if (!windowed && storage != "paged" && storage != "radix")
            bad("only paged and radix storage have blocks, and ring and window storage a window");
    }
    if (storage == "contiguous")
        out.storage = storage_kind::contiguous;
    else if (storage == "paged")
        out.storage = storage_kind::paged;
    else if (storage == "radix")
        out.storage = storage_kind::radix;
    else if (storage == "ring")
        out.storage = storage_kind::ring;
    else if (storage == "window")
        out.storage = storage_kind::window;
    else
        bad("unknown storage");
    if (out.storage == storage_kind::ring && out.window == 0) bad("a ring needs the tokens of its window, as ring/4096");
    if (out.storage == storage_kind::window && out.window == 0) bad("a window needs its tokens, and may have sinks, as window/1024+4");

    const auto* const known = std::ranges::find(codec_words, codec, [](const auto& word) { return word.first; });
    if (known == codec_words.end()) bad("unknown codec");
    out.codec = known->second;
    return out;
}

}  // namespace skald::kv
