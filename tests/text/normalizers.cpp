// SPDX-License-Identifier: MIT
// Normalizers against what Hugging Face's tokenizers makes of the same texts (tests/scripts/make_normalizer_fixture.py).
#include <cstdint>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/text/charsmap.hpp>
#include <skald/text/letter_steps.hpp>
#include <skald/text/unicode_form.hpp>

#include "fixture.hpp"
#include "support/catch.hpp"

using namespace skald;
using text::normal_form;

namespace {

using normalizing = std::function<std::string(std::string_view)>;

template <class Step>
normalizing made(Step step) {
    return [step](std::string_view text) { return step.normalize(text); };
}

normalizing named(const std::string& name, const text::charsmap& map) {
    if (name == "Precompiled") return made(text::precompiled_step{map});
    if (name == "NFC") return made(text::unicode_form_step{normal_form::nfc});
    if (name == "NFD") return made(text::unicode_form_step{normal_form::nfd});
    if (name == "NFKC") return made(text::unicode_form_step{normal_form::nfkc});
    if (name == "NFKD") return made(text::unicode_form_step{normal_form::nfkd});
    if (name == "Lowercase") return made(text::lowercase_step{});
    if (name == "StripAccents") return made(text::strip_accents_step{});
    REQUIRE(name.size() == 8);  // Bert and four flags
    return made(text::bert_step{name[4] == '1', name[5] == '1', name[6] == '1', name[7] == '1'});
}

std::string from_hex(std::string_view hex) {
    std::string out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
    return out;
}

/// The 64-bit FNV-1a hash of the normal forms of all code points, each alone.
std::string hash_of_all(const normalizing& normalize) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (char32_t code = 0; code < 0x110000; ++code) {
        if (code >= 0xD800 && code < 0xE000) continue;
        std::string text;
        text::detail::append_utf8(code, text);
        for (const char c : normalize(text)) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    }
    std::ostringstream out;
    out << std::hex;
    out.width(16);
    out.fill('0');
    out << hash;
    return out.str();
}

}  // namespace

TEST_CASE("normalizers do what Hugging Face's do") {
    std::ifstream in(test::tokenizer_data("normalizers.txt"));
    std::string text;
    text::charsmap map;
    int checked = 0, hashed = 0;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string name, value, hash;
        words >> name >> value >> hash;
        CAPTURE(name, text);
        if (name == "text") {
            text = from_hex(value);
        } else if (name == "map") {
            map = text::charsmap(from_hex(value), "fixture");
        } else if (name == "all") {
            CHECK(hash_of_all(named(value, map)) == hash);
            ++hashed;
        } else {
            const std::string expected = from_hex(value);
            CHECK(named(name, map)(text) == expected);
            ++checked;
        }
    }
    CHECK(checked > 300);
    CHECK(hashed == 8);
}

TEST_CASE("a normal form is its own, and leaves bytes that are no UTF-8 where they are") {
    const std::uint32_t seed = 11;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 2000; ++i) {
        const std::string text = test::random_text(random, random() % 40, i % 2 == 0);
        for (const normal_form form : {normal_form::nfc, normal_form::nfd, normal_form::nfkc, normal_form::nfkd}) {
            const text::unicode_form_step step{form};
            const std::string once = step.normalize(text);
            CAPTURE(text, once);
            REQUIRE(step.normalize(once) == once);
            REQUIRE(step.normalize("é\xFF\xCC\x81") == step.normalize("é") + "\xFF\xCC\x81");
        }
    }
    CHECK(text::unicode_form_step{normal_form::nfc}.normalize("e\xE4\xCC\x81") == "e\xE4\xCC\x81");  // not across a stray byte
    CHECK(text::bert_step{}.normalize("A\xFF\xC3") == "a\xFF\xC3");
}

TEST_CASE("SentencePiece's normalization maps, and takes blanks away or adds them") {
    const text::charsmap none;
    const auto blanks = [&](bool prefix, bool remove, std::string_view text) {
        return text::sentencepiece_step{none, prefix, remove, "_"}.normalize(text);
    };
    CHECK(blanks(true, true, "  a  b ") == "_a_b");
    CHECK(blanks(false, true, "  a  b ") == "a_b");
    CHECK(blanks(true, false, "  a  b ") == "___a__b_");
    CHECK(blanks(false, false, " \xFF ") == "_\xFF_");
    CHECK(blanks(true, true, "   ").empty());
    CHECK(blanks(true, false, " ") == "__");
    CHECK(blanks(true, false, "").empty());
}

TEST_CASE("a damaged map of SentencePiece is refused, or leads nowhere") {
    const auto refused = [](std::string data) {
        try {
            text::charsmap(std::move(data), "map");
        } catch (const error& e) {
            return e.code() == errc::bad_file;
        }
        return false;
    };
    CHECK_FALSE(refused(""));
    CHECK(refused("abc"));
    CHECK(refused(std::string("\0\0\0\0\0", 5)));
    CHECK(refused(std::string("\5\0\0\0\0\0\0\0\0\0", 10)));
    CHECK(refused("\xFF\xFF\xFF\xFF" + std::string(8, '\0')));
    CHECK(refused(std::string("\4\0\0\0\0\0\0\0", 8)));
    CHECK(refused(std::string("\4\0\0\0\0\0\0\0x", 9)));
    const std::uint32_t seed = 12;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 2000; ++i) {  // units of chance, so that searches go far
        std::string data("\0\4\0\0", 4);
        for (int unit = 0; unit < 256; ++unit) {
            const auto label = static_cast<unsigned>(random() % 256), bits = static_cast<unsigned>(random());
            const std::uint32_t u = random() % 8 == 0 ? bits : (label | (bits & 0x100) | (bits % 256) << 10);
            for (int shift = 0; shift < 32; shift += 8) data += static_cast<char>(u >> shift & 0xFF);
        }
        const text::charsmap map(data + std::string("ab\0", 3), "map");
        const std::string text = test::random_text(random, 40, i % 2 == 0);
        CHECK(text::precompiled_step{map}.normalize(text).size() <= 3 * text.size());
        CHECK(text::sentencepiece_step{map}.normalize(text).size() <= 3 * text.size() + 3);
    }
}

TEST_CASE("a run of combining marks is ordered in bounded time") {
    std::string text = "a";
    for (int i = 0; i < 200000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";  // a method that swaps neighbours takes minutes
    const std::string form = text::unicode_form_step{normal_form::nfd}.normalize(text);
    CHECK(form.size() == text.size());
    CHECK(form.substr(0, 5) == "a\u0323\u0323");
    CHECK(form.substr(form.size() - 4) == "\u0301\u0301");
}
