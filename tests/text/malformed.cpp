// SPDX-License-Identifier: MIT
// Tokenizer keys that contradict each other, are of the wrong type, or were made to be slow.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mman.h>

#include <skald/io/gguf.hpp>
#include <skald/text/detail/gguf_vocabulary.hpp>
#include <skald/text/tokenizer.hpp>

#include "io/refusal.hpp"
#include "support/catch.hpp"
#include "support/gguf_writer.hpp"
#include "text/fixture.hpp"

using namespace skald;
using namespace skald::test;
using strings = std::vector<std::string>;

namespace {

constexpr std::string_view models[] = {"gpt2", "llama", "t5", "bert"};

/// A vocabulary of five tokens; any key can be replaced by what a test writes instead.
struct small_file {
    std::string_view replaced;
    std::function<void(gguf_writer&)> instead = [](gguf_writer&) {};
    std::string_view model = "gpt2";

    std::vector<std::byte> bytes() const {
        gguf_writer w;
        bool written = replaced.empty();
        const auto own = [&](std::string_view key) {
            if (key != replaced) return true;
            instead(w);
            written = true;
            return false;
        };
        const auto write = [&](std::string_view key, auto value) {
            if (own(key)) w.key(key, value);
        };
        const auto write_array = [&](std::string_view key, const auto& values) {
            if (own(key)) w.array(key, values);
        };
        write("tokenizer.ggml.model", model);
        write("tokenizer.ggml.pre", std::string_view("gpt-2"));
        write_array("tokenizer.ggml.tokens", strings{"a", "b", "ab", "<x>", model == "gpt2" ? "Ġ" : "\u2581"});
        write_array("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 1});
        if (model == "gpt2")
            write_array("tokenizer.ggml.merges", strings{"a b"});
        else
            write_array("tokenizer.ggml.scores", std::vector<float>{-1, -2, -1.5f, 0, -3});
        write("tokenizer.ggml.bos_token_id", std::uint32_t{3});
        if (!written) instead(w);
        return w.bytes();
    }
};

text::tokenizer read(const std::vector<std::byte>& bytes) {
    const auto file = io::gguf_file::from_bytes(bytes, "bad.gguf");
    return text::tokenizer::from_gguf(file.meta(), file.name());
}

/// The file with `key` replaced must be refused, with a message that has the key and `parts`.
void refuse(std::string_view key, std::function<void(gguf_writer&)> instead, std::initializer_list<std::string_view> parts,
            errc code = errc::bad_file, std::string_view model = "gpt2") {
    CAPTURE(std::string(key), std::string(model));
    const auto bytes = small_file{key, std::move(instead), model}.bytes();
    check_error([&] { read(bytes); }, code, "bad.gguf", parts);
    check_error([&] { read(bytes); }, code, "bad.gguf", {key});
}

template <class T>
std::function<void(gguf_writer&)> value(std::string_view key, T v) {
    return [=](gguf_writer& w) { w.key(key, v); };
}
template <class T>
std::function<void(gguf_writer&)> array(std::string_view key, std::vector<T> v) {
    return [=](gguf_writer& w) { w.array(key, v); };
}

}  // namespace

TEST_CASE("a small vocabulary is read from a file's keys") {
    const text::tokenizer t = read(small_file{}.bytes());
    CHECK(t.encode("ab a") == std::vector<token_id>{2, 4, 0});
    CHECK(t.bos() == 3);
    CHECK(t.steps().pre.name == "gpt-2");
    CHECK(read(small_file{"tokenizer.ggml.pre"}.bytes()).steps().pre.name == "default");
    CHECK(read(small_file{"tokenizer.ggml.token_type"}.bytes()).encode("<x>").empty());
}

TEST_CASE("tokenizer models and pre-tokenizers that are not known are unsupported, by name") {
    const std::string_view model = "tokenizer.ggml.model", pre = "tokenizer.ggml.pre";
    refuse(model, value(model, std::string_view("rwkv")), {"'rwkv'", "gpt2"}, errc::unsupported);
    refuse(pre, value(pre, std::string_view("brand-new")), {"'brand-new'", "smollm"}, errc::unsupported);
    refuse(model, value(model, std::uint32_t{1}), {"u32 1", "a string"});
    refuse(model, [](gguf_writer&) {}, {"missing"});
}

TEST_CASE("arrays of other lengths or element types are refused") {
    const std::string_view tokens = "tokenizer.ggml.tokens", types = "tokenizer.ggml.token_type", merges = "tokenizer.ggml.merges",
                           scores = "tokenizer.ggml.scores";
    refuse(tokens, [](gguf_writer&) {}, {"missing"});
    refuse(tokens, value(tokens, std::uint32_t{3}), {"u32 3", "an array"});
    refuse(tokens, array(tokens, std::vector<float>{1, 2}), {"array of f32"});
    refuse(types, array(types, std::vector<std::int32_t>{1, 1}), {"2 elements", "has 5"});
    refuse(types, array(types, std::vector<std::int32_t>{}), {"empty"});
    refuse(types, array(types, std::vector<float>{1, 1, 1, 1, 1}), {"element 0", "f32 1"});
    refuse(types, array(types, std::vector<std::int32_t>{1, 1, 9, 1, 1}), {"element 2 is 9"});
    refuse(types, array(types, std::vector<std::int32_t>{1, 1, -1, 1, 1}), {"element 2 is -1"});
    refuse(merges, [](gguf_writer&) {}, {"missing"});
    refuse(merges, array(merges, std::vector<std::uint8_t>{1, 2}), {"array of u8"});
    refuse(scores, array(scores, std::vector<float>{1, 2}), {"2 elements", "has 5"});
    refuse(scores, array(scores, strings{"a", "b", "c", "d", "e"}), {"element 0"});
    refuse(scores, array(scores, std::vector<float>{0, 0, std::numeric_limits<float>::quiet_NaN(), 0, 0}), {"element 2 is NaN"});
}

TEST_CASE("an empty vocabulary is refused") {
    vocabulary_parts parts;
    parts.source.place = "empty";
    check_error([&] { parts.make(); }, errc::bad_file, "empty", {"0 tokens"});
}

TEST_CASE("special ids outside the vocabulary are refused, whatever the tokenizer's model") {
    for (const std::string_view model : models) {
        for (const std::string_view name : {"bos", "eos", "eot", "eom", "unknown", "padding", "cls", "seperator", "mask"}) {
            const std::string key = std::string("tokenizer.ggml.").append(name).append("_token_id");
            refuse(key, value(key, std::uint32_t{5}), {"is 5", "5 tokens"}, errc::bad_file, model);
            refuse(key, value(key, std::int32_t{-1}), {"is -1"}, errc::bad_file, model);
            refuse(key, value(key, ~std::uint64_t{0}), {"18446744073709551615"}, errc::bad_file, model);
            refuse(key, value(key, std::string_view("3")), {"string '3'"}, errc::bad_file, model);
        }
    }
    const std::string_view add_eos = "tokenizer.ggml.add_eos_token";
    refuse(add_eos, value(add_eos, true), {"no such token"});
    refuse(add_eos, value(add_eos, std::uint32_t{1}), {"u32 1"});
}

TEST_CASE("pieces and texts of 2^31 bytes or more are refused before they are copied, whatever the tokenizer's model") {
    constexpr std::size_t size = std::size_t{1} << 31;
    // Pages that nobody reads take no memory.
    void* const pages = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    const std::string_view text(static_cast<const char*>(pages), size);
    for (const std::string_view model : models) {
        CAPTURE(std::string(model));
        const text::tokenizer t = read(small_file{"", [](gguf_writer&) {}, model}.bytes());
        check_error([&] { t.encode(text); }, errc::invalid_argument, "text", {"2147483648", "2147483647"});
        const std::vector<text::text_segment> segments{{"ab", true}, {text.substr(2), false}};
        check_error([&] { t.encode(segments); }, errc::invalid_argument, "text", {"2147483648"});

        const auto bytes = small_file{"", [](gguf_writer&) {}, model}.bytes();
        const auto file = io::gguf_file::from_bytes(bytes, "long.gguf");
        text::detail::gguf_vocabulary v(file.meta(), file.name());
        const std::vector<std::string_view> tokens{"a", "b", "ab", "<x>", text.substr(4)};
        v.source.tokens = tokens;
        check_error([&] { text::tokenizer(v.source, v.steps); }, errc::bad_file, "long.gguf", {"first 5 tokens", "2147483647"});
    }
    ::munmap(pages, size);
}

TEST_CASE("merges without separator, or of or to unknown tokens, are refused") {
    const std::string_view key = "tokenizer.ggml.merges";
    for (const char* bad : {"", "a", "ab", "a ", " b", " "}) refuse(key, array(key, strings{"a b", bad}), {"element 1", "not two tokens"});
    refuse(key, array(key, strings{"a z"}), {"element 0", "'a z'", "no token 'z'"});
    refuse(key, array(key, strings{"z b"}), {"no token 'z'"});
    refuse(key, array(key, strings{"a b", "b a"}), {"element 1", "the two together"});
    refuse(key, array(key, strings{"a b c"}), {"no token 'b c'"});
    refuse(key, array(key, strings{"a \xE2\x96\x81"}), {"no token"});
    refuse(key, array(key, strings{"a \xFF\xFE"}), {"no token '\\xff\\xfe'"});
}

TEST_CASE("tokens that are empty, stand twice or are no UTF-8 do no harm") {
    const std::string_view key = "tokenizer.ggml.tokens";
    const auto bytes = small_file{key, array(key, strings{"a", "b", "ab", "", "\xFF"})}.bytes();
    const text::tokenizer t = read(bytes);
    CHECK(t.encode("ab") == std::vector<token_id>{2});
    CHECK(t.piece(4) == "\xFF");
    CHECK(t.piece(3).empty());
    CHECK(read(small_file{key, array(key, strings{"a", "b", "ab", "a", "x"})}.bytes()).decode(std::vector<token_id>{0, 3}) == "aa");
}

TEST_CASE("an added token that makes every byte of a text costly is refused") {
    const std::string_view key = "tokenizer.ggml.tokens";
    const auto bytes = small_file{key, array(key, strings{"a", "b", "ab", std::string(1025, '<'), "c"})}.bytes();
    check_error([&] { read(bytes); }, errc::bad_file, "bad.gguf", {"token 3", "1025 bytes"});
    CHECK_NOTHROW(read(small_file{key, array(key, strings{"a", "b", "ab", std::string(1024, '<'), "c"})}.bytes()));
}

TEST_CASE("every truncated form of a vocabulary's arrays is refused or read, never worse") {
    const vocabulary_parts whole = vocabulary_parts::read();
    for (std::size_t n = 1; n < whole.tokens.size(); n += 97) {
        vocabulary_parts parts = whole;
        parts.tokens.resize(n);
        CAPTURE(n);
        check_error([&] { parts.make(); }, errc::bad_file, "fixture", {"elements"});
        parts.kinds.resize(n);
        check_error([&] { parts.make(); }, errc::bad_file, "fixture", {"tokenizer.ggml.merges"});
    }
}

TEST_CASE("a file with up to four bytes changed is refused with an error, or gives a tokenizer that works") {
    std::ifstream in(tokenizer_data("bpe.gguf"), std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(in), {}};
    REQUIRE(whole.size() > 10000);
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    int read = 0, refused = 0;
    for (int round = 0; round < 400; ++round) {
        std::string bytes = whole;
        for (unsigned flips = random() % 5; flips > 0; --flips) bytes[random() % bytes.size()] = static_cast<char>(random());
        try {
            const auto file = io::gguf_file::from_bytes(std::as_bytes(std::span(bytes)), "changed.gguf");
            const text::tokenizer t = text::tokenizer::from_gguf(file.meta(), file.name());
            const std::string text = random_text(random, 60, false);
            for (const token_id id : t.encode(text, {.parse_special = true})) REQUIRE(t.tokens().contains(id));
            ++read;
        } catch (const error& e) {
            REQUIRE((e.code() == errc::bad_file || e.code() == errc::unsupported));
            ++refused;
        }
    }
    CHECK(read > 0);
    CHECK(refused > 0);
}
