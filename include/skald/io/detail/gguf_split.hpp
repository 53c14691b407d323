// SPDX-License-Identifier: MIT
#pragma once
// Models split over several GGUF files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp's gguf-split writes them. The names
// of the other files derive from the first file's own name, never from its contents.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/metadata.hpp>

namespace skald::io::detail {

/// What a file says of its place in a split model. A file that is whole by itself has a count of 0 or 1, or no such keys.
struct split_info {
    std::uint16_t number = 0;  // from 0
    std::uint16_t count = 1;
    std::optional<std::uint64_t> tensors;  // of all files together

    bool split() const noexcept { return count > 1; }
};

inline split_info read_split(const metadata& meta) {
    split_info s;
    s.count = meta.get<std::uint16_t>("split.count").value_or(1);
    if (!s.split()) return s;
    s.number = meta.require<std::uint16_t>("split.no");
    s.tensors = meta.get<std::uint64_t>("split.tensors.count");
    if (s.number >= s.count) fail(errc::bad_file, meta.file(), "key 'split.no' is ", s.number, ", but 'split.count' is ", s.count);
    return s;
}

/// `-00002-of-00003.gguf` for number 1 of 3.
inline std::string split_suffix(std::uint16_t number, std::uint16_t count) {
    const auto five = [](unsigned n) {
        std::string digits = concat(n);
        return std::string(5 - digits.size(), '0') + digits;
    };
    return concat("-", five(number + 1u), "-of-", five(count), ".gguf");
}

/// The path of file `number` of the split model whose first file is `first`. Throws errc::bad_file if `first` is not named like
/// the first of `count` files.
inline std::filesystem::path split_path(const std::filesystem::path& first, std::uint16_t number, std::uint16_t count) {
    const std::string name = first.filename().string();
    const std::string suffix = split_suffix(0, count);
    if (name.size() <= suffix.size() || name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0)
        fail(errc::bad_file, first.string(), "says that it is the first of ", count, " files (key 'split.count'), so its name must end in ",
             in_quotes(suffix));
    return first.parent_path() / (name.substr(0, name.size() - suffix.size()) + split_suffix(number, count));
}

}  // namespace skald::io::detail
