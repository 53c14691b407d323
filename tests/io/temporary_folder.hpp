// SPDX-License-Identifier: MIT
#pragma once
// A folder of its own for a test that needs real files; removed with its contents at the end.
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>

namespace skald::test {

class temporary_folder {
public:
    temporary_folder() {
        std::random_device random;
        do path_ = std::filesystem::temp_directory_path() / concat("skald-test-", random());
        while (!std::filesystem::create_directory(path_));
    }
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    ~temporary_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const noexcept { return path_; }

    std::filesystem::path write(std::string_view name, std::span<const std::byte> bytes) const {
        const std::filesystem::path file = path_ / name;
        std::ofstream(file, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return file;
    }

private:
    std::filesystem::path path_;
};

}  // namespace skald::test
