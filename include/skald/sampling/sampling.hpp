// SPDX-License-Identifier: MIT
#pragma once
// Everything about choosing tokens.
#include <skald/sampling/candidates.hpp>
#include <skald/sampling/chain.hpp>
#include <skald/sampling/dynamic_chain.hpp>
#include <skald/sampling/greedy.hpp>
#include <skald/sampling/logit_bias.hpp>
#include <skald/sampling/logprobs.hpp>
#include <skald/sampling/min_p.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/repetition_penalty.hpp>
#include <skald/sampling/sample.hpp>
#include <skald/sampling/temperature.hpp>
#include <skald/sampling/top_k.hpp>
#include <skald/sampling/top_p.hpp>
