// SPDX-License-Identifier: MIT
// tokenize and detokenize. Both need the vocabulary only, so they work on files and folders without tensors.
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/model/load.hpp>
#include <skald/text/tokenizer.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

std::vector<skald::token_id> parse_ids(std::string_view text) {
    constexpr std::string_view between = " \t\r\n,[]";  // also takes a JSON list
    std::vector<skald::token_id> ids;
    for (std::size_t at = text.find_first_not_of(between); at != text.npos; at = text.find_first_not_of(between, at)) {
        const std::size_t end = std::min(text.find_first_of(between, at), text.size());
        skald::token_id id = 0;
        const auto [stopped, status] = std::from_chars(text.data() + at, text.data() + end, id);
        if (status != std::errc{} || stopped != text.data() + end)
            skald::fail(skald::errc::invalid_argument, "standard input", "'", printable(text.substr(at, end - at), 32), "' is no token id");
        ids.push_back(id);
        at = end;
    }
    return ids;
}

}  // namespace

void tokenize(const tokens_command& c) {
    const skald::text::tokenizer tokenizer = skald::load_tokenizer(c.path);
    const std::string text = read_all("-");
    std::string line;
    for (const skald::token_id id : tokenizer.encode(text, {.parse_special = c.special}))
        line += skald::concat(line.empty() ? "" : " ", id);
    write(line + "\n");
}

void detokenize(const tokens_command& c) {
    const skald::text::tokenizer tokenizer = skald::load_tokenizer(c.path);
    write(tokenizer.decode(parse_ids(read_all("-"))));
}

}  // namespace cli
