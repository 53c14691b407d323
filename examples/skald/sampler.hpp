// SPDX-License-Identifier: MIT
#pragma once
// The sampling chain that the options ask for.
#include <skald/model/generation_defaults.hpp>
#include <skald/sampling/dynamic_chain.hpp>
#include <skald/sampling/grammar.hpp>
#include <skald/text/tokenizer.hpp>

#include "commands.hpp"

namespace cli {

/// The options with the model's own defaults where the user gave none.
sampling_options with_defaults(sampling_options, const skald::generation_defaults&);

/// Biases, penalties and bans: what shapes the choice of tokens however they are chosen.
skald::sampling::dynamic_chain make_processors(const sampling_options&, const skald::text::tokenizer* tokenizer);

/// The same, then what samples. The order is in include/skald/sampling/README.md. `tokenizer` is null where the model has none: texts to
/// avoid need one.
skald::sampling::dynamic_chain make_sampler(const sampling_options&, const skald::text::tokenizer* tokenizer);

/// The constraint that --grammar or --json-schema asks for; one of them is given.
skald::sampling::grammar_constraint read_grammar(const sampling_options&, const skald::text::tokenizer* tokenizer);

}  // namespace cli
