// SPDX-License-Identifier: MIT
#pragma once
// Encoded sequences in files, as state_file.hpp has saved ones: a file appears whole or not at all.
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include <skald/io/file_writer.hpp>
#include <skald/kv/state_file.hpp>
#include <skald/kv/transport.hpp>

namespace skald::kv {

/// As encode() to a sink. Throws errc::io too; a file that was there then stays.
template <transcodable_cache Cache>
void encode(Cache& cache, sequence_id s, std::span<const token_id> tokens, const std::filesystem::path& path, encoding_options options = {},
            std::string_view note = {}) {
    io::file_writer file(path);
    options.place = file.name();
    encode(cache, s, tokens, state_sink([&](std::span<const std::byte> bytes) { file.write(bytes); }), options, note);
    file.finish();
}

/// As decode() from memory: nothing may stand in the file after the encoded sequence. Throws errc::io too.
template <transcodable_cache Cache>
saved_text decode(Cache& cache, sequence_id s, const std::filesystem::path& path, encoding_options options = {}) {
    detail::state_file file(path);
    options.place = file.name();
    return detail::decode_sequence(cache, s, file.source(), true, options);
}

/// As check_encoded() of memory.
inline checked_encoding check_encoded(const std::filesystem::path& path, encoding_options options = {}) {
    detail::state_file file(path);
    options.place = file.name();
    return check_encoded(file.source(), options);
}

/// Whether a file begins as encoded sequences do. Throws errc::io.
inline bool is_encoded(const std::filesystem::path& path) {
    detail::state_file file(path);
    std::array<char, 8> begin{};
    file.source()(std::as_writable_bytes(std::span(begin)));
    return begin == detail::encoded_head{}.magic;
}

}  // namespace skald::kv
