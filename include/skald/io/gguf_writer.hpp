// SPDX-License-Identifier: MIT
#pragma once
// Writes GGUF, version 3, as one file or split over several: first what the file will hold (keys, and the tensors' names, types
// and shapes), then the tensors' data in that order, in pieces of any size. Nothing but the head is kept in memory.
// Format: docs/gguf.md of ggml.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <iterator>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/core/checked.hpp>
#include <skald/core/dtype.hpp>
#include <skald/core/error.hpp>
#include <skald/io/detail/gguf_split.hpp>
#include <skald/io/detail/gguf_table.hpp>
#include <skald/io/file_writer.hpp>
#include <skald/io/gguf_types.hpp>
#include <skald/io/metadata.hpp>

namespace skald::io {

namespace detail {

/// A growing row of little-endian numbers and GGUF strings.
class gguf_bytes {
public:
    template <class T>
    void put(T value) {
        raw(std::as_bytes(std::span<const T, 1>(&value, 1)));
    }
    void raw(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    void string(std::string_view s) {
        put(static_cast<std::uint64_t>(s.size()));
        raw(std::as_bytes(std::span(s.data(), s.size())));
    }

    /// An array after its value kind: element kind, length, elements.
    void array(const metadata_array& a) {
        put(a.kind());
        put(static_cast<std::uint64_t>(a.size()));
        raw(a.bytes());
        for (const std::string_view s : a.strings()) string(s);
        for (const metadata_array& inner : a.arrays()) array(inner);  // as deep as reading allows
    }

    /// A value after its kind.
    void value(const metadata_value& v) {
        switch (v.kind) {
            case value_kind::u8: return put(static_cast<std::uint8_t>(std::get<std::uint64_t>(v.value)));
            case value_kind::i8: return put(static_cast<std::int8_t>(std::get<std::int64_t>(v.value)));
            case value_kind::u16: return put(static_cast<std::uint16_t>(std::get<std::uint64_t>(v.value)));
            case value_kind::i16: return put(static_cast<std::int16_t>(std::get<std::int64_t>(v.value)));
            case value_kind::u32: return put(static_cast<std::uint32_t>(std::get<std::uint64_t>(v.value)));
            case value_kind::i32: return put(static_cast<std::int32_t>(std::get<std::int64_t>(v.value)));
            case value_kind::u64: return put(std::get<std::uint64_t>(v.value));
            case value_kind::i64: return put(std::get<std::int64_t>(v.value));
            case value_kind::f32: return put(static_cast<float>(std::get<double>(v.value)));
            case value_kind::f64: return put(std::get<double>(v.value));
            case value_kind::boolean: return put(std::uint8_t{std::get<bool>(v.value)});
            case value_kind::string: return string(std::get<std::string_view>(v.value));
            case value_kind::array: return array(*std::get<const metadata_array*>(v.value));
        }
    }

    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return bytes_.size(); }

private:
    std::vector<std::byte> bytes_;
};

}  // namespace detail

/// The keys of a file to be written, in order, as bytes of their own.
class gguf_keys {
public:
    gguf_keys() = default;

    /// All keys of a file, with the bytes they have there.
    explicit gguf_keys(const metadata& meta) {
        for (const metadata_entry& e : meta.entries()) set(e.key, e.value);
    }

    /// Sets a key: in its place if there is one, else at the end. The value's kind and alternative belong together
    /// (unsigned kinds hold std::uint64_t, signed ones std::int64_t, floats double).
    void set(std::string_view key, const metadata_value& value) {
        const auto at = std::ranges::find(entries_, key, &entry::key);
        entry& e = at != entries_.end() ? *at : entries_.emplace_back();
        e = {std::string(key), value.kind, {}};
        e.bytes.value(value);
    }

    /// Sets a key to a number, a string, or an array of either. Numbers are stored as the type they have.
    template <class T>
    void put(std::string_view key, const T& value) {
        if constexpr (std::convertible_to<const T&, std::string_view>) {
            set(key, {value_kind::string, std::string_view(value)});
        } else if constexpr (requires { std::data(value); }) {
            using element = std::remove_cvref_t<decltype(*std::data(value))>;
            if constexpr (std::same_as<element, std::string_view>) {
                const metadata_array all(std::vector<std::string_view>(std::begin(value), std::end(value)));
                set(key, {value_kind::array, &all});
            } else {
                const metadata_array all(kind_of<element>(), std::as_bytes(std::span(std::data(value), std::size(value))));
                set(key, {value_kind::array, &all});
            }
        } else if constexpr (std::same_as<T, bool>) {
            set(key, {kind_of<T>(), value});
        } else if constexpr (std::floating_point<T>) {
            set(key, {kind_of<T>(), double{value}});
        } else if constexpr (std::signed_integral<T>) {
            set(key, {kind_of<T>(), std::int64_t{value}});
        } else {
            set(key, {kind_of<T>(), std::uint64_t{value}});
        }
    }

    void erase(std::string_view key) {
        std::erase_if(entries_, [&](const entry& e) { return e.key == key; });
    }

    std::size_t size() const noexcept { return entries_.size(); }

    /// The alignment of tensor data that the keys ask for, or GGUF's default. Throws errc::invalid_argument for an impossible one.
    std::uint64_t alignment() const {
        const auto at = std::ranges::find(entries_, "general.alignment", &entry::key);
        if (at == entries_.end()) return detail::default_alignment;
        std::uint32_t n = 0;
        if (at->kind == value_kind::u32) std::memcpy(&n, at->bytes.bytes().data(), sizeof n);
        if (!detail::is_alignment(n)) fail(errc::invalid_argument, at->key, "is no u32 power of two from 8 to ", detail::max_alignment);
        return n;
    }

    /// Appends all of them as they stand in a file.
    void append_to(detail::gguf_bytes& out) const {
        for (const entry& e : entries_) {
            out.string(e.key);
            out.put(e.kind);
            out.raw(e.bytes.bytes());
        }
    }

private:
    template <class T>
    static constexpr value_kind kind_of() noexcept {
        if constexpr (std::same_as<T, bool>)
            return value_kind::boolean;
        else if constexpr (std::same_as<T, std::uint8_t>)
            return value_kind::u8;
        else if constexpr (std::same_as<T, std::int32_t>)
            return value_kind::i32;
        else if constexpr (std::same_as<T, std::uint32_t>)
            return value_kind::u32;
        else {
            static_assert(std::same_as<T, float>, "numbers of GGUF keys are bool, uint8_t, int32_t, uint32_t or float");
            return value_kind::f32;
        }
    }

    struct entry {
        std::string key;
        value_kind kind = value_kind::u8;
        detail::gguf_bytes bytes;
    };
    std::vector<entry> entries_;
};

/// A tensor to be written.
struct gguf_tensor {
    std::string name;
    dtype type = dtype::f32;
    std::vector<std::uint64_t> shape;  ///< 1 to 4 extents, the fastest varying first

    /// Values in all, and their bytes. Throw errc::invalid_argument for an overflow or rows of no whole number of blocks.
    std::uint64_t values() const {
        checked_size n(1, name);
        for (const std::uint64_t extent : shape) n = n * extent;
        return n.value();
    }
    std::uint64_t bytes() const { return (checked_size(values() / info(type).block_size, name) * info(type).block_bytes).value(); }
};

struct gguf_writer_options {
    std::uint64_t max_file_bytes = 0;  ///< of tensor data in a file; more are split over files; 0: one file
};

/// Writes one model. Until finish() returns, no file of the target's name is touched.
class gguf_writer {
public:
    /// With `options.max_file_bytes` and more tensors than fit, the files are called NAME-00001-of-0000N.gguf for a `path` of
    /// NAME.gguf; a tensor larger than that has a file of its own. Throws errc::invalid_argument for a tensor that GGUF cannot
    /// hold, errc::io if a file cannot be created.
    gguf_writer(const std::filesystem::path& path, const gguf_keys& keys, std::vector<gguf_tensor> tensors,
                const gguf_writer_options& options = {})
        : path_(path), name_(path.string()), tensors_(std::move(tensors)), alignment_(keys.alignment()) {
        check_tensors();
        divide(options.max_file_bytes);
        for (std::size_t n = 0; n < shards(); ++n) start(n, n == 0 ? keys : gguf_keys{});
        open_next();
    }

    /// How many files there will be.
    std::size_t shards() const noexcept { return firsts_.size(); }

    /// The next bytes of tensor data. A call's bytes belong to one tensor: the first that is not yet complete.
    void write(std::span<const std::byte> bytes) {
        if (bytes.empty()) return;
        if (tensor_ == tensors_.size()) fail(errc::invalid_argument, name_, bytes.size(), " bytes more than the tensors have");
        if (bytes.size() > left_)
            fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(tensors_[tensor_].name), ": ", bytes.size(),
                 " bytes were given; it lacks ", left_);
        files_[shard_].write(bytes);
        left_ -= bytes.size();
        if (left_ != 0) return;
        pad();
        ++tensor_;
        open_next();
    }

    /// Puts the files in place, all data being written. If that fails, what was there is put back. Files of a split model never
    /// stand beside those of another: without its first file, which goes first and comes last, a model cannot be opened.
    void finish() {
        if (tensor_ != tensors_.size())
            fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(tensors_[tensor_].name), " lacks ", left_, " bytes");
        for (file_writer& file : files_) file.close();
        if (shards() == 1) return files_[0].finish();
        try {
            for (file_writer& file : files_) file.set_aside();
            for (std::size_t n = shards(); n-- > 0;) files_[n].finish();
        } catch (...) {
            for (std::size_t n = shards(); n-- > 0;) files_[n].take_back();
            throw;
        }
    }

private:
    void check_tensors() const {
        std::set<std::string_view> names;
        for (const gguf_tensor& t : tensors_) {
            const auto refuse = [&](const auto&... parts) {
                fail(errc::invalid_argument, name_, "tensor ", detail::in_quotes(t.name), ": ", parts...);
            };
            if (t.name.empty() || t.name.size() > detail::max_tensor_name)
                refuse("its name has ", t.name.size(), " bytes; GGUF allows 1 to ", detail::max_tensor_name);
            if (!names.insert(t.name).second) refuse("stands twice in the table");
            if (!has_gguf_id(t.type)) refuse("GGUF has no number for the type ", to_string(t.type));
            if (t.shape.empty() || t.shape.size() > 4) refuse("it has ", t.shape.size(), " dimensions; GGUF allows 1 to 4");
            if (std::ranges::find(t.shape, 0u) != t.shape.end()) refuse("an extent of its shape is 0");
            if (t.shape[0] % info(t.type).block_size != 0)
                refuse("its rows of ", t.shape[0], " values are no multiple of the block of ", info(t.type).block_size, " values of ",
                       to_string(t.type));
            static_cast<void>(t.bytes());
        }
    }

    std::uint64_t padded_bytes(std::size_t tensor) const {
        return round_up(checked_size(tensors_[tensor].bytes(), name_), alignment_).value();
    }

    /// Gives each file the tensors that fit, in order.
    void divide(std::uint64_t most) {
        firsts_ = {0};
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < tensors_.size(); ++i) {
            const std::uint64_t bytes = padded_bytes(i);
            if (most != 0 && sum != 0 && bytes > most - std::min(most, sum)) firsts_.push_back(i), sum = 0;
            sum = (checked_size(sum, name_) + bytes).value();
        }
        if (shards() > std::numeric_limits<std::uint16_t>::max())
            fail(errc::invalid_argument, name_, "would be split over ", shards(), " files; allow larger ones");
    }

    std::filesystem::path path_of(std::size_t n) const {
        if (shards() == 1) return path_;
        std::filesystem::path stem = path_;
        if (stem.extension() == ".gguf") stem.replace_extension();
        return stem += detail::split_suffix(static_cast<std::uint16_t>(n), static_cast<std::uint16_t>(shards()));
    }

    std::size_t end_of(std::size_t n) const noexcept { return n + 1 < shards() ? firsts_[n + 1] : tensors_.size(); }

    /// Creates file n and writes its head.
    void start(std::size_t n, gguf_keys keys) {
        if (shards() > 1) {
            keys.set("split.no", {value_kind::u16, std::uint64_t{n}});
            keys.set("split.count", {value_kind::u16, std::uint64_t{shards()}});
            keys.set("split.tensors.count", {value_kind::i32, static_cast<std::int64_t>(tensors_.size())});
            if (n > 0 && alignment_ != detail::default_alignment) keys.set("general.alignment", {value_kind::u32, alignment_});
        }
        detail::gguf_bytes head;
        head.raw(std::as_bytes(std::span("GGUF", 4)));
        head.put(std::uint32_t{3});
        head.put(static_cast<std::uint64_t>(end_of(n) - firsts_[n]));
        head.put(static_cast<std::uint64_t>(keys.size()));
        keys.append_to(head);
        std::uint64_t offset = 0;
        for (std::size_t i = firsts_[n]; i < end_of(n); ++i) {
            const gguf_tensor& t = tensors_[i];
            head.string(t.name);
            head.put(static_cast<std::uint32_t>(t.shape.size()));
            for (const std::uint64_t extent : t.shape) head.put(extent);
            head.put(gguf_id(t.type));
            head.put(offset);
            offset += padded_bytes(i);
        }
        files_.emplace_back(path_of(n)).write(head.bytes());
        shard_ = n;
        pad();
    }

    /// Fills the file up to the next multiple of the alignment.
    void pad() {
        static constexpr std::byte zeros[256]{};
        file_writer& file = files_[shard_];
        for (std::uint64_t rest = (alignment_ - file.position() % alignment_) % alignment_; rest != 0;) {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(rest, sizeof zeros));
            file.write(std::span(zeros).first(n));
            rest -= n;
        }
    }

    void open_next() {
        if (tensor_ == tensors_.size()) return;
        shard_ = static_cast<std::size_t>(std::ranges::upper_bound(firsts_, tensor_) - firsts_.begin()) - 1;
        left_ = tensors_[tensor_].bytes();
    }

    std::filesystem::path path_;
    std::string name_;
    std::vector<gguf_tensor> tensors_;
    std::uint64_t alignment_;
    std::vector<std::size_t> firsts_;  // the first tensor of each file
    std::deque<file_writer> files_;
    std::size_t tensor_ = 0, shard_ = 0;  // being written
    std::uint64_t left_ = 0;              // bytes that the tensor lacks
};

}  // namespace skald::io
