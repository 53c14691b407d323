// SPDX-License-Identifier: MIT
#include "npy.hpp"

#include <bit>
#include <cerrno>
#include <system_error>

#include <sys/types.h>
#include <unistd.h>

#include <skald/core/error.hpp>

namespace cli {

static_assert(std::endian::native == std::endian::little, "the header says little endian");

namespace {

std::string npy_header(std::span<const std::size_t> shape) {
    std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (std::size_t i = 0; i < shape.size(); ++i) dictionary += skald::concat(i == 0 ? "" : " ", shape[i], ",");
    if (shape.size() > 1) dictionary.pop_back();  // (2, 3), but (2,)
    dictionary += "), }";
    while ((10 + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
    dictionary += '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    header += static_cast<char>(dictionary.size() & 0xFF);
    header += static_cast<char>(dictionary.size() >> 8);
    return header + dictionary;
}

}  // namespace

npy_writer::npy_writer(const std::string& path, std::span<const std::size_t> shape) : path_(path), target_(path) {
    std::error_code ignored;
    if (const auto real = std::filesystem::canonical(target_, ignored); !ignored) target_ = real;  // a link stays a link
    const auto status = std::filesystem::status(target_, ignored);
    if (std::filesystem::is_directory(status)) skald::fail(skald::errc::io, path_, "is a folder; pass the name of a file");
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
        file_.reset(std::fopen(target_.c_str(), "wb"));
    } else {
        temporary_ = target_;
        temporary_ += skald::concat(".", static_cast<long>(getpid()), ".tmp");
        file_.reset(std::fopen(temporary_.c_str(), "wbx"));
        if (!file_) temporary_.clear();
    }
    if (!file_) refuse("cannot be created");
    const std::string header = npy_header(shape);
    data_start_ = header.size();
    if (std::fwrite(header.data(), 1, header.size(), file_.get()) != header.size()) refuse("cannot be written");
}

npy_writer::~npy_writer() {
    file_.reset();
    std::error_code ignored;
    if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
}

void npy_writer::write(std::size_t index, std::span<const float> values) {
    if (index != next_ && fseeko(file_.get(), static_cast<off_t>(data_start_ + index * sizeof(float)), SEEK_SET) != 0)
        refuse("cannot be written");
    if (std::fwrite(values.data(), sizeof(float), values.size(), file_.get()) != values.size()) refuse("cannot be written");
    next_ = index + values.size();
}

void npy_writer::finish() {
    if (std::fclose(file_.release()) != 0) refuse("cannot be written");
    if (temporary_.empty()) return;
    std::error_code failed;
    std::filesystem::rename(temporary_, target_, failed);
    if (failed) skald::fail(skald::errc::io, path_, "cannot be put in place: ", failed.message());
    temporary_.clear();
}

void npy_writer::refuse(const char* what) const {
    skald::fail(skald::errc::io, path_, what, ": ", std::error_code(errno, std::generic_category()).message());
}

}  // namespace cli
