// SPDX-License-Identifier: MIT
// The tokenizer models that are not byte-level BPE: against plain loops over small random vocabularies, and in files against what
// their makers say (tests/scripts/make_models_fixture.py).
#include <chrono>
#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>
#include <skald/text/sentencepiece.hpp>
#include <skald/text/tokenizer.hpp>
#include <skald/text/unigram.hpp>
#include <skald/text/wordpiece.hpp>

#include "support/catch.hpp"

using namespace skald;
using text::token_kind;

namespace {

using ids = std::vector<token_id>;

/// A vocabulary that owns what a source views.
struct vocabulary_data {
    std::vector<std::string> tokens;
    std::vector<double> scores;
    std::vector<std::int32_t> kinds;

    void add(std::string token, double score, token_kind kind = token_kind::normal) {
        tokens.push_back(std::move(token));
        scores.push_back(score);
        kinds.push_back(static_cast<std::int32_t>(kind));
    }

    template <class Model>
    Model make(bool byte_fallback = false, bool fuse_unknown = true, std::string_view continuing = "##") const {
        const std::vector<std::string_view> views(tokens.begin(), tokens.end());
        text::vocabulary_source s;
        s.place = "test";
        s.tokens = views;
        s.scores = scores;
        s.kinds = kinds;
        s.unknown = 0;
        s.byte_fallback = byte_fallback;
        s.fuse_unknown = fuse_unknown;
        s.continuing_prefix = continuing;
        return Model(s, std::pmr::get_default_resource());
    }

    std::map<std::string, token_id> normal() const {
        std::map<std::string, token_id> out;
        for (std::size_t i = 0; i < tokens.size(); ++i)
            if (kinds[i] == static_cast<std::int32_t>(token_kind::normal)) out[tokens[i]] = static_cast<token_id>(i);
        return out;
    }
};

template <class Model>
ids encoded(const Model& model, std::string_view word) {
    ids out;
    model.encode(word, out);
    return out;
}

const std::vector<std::string> alphabet{"a", "b", "é", "\u2581", "中", "#"};

std::string random_word(std::mt19937& random, std::size_t units) {
    std::string out;
    for (std::size_t i = 0; i < units; ++i) out += alphabet[random() % alphabet.size()];
    return out;
}

/// Some of the alphabet (0 is the unknown token), words of it, and with `bytes` all byte tokens. Few scores, so that many are equal.
vocabulary_data random_vocabulary(std::mt19937& random, bool bytes) {
    vocabulary_data out;
    out.add("<unk>", 0, token_kind::unknown);
    out.add("<s>", 100, token_kind::control);
    for (unsigned b = 0; bytes && b < 256; ++b) {
        const char* digits = "0123456789ABCDEF";
        out.add(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">", 0, token_kind::byte);
    }
    const bool merging = random() % 2 == 0;  // words made of others, as trained vocabularies have them
    std::vector<std::string> words;
    for (const std::string& unit : alphabet)
        if (random() % 4 != 0) words.push_back(unit);
    for (std::size_t i = 0, n = random() % 30; i < n; ++i) {
        if (merging && !words.empty())
            words.push_back(words[random() % words.size()] + words[random() % words.size()]);
        else
            words.push_back(random_word(random, 1 + random() % 5));
        if (words.back().size() > 40) words.pop_back();
    }
    std::map<std::string, bool> seen;
    for (const std::string& word : words)
        if (!seen[word]) {
            seen[word] = true;
            out.add(word, -static_cast<double>(random() % 5));
        }
    return out;
}

std::vector<std::string> units_of(std::string_view word) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < word.size(); at += out.back().size())
        out.emplace_back(word.substr(at, text::detail::unit_at(word, at).length));
    return out;
}

ids naive_sentencepiece(const vocabulary_data& v, std::string_view word, bool bytes) {
    const auto normal = v.normal();
    std::vector<std::string> symbols = units_of(word);
    for (;;) {
        std::size_t best = symbols.size();
        double score = 0;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const auto it = normal.find(symbols[i] + symbols[i + 1]);
            if (it == normal.end()) continue;
            const double s = v.scores[static_cast<std::size_t>(it->second)];
            if (best == symbols.size() || s > score) {
                best = i;
                score = s;
            }
        }
        if (best == symbols.size()) break;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    ids out;
    bool unknown = false;
    for (const std::string& s : symbols) {
        const auto it = normal.find(s);
        if (it != normal.end())
            out.push_back(it->second);
        else if (bytes)
            for (const char c : s) out.push_back(2 + static_cast<unsigned char>(c));
        else if (!unknown)
            out.push_back(0);
        unknown = it == normal.end() && !bytes;
    }
    return out;
}

/// The largest sum of scores of any division, by trying all; what `found` sums up to.
double best_sum(const vocabulary_data& v, const std::vector<std::string>& units) {
    const auto normal = v.normal();
    double lowest = std::numeric_limits<double>::infinity();
    for (const auto& [token, id] : normal) lowest = std::min(lowest, v.scores[static_cast<std::size_t>(id)]);
    std::vector<double> best(units.size() + 1, -std::numeric_limits<double>::infinity());
    best[0] = 0;
    for (std::size_t end = 1; end <= units.size(); ++end)
        for (std::size_t start = 0; start < end; ++start) {
            std::string token;
            for (std::size_t i = start; i < end; ++i) token += units[i];
            const auto it = normal.find(token);
            if (it != normal.end())
                best[end] = std::max(best[end], best[start] + v.scores[static_cast<std::size_t>(it->second)]);
            else if (end == start + 1)
                best[end] = std::max(best[end], best[start] + lowest - 10);
        }
    return best.back();
}

double sum_of(const vocabulary_data& v, const ids& found) {
    double lowest = std::numeric_limits<double>::infinity(), sum = 0;
    for (const auto& [token, id] : v.normal()) lowest = std::min(lowest, v.scores[static_cast<std::size_t>(id)]);
    for (const token_id id : found) sum += id == 0 ? lowest - 10 : v.scores[static_cast<std::size_t>(id)];
    return sum;
}

ids naive_wordpiece(const vocabulary_data& v, const std::string& word) {
    const auto normal = v.normal();
    const std::vector<std::string> units = units_of(word);
    if (units.size() > 100) return {0};
    ids out;
    for (std::size_t start = 0; start < units.size();) {
        std::size_t end = units.size();
        for (; end > start; --end) {
            std::string token = start == 0 ? "" : "##";
            for (std::size_t i = start; i < end; ++i) token += units[i];
            const auto it = normal.find(token);
            if (it == normal.end()) continue;
            out.push_back(it->second);
            break;
        }
        if (end == start) return {0};
        start = end;
    }
    return out;
}

double seconds_of(const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("files of SentencePiece, unigram and WordPiece vocabularies give their makers' tokens") {
    const auto in_file = [](const std::string& name) {
        const auto file = io::gguf_file::open(SKALD_TEST_DATA "/tokenizer/" + name + ".gguf");
        return text::tokenizer::from_gguf(file.meta(), file.name());
    };
    std::map<std::string, text::tokenizer> tokenizers;
    for (const std::string name : {"spm", "unigram", "wordpiece"}) tokenizers.emplace(name, in_file(name));
    std::ifstream in(SKALD_TEST_DATA "/tokenizer/models.ids");
    std::string text;
    int checked = 0;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string name, hex;
        words >> name;
        if (name == "text") {
            words >> hex;
            text.clear();
            for (std::size_t i = 0; i + 1 < hex.size(); i += 2) text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
            continue;
        }
        ids expected;
        for (token_id id; words >> id;) expected.push_back(id);
        const text::tokenizer& t = tokenizers.at(name);
        CAPTURE(name, text);
        CHECK(t.encode(text) == expected);
        if (name == "spm" && text.find("\u2581") == text.npos) CHECK(t.decode(expected) == text);
        ++checked;
    }
    CHECK(checked > 200);
    const auto enclosed = [&](const std::string& name) {
        const text::tokenizer& t = tokenizers.at(name);
        const ids all = t.encode("a", {.add_bos = t.add_bos(), .add_eos = t.add_eos()});
        return std::pair(all.front(), all.back());
    };
    CHECK(enclosed("spm").first == 1);
    CHECK(enclosed("spm").second > 2);
    CHECK(enclosed("unigram").second == 2);
    CHECK(enclosed("wordpiece") == std::pair(2, 3));
    CHECK(tokenizers.at("spm").encode("</s>").size() > 1);
    CHECK(tokenizers.at("spm").encode("</s>", {.parse_special = true}) == ids{2});
    CHECK(tokenizers.at("spm").decode(tokenizers.at("spm").encode("a\xFF\xE4 b")) == "a\xFF\xE4 b");
}

TEST_CASE("SentencePiece's merges are those of a plain loop") {
    const std::uint32_t seed = 1;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 300; ++round) {
        const bool bytes = random() % 2 == 0;
        const vocabulary_data v = random_vocabulary(random, bytes);
        const auto model = v.make<text::sentencepiece_model>();
        for (int i = 0; i < 10; ++i) {
            const std::string word = random_word(random, random() % 40);
            CAPTURE(round, word);
            REQUIRE(encoded(model, word) == naive_sentencepiece(v, word, bytes));
        }
    }
}

TEST_CASE("the unigram model finds a division of the largest score") {
    const std::uint32_t seed = 2;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 300; ++round) {
        const vocabulary_data v = random_vocabulary(random, false);
        const auto model = v.make<text::unigram_model>(false, false);
        for (int i = 0; i < 10; ++i) {
            const std::string word = random_word(random, random() % 40);
            CAPTURE(round, word);
            const ids found = encoded(model, word);
            if (v.tokens.size() > 2) REQUIRE(sum_of(v, found) == best_sum(v, units_of(word)));
            std::string joined;
            bool known = true;
            for (const token_id id : found) {
                joined += v.tokens[static_cast<std::size_t>(id)];
                known = known && id != 0;
            }
            if (known) REQUIRE(joined == word);
        }
    }
}

TEST_CASE("the unigram model fuses or spells out what it does not know") {
    vocabulary_data v;
    v.add("<unk>", 0, token_kind::unknown);
    v.add("a", -1);
    v.add("<0xC3>", 0, token_kind::byte);
    v.add("<0xA9>", 0, token_kind::byte);
    CHECK(encoded(v.make<text::unigram_model>(false, true), "aééa") == ids{1, 0, 1});
    CHECK(encoded(v.make<text::unigram_model>(false, false), "aééa") == ids{1, 0, 0, 1});
    CHECK(encoded(v.make<text::unigram_model>(true, true), "aééa") == ids{1, 2, 3, 2, 3, 1});
    CHECK(encoded(v.make<text::unigram_model>(true, true), "aéxa") == ids{1, 0, 1});
    CHECK(encoded(v.make<text::unigram_model>(true, false), "aéxa\xC3") == ids{1, 2, 3, 0, 1, 2});
    CHECK(encoded(v.make<text::unigram_model>(), "<0xC3>") == ids{0});
}

TEST_CASE("WordPiece takes the longest token first, or none") {
    const std::uint32_t seed = 3;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 300; ++round) {
        vocabulary_data v = random_vocabulary(random, false);
        for (std::size_t i = 2, n = v.tokens.size(); i < n; ++i)
            if (random() % 2 == 0 && !v.tokens[i].starts_with("##")) v.add("##" + v.tokens[i], 0);
        const auto model = v.make<text::wordpiece_model>();
        for (int i = 0; i < 10; ++i) {
            const std::string word = random_word(random, random() % 12);
            CAPTURE(round, word);
            REQUIRE(encoded(model, word) == naive_wordpiece(v, word));
        }
    }
    vocabulary_data v;
    v.add("[UNK]", 0);
    v.add("é", 0);
    v.add("##é", 0);
    std::string word;
    for (int i = 0; i < 100; ++i) word += "é";
    CHECK(encoded(v.make<text::wordpiece_model>(), word).size() == 100);
    CHECK(encoded(v.make<text::wordpiece_model>(), word + "é") == ids{0});
}

TEST_CASE("tokenizer models refuse scores and byte tokens that make no sense") {
    const auto refusal = [](const vocabulary_data& v) {
        try {
            v.make<text::sentencepiece_model>();
        } catch (const error& e) {
            CHECK(e.code() == errc::bad_file);
            return std::string(e.what());
        }
        return std::string();
    };
    vocabulary_data good;
    good.add("<unk>", 0, token_kind::unknown);
    good.add("<0x00>", 0, token_kind::byte);
    CHECK(refusal(good).empty());
    vocabulary_data v = good;
    v.scores.pop_back();
    CHECK(refusal(v) == "test: the vocabulary has 2 tokens, but 1 scores");
    v = good;
    v.add("a", std::numeric_limits<double>::quiet_NaN());
    CHECK(refusal(v) == "test: the score of token 2 'a' is NaN");
    CHECK_THROWS_AS(v.make<text::unigram_model>(), error);
    v = good;
    v.add(std::string(512, 'a'), 0);
    CHECK(refusal(v).empty());
    v.add(std::string(513, 'a'), 0);
    CHECK_THROWS_AS(v.make<text::sentencepiece_model>(), error);
    CHECK_THROWS_AS(v.make<text::unigram_model>(), error);
    CHECK_THROWS_AS(v.make<text::wordpiece_model>(), error);
    for (const std::string token : {"<0x-1>", "<0xZZ>", "<0x1>", "<0x001>", "x"}) {
        v = good;
        v.add(token, 0, token_kind::byte);
        CHECK(refusal(v) == "test: token 2 stands for a byte, but is '" + token + "', not <0x00> to <0xFF>");
        CHECK_THROWS_AS(v.make<text::unigram_model>(true), error);
    }
}

TEST_CASE("no text makes a tokenizer model take quadratic time") {
    vocabulary_data v;
    v.add("<unk>", 0, token_kind::unknown);
    for (std::size_t n = 1; n <= 256; n *= 2) v.add(std::string(n, 'a'), -1);
    v.add("ab", -1);
    v.add("ba", -1);
    const auto spm = v.make<text::sentencepiece_model>();
    const auto unigram = v.make<text::unigram_model>();
    const std::string same(1 << 18, 'a');
    std::string turns;
    while (turns.size() < same.size()) turns += "ab";
    for (const std::string& text : {same, turns}) {  // measured: 0.05 s; a quadratic method takes minutes
        CHECK(seconds_of([&] { encoded(spm, text); }) < 10);
        CHECK(seconds_of([&] { encoded(unigram, text); }) < 10);
    }
    CHECK(encoded(spm, same).size() == same.size() / 256);
    ids joined;  // word after word into one vector
    CHECK(seconds_of([&] {
              for (int i = 0; i < 300000; ++i) unigram.encode("ab", joined);
          }) < 10);
}
