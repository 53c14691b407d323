// SPDX-License-Identifier: MIT
// embed: texts as vectors.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "npy.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

std::vector<std::string> texts_of(const embed_command& c) {
    if (c.file.empty()) return c.texts;
    std::vector<std::string> lines;
    std::istringstream text(read_all(c.file));
    for (std::string line; std::getline(text, line);) {
        if (!line.empty() && line.back() == '\r') line.pop_back();
        lines.push_back(line);
    }
    if (lines.empty()) skald::fail(skald::errc::invalid_argument, c.file, "is empty; each of its lines is a text");
    return lines;
}

}  // namespace

void embed(const embed_command& c) {
    const interruptible work;
    const std::vector<std::string> texts = texts_of(c);
    const auto model = load_engine(c.model, work.token());
    const auto& tokenizer = model->tokenizer();
    std::size_t longest = 1;
    for (const std::string& text : texts) longest = std::max(longest, tokenizer.encode(text).size() + 2);  // BOS and EOS
    const embed_function vector_of = model->make_embedder(c.kv, longest);

    std::optional<npy_writer> file;
    if (!c.out.empty()) file.emplace(c.out, std::array{texts.size(), model->config().hidden});
    nlohmann::json all = nlohmann::json::array();
    progress_bar bar("embedding");
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::vector<float> vector = vector_of(texts[i], {.pooling = c.pooling, .normalize = !c.raw, .cancel = work.token()});
        if (file)
            file->write(i * vector.size(), vector);
        else if (c.json)
            all.push_back(vector);
        else
            for (std::size_t j = 0; j < vector.size(); ++j)
                write(skald::concat(j == 0 ? "" : " ", vector[j], j + 1 == vector.size() ? "\n" : ""));
        bar.show(i + 1, texts.size());
    }
    bar.clear();
    if (file)
        file->finish();
    else if (c.json)
        write(all.dump() + "\n");
}

}  // namespace cli
