// SPDX-License-Identifier: MIT
// logits: what a model says at every position of token sequences.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/checked.hpp>
#include <skald/core/error.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "npy.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

using sequences = std::vector<std::vector<skald::token_id>>;

sequences read_sequences(const std::string& path, std::size_t vocabulary) {
    const auto bad = [&](const auto&... parts) { skald::fail(skald::errc::bad_file, path, parts...); };
    const auto json = nlohmann::json::parse(read_all(path), nullptr, false);
    if (json.is_discarded()) bad("is no JSON");
    if (!json.is_array() || json.empty()) bad("is no list of lists of token ids");
    sequences out;
    for (const auto& list : json) {
        if (!list.is_array() || list.empty()) bad("entry ", out.size(), " is no list of token ids");
        if (!out.empty() && list.size() != out[0].size())
            bad("the lists are not equally long: ", out[0].size(), " ids in the first, ", list.size(), " in entry ", out.size());
        std::vector<skald::token_id> ids;
        for (const auto& id : list) {
            if (!id.is_number_integer() || id < 0 || id >= vocabulary)
                bad("id ", ids.size(), " of entry ", out.size(), " is ", printable(id.dump(), 32), "; ids are from 0 to ", vocabulary - 1);
            ids.push_back(id.get<skald::token_id>());
        }
        out.push_back(std::move(ids));
    }
    return out;
}

}  // namespace

void logits(const logits_command& c) {
    const interruptible work;
    const std::unique_ptr<engine> model = load_engine(c.model, work.token());
    const std::size_t vocabulary = model->config().vocabulary;
    const sequences text = read_sequences(c.tokens, vocabulary);
    const std::size_t length = text[0].size();
    const std::size_t together = c.batch ? text.size() : 1;  // sequences side by side
    const std::size_t chunk = std::min(c.chunk, length);
    const std::size_t rows = (skald::checked_size(chunk, "--chunk") * together).size();

    const auto steps = model->make_stepper(c.kv, {.tokens = length, .sequences = together, .rows = rows, .wanted = rows});
    npy_writer out(c.out, std::vector{text.size(), length, vocabulary});
    progress_bar bar("logits");
    std::vector<std::size_t> wanted(rows);
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    for (std::size_t first = 0; first < text.size(); first += together) {
        steps->clear();
        for (std::size_t at = 0, n; at < length; at += n) {
            n = std::min({chunk, steps->step_room(), length - at});
            std::vector<skald::token_id> tokens;
            std::vector<skald::kv::segment> segments;
            for (std::size_t i = 0; i < together; ++i) {
                segments.push_back({steps->sequences()[i], tokens.size(), n});
                const auto begin = text[first + i].begin() + static_cast<std::ptrdiff_t>(at);
                tokens.insert(tokens.end(), begin, begin + static_cast<std::ptrdiff_t>(n));
            }
            const auto values = steps->step(tokens, segments, std::span(wanted).first(tokens.size()), work.token());
            for (std::size_t i = 0; i < together; ++i)
                out.write(((first + i) * length + at) * vocabulary, values.subspan(i * n * vocabulary, n * vocabulary));
            bar.show(first * length + (at + n) * together, text.size() * length);
        }
    }
    bar.clear();
    out.finish();
}

}  // namespace cli
