// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/grammar/json_schema.hpp>
#include <skald/io/gguf.hpp>

#include "grammar/follow.hpp"
#include "grammar/samples.hpp"
#include "support/catch.hpp"
#include "text/fixture.hpp"

using namespace skald;
using json = nlohmann::ordered_json;
using test::follower;

namespace {

/// One line of schemas.jsonl, which check_schemas.py writes: a schema, options, and texts with what jsonschema says of them.
struct schema_case {
    std::string schema;
    grammar::json_schema_options options;
    std::vector<std::string> texts;
    std::vector<bool> valid;
};

std::vector<schema_case> read_cases(const std::string& path) {
    std::ifstream in(path);
    REQUIRE(in);
    std::vector<schema_case> out;
    for (std::string line; std::getline(in, line);) {
        const json j = json::parse(line);
        out.push_back({j.at("schema").dump(),
                       {.blanks = j.value("blanks", false), .open_objects = j.value("open", false)},
                       j.at("texts"),
                       j.value("valid", std::vector<bool>{})});
    }
    return out;
}

std::string error_of(std::string_view schema) {
    try {
        grammar::from_json_schema(schema);
    } catch (const error& e) {
        return std::string(to_string(e.code())) + " " + e.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("grammars of schemas accept what validates and refuse what does not", "[grammar][schema]") {
    std::size_t valid = 0, invalid = 0;
    for (const schema_case& c : read_cases(SKALD_TEST_DATA "/grammar/schemas.jsonl")) {
        CAPTURE(c.schema);
        follower follow(grammar::from_json_schema(c.schema, "schema", c.options));
        REQUIRE(c.texts.size() == c.valid.size());
        for (std::size_t i = 0; i < c.texts.size(); ++i) {
            CAPTURE(c.texts[i]);
            CHECK(follow.accepts(c.texts[i]) == c.valid[i]);
            ++(c.valid[i] ? valid : invalid);
        }
    }
    CHECK(valid > 200);
    CHECK(invalid > 200);
}

TEST_CASE("random texts of a schema's grammar are JSON, with and without blanks", "[grammar][schema]") {
    const text::tokenizer tokenizer = test::fixture_tokenizer();
    const auto trie = std::make_shared<const grammar::token_trie>(tokenizer);
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::size_t finished = 0, all = 0;
    for (const schema_case& c : read_cases(SKALD_TEST_DATA "/grammar/schemas.jsonl")) {
        CAPTURE(c.schema);
        grammar::json_schema_options options = c.options;
        options.blanks = random() % 2 == 0;
        test::grammar_sampler sample(std::make_shared<const grammar::rules>(grammar::from_json_schema(c.schema, "schema", options)), trie);
        for (int k = 0; k < 2; ++k, ++all) {
            const auto text = sample(random);
            CHECK_FALSE(sample.stuck);
            if (!text) continue;
            ++finished;
            CAPTURE(*text);
            CHECK(json::accept(*text));
        }
    }
    CHECK(finished * 10 > all * 9);
}

TEST_CASE("schemas without a grammar are refused, with the place in them", "[grammar][schema]") {
    struct refusal {
        std::string schema, sentence;
    };
    const std::vector<refusal> refusals{
        {R"({"properties": {"a/b": {"not": {}}}})", "unsupported schema: at '#/properties/a~1b/not': the keyword 'not' has no grammar"},
        {R"({"if": {}, "then": {}})", "unsupported schema: at '#/if'"},
        {R"({"type": "array", "uniqueItems": true})", "unsupported schema: at '#/uniqueItems'"},
        {R"({"type": "array", "contains": {}})", "unsupported schema: at '#/contains'"},
        {R"({"oneOf": [{"type": "string"}, {"type": ["string", "null"]}]})", "unsupported schema: at '#/oneOf': it is not plain that"},
        {R"({"type": "string", "pattern": "(?=a)b"})", "unsupported schema: at '#/pattern': the pattern '(?=a)b' has a look-around"},
        {R"({"type": "string", "pattern": "\\bfoo"})", "unsupported schema: at '#/pattern': the pattern"},
        {R"({"type": "string", "format": "uri"})", "unsupported schema: at '#/format': the format 'uri' has no grammar"},
        {R"({"type": "number", "multipleOf": 0.1})", "unsupported schema: at '#/multipleOf'"},
        {R"({"type": "number", "minimum": 0.12345678901234567})", "unsupported schema: at '#"},
        {R"({"$ref": "http://elsewhere/x.json"})", "unsupported schema: at '#/$ref': 'http://elsewhere/x.json' is outside this document"},
        {R"({"$ref": "#/$defs/none"})", "bad_file schema: at '#/$ref': there is no '#/$defs/none'"},
        {R"({"$ref": "#"})", "bad_file schema: at '#': refers to itself"},
        {R"({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"})", "refers to itself"},
        {R"({"type": "text"})", "bad_file schema: at '#/type': there is no type 'text'"},
        {R"({"minLength": -1, "type": "string"})", "bad_file schema: at '#/minLength': is no count"},
        {R"({"properties": []})", "bad_file schema: at '#/properties': is no object"},
        {R"([1])", "bad_file schema: at '#': a schema is an object or true or false"},
        {R"({"type": "object",)", "bad_file schema: line 1, column"},
        {R"(false)", "bad_file schema: no finite text satisfies"},
        {R"({"type": "integer", "minimum": 5, "maximum": 4})", "bad_file schema: no finite text satisfies"},
        {R"({"allOf": [{"type": "string"}, {"type": "null"}]})", "bad_file schema: no finite text satisfies"},
        {R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "bad_file schema: no finite text satisfies"},
        {R"({"const": 123456789012345678901234567890})", "unsupported schema: at '#/const': the number"},
    };
    for (const refusal& r : refusals) {
        CAPTURE(r.schema);
        const std::string said = error_of(r.schema);
        CAPTURE(said);
        CHECK(said.find(r.sentence) != said.npos);
    }
    CHECK(error_of(std::string(100, '[') + std::string(100, ']')).find("stand in each other more than 64 deep") != std::string::npos);
}

// Run by tests/scripts/check_schemas.py: reads lines of schemas from SKALD_SCHEMAS, and writes what it finds to SKALD_SAMPLES. The
// vocabulary is that of the file SKALD_VOCABULARY, or the fixture's.
TEST_CASE("samples of many schemas", "[.samples]") {
    const char *in = std::getenv("SKALD_SCHEMAS"), *out = std::getenv("SKALD_SAMPLES"), *vocabulary = std::getenv("SKALD_VOCABULARY");
    REQUIRE((in != nullptr && out != nullptr));
    const text::tokenizer tokenizer =
        vocabulary == nullptr ? test::fixture_tokenizer() : text::tokenizer::from_gguf(io::gguf_file::open(vocabulary).meta(), vocabulary);
    const auto trie = std::make_shared<const grammar::token_trie>(tokenizer);
    std::ifstream lines(in);
    std::ofstream answers(out);
    for (std::string line; std::getline(lines, line);) {
        const json j = json::parse(line);
        json answer;
        try {
            const auto rules = std::make_shared<const grammar::rules>(grammar::from_json_schema(
                j.at("schema").dump(), "schema", {.blanks = j.value("blanks", false), .open_objects = j.value("open", false)}));
            test::grammar_sampler sample(rules, trie);
            grammar::matcher m(rules);
            std::mt19937 random(j.at("seed").get<unsigned>());
            answer["samples"] = json::array();
            answer["accepted"] = json::array();
            std::size_t unfinished = 0, stuck = 0;
            for (int k = j.at("samples").get<int>(); k > 0; --k) {
                const auto text = sample(random);
                if (text)
                    answer["samples"].push_back(*text);
                else
                    ++(sample.stuck ? stuck : unfinished);
            }
            answer["unfinished"] = unfinished;
            answer["stuck"] = stuck;
            for (const std::string text : j.at("texts")) answer["accepted"].push_back(m.accepts(m.next(m.start(), text)));
        } catch (const error& e) {
            answer["error"] = e.what();
        }
        answers << answer.dump() << '\n';
    }
}
