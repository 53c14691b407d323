// SPDX-License-Identifier: MIT
#pragma once
// A model behind plain virtual calls, so that one source file of the program instantiates the library's templates. A program
// that runs a single command has no need of this: it uses skald::pipeline and skald::forward as they are.
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/executor.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/model/config.hpp>
#include <skald/model/load.hpp>
#include <skald/pipeline/beam_frontier.hpp>
#include <skald/pipeline/embedder.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/pipeline/scorer.hpp>
#include <skald/text/tokenizer.hpp>

#include "commands.hpp"

namespace cli {

/// Sequences on a model: a cache and a workspace for skald::forward.
class stepper {
public:
    struct room {
        std::size_t tokens = 0;  // of each sequence
        std::size_t sequences = 1;
        std::size_t rows = 512;  // of the largest step
        std::size_t wanted = 1;
    };

    virtual ~stepper() = default;

    /// The sequences, all open and empty.
    virtual std::span<const skald::kv::sequence_id> sequences() const = 0;

    /// Runs a batch and keeps its tokens. Returns the wanted rows' logits, valid until the next step. // (wanted, vocabulary)
    virtual std::span<const float> step(std::span<const skald::token_id> tokens, std::span<const skald::kv::segment> segments,
                                        std::span<const std::size_t> wanted, const std::stop_token& stop) = 0;

    /// Leaves the first `length` tokens of each sequence; all caches can go back to 0, to others those that `keeps` tells.
    virtual void truncate(std::size_t length) = 0;
    virtual bool keeps(std::size_t length) const = 0;

    /// The most rows of a sequence that the cache takes in the next step.
    virtual std::size_t step_room() const = 0;

    void clear() { truncate(0); }

    /// A step of the first sequence alone.
    std::span<const float> step(std::span<const skald::token_id> tokens, std::span<const std::size_t> wanted, const std::stop_token& stop) {
        const skald::kv::segment segment{sequences()[0], 0, tokens.size()};
        return step(tokens, {&segment, 1}, wanted, stop);
    }
};

/// Writes text: a skald::pipeline.
class writer {
public:
    struct result {
        skald::statistics stats;
        skald::finish_reason finish;
    };
    using on_piece = std::function<void(std::string_view)>;

    virtual ~writer() = default;

    /// Continues a text, or (as chat) answers the conversation's next message. When `options.cancel` ends it, what came stands.
    virtual result generate(std::string_view prompt, bool as_chat, skald::generate_options options, const on_piece& show) = 0;

    /// Forgets the conversation.
    virtual void reset() = 0;

    /// The tokens in the cache.
    virtual std::size_t known() const = 0;

    /// Keeps what is in the cache in a file, encoded with that quality; 0: bit by bit.
    virtual void save(const std::string& path, unsigned quality) = 0;

    /// Takes over what such a file holds.
    virtual void load(const std::string& path) = 0;

    /// Continues what is in the cache, and a text after it.
    virtual result go_on(std::string_view more, skald::generate_options options, const on_piece& show) = 0;
};

/// A text's vector, and the score of a continuation of a prompt. Copies share one cache.
using embed_function = std::function<std::vector<float>(std::string_view text, const skald::embedding_options&)>;
using score_function =
    std::function<skald::continuation_score(std::string_view prompt, std::string_view continuation, const std::stop_token&)>;

/// The best answers to a message or continuations of a text, best first. Copies share one cache.
using search_function = std::function<std::vector<skald::beam>(std::string_view prompt, bool as_chat, const skald::beam_options&)>;

/// A model with its threads. Everything made from it must be gone before it.
class engine {
public:
    virtual ~engine() = default;

    virtual const skald::model_config& config() const = 0;
    virtual const skald::text::tokenizer& tokenizer() const = 0;  // throws if the file has none
    virtual skald::executor& pool() = 0;
    virtual std::size_t bytes_read_per_token() const = 0;                                                 // of weights
    virtual double kv_bytes_read(const skald::kv::spec&, std::size_t first, std::size_t rows) const = 0;  // bytes_read()

    virtual std::unique_ptr<stepper> make_stepper(const skald::kv::spec&, const stepper::room&) = 0;
    /// A writer whose cache has room for `context` tokens. Texts that outgrow it go on without their oldest tokens, where those can be
    /// dropped from the cache and `overflow` says so.
    virtual std::unique_ptr<writer> make_writer(const kv_options&, std::size_t context, skald::context_overflow overflow,
                                                const sampling_options&, const std::string& system) = 0;
    virtual search_function make_searcher(const generate_command&, std::size_t context) = 0;
    virtual embed_function make_embedder(const skald::kv::spec&, std::size_t context) = 0;
    virtual score_function make_scorer(const skald::kv::spec&, std::size_t context) = 0;
};

/// Loads a model, with a progress bar on a terminal.
std::unique_ptr<engine> load_engine(const model_options&, const std::stop_token& stop);

/// What the engine and a writer with that cache will take in memory.
skald::memory_plan plan_memory(const model_options&, const kv_options&);

/// A cache by its name, and its bytes: of every further token of a long context, and of one sequence of a context.
struct cache_size {
    std::string name;
    std::size_t of_token = 0, of_context = 0;
};
cache_size size_of_cache(const skald::kv::spec&, const skald::kv::cache_shape&, std::size_t context);

/// The bytes that rows of one sequence, decoded one by one from position `first` on, read of a cache: those of the tokens that it holds for
/// them, or shows them; `quest` is counted by its budget, without layers that read everything and what it chooses by.
double bytes_read(const skald::kv::spec&, const skald::kv::cache_shape&, std::size_t first, std::size_t rows);

}  // namespace cli
