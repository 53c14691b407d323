// SPDX-License-Identifier: MIT
// run and chat.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

std::size_t context_of(const generate_command& c, const engine& model) {
    return c.context != 0 ? c.context : std::min<std::size_t>(model.config().context, 4096);
}

/// A loaded model and a writer on it.
struct scribe {
    explicit scribe(const generate_command& c) {
        const interruptible work;
        model = load_engine(c.model, work.token());
        if (!c.raw) model->tokenizer();  // says why there is none before memory is taken
        text = model->make_writer(c, context_of(c, *model), skald::context_overflow::drop_oldest, c.sampling, c.system);
    }

    std::unique_ptr<engine> model;
    std::unique_ptr<writer> text;
};

skald::generate_options request(const generate_command& c, const interruptible& work) {
    return {.max_tokens = c.max_tokens,
            .stop = c.stop,
            .seed = c.sampling.seed,
            .cancel = work.token(),
            .ignore_end = c.ignore_end,
            .fast_forward = c.sampling.fast_forward};
}

/// Streams an answer to standard output and ends its line.
writer::result show(writer& text, std::string_view prompt, bool as_chat, skald::generate_options options) {
    bool line_ended = false;
    try {
        const writer::result result = text.generate(prompt, as_chat, std::move(options), [&](std::string_view piece) {
            line_ended = piece.ends_with('\n');
            write(piece);
            flush();
        });
        if (!line_ended) write("\n");
        flush();
        return result;
    } catch (const skald::error& e) {
        if (e.code() != skald::errc::cache_full) throw;
        throw skald::error(e.code(), "", skald::concat(e.what(), " (here: --ctx)"));
    }
}

std::string describe(const skald::statistics& s) {
    std::string out = skald::concat("prompt ", s.prompt_tokens, s.prompt_tokens == 1 ? " token" : " tokens");
    if (s.reused_tokens > 0) out += skald::concat(" (", s.reused_tokens, " known)");
    out += skald::concat(", ", fixed(s.prompt_rate(), 1), " tok/s; answer ", s.generated_tokens,
                         s.generated_tokens == 1 ? " token" : " tokens");
    if (s.generated_tokens > 1) out += skald::concat(", ", fixed(s.decode_rate(), 1), " tok/s");
    if (s.dropped_tokens > 0) out += skald::concat("; ", s.dropped_tokens, " dropped for room");
    return out + "\n";
}

/// Prints the best answers; of several, each below a line with its score.
void print(const std::vector<skald::beam>& beams) {
    for (std::size_t i = 0; i < beams.size(); ++i) {
        if (beams.size() > 1) write(skald::concat("# ", i + 1, " score ", fixed(static_cast<double>(beams[i].score), 4), "\n"));
        write(beams[i].text);
        if (!beams[i].text.ends_with('\n')) write("\n");
    }
}

void search(const generate_command& c, const std::string& prompt) {
    const interruptible work;
    const auto model = load_engine(c.model, work.token());
    const std::size_t context = context_of(c, *model);
    const search_function best = model->make_searcher(c, context);
    print(best(prompt, !c.raw,
               {.max_tokens = std::min(c.max_tokens, context),
                .returned = std::min(c.search.shown, c.search.beams),
                .length_penalty = c.search.length_penalty,
                .early_stopping = c.search.early_stopping,
                .stop = c.stop,
                .ignore_end = c.ignore_end,
                .cancel = work.token()}));
}

}  // namespace

void run(const generate_command& c) {
    std::string prompt = !c.prompt_file.empty() ? read_all(c.prompt_file) : c.prompt == "-" ? read_all("-") : c.prompt;
    if (!c.raw && prompt.ends_with('\n')) prompt.pop_back();  // of a file's or echo's last line
    if (c.search.beams > 0) return search(c, prompt);
    const scribe s(c);
    const interruptible work;
    const writer::result result = show(*s.text, prompt, !c.raw, request(c, work));
    if (c.quiet) return;
    if (errors_are_terminal()) tell("\n");
    tell(describe(result.stats));
}

void chat(const generate_command& c) {
    const scribe s(c);
    const bool person = input_is_terminal();
    for (std::string line;;) {
        if (person) tell("> ");
        if (!std::getline(std::cin, line)) break;
        if (line.ends_with('\r')) line.pop_back();
        if (line == "/exit") return;
        if (line == "/reset") {
            s.text->reset();
            continue;
        }
        if (line.empty()) continue;
        const interruptible work;
        try {
            const writer::result result = show(*s.text, line, true, request(c, work));
            if (work.interrupted() && !person) return;
            if (!c.quiet && errors_are_terminal()) tell(describe(result.stats));
        } catch (const skald::error& e) {
            if (!person || e.code() != skald::errc::cache_full) throw;
            tell(skald::concat(e.what(), "; /reset starts anew\n"));
        }
    }
    if (person) tell("\n");
}

}  // namespace cli
