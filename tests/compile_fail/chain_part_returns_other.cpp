// expect: a part of a sampling chain must return nothing, or as its selector a token_id
// SPDX-License-Identifier: MIT
// An index of another type than token_id would be neither a choice nor noticed.

#include <skald/sampling/chain.hpp>

skald::sampling::chain wrong{[](skald::sampling::candidates& c) { return c.size(); }};
