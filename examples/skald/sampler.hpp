// SPDX-License-Identifier: MIT
#pragma once
// The sampling chain that the options ask for.
#include <skald/sampling/dynamic_chain.hpp>
#include <skald/text/tokenizer.hpp>

#include "commands.hpp"

namespace cli {

/// The order is in include/skald/sampling/README.md. `tokenizer` is null where the model has none: texts to avoid need one.
skald::sampling::dynamic_chain make_sampler(const sampling_options&, const skald::text::tokenizer* tokenizer);

}  // namespace cli
