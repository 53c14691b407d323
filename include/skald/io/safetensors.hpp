// SPDX-License-Identifier: MIT
#pragma once
// safetensors, the weight files of Hugging Face: a JSON header and the tensors' bytes, in one file or in several that an index lists.
// Opening reads and checks the headers only; what the tensors mean is the model loader's business.
// Format: the README of the safetensors library; the index as transformers writes it (model.safetensors.index.json).
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/checksum.hpp>
#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/detail/safetensors_header.hpp>
#include <skald/io/json_file.hpp>
#include <skald/io/mapped_file.hpp>
#include <skald/io/safetensors_types.hpp>

namespace skald::io {

namespace detail {

/// The number and the count in a name like `model-00002-of-00005.safetensors`; nothing in another.
inline std::optional<std::pair<std::size_t, std::size_t>> shard_numbers(std::string_view name) {
    const std::size_t of = name.rfind("-of-");
    if (of == name.npos || !name.ends_with(".safetensors")) return std::nullopt;
    const std::size_t dash = name.rfind('-', of == 0 ? 0 : of - 1);
    if (dash == name.npos || dash >= of) return std::nullopt;
    const auto number = [](std::string_view digits) -> std::optional<std::size_t> {
        std::size_t n = 0;
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
        return status == std::errc{} && end == digits.data() + digits.size() ? std::optional(n) : std::nullopt;
    };
    const auto at = number(name.substr(dash + 1, of - dash - 1));
    const auto count = number(name.substr(of + 4, name.size() - of - 4 - std::string_view(".safetensors").size()));
    if (!at || !count) return std::nullopt;
    return std::pair(*at, *count);
}

/// Which file of the folder holds each tensor, as an index says.
inline std::map<std::string, std::string, std::less<>> read_weight_map(const nlohmann::json& index, const std::string& file) {
    const std::optional<json_object> map = json_object(index, file).object("weight_map");
    if (!map) fail(errc::bad_file, file, "key 'weight_map' is missing");
    std::map<std::string, std::string, std::less<>> out;
    for (const auto& [tensor, where] : map->value().items()) {
        const auto shard = value_as<std::string>(where);
        if (!shard) map->refuse(tensor, "the name of a file");
        const bool plain =
            !shard->empty() && *shard != "." && *shard != ".." && shard->find_first_of(std::string_view("/\\:\0", 4)) == shard->npos;
        if (!plain)
            fail(errc::bad_file, file, map->where(tensor), " is ", in_quotes(*shard), ", not the name of a file in the same folder");
        out.emplace(tensor, *shard);
    }
    if (out.empty()) fail(errc::bad_file, file, "key 'weight_map' lists no tensors");
    return out;
}

/// Refuses a list of files whose names count differently.
inline void check_shard_numbers(const std::set<std::string, std::less<>>& shards, std::string_view file) {
    std::set<std::size_t> seen;
    for (const std::string& shard : shards) {
        const auto numbers = shard_numbers(shard);
        if (!numbers) continue;
        if (numbers->second != shards.size())
            fail(errc::bad_file, file, "lists ", shards.size(), " files; the name ", in_quotes(shard), " says that there are ",
                 numbers->second);
        if (numbers->first == 0 || numbers->first > numbers->second || !seen.insert(numbers->first).second)
            fail(errc::bad_file, file, "lists the file ", in_quotes(shard), "; files are numbered from 1 to ", numbers->second,
                 ", each once");
    }
}

}  // namespace detail

/// An open safetensors file, or all files of an index together. Everything it hands out is valid as long as it lives, also across
/// moves; const members may be called from several threads. Memory is at most a small multiple of the headers.
class safetensors_file {
public:
    /// Opens one file. Throws errc::io if the system refuses, errc::bad_file if the bytes are malformed. A mapped file (the default) must
    /// not shrink while it is open: see mapped_file.hpp, and `options.copy`.
    static safetensors_file open(const std::filesystem::path& path, const open_options& options = {}) {
        safetensors_file file(path.string());
        file.add(open_file(path, options));
        file.sort();
        return file;
    }

    /// Opens the files that an index (model.safetensors.index.json) lists, which stand beside it. Each tensor must be in the file that the
    /// index says, and in the index. Throws as open().
    static safetensors_file open_index(const std::filesystem::path& path, const open_options& options = {}) {
        safetensors_file file(path.string());
        const auto map = detail::read_weight_map(read_json(path, {}, options), file.name_);
        std::set<std::string, std::less<>> shards;
        for (const auto& [tensor, shard] : map) shards.insert(shard);
        detail::check_shard_numbers(shards, file.name_);
        for (const std::string& shard : shards) {
            const std::size_t first = file.tensors_.size();
            file.add(open_file(path.parent_path() / shard, options));
            for (std::size_t i = first; i < file.tensors_.size(); ++i) {
                const auto told = map.find(file.tensors_[i].name);
                if (told != map.end() && told->second == shard) continue;
                fail(errc::bad_file, file.sources_.back()->name(), "tensor ", detail::in_quotes(file.tensors_[i].name),
                     told == map.end() ? " is not in the index"
                                       : concat(" belongs into ", detail::in_quotes(told->second), " by the index"));
            }
        }
        file.sort();
        for (const auto& [tensor, shard] : map)
            if (file.find(tensor) == nullptr)
                fail(errc::bad_file, file.name_, "tensor ", detail::in_quotes(tensor), " is not in the file ", detail::in_quotes(shard));
        return file;
    }

    /// Reads bytes that the caller keeps unchanged while the file is open. `name` stands in messages.
    static safetensors_file from_bytes(std::span<const std::byte> bytes, std::string name) {
        safetensors_file file(name);
        file.add(std::make_unique<memory_source>(bytes, std::move(name)));
        file.sort();
        return file;
    }

    /// All tensors in the order of the headers.
    std::span<const safetensors_tensor> tensors() const noexcept { return tensors_; }

    /// The texts under `__metadata__` of the first file.
    const std::map<std::string, std::string, std::less<>>& metadata() const noexcept { return metadata_; }

    /// The tensor of that name, or null.
    const safetensors_tensor* find(std::string_view name) const noexcept {
        const auto at =
            std::lower_bound(sorted_.begin(), sorted_.end(), name, [&](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
        return at != sorted_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
    }

    /// The data of one of this file's tensors: a view into the mapping or the caller's bytes.
    std::span<const std::byte> bytes(const safetensors_tensor& t) const { return source_of(t).view(t.offset, t.bytes); }

    /// Says that bytes of a tensor will not be read soon: see byte_source::release().
    void release(const safetensors_tensor& t, std::uint64_t first, std::uint64_t count) const {
        source_of(t).release(t.offset + first, count);
    }

    /// The file's name as the user gave it; of several files the index.
    const std::string& name() const noexcept { return name_; }

    std::size_t shards() const noexcept { return sources_.size(); }

    /// Stands for the sizes of all files and when they were last changed.
    std::uint64_t stamp() const noexcept {
        std::uint64_t out = 0;
        for (const auto& source : sources_) {
            const std::array<std::uint64_t, 2> both{source->size(), source->modified()};
            out = checksum(std::as_bytes(std::span(both)), out);
        }
        return out;
    }

    /// Bytes of all files together.
    std::uint64_t size() const noexcept {
        std::uint64_t n = 0;
        for (const auto& source : sources_) n += source->size();
        return n;
    }

private:
    explicit safetensors_file(std::string name) : name_(std::move(name)) {}

    const byte_source& source_of(const safetensors_tensor& t) const {
        if (t.shard >= sources_.size()) fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(t.name), " is of another file");
        return *sources_[t.shard];
    }

    void add(std::unique_ptr<const byte_source> source) {
        detail::safetensors_header header = detail::read_safetensors_header(*source);
        if (sources_.empty()) metadata_ = std::move(header.metadata);
        for (safetensors_tensor& t : header.tensors) {
            t.shard = static_cast<std::uint32_t>(sources_.size());
            tensors_.push_back(std::move(t));
        }
        sources_.push_back(std::move(source));
    }

    void sort() {
        sorted_.resize(tensors_.size());
        for (std::size_t i = 0; i < sorted_.size(); ++i) sorted_[i] = i;
        std::sort(sorted_.begin(), sorted_.end(), [&](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
        for (std::size_t i = 1; i < sorted_.size(); ++i)
            if (const safetensors_tensor& t = tensors_[sorted_[i]]; t.name == tensors_[sorted_[i - 1]].name)
                fail(errc::bad_file, sources_[t.shard]->name(), "tensor ", detail::in_quotes(t.name), " stands twice");
    }

    std::string name_;
    std::vector<std::unique_ptr<const byte_source>> sources_;
    std::vector<safetensors_tensor> tensors_;
    std::map<std::string, std::string, std::less<>> metadata_;
    std::vector<std::size_t> sorted_;  // indices of tensors_, by name
};

}  // namespace skald::io
