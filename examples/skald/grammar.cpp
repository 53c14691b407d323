// SPDX-License-Identifier: MIT
// Grammars: their options and what they make.
#include <string>

#include <skald/core/error.hpp>
#include <skald/grammar/gbnf.hpp>
#include <skald/grammar/json_schema.hpp>

#include "arguments.hpp"
#include "sampler.hpp"
#include "terminal.hpp"

namespace cli {

void add_grammar(CLI::App* app, sampling_options& s) {
    CLI::Option* const grammar = app->add_option("--grammar", s.grammar, "a GBNF file that the answer follows")->type_name("FILE");
    app->add_option("--json-schema", s.json_schema, "a JSON schema that the answer satisfies: a file, or the schema itself")
        ->type_name("FILE|{…}")
        ->excludes(grammar);
    app->add_flag("--fast-forward", s.fast_forward, "write what these leave no choice about without asking the model");
}

skald::sampling::grammar_constraint read_grammar(const sampling_options& o, const skald::text::tokenizer* tokenizer) {
    const std::string option = o.grammar.empty() ? "--json-schema" : "--grammar";
    if (tokenizer == nullptr)
        skald::fail(skald::errc::unsupported, option, "this model has no tokenizer; what its tokens read is not known");
    if (!o.grammar.empty()) {
        const auto find = [&](std::string_view text) { return tokenizer->find(text); };
        return {skald::grammar::parse_gbnf(read_all(o.grammar), o.grammar, find), *tokenizer};
    }
    const bool is_schema = o.json_schema.find_first_not_of(" \t\r\n") == o.json_schema.find('{');
    return {skald::grammar::from_json_schema(is_schema ? o.json_schema : read_all(o.json_schema), is_schema ? option : o.json_schema),
            *tokenizer};
}

}  // namespace cli
