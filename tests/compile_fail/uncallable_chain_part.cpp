// expect: a part of a sampling chain must be callable with (candidates&) or (candidates&, const context&)
// SPDX-License-Identifier: MIT

#include <skald/sampling/chain.hpp>

skald::sampling::chain wrong{0.8f};
