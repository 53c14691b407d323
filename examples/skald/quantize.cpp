// SPDX-License-Identifier: MIT
// quantize: a GGUF file or a Hugging Face folder written as GGUF in other formats, and a table of what became of it.
#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include <skald/backend/cpu/simd.hpp>
#include <skald/core/error.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/io/gguf.hpp>
#include <skald/model/load.hpp>
#include <skald/quantize/importance.hpp>
#include <skald/quantize/quantize_file.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

using vector = skald::kernels::simd<skald::default_arch>;

struct override_rule {
    std::regex pattern;
    skald::dtype type;
};

/// REGEX=TYPE. The type stands after the last '='.
override_rule parse_override(const std::string& text) {
    const std::size_t equals = text.rfind('=');
    std::string name = text.substr(equals + 1);
    std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const auto type = skald::dtype_from_string(name);
    std::string_view why = "is no REGEX=TYPE";
    if (equals != std::string::npos && equals != 0) {
        why = "names a format that cannot be written";
        if (type && skald::format::contains(skald::format::written{}, *type)) {
            why = "has no regular expression before '='";
            try {
                return {std::regex(text.substr(0, equals)), *type};
            } catch (const std::regex_error&) {
            }
        }
    }
    skald::fail(skald::errc::invalid_argument, "--tensor-type", "'", text, "' ", why);
}

const skald::quantize::recipe& recipe_of(const std::string& name) {
    if (const auto* found = skald::quantize::find_recipe(name)) return *found;
    std::string known;
    for (const auto& r : skald::quantize::recipes()) known += skald::concat(known.empty() ? "" : ", ", r.name);
    skald::fail(skald::errc::invalid_argument, "--type", "'", name, "' is none of ", known);
}

std::string bits_a_weight(std::uint64_t bytes, std::uint64_t values) {
    return fixed(8.0 * static_cast<double>(bytes) / static_cast<double>(std::max<std::uint64_t>(values, 1)), 2);
}

void print_table(const skald::quantize::report& r) {
    struct sum {
        std::size_t tensors = 0;
        std::uint64_t values = 0, before = 0, bytes = 0;
    };
    std::map<std::string_view, sum> types;
    sum all;
    for (const auto& t : r.tensors)
        for (sum* s : {&types[skald::to_string(t.to)], &all}) {
            ++s->tensors;
            s->values += t.values, s->before += t.bytes_before, s->bytes += t.bytes;
        }
    const auto line = [](std::string_view name, const sum& s) {
        write(skald::concat(padded(name, 10), padded_left(skald::concat(s.tensors), 8), padded_left(human_bytes(s.bytes), 14),
                            padded_left(bits_a_weight(s.bytes, s.values), 16), "\n"));
    };
    write(skald::concat(padded("type", 10), padded_left("tensors", 8), padded_left("size", 14), padded_left("bits a weight", 16), "\n"));
    for (const auto& [name, s] : types) line(name, s);
    line("all", all);
    write(skald::concat("\n", human_bytes(all.before), " → ", human_bytes(all.bytes),
                        r.files > 1 ? skald::concat(" in ", r.files, " files") : std::string(), "\n"));
}

}  // namespace

void quantize(const quantize_command& c) {
    const skald::quantize::recipe& recipe = recipe_of(c.type);
    std::vector<override_rule> rules;
    for (const std::string& text : c.tensor_types) rules.push_back(parse_override(text));

    skald::quantize::importance_matrix importance;
    if (!c.importance.empty()) importance = skald::quantize::importance_matrix::read(skald::io::gguf_file::open(c.importance));

    const interruptible work;
    skald::thread_pool pool(c.threads);
    progress_bar bar("quantizing");
    skald::quantize::options options;
    options.pool = &pool;
    options.stop = work.token();
    options.max_file_bytes = c.max_file_bytes;
    options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    if (!c.importance.empty()) options.importance = [&](std::string_view tensor) { return importance.of(tensor); };
    options.override_type = [&](std::string_view name) -> std::optional<skald::dtype> {
        for (const override_rule& r : rules)
            if (std::regex_search(name.begin(), name.end(), r.pattern)) return r.type;
        return std::nullopt;
    };
    const auto report = skald::with_model_file(
        c.in, {}, [&](const auto& file) { return skald::quantize::quantize_file<vector>(file, c.out, recipe, options); });
    bar.clear();
    for (const std::string& note : report.notes) tell(skald::concat("skald: note: GGUF cannot tell this of the tokenizer: ", note, "\n"));
    if (!c.quiet) print_table(report);
}

}  // namespace cli
