// expect: a selector (a part that returns a token_id) must be the last of its chain
// SPDX-License-Identifier: MIT

#include <skald/sampling/chain.hpp>
#include <skald/sampling/temperature.hpp>

skald::sampling::chain wrong{skald::sampling::greedy{}, skald::sampling::temperature{0.8f}};
