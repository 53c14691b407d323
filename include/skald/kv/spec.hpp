// SPDX-License-Identifier: MIT
#pragma once
// The words that name a cache at run time: `storage[/number]:codec`, as `--kv` takes them and policies print them:
// `contiguous:f32`, `paged:f16`, `paged/8:bf16`, `radix/32:q8`, `ring/4096:f16`; evicting storage by its policy and budget, `h2o:512:f16`.
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

enum class storage_kind { contiguous, paged, radix, ring, evicting };
enum class eviction_kind { recent, sinks, h2o, tova, snapkv, pyramid };
enum class codec_kind { f32, f16, bf16, fp8, i16, q8, q4 };

/// Their words.
inline constexpr std::array<std::pair<std::string_view, codec_kind>, 7> codec_words{{{"f32", codec_kind::f32},
                                                                                     {"f16", codec_kind::f16},
                                                                                     {"bf16", codec_kind::bf16},
                                                                                     {"fp8", codec_kind::fp8},
                                                                                     {"i16", codec_kind::i16},
                                                                                     {"q8", codec_kind::q8},
                                                                                     {"q4", codec_kind::q4}}};

inline constexpr std::array<std::pair<std::string_view, eviction_kind>, 6> eviction_words{{{"recent", eviction_kind::recent},
                                                                                           {"sinks", eviction_kind::sinks},
                                                                                           {"h2o", eviction_kind::h2o},
                                                                                           {"tova", eviction_kind::tova},
                                                                                           {"snapkv", eviction_kind::snapkv},
                                                                                           {"pyramid", eviction_kind::pyramid}}};

/// What parse_spec() reads.
inline constexpr std::string_view known_specs =
    "contiguous:CODEC, paged:CODEC, paged/BLOCK:CODEC, radix:CODEC (keeps what earlier prompts began with), radix/BLOCK:CODEC, "
    "ring/WINDOW:CODEC; CODEC f32, f16, bf16, fp8, i16, q8 or q4; POLICY:BUDGET:CODEC (keeps so many tokens; POLICY recent, sinks, h2o, "
    "tova, snapkv or pyramid, CODEC f16 or q8)";

/// A cache named in words.
struct spec {
    storage_kind storage = storage_kind::paged;
    codec_kind codec = codec_kind::f16;
    std::size_t block = 16;                       ///< tokens a block; paged and radix only
    std::size_t window = 0;                       ///< tokens a row sees; ring only
    eviction_kind eviction = eviction_kind::h2o;  ///< evicting only
    std::size_t budget = 0;                       ///< tokens that are kept; evicting only

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
    std::string_view codec = colon == std::string_view::npos ? std::string_view("f16") : text.substr(colon + 1);

    const auto* const eviction = std::ranges::find(eviction_words, storage, [](const auto& word) { return word.first; });
    if (eviction != eviction_words.end()) {
        const std::string_view digits = colon == std::string_view::npos ? std::string_view{} : codec.substr(0, codec.find(':'));
        codec = digits.size() < codec.size() && !digits.empty() ? codec.substr(digits.size() + 1) : std::string_view("f16");
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), out.budget);
        if (status != std::errc{} || end != digits.data() + digits.size() || out.budget == 0 || out.budget > (1u << 24))
            bad("the tokens to keep are no number from 1 to 16777216, as in h2o:512:f16");
        if (codec != "f16" && codec != "q8") bad("such a cache has the codecs f16 and q8");
        out.eviction = eviction->second;
    }
    if (const std::size_t slash = storage.find('/'); slash != std::string_view::npos) {
        const std::string_view digits = storage.substr(slash + 1);
        storage = storage.substr(0, slash);
        const bool ring = storage == "ring";
        std::size_t& number = ring ? out.window : out.block;
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (status != std::errc{} || end != digits.data() + digits.size() || number == 0 || number > (1u << 20))
            bad(ring ? "the window is no number from 1 to 1048576" : "the block size is no number from 1 to 1048576");
        if (!ring && storage != "paged" && storage != "radix") bad("only paged and radix storage have blocks, and rings a window");
    }
    if (eviction != eviction_words.end())
        out.storage = storage_kind::evicting;
    else if (storage == "contiguous")
        out.storage = storage_kind::contiguous;
    else if (storage == "paged")
        out.storage = storage_kind::paged;
    else if (storage == "radix")
        out.storage = storage_kind::radix;
    else if (storage == "ring")
        out.storage = storage_kind::ring;
    else
        bad("unknown storage");
    if (out.storage == storage_kind::ring && out.window == 0) bad("a ring needs the tokens of its window, as ring/4096");

    const auto* const known = std::ranges::find(codec_words, codec, [](const auto& word) { return word.first; });
    if (known == codec_words.end()) bad("unknown codec");
    out.codec = known->second;
    return out;
}

}  // namespace skald::kv
