// SPDX-License-Identifier: MIT
// Damaged GGUF files: cut at every byte, bits flipped, numbers overwritten. Reading them must throw skald::error or succeed,
// and may allocate only a small multiple of the file's size: this file replaces the global operator new to count.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <skald/io/gguf.hpp>

#include "io/refusal.hpp"
#include "io/sample_file.hpp"
#include "support/catch.hpp"

namespace {

std::size_t allocated = 0;  // bytes asked for since the start of the program

void* counted(std::size_t size) {
    allocated += size;
    if (void* p = std::malloc(size != 0 ? size : 1)) return p;
    throw std::bad_alloc();
}

void* counted(std::size_t size, std::align_val_t alignment) {
    allocated += size;
    const auto unit = static_cast<std::size_t>(alignment);
    if (void* p = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return p;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size != 0 ? size : 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size != 0 ? size : 1); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, alignment); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return counted(size, alignment); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace skald;
using namespace skald::test;
using io::gguf_file;

namespace {

/// The bound of this file: a table entry is at most 96 + 64 bytes for 33 in the file, a key 72 for 14, a string 16 for 8, and
/// vectors double as they grow; messages are below 4 KiB. With room: 16 times the file.
constexpr std::size_t bound(std::size_t file_size) { return 16 * file_size + 4096; }

/// Touches everything that the file gives out.
std::size_t use(const gguf_file& file) {
    std::size_t sum = 0;
    for (const io::metadata_entry& e : file.meta().entries()) {
        sum += e.key.size();
        if (const auto* array = std::get_if<const io::metadata_array*>(&e.value.value))
            for (std::size_t i = 0; i < (*array)->size(); ++i) sum += io::value_as<std::string_view>((**array)[i]).value_or("").size();
        if (const auto text = io::value_as<std::string_view>(e.value))
            for (const char c : *text) sum += static_cast<unsigned char>(c);
    }
    for (const io::tensor_entry& t : file.tensors())
        for (const std::byte b : file.bytes(t)) sum += std::to_integer<std::size_t>(b);
    return sum;
}

/// Opens the bytes; true if they are accepted. Fails the test if too much is allocated, or anything but skald::error thrown.
bool survives(const std::vector<std::byte>& original) {
    const std::vector<std::byte> bytes(original.begin(), original.end());  // capacity = size
    const std::size_t before = allocated;
    bool accepted = false;
    std::size_t taken = 0;
    if (const auto error = error_of([&] {
            const gguf_file file = gguf_file::from_bytes(bytes, "bad.gguf");
            taken = allocated - before;
            use(file);
            accepted = true;
        })) {
        taken = allocated - before;
        if (error->place().substr(0, 8) != "bad.gguf") FAIL(error->what());
        if (error->code() != errc::bad_file && error->code() != errc::unsupported) FAIL(error->what());
    }
    if (taken > bound(bytes.size())) FAIL("allocated " << taken << " bytes for a file of " << bytes.size());
    return accepted;
}

}  // namespace

TEST_CASE("6: a file cut at any byte is refused, unless only padding is lost") {
    const auto whole = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(whole, "whole");
    const io::tensor_entry& last = file.tensors().back();
    for (std::size_t length = 0; length <= whole.size(); ++length) {
        CAPTURE(length);
        REQUIRE(survives({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}) == (length >= last.offset + last.bytes));
    }
}

TEST_CASE("6: a file cut at any byte is refused by a callback source too") {
    const auto whole = sample_file().bytes();
    const gguf_file file = gguf_file::from_bytes(whole, "whole");
    const std::uint64_t needed = file.tensors().back().offset + file.tensors().back().bytes;
    for (std::size_t length = 0; length <= whole.size(); ++length) {
        const auto read = [&](std::uint64_t offset, std::span<std::byte> out) {
            REQUIRE(offset + out.size() <= length);
            std::memcpy(out.data(), whole.data() + offset, out.size());
        };
        const auto error = error_of([&] { use(gguf_file::from_reader(read, length, "bad.gguf")); });
        CAPTURE(length);
        REQUIRE(error.has_value() == (length < needed));
    }
}

TEST_CASE("random damage is survived with bounded memory") {
    const auto seed = GENERATE(0x5CA1Du, 1u, 2u, 3u);
    CAPTURE(seed);
    const auto whole = sample_file().bytes();
    std::mt19937 random(seed);
    const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    constexpr std::uint64_t numbers[] = {0,
                                         1,
                                         12,
                                         0x7FFFFFFF,
                                         0x80000000,
                                         0xFFFFFFFF,
                                         0x100000000,
                                         0x7FFFFFFFFFFFFFC0,
                                         0x7FFFFFFFFFFFFFFF,
                                         0x8000000000000000,
                                         0xFFFFFFFFFFFFFFE0,
                                         0xFFFFFFFFFFFFFFFF};
    int accepted = 0, refused = 0;
    for (int round = 0; round < 4000; ++round) {
        auto bytes = whole;
        const std::size_t damages = 1 + below(3);
        for (std::size_t d = 0; d < damages; ++d) {
            const std::size_t at = below(bytes.size());
            if (below(2) == 0) {
                bytes[at] ^= static_cast<std::byte>(1u << below(8));
            } else {
                const std::uint64_t number = numbers[below(std::size(numbers))];
                std::memcpy(bytes.data() + at, &number, std::min<std::size_t>(below(2) == 0 ? 4 : 8, bytes.size() - at));
            }
        }
        ++(survives(bytes) ? accepted : refused);
    }
    CHECK(accepted > 100);  // damage in values and data is not for the reader to see
    CHECK(refused > 100);
}

TEST_CASE("files made to look large take memory in proportion to their size") {
    // Every kind of claim, with just enough bytes behind it to be believed: the worst ratio of memory to file.
    const auto filled = [](std::size_t n, std::uint8_t value = 0) { return std::vector<std::byte>(n, std::byte{value}); };
    const std::size_t size = 1 << 20;

    gguf_writer strings;  // empty strings: 8 bytes each
    byte_writer value;
    strings.raw_key("k", 9, value.put(io::value_kind::string).put(std::uint64_t{size / 8}).raw(filled(size)));
    CHECK(survives(strings.bytes()));

    gguf_writer nested;  // empty arrays: 12 bytes each
    byte_writer arrays;
    nested.raw_key("k", 9, arrays.put(io::value_kind::array).put(std::uint64_t{size / 12}).raw(filled(size / 12 * 12)));
    CHECK(survives(nested.bytes()));

    gguf_writer ladder;  // each level claims all of the rest
    byte_writer levels;
    for (int i = 0; i < 7; ++i) levels.put(io::value_kind::array).put(std::uint64_t{size / 12 - 8});
    ladder.raw_key("k", 9, levels.put(io::value_kind::string).put(std::uint64_t{size / 8 - 16}).raw(filled(size - 96)));
    CHECK_FALSE(survives(ladder.bytes()));

    gguf_writer keys;  // short keys
    for (std::uint32_t i = 0; i < 60000; ++i) keys.key(concat(i), std::uint8_t{0});
    CHECK(survives(keys.bytes()));

    gguf_writer claimed;  // as many keys as could be, none of them real
    claimed.key_count = size / 14;
    claimed.data(filled(size + 64, 1));
    CHECK_FALSE(survives(claimed.bytes()));

    gguf_writer tensors;  // short rows: one i8 each
    tensors.alignment = 8;
    tensors.key("general.alignment", 8u);
    for (std::uint64_t i = 0; i < 20000; ++i) tensors.tensor_row(concat(i), {1}, 24, 8 * i);
    tensors.data(filled(160000));
    CHECK(survives(tensors.bytes()));
}
