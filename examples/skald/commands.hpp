// SPDX-License-Identifier: MIT
#pragma once
// What the command line says, as values, and the commands that take them. arguments.cpp fills the values in.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <skald/backend/ops.hpp>
#include <skald/kv/spec.hpp>
#include <skald/pipeline/beam_frontier.hpp>
#include <skald/pipeline/pooling.hpp>
#include <skald/sampling/logit_bias.hpp>

namespace cli {

inline constexpr skald::kv::spec default_kv{};  // paged/16:f16
/// Commands that measure a model keep keys and values as they are computed.
inline constexpr skald::kv::spec exact_kv{skald::kv::storage_kind::contiguous, skald::kv::codec_kind::f32, 16};

struct model_options {
    std::string path;
    std::size_t threads = 0;  // 0: all that are available
    skald::compute compute = skald::compute::native;
    skald::packing packing = skald::packing::panels;
    std::string packed_file{};  // none: not kept
};

struct sampling_options {
    std::uint64_t seed = 0;
    float temperature = 0.8f;  // 0: the most probable token
    float dynatemp_range = 0, dynatemp_exponent = 1;
    std::int32_t top_k = 0;  // 0: all
    float top_p = 1, min_p = 0.05f, typical = 1, top_n_sigma = 0, epsilon_cutoff = 0, eta_cutoff = 0;
    float xtc_probability = 0, xtc_threshold = 0.1f;
    float repeat_penalty = 1, frequency_penalty = 0, presence_penalty = 0;
    std::int64_t repeat_last = 64;  // -1: all
    float dry_multiplier = 0, dry_base = 1.75f;
    std::int64_t dry_allowed_length = 2, dry_last = -1;
    std::vector<std::string> dry_breakers{"\n", ":", "\"", "*"};
    std::int32_t no_repeat_ngram = 0;  // 0: any
    std::vector<std::string> bad_words;
    std::vector<skald::sampling::token_bias> logit_bias;
    int mirostat = 0;  // version; 0: none
    float mirostat_target = 5, mirostat_rate = 0.1f;
    std::string grammar{}, json_schema{};  // a file; a file or a schema
    bool fast_forward = false;
    std::vector<std::string> given{};  // names of the options that the user gave, of those that a model may have defaults for
};

struct search_options {     // beam search
    std::size_t beams = 0;  // 0: none
    std::size_t shown = 1;
    float length_penalty = 1;
    skald::early_stopping early_stopping = skald::early_stopping::off;
};

struct kv_options {  // of the cache of one sequence
    skald::kv::spec kv = default_kv;
    std::size_t kv_budget = 0;    // its bytes in memory, those of a cold tier on disk apart; 0: as many as the context takes
    std::string kv_disk{};        // the folder of a cold tier; none: it is in memory
    std::size_t kv_resident = 0;  // bytes of that tier that are in memory; 0: as the system likes
    std::size_t context = 0;      // tokens; 0: the model's, at most 4096
};

struct generate_command : kv_options {  // run, chat
    model_options model;
    sampling_options sampling;
    search_options search;
    std::string prompt, prompt_file, system;
    std::vector<std::string> stop;
    std::size_t max_tokens = std::numeric_limits<std::size_t>::max();
    bool raw = false, quiet = false, ignore_end = false;
};

struct inspect_command {  // inspect, cache inspect
    std::string path;
    bool json = false;
};

struct save_cache_command : kv_options {  // cache save
    model_options model;
    std::string prompt, prompt_file, out;
    unsigned quality = 3;
    bool exact = false;
};

struct load_cache_command {  // cache load
    generate_command text;
    std::string path;
};

struct plan_command : kv_options {
    model_options model;
    bool json = false;
};

struct kv_list_command {
    std::string path;
    std::vector<skald::kv::spec> kv;  // empty: all that there are
    std::size_t context = 4096;
    bool json = false;
};

struct tokens_command {  // tokenize, detokenize
    std::string path;
    bool special = false;
};

struct logits_command {
    model_options model;
    skald::kv::spec kv = exact_kv;
    std::string tokens, out;
    std::size_t chunk = 64;
    bool batch = false;
};

struct tensor_command {
    std::string path, name, out;
};

struct perplexity_command {
    model_options model;
    skald::kv::spec kv = exact_kv;
    std::string file, reference;
    std::size_t context = 512;
    bool json = false;
};

struct embed_command {
    model_options model;
    skald::kv::spec kv = exact_kv;
    std::vector<std::string> texts;
    std::string file, out;  // a text a line
    skald::pooling pooling = skald::pooling::mean;
    bool raw = false, json = false;
};

struct template_command {
    std::string path, messages;
    std::string name, date;                 // a template's name in its model; what strftime_now shows
    std::optional<bool> generation_prompt;  // else as the JSON says, or true
    std::vector<std::string> settings;      // NAME=JSON
};

struct score_command {
    model_options model;
    skald::kv::spec kv = exact_kv;
    std::string prompt;
    std::vector<std::string> continuations;
    bool json = false;
};

struct bench_command {
    model_options model;
    skald::kv::spec kv = default_kv;
    std::vector<std::size_t> prompts{512};
    std::size_t generate = 128, repetitions = 5;
    std::vector<std::size_t> depths{0}, sequences{1};  // of the decode tests
    bool no_cache = false;                             // neither
    std::vector<std::size_t> threads;                  // empty: all that are available
    bool json = false;
};

struct quantize_command {
    std::string in, out, type;
    std::string importance;                 // a file
    std::vector<std::string> tensor_types;  // REGEX=TYPE
    std::size_t threads = 0;
    std::uint64_t max_file_bytes = 0;  // 0: one file
    bool quiet = false;
};

struct imatrix_command {
    model_options model;
    std::string file, out;
    std::size_t context = 512, chunks = std::numeric_limits<std::size_t>::max();
};

void run(const generate_command&);
void chat(const generate_command&);
void inspect(const inspect_command&);
void inspect_cache(const inspect_command&);
void save_cache(const save_cache_command&);
void load_cache(const load_cache_command&);
void plan(const plan_command&);
void list_caches(const kv_list_command&);
void tokenize(const tokens_command&);
void detokenize(const tokens_command&);
void logits(const logits_command&);
void tensor(const tensor_command&);
void perplexity(const perplexity_command&);
void embed(const embed_command&);
void score(const score_command&);
void render_template(const template_command&);
void bench(const bench_command&);
void quantize(const quantize_command&);
void imatrix(const imatrix_command&);

/// Reads the command line and runs its command. Returns the exit status; failures of a command are thrown.
int run_command_line(int argc, char** argv);

}  // namespace cli
