// SPDX-License-Identifier: MIT
#pragma once
// What the sources that declare options share.
#include <cstddef>
#include <cstdint>

#include <CLI/CLI.hpp>

#include "commands.hpp"

namespace cli {

inline constexpr std::size_t most_tokens = 0x7FFFFFFF;

/// A number within a range; refuses what is no number, NaN too.
CLI::Validator real(double least, double most);

/// A whole number within a range.
CLI::Validator whole(std::int64_t least, std::int64_t most = most_tokens);

/// The options of sampling_options, and of search_options.
void add_sampling(CLI::App* app, sampling_options& options);
void add_search(CLI::App* app, search_options& options);

/// --grammar and --json-schema.
void add_grammar(CLI::App* app, sampling_options& options);

}  // namespace cli
