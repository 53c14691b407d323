// SPDX-License-Identifier: MIT
// Real vocabularies and the ids that other engines give, where the folder named by SKALD_SHARED has them.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <skald/io/gguf.hpp>
#include <skald/text/tokenizer.hpp>

#include "support/catch.hpp"

using namespace skald;

namespace {

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> divided(const std::string& text, std::string_view by) {
    std::vector<std::string> out;
    std::size_t at = 0;
    for (std::size_t next; (next = text.find(by, at)) != std::string::npos; at = next + by.size())
        out.push_back(text.substr(at, next - at));
    out.push_back(text.substr(at));
    return out;
}

}  // namespace

TEST_CASE("real vocabularies give the ids that stand beside them") {
    const char* folder = std::getenv("SKALD_SHARED");
    for (const std::string name : {"gpt-2", "starcoder", "deepseek-coder", "llama-spm", "phi-3"}) {
        const std::string path = (folder == nullptr ? std::string() : std::string(folder) + "/tokenizers/") + name + ".gguf";
        if (folder == nullptr || !std::filesystem::exists(path)) {
            WARN("skipped " << name << ": the environment variable SKALD_SHARED names no folder with tokenizers/" << name << ".gguf");
            continue;
        }
        const auto file = io::gguf_file::open(path);
        const text::tokenizer t = text::tokenizer::from_gguf(file.meta(), file.name());
        const auto texts = divided(contents(path + ".inp"), "\n__ggml_vocab_test__\n");
        const auto lines = divided(contents(path + ".out"), "\n");
        REQUIRE(texts.size() > 40);
        REQUIRE(lines.size() >= texts.size());
        for (std::size_t i = 0; i < texts.size(); ++i) {
            std::istringstream numbers(lines[i]);
            std::vector<token_id> expected;
            for (token_id id; numbers >> id;) expected.push_back(id);
            CAPTURE(name, texts[i]);
            CHECK(t.encode(texts[i]) == expected);
            CHECK(t.decode(expected) == texts[i]);
        }
    }
}
