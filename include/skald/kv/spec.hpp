// SPDX-License-Identifier: MIT
#pragma once
// The words that name a cache at run time, as `--kv` takes them and policies print them: `storage[/number]:codec`, where a colon does
// instead of the slash: `contiguous:f32`, `paged/8:bf16`, `radix/32:q8`, `ring/4096:f16`, `window/1024+4:f16`, `paged:kivi4`,
// `h2o:512:f16`, `quest:1024:f16`. Codecs of keys before rope, whose positions can be shifted: `paged:unroped-f16`; of transformed rows:
// `paged:hadamard-q4`. Tiers have two codecs: `tiered:f16/256,q4`, may keep first tokens: `tiered:q8/256+4,kivi2`, and may go by
// importance: `tiered-h2o:256:q8,kivi2`.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <skald/core/error.hpp>

namespace skald::kv {

enum class storage_kind {
    contiguous,
    paged,
    radix,
    ring,
    window,
    tiered,
    tiered_by,
    evicting,
    quest,
    radix_quest,
    merged,
    paged_merged,
    radix_merged
};
enum class codec_kind { f32, f16, bf16, fp8, i16, q8, q4, kivi4, kivi2, kivi4v2, unroped_f16, unroped_q8, hadamard_q4 };
enum class eviction_kind { recent, sinks, h2o, tova, snapkv, pyramid };

/// A storage's word, and a spec without a codec that shows it with the number it needs.
struct storage_word {
    std::string_view word;
    storage_kind kind;
    std::string_view example;
    eviction_kind eviction = {};
};

/// All that parse_spec() knows.
inline constexpr std::array<storage_word, 20> storage_words{
    {{"contiguous", storage_kind::contiguous, "contiguous"},
     {"paged", storage_kind::paged, "paged"},
     {"radix", storage_kind::radix, "radix"},
     {"ring", storage_kind::ring, "ring/4096"},
     {"window", storage_kind::window, "window/1024+4"},
     {"tiered", storage_kind::tiered, "tiered/256"},
     {"tiered-sinks", storage_kind::tiered_by, "tiered-sinks/256", eviction_kind::sinks},
     {"tiered-h2o", storage_kind::tiered_by, "tiered-h2o/256", eviction_kind::h2o},
     {"tiered-tova", storage_kind::tiered_by, "tiered-tova/256", eviction_kind::tova},
     {"minicache", storage_kind::merged, "minicache"},
     {"paged-minicache", storage_kind::paged_merged, "paged-minicache"},
     {"radix-minicache", storage_kind::radix_merged, "radix-minicache"},
     {"recent", storage_kind::evicting, "recent/512", eviction_kind::recent},
     {"sinks", storage_kind::evicting, "sinks/512", eviction_kind::sinks},
     {"h2o", storage_kind::evicting, "h2o/512", eviction_kind::h2o},
     {"tova", storage_kind::evicting, "tova/512", eviction_kind::tova},
     {"snapkv", storage_kind::evicting, "snapkv/512", eviction_kind::snapkv},
     {"pyramid", storage_kind::evicting, "pyramid/512", eviction_kind::pyramid},
     {"quest", storage_kind::quest, "quest/1024"},
     {"radix-quest", storage_kind::radix_quest, "radix-quest/1024"}}};
inline constexpr std::array<std::pair<std::string_view, codec_kind>, 13> codec_words{{{"f32", codec_kind::f32},
                                                                                      {"f16", codec_kind::f16},
                                                                                      {"bf16", codec_kind::bf16},
                                                                                      {"fp8", codec_kind::fp8},
                                                                                      {"i16", codec_kind::i16},
                                                                                      {"q8", codec_kind::q8},
                                                                                      {"q4", codec_kind::q4},
                                                                                      {"kivi4", codec_kind::kivi4},
                                                                                      {"kivi2", codec_kind::kivi2},
                                                                                      {"kivi4v2", codec_kind::kivi4v2},
                                                                                      {"unroped-f16", codec_kind::unroped_f16},
                                                                                      {"unroped-q8", codec_kind::unroped_q8},
                                                                                      {"hadamard-q4", codec_kind::hadamard_q4}}};

/// What parse_spec() reads.
inline constexpr std::string_view known_specs =
    "contiguous:CODEC, paged:CODEC, paged/BLOCK:CODEC, radix:CODEC (keeps what earlier prompts began with), radix/BLOCK:CODEC, "
    "ring/WINDOW:CODEC, window/WINDOW+SINKS:CODEC (the last tokens and the first); CODEC f32, f16, bf16, fp8, i16, q8 or q4, of "
    "contiguous and paged also unroped-f16 or unroped-q8 (keys before rope: old tokens can be dropped when a context is full), of these "
    "and radix hadamard-q4 (rows transformed, so that 4 bits lose less); "
    "contiguous:KIVI, paged:KIVI, radix:KIVI; KIVI kivi4 or kivi2; tiered:HOT/TOKENS+SINKS,COLD (the last tokens and the first, "
    "and others); HOT f16 or q8, COLD kivi4, kivi2 or kivi4v2 (values of 2 bits), or q4 behind f16; "
    "tiered-POLICY/BUDGET:HOT,kivi2 (the tokens it thinks most of, and all others); POLICY sinks, h2o or tova, HOT f16 or q8; "
    "minicache/SINKS:CODEC (layers merged by twos, but for the first tokens), paged-minicache, radix-minicache; CODEC f16, q8, kivi4 or "
    "kivi2; "
    "POLICY/BUDGET:CODEC (keeps so many tokens); POLICY recent, sinks, h2o, tova, snapkv or pyramid, CODEC f16 or q8; "
    "quest/BUDGET:CODEC, quest/BUDGET/PAGE:CODEC (keeps all, reads so many tokens), radix-quest; CODEC f16 or q8";

/// A cache named in words.
struct spec {
    storage_kind storage = storage_kind::paged;
    codec_kind codec = codec_kind::f16;
    std::size_t block = 16;                       ///< tokens a block or page; paged, radix and quest only
    std::size_t window = 0;                       ///< tokens a row sees; ring and window only
    std::size_t sinks = 4;                        ///< first tokens that every row sees besides, or that are not merged; window and merged
    std::size_t hot = 1;                          ///< last tokens in hot_codec, the rest is in the codec; tiered only
    std::optional<std::size_t> hot_sinks{};       ///< first tokens in hot_codec, else what the codec asks for; tiered only
    codec_kind hot_codec = codec_kind::f16;       ///< f16 or q8; tiered and tiered_by only
    std::size_t budget = 0;                       ///< tokens kept, evicting only; hot, tiered_by only; that a row reads, quest only
    eviction_kind eviction = eviction_kind::h2o;  ///< evicting and tiered_by only

    /// True when all sequences share one pool of blocks.
    constexpr bool has_blocks() const noexcept {
        return storage == storage_kind::paged || storage == storage_kind::radix || is_quest() || storage == storage_kind::paged_merged ||
               storage == storage_kind::radix_merged;
    }
    /// True when rows read the pages that matter to them.
    constexpr bool is_quest() const noexcept { return storage == storage_kind::quest || storage == storage_kind::radix_quest; }
    /// True when layers share groups of tokens.
    constexpr bool is_merged() const noexcept {
        return storage == storage_kind::merged || storage == storage_kind::paged_merged || storage == storage_kind::radix_merged;
    }
    /// True for codecs that keep groups of tokens.
    constexpr bool has_groups() const noexcept {
        return codec == codec_kind::kivi4 || codec == codec_kind::kivi2 || codec == codec_kind::kivi4v2;
    }
    /// True when older tokens are in a tier that can lie in memory of its own, as on disk.
    constexpr bool has_cold_tier() const noexcept {
        return storage == storage_kind::tiered || is_merged() || (has_groups() && storage != storage_kind::tiered_by);
    }
    /// True for codecs that keep keys before rope, so that positions can be shifted.
    constexpr bool before_rope() const noexcept { return codec == codec_kind::unroped_f16 || codec == codec_kind::unroped_q8; }
};

namespace detail {

/// The parts of a spec: `number` is empty where there is none.
struct spec_parts {
    std::string_view storage, number, codec = "f16", hot = "f16";
};

inline spec_parts split_spec(std::string_view text) noexcept {
    constexpr std::string_view digits = "0123456789";
    spec_parts out{.storage = text.substr(0, text.find_first_of("/:")), .number = {}};
    std::string_view rest = text.substr(out.storage.size());
    char end = ':';  // of the number
    if (const std::size_t slash = rest.find('/');
        out.storage == "tiered" && rest.starts_with(':') && slash != std::string_view::npos && rest.find(',') > slash) {
        out.hot = rest.substr(1, slash - 1);
        rest = rest.substr(slash);
        end = ',';
    }
    if (rest.starts_with('/') || (rest.size() > 1 && digits.find(rest[1]) != std::string_view::npos)) {
        out.number = rest.substr(1, rest.find(end, 1) - 1);
        rest = rest.substr(1 + out.number.size());
        if (out.number.empty()) out.number = "none";
    }
    if (!rest.empty()) out.codec = rest.substr(1);
    return out;
}

/// Whether the word is a number in [least, 2^24], which is stored.
inline bool read_number(std::string_view word, std::size_t least, std::size_t& number) noexcept {
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), number);
    return status == std::errc{} && end == word.data() + word.size() && number >= least && number <= (std::size_t{1} << 24);
}

}  // namespace detail

/// Reads a spec; the codec may be left out (f16). Throws errc::invalid_argument with the words that are known.
inline spec parse_spec(std::string_view text) {
    const auto bad = [&](std::string_view what) {
        fail(errc::invalid_argument, concat("kv '", text, "'"), what, "; known: ", known_specs);
    };
    const auto [storage, number, codec, hot] = detail::split_spec(text);
    const auto* const stored = std::ranges::find(storage_words, storage, &storage_word::word);
    if (stored == storage_words.end()) bad("unknown storage");
    spec out{.storage = stored->kind, .eviction = stored->eviction};
    const auto codec_of = [&](std::string_view word) {
        const auto* const known = std::ranges::find(codec_words, word, [](const auto& w) { return w.first; });
        if (known == codec_words.end()) bad("unknown codec");
        return known->second;
    };
    const std::size_t comma = out.storage == storage_kind::tiered_by ? codec.find(',') : std::string_view::npos;
    if (comma != std::string_view::npos) out.hot_codec = codec_of(codec.substr(0, comma));
    out.codec = codec_of(comma == std::string_view::npos ? codec : codec.substr(comma + 1));

    switch (out.storage) {
        case storage_kind::contiguous:
            if (!number.empty()) bad("contiguous storage has no number");
            break;
        case storage_kind::paged:
        case storage_kind::radix:
            if (!number.empty() && !detail::read_number(number, 1, out.block)) bad("the block size is no number from 1 to 16777216");
            break;
        case storage_kind::ring:
            if (!detail::read_number(number, 1, out.window)) bad("a ring needs the tokens of its window, from 1 to 16777216, as ring/4096");
            break;
        case storage_kind::window: {
            const std::size_t plus = number.find('+');
            if (!detail::read_number(number.substr(0, plus), 1, out.window) ||
                (plus != std::string_view::npos && !detail::read_number(number.substr(plus + 1), 0, out.sinks)))
                bad("a window needs its tokens, from 1 to 16777216, and may have sinks, as window/1024+4");
            break;
        }
        case storage_kind::tiered: {
            const std::size_t plus = number.find('+');
            if (plus != std::string_view::npos) out.hot_sinks.emplace();
            if (!detail::read_number(number.substr(0, plus), 1, out.hot) ||
                (plus != std::string_view::npos && !detail::read_number(number.substr(plus + 1), 0, *out.hot_sinks)))
                bad("tiers are f16/TOKENS from 1 to 16777216, perhaps + first tokens, a comma and the codec of others, as "
                    "tiered:f16/256,q4 or tiered:f16/256+4,kivi2");
            if (hot != "f16" && hot != "q8") bad("the last tokens are in f16 or q8");
            if (hot == "q8") out.hot_codec = codec_kind::q8;
            if (!out.has_groups() && (out.codec != codec_kind::q4 || hot == "q8"))
                bad("older tokens are in kivi4, kivi2 or kivi4v2, or in q4 behind f16");
            break;
        }
        case storage_kind::tiered_by:
            if (!detail::read_number(number, 32, out.budget))
                bad("the hot tokens are no number from 32 to 16777216, as in tiered-h2o/256:q8,kivi2");
            if (out.codec != codec_kind::kivi2 || (out.hot_codec != codec_kind::f16 && out.hot_codec != codec_kind::q8))
                bad("hot tokens are in f16 or q8, and all others in kivi2, as in tiered-h2o/256:q8,kivi2");
            break;
        case storage_kind::merged:
        case storage_kind::paged_merged:
        case storage_kind::radix_merged:
            if (!number.empty() && !detail::read_number(number, 0, out.sinks))
                bad("the first tokens that are not merged are no number from 0 to 16777216, as in minicache/4:kivi4");
            if (!out.has_groups() && out.codec != codec_kind::f16 && out.codec != codec_kind::q8)
                bad("merged layers have the codecs f16, q8, kivi4 and kivi2");
            break;
        case storage_kind::evicting:
            if (!detail::read_number(number, 1, out.budget)) bad("the tokens to keep are no number from 1 to 16777216, as in h2o/512:f16");
            if (out.codec != codec_kind::f16 && out.codec != codec_kind::q8) bad("such a cache has the codecs f16 and q8");
            break;
        case storage_kind::quest:
        case storage_kind::radix_quest: {
            const std::size_t slash = number.find('/');
            if (!detail::read_number(number.substr(0, slash), 1, out.budget) ||
                (slash != std::string_view::npos && !detail::read_number(number.substr(slash + 1), 1, out.block)) ||
                out.budget / out.block < 2)
                bad("the tokens to read are no number of two pages at least, as in quest:1024:f16, or quest:1024/64:f16 for pages of 64");
            if (out.codec != codec_kind::f16 && out.codec != codec_kind::q8) bad("such a cache has the codecs f16 and q8");
            break;
        }
    }
    if (out.before_rope() && out.storage != storage_kind::contiguous && out.storage != storage_kind::paged)
        bad("keys before rope are kept by contiguous and paged storage, as paged:unroped-f16");
    if (out.codec == codec_kind::hadamard_q4 && out.storage != storage_kind::contiguous && out.storage != storage_kind::paged &&
        out.storage != storage_kind::radix)
        bad("transformed rows are kept by contiguous, paged and radix storage, as paged:hadamard-q4");
    const bool grouping = out.storage == storage_kind::contiguous || out.storage == storage_kind::tiered ||
                          out.storage == storage_kind::tiered_by || out.is_merged() ||
                          ((out.storage == storage_kind::paged || out.storage == storage_kind::radix) && number.empty());
    if (out.has_groups() && !grouping)
        bad("KIVI's groups are kept by contiguous, tiered, paged and radix storage, the last two without a block size");
    if (out.codec == codec_kind::kivi4v2 && out.storage != storage_kind::tiered) bad("kivi4v2 is for tiers, as tiered:q8/64+4,kivi4v2");
    return out;
}

}  // namespace skald::kv
