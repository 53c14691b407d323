// SPDX-License-Identifier: MIT
#pragma once
// What a tokenizer does around its model.
#include <vector>

#include <skald/core/types.hpp>
#include <skald/text/decoder.hpp>
#include <skald/text/normalizer.hpp>
#include <skald/text/pre_tokenizer.hpp>

namespace skald::text {

struct tokenizer_steps {
    normalizer normalize{};
    pre_tokenizer pre{};
    decoder decode{};
    std::vector<token_id> before{}, after{};  ///< the special tokens around a whole text
};

}  // namespace skald::text
