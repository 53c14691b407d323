// SPDX-License-Identifier: MIT
#pragma once
// The words that name a cache at run time: `storage[/block]:codec`, as `--kv` takes them and policies print them:
// `contiguous:f32`, `paged:f16`, `paged/8:bf16`, `radix/32:f16`.
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>

namespace skald::kv {

enum class storage_kind { contiguous, paged, radix };
enum class codec_kind { f32, f16, bf16 };

/// A cache named in words.
struct spec {
    storage_kind storage = storage_kind::paged;
    codec_kind codec = codec_kind::f16;
    std::size_t block = 16;  ///< tokens a block; paged and radix only

    /// True when all sequences share one pool of blocks.
    constexpr bool has_blocks() const noexcept { return storage == storage_kind::paged || storage == storage_kind::radix; }
};

/// Reads a spec; the codec may be left out (f16). Throws errc::invalid_argument with the words that are known.
inline spec parse_spec(std::string_view text) {
    spec out;
    const auto bad = [&](std::string_view what) {
        fail(errc::invalid_argument, concat("kv '", text, "'"), what,
             "; known: contiguous:CODEC, paged:CODEC, paged/BLOCK:CODEC, radix:CODEC, radix/BLOCK:CODEC with CODEC f32, f16 or bf16");
    };
    const std::size_t colon = text.find(':');
    std::string_view storage = text.substr(0, colon);
    const std::string_view codec = colon == std::string_view::npos ? std::string_view("f16") : text.substr(colon + 1);

    if (const std::size_t slash = storage.find('/'); slash != std::string_view::npos) {
        const std::string_view digits = storage.substr(slash + 1);
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), out.block);
        if (status != std::errc{} || end != digits.data() + digits.size() || out.block == 0 || out.block > (1u << 20))
            bad("the block size is no number from 1 to 1048576");
        storage = storage.substr(0, slash);
        if (storage != "paged" && storage != "radix") bad("only paged and radix storage have blocks");
    }
    if (storage == "contiguous")
        out.storage = storage_kind::contiguous;
    else if (storage == "paged")
        out.storage = storage_kind::paged;
    else if (storage == "radix")
        out.storage = storage_kind::radix;
    else
        bad("unknown storage");

    if (codec == "f32")
        out.codec = codec_kind::f32;
    else if (codec == "f16")
        out.codec = codec_kind::f16;
    else if (codec == "bf16")
        out.codec = codec_kind::bf16;
    else
        bad("unknown codec");
    return out;
}

}  // namespace skald::kv
