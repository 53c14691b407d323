// SPDX-License-Identifier: MIT
// A file of packed weights is used whole and unchanged, or refused with the reason.
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <skald/core/checksum.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/io/packed_file.hpp>

#include "io/refusal.hpp"
#include "io/temporary_folder.hpp"
#include "support/catch.hpp"

using namespace skald;
using namespace skald::test;

namespace {

std::vector<std::byte> random_bytes(std::size_t n) {
    std::mt19937 random(7);
    std::vector<std::byte> out(n);
    for (std::byte& b : out) b = static_cast<std::byte>(random());
    return out;
}

/// Writes the payload in uneven pieces.
void write(const std::filesystem::path& path, const io::packed_seal& seal, std::span<const std::byte> payload) {
    io::packed_writer out(path, seal);
    for (std::size_t at = 0, n = 1; at < payload.size(); at += n, n = n * 3 + 1) {
        n = std::min(n, payload.size() - at);
        out.write(payload.subspan(at, n));
    }
    out.finish();
}

std::vector<std::byte> bytes_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("a packed file gives back what was written", "[io][packed]") {
    const temporary_folder folder;
    const std::filesystem::path path = folder.path() / "weights";
    constexpr std::size_t piece = io::packed_file::piece_bytes;
    thread_pool pool(3);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, piece - 1, piece, piece + 1, 3 * piece + 17}) {
        CAPTURE(size);
        const std::vector<std::byte> payload = random_bytes(size);
        const io::packed_seal seal{1, 2, size};
        write(path, seal, payload);
        for (const bool copy : {false, true}) {
            const auto file = io::packed_file::open(path, seal, {.copy = copy}, copy ? nullptr : &pool);
            CHECK(std::equal(payload.begin(), payload.end(), file.payload().begin(), file.payload().end()));
        }
    }
}

TEST_CASE("a packed file that is not finished never appears", "[io][packed]") {
    const temporary_folder folder;
    const std::filesystem::path path = folder.path() / "weights";
    const auto write_less = [&] { write(path, {1, 2, 101}, random_bytes(100)); };
    check_error(write_less, errc::invalid_argument, path.string(), {"100", "101"});
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a packed file that is foreign or damaged is refused with the reason", "[io][packed]") {
    const temporary_folder folder;
    const std::filesystem::path path = folder.path() / "weights";
    const io::packed_seal seal{1, 2, 1000};
    const auto refused = [&](const io::packed_seal& s, std::initializer_list<std::string_view> parts, errc code = errc::bad_file) {
        check_error([&] { (void)io::packed_file::open(path, s, {}, nullptr); }, code, path.string(), parts);
    };
    refused(seal, {"cannot be opened"}, errc::io);
    write(path, seal, random_bytes(1000));
    refused({3, 2, 1000}, {"another model"});
    refused({1, 3, 1000}, {"another way"});
    refused({1, 2, 999}, {"another way"});

    const std::vector<std::byte> good = bytes_of(path);
    REQUIRE(good.size() == io::packed_file::head_bytes + 1000);
    for (std::size_t i = 0; i < good.size(); i += i < 64 ? 1 : 37) {
        std::vector<std::byte> bad = good;
        bad[i] ^= std::byte{static_cast<unsigned char>(1u << i % 8)};
        folder.write("weights", bad);
        CAPTURE(i);
        refused(seal, {});
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{55}, std::size_t{4095}, std::size_t{4096}, good.size() - 1}) {
        CAPTURE(size);
        folder.write("weights", std::span(good).first(size));
        refused(seal, {size < 4096 ? "no file of packed weights" : "cut off"});
    }
    std::vector<std::byte> longer = good;
    longer.push_back({});
    folder.write("weights", longer);
    refused(seal, {"too long"});
    folder.write("weights", good);
    CHECK(io::packed_file::open(path, seal, {}, nullptr).payload().size() == 1000);
}

TEST_CASE("a checksum sees every flipped bit and every length", "[io][packed]") {
    std::vector<std::byte> bytes = random_bytes(200);
    const std::uint64_t good = checksum(bytes);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1u << bit % 8)};
        CHECK(checksum(bytes) != good);
        bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1u << bit % 8)};
    }
    std::vector<std::byte> zeros(200);
    for (std::size_t n = 1; n <= zeros.size(); ++n) CHECK(checksum(std::span(zeros).first(n)) != checksum(std::span(zeros).first(n - 1)));
    CHECK(checksum(bytes, 1) != good);
}
