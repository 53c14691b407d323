// SPDX-License-Identifier: MIT
#pragma once
// Everything about choosing tokens.
#include <skald/sampling/bad_words.hpp>
#include <skald/sampling/candidates.hpp>
#include <skald/sampling/chain.hpp>
#include <skald/sampling/cutoff.hpp>
#include <skald/sampling/dry.hpp>
#include <skald/sampling/dynamic_chain.hpp>
#include <skald/sampling/dynamic_temperature.hpp>
#include <skald/sampling/frequency_presence_penalty.hpp>
#include <skald/sampling/grammar.hpp>
#include <skald/sampling/greedy.hpp>
#include <skald/sampling/logit_bias.hpp>
#include <skald/sampling/logprobs.hpp>
#include <skald/sampling/min_p.hpp>
#include <skald/sampling/mirostat.hpp>
#include <skald/sampling/no_repeat_ngram.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/sampling/repetition_penalty.hpp>
#include <skald/sampling/sample.hpp>
#include <skald/sampling/sequence_breakers.hpp>
#include <skald/sampling/temperature.hpp>
#include <skald/sampling/top_k.hpp>
#include <skald/sampling/top_n_sigma.hpp>
#include <skald/sampling/top_p.hpp>
#include <skald/sampling/typical.hpp>
#include <skald/sampling/xtc.hpp>
