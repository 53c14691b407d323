// SPDX-License-Identifier: MIT
#pragma once
// Reads the header of a safetensors file: nlohmann's events straight into the tensor table, so that a header costs a small multiple of
// its bytes. Nothing is believed before it is checked.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>
#include <skald/io/byte_source.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/json_file.hpp>
#include <skald/io/safetensors_types.hpp>

namespace skald::io::detail {

inline constexpr std::uint64_t safetensors_prefix = 8;                // bytes of the header's length
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;  // the limit of the safetensors library

/// Receives the events of a header: an object of tensors `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}` and of
/// `"__metadata__": {"key": "text"}`.
class safetensors_header {
public:
    using json = nlohmann::json;

    safetensors_header(std::string_view text, std::string_view file) : text_(text), file_(file) {}

    std::vector<safetensors_tensor> tensors;
    std::map<std::string, std::string, std::less<>> metadata;

    bool null() { unexpected("null"); }
    bool boolean(bool value) { unexpected(value ? "true" : "false"); }
    bool number_integer(json::number_integer_t value) { unexpected(concat(value)); }
    bool number_float(json::number_float_t, const json::string_t& digits) { unexpected(in_quotes(digits)); }
    bool binary(json::binary_t&) { return false; }  // JSON text has none

    bool number_unsigned(json::number_unsigned_t value) {
        if (state_ == state::shape)
            tensors.back().shape.push_back(value);
        else if (state_ == state::offsets && offsets_ < 2)
            (offsets_++ == 0 ? begin_ : end_) = value;
        else
            unexpected(concat(value));
        return true;
    }

    bool string(json::string_t& value) {
        if (state_ == state::metadata) {
            text_of_->second = std::move(value);
        } else if (state_ == state::tensor && field_ == field::dtype) {
            const safetensors_type* type = find_safetensors_type(value);
            if (type == nullptr) refuse("its dtype is ", in_quotes(value), ", which is none of safetensors");
            tensors.back().type = type;
        } else {
            unexpected(in_quotes(value));
        }
        return true;
    }

    bool start_object(std::size_t) {
        if (state_ == state::start)
            state_ = state::top;
        else if (state_ == state::top && in_metadata_)
            state_ = state::metadata;
        else if (state_ == state::top)
            state_ = state::tensor;
        else
            unexpected("an object");
        return true;
    }

    bool end_object() {
        if (state_ == state::tensor) finish_tensor();
        state_ = state::top;
        return true;
    }

    bool start_array(std::size_t) {
        if (state_ == state::tensor && field_ == field::shape)
            state_ = state::shape;
        else if (state_ == state::tensor && field_ == field::offsets)
            state_ = state::offsets;
        else
            unexpected("an array");
        return true;
    }

    bool end_array() {
        if (state_ == state::offsets && offsets_ != 2) refuse("its data_offsets are ", offsets_, " numbers; two are needed");
        state_ = state::tensor;
        return true;
    }

    bool key(json::string_t& name) {
        if (state_ == state::top)
            enter(std::move(name));
        else if (state_ == state::metadata)
            enter_metadata(std::move(name));
        else
            enter_field(name);
        return true;
    }

    bool parse_error(std::size_t end, const std::string&, const nlohmann::detail::exception&) { refuse_json(text_, end, file_); }

private:
    enum class state { start, top, metadata, tensor, shape, offsets };
    enum field : unsigned { none = 0, dtype = 1, shape = 2, offsets = 4, all = 7 };

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        const bool named = state_ != state::start && !in_metadata_ && !tensors.empty();
        fail(errc::bad_file, file_, "header: ", named ? concat("tensor ", in_quotes(tensors.back().name), ": ") : std::string(), parts...);
    }

    [[noreturn]] void unexpected(std::string_view what) const {
        switch (state_) {
            case state::start: refuse("is ", what, ", not an object of tensors");
            case state::top: refuse(what, " stands where an object must");
            case state::metadata: refuse("__metadata__ ", in_quotes(text_of_->first), " is ", what, ", not a string");
            case state::shape:
                refuse("dimension ", tensors.back().shape.size(), " of its shape is ", what, ", not a number from 0 to 2^64 - 1");
            case state::offsets: refuse("its data_offsets hold ", what, ", not two numbers from 0 to 2^64 - 1");
            case state::tensor: break;
        }
        refuse("its ", field_name(), " is ", what, ", not ", field_ == field::dtype ? "a string" : "an array of numbers");
    }

    std::string_view field_name() const noexcept {
        return field_ == field::dtype ? "dtype" : field_ == field::shape ? "shape" : "data_offsets";
    }

    void enter(std::string name) {
        in_metadata_ = name == "__metadata__";
        if (in_metadata_) {
            if (std::exchange(has_metadata_, true)) refuse("__metadata__ stands twice");
            return;
        }
        tensors.push_back({});
        tensors.back().name = std::move(name);
        seen_ = field::none;
        offsets_ = 0;
        if (tensors.back().name.empty()) refuse("the name is empty");
        if (tensors.back().name.find('\0') != std::string::npos) refuse("the name has a NUL byte");
    }

    void enter_metadata(std::string name) {
        const auto [at, fresh] = metadata.try_emplace(std::move(name));
        if (!fresh) refuse("__metadata__ ", in_quotes(at->first), " stands twice");
        text_of_ = at;
    }

    void enter_field(std::string_view name) {
        field_ = name == "dtype" ? field::dtype : name == "shape" ? field::shape : name == "data_offsets" ? field::offsets : field::none;
        if (field_ == field::none) refuse("its key ", in_quotes(name), " is none of dtype, shape and data_offsets");
        if ((seen_ & field_) != 0) refuse("its ", name, " stands twice");
        seen_ = static_cast<field>(seen_ | field_);
    }

    void finish_tensor() {
        safetensors_tensor& t = tensors.back();
        for (const field needed : {field::dtype, field::shape, field::offsets}) {
            field_ = needed;
            if ((seen_ & needed) == 0) refuse("its ", field_name(), " is missing");
        }
        if (end_ < begin_) refuse("its data_offsets go from ", begin_, " back to ", end_);
        t.offset = begin_;
        t.bytes = end_ - begin_;
        const std::string place = concat(file_, ": tensor ", in_quotes(t.name), " of shape ", shape_text(t.shape));
        checked_size bits(t.type->bits, place);
        for (const std::uint64_t extent : t.shape) bits = bits * extent;
        if (bits.value() % 8 != 0 || bits.value() / 8 != t.bytes)
            refuse("its data_offsets ", begin_, " to ", end_, " hold ", t.bytes, " bytes; ", t.type->name, " of shape ",
                   shape_text(t.shape), " takes ", bits.value() / 8);
    }

    std::string_view text_, file_;
    state state_ = state::start;
    field field_ = field::none, seen_ = field::none;
    bool in_metadata_ = false, has_metadata_ = false;
    std::map<std::string, std::string, std::less<>>::iterator text_of_;  // the metadata whose text comes next
    unsigned offsets_ = 0;
    std::uint64_t begin_ = 0, end_ = 0;
};

/// Makes offsets absolute. The tensors must fill the bytes from `start` to `size` without hole or overlap.
inline void place_tensors(std::vector<safetensors_tensor>& tensors, std::uint64_t start, std::uint64_t size, std::string_view file) {
    std::vector<safetensors_tensor*> order;
    order.reserve(tensors.size());
    for (safetensors_tensor& t : tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(),
              [](const auto* a, const auto* b) { return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes; });
    std::uint64_t end = 0;
    for (safetensors_tensor* t : order) {
        if (t->offset != end)
            fail(errc::bad_file, file, "tensor ", in_quotes(t->name), ": its data starts at offset ", t->offset,
                 "; the data before it ends at ", end, t->offset < end ? ", so the two overlap" : ", so a hole is between them");
        end += t->bytes;  // no wrap: t->offset + t->bytes was read from the file as a 64-bit number
        if (end > size - start)
            fail(errc::bad_file, file, "tensor ", in_quotes(t->name), ": its ", t->bytes, " bytes end at ", end, " of ", size - start,
                 " bytes of data; is it a partial download?");
        t->offset += start;
    }
    if (end != size - start)
        fail(errc::bad_file, file, "the tensors end at ", end, ", but ", size - start, " bytes of data stand after the header");
}

/// The checked header of a file.
inline safetensors_header read_safetensors_header(const byte_source& source) {
    const std::string_view file = source.name();
    if (source.size() < safetensors_prefix) fail(errc::bad_file, file, "has ", source.size(), " bytes; a safetensors file has at least 8");
    std::uint64_t length = 0;
    const auto prefix = source.view(0, safetensors_prefix);
    for (std::size_t i = 0; i < safetensors_prefix; ++i) length |= std::to_integer<std::uint64_t>(prefix[i]) << (8 * i);
    if (length > max_safetensors_header)
        fail(errc::bad_file, file, "is no safetensors file: its first 8 bytes say that its header has ", length, " bytes; ",
             max_safetensors_header, " are the most");
    if (length > source.size() - safetensors_prefix)
        fail(errc::bad_file, file, "its header of ", length, " bytes is longer than the file of ", source.size(),
             "; is it a partial download?");
    const auto bytes = source.view(safetensors_prefix, length);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.empty() || text.front() != '{')
        fail(errc::bad_file, file, "is no safetensors file: its header starts with ", in_quotes(text.substr(0, 8)));
    safetensors_header header(text, file);
    nlohmann::json::sax_parse(text.begin(), text.end(), &header);
    place_tensors(header.tensors, safetensors_prefix + length, source.size(), file);
    return header;
}

}  // namespace skald::io::detail
