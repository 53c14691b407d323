// SPDX-License-Identifier: MIT
#include "engine.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include <skald/io/temporary_file_resource.hpp>
#include <skald/skald.hpp>

#include "sampler.hpp"
#include "terminal.hpp"

namespace cli {

namespace {

using backend = skald::cpu<>;
using cache_policy = skald::kv::within<skald::kv::any<backend>>;
using model = skald::model<backend>;
using pipeline = skald::pipeline<backend, cache_policy, skald::sampling::dynamic_chain>;

/// The room of `sequences` sequences of `tokens` tokens, in the words of the storage: contiguous counts one, a pool of blocks counts all.
/// At most `limit` bytes; 0: as many as that takes.
cache_policy policy_for(const skald::kv::spec& spec, std::size_t tokens, std::size_t sequences, std::size_t limit = 0) {
    const std::size_t block = spec.is_merged() ? 64 : spec.block;  // of merged tiers, the tokens of a group or a multiple
    if (spec.has_blocks()) tokens = (skald::checked_size(skald::ceil_div(tokens, block), "kv cache") * block * sequences).size();
    return {limit == 0 ? std::numeric_limits<std::size_t>::max() : limit, {spec, {.tokens = tokens, .sequences = sequences}}};
}

/// Where the cold tier of a cache lies, if it lies on a disk.
class cold_place {
public:
    explicit cold_place(const kv_options& c) : resident_(c.kv_resident) {
        if (!c.kv_disk.empty()) disk_ = std::make_unique<skald::io::temporary_file_resource>(c.kv_disk);
    }

    void put(cache_policy& policy) const {
        policy.storage.room.cold = disk_.get();
        if (resident_ != 0) policy.storage.room.paging = {disk_.get(), resident_};
    }

private:
    std::unique_ptr<skald::io::temporary_file_resource> disk_;
    std::size_t resident_;
};

/// The same, for a cache of one sequence of `context` tokens, its cold tier there.
cache_policy policy_for(const kv_options& c, std::size_t context, const cold_place& cold) {
    cache_policy out = policy_for(c.kv, context, 1, c.kv_budget);
    cold.put(out);
    return out;
}

/// Room for a context and, where beams share its blocks, what each of them has of its own.
cache_policy beams_policy(const generate_command& c, std::size_t context, const cold_place& cold) {
    cache_policy out = policy_for(c, context, cold);
    skald::kv::any<backend>::capacity& room = out.storage.room;
    room.sequences = c.search.beams;
    room.context = context;
    if (c.kv.has_blocks()) {
        const auto own = skald::checked_size(std::min(c.max_tokens, context), "kv cache") + 2 * c.kv.block;
        room.tokens = (own * c.search.beams + room.tokens).size();
    }
    return out;
}

skald::load_options load_options_for(const model_options& options, skald::thread_pool& pool) {
    return {.pool = &pool, .compute = options.compute, .packing = options.packing, .packed_file = options.packed_file};
}

class model_stepper final : public stepper {
public:
    model_stepper(const model& m, const skald::kv::spec& spec, const room& r)
        : model_(m),
          cache_(policy_for(spec, r.tokens, r.sequences).make(m.config().cache(), m.backend().memory())),
          workspace_(m.backend(), m.architecture(), m.config(), {.rows = r.rows, .wanted = r.wanted}),
          logits_((skald::checked_size(r.wanted, "logits") * m.config().vocabulary).size(), m.backend().memory()) {
        for (std::size_t i = 0; i < r.sequences; ++i) sequences_.push_back(cache_.open());
    }

    std::span<const skald::kv::sequence_id> sequences() const override { return sequences_; }

    std::span<const float> step(std::span<const skald::token_id> tokens, std::span<const skald::kv::segment> segments,
                                std::span<const std::size_t> wanted, const std::stop_token& stop) override {
        const std::size_t vocabulary = model_.config().vocabulary;
        skald::forward(model_, workspace_, cache_, {.tokens = tokens, .segments = segments, .wanted = wanted},
                       skald::matrix_view<float>(logits_.data(), {wanted.size(), vocabulary}), stop);
        for (const skald::kv::segment& s : segments) cache_.commit(s.sequence);
        return logits_.span().first(wanted.size() * vocabulary);
    }

    void truncate(std::size_t length) override {
        for (const skald::kv::sequence_id s : sequences_) cache_.truncate(s, static_cast<skald::position>(length));
    }
    bool keeps(std::size_t length) const override {
        return std::ranges::all_of(sequences_, [&](auto s) { return cache_.keeps(s, static_cast<skald::position>(length)); });
    }

    std::size_t step_room() const override {
        std::size_t most = skald::kv::all_tokens;
        for (const skald::kv::sequence_id s : sequences_) most = std::min(most, skald::kv::step_room(cache_, s));
        return most;
    }

private:
    model model_;
    cache_policy::cache cache_;
    skald::workspace<backend> workspace_;
    skald::buffer<float> logits_;
    std::vector<skald::kv::sequence_id> sequences_;
};

class pipeline_writer final : public writer {
public:
    pipeline_writer(const model& m, const kv_options& c, std::size_t context, skald::context_overflow overflow,
                    const sampling_options& sampling, const std::string& system)
        : cold_(c),
          pipeline_(m, policy_for(c, context, cold_),
                    make_sampler(with_defaults(sampling, m.defaults()), m.has_tokenizer() ? &m.tokenizer() : nullptr),
                    {.system = system,
                     .overflow = c.kv.before_rope() && m.config().rope_pairs() != 0 ? overflow : skald::context_overflow::stop}) {}

    result generate(std::string_view prompt, bool as_chat, skald::generate_options options, const on_piece& show) override {
        return run(as_chat ? pipeline_.chat(prompt, std::move(options)) : pipeline_.generate(prompt, std::move(options)), show);
    }

    void reset() override { pipeline_.reset(); }

    std::size_t known() const override { return pipeline_.tokens().size(); }

    void save(const std::string& path, unsigned quality) override {
        quality == 0 ? pipeline_.save(path) : pipeline_.save_encoded(path, quality);
    }

    void load(const std::string& path) override { pipeline_.load(path); }

    result go_on(std::string_view more, skald::generate_options options, const on_piece& show) override {
        std::vector<skald::token_id> tokens = pipeline_.tokens();
        if (!more.empty()) {
            const std::vector<skald::token_id> last = pipeline_.get_model().tokenizer().encode(more);
            tokens.insert(tokens.end(), last.begin(), last.end());
        }
        return run(pipeline_.generate(std::move(tokens), std::move(options)), show);
    }

private:
    static result run(pipeline::generation_type text, const on_piece& show) {
        try {
            for (const std::string_view piece : text) show(piece);
        } catch (const skald::error& e) {
            if (e.code() != skald::errc::cancelled) throw;
        }
        return {text.stats(), text.finish()};
    }

    cold_place cold_;
    pipeline pipeline_;
};

class cpu_engine final : public engine {
public:
    cpu_engine(const model_options& options, const std::stop_token& stop) : pool_(options.threads), model_(load(options, stop)) {}

    const skald::model_config& config() const override { return model_.config(); }
    const skald::text::tokenizer& tokenizer() const override { return model_.tokenizer(); }
    skald::executor& pool() override { return pool_; }
    std::size_t bytes_read_per_token() const override { return model_.weights().bytes_read_per_token(model_.config().experts.used); }
    double kv_bytes_read(const skald::kv::spec& spec, std::size_t first, std::size_t rows) const override {
        return bytes_read(spec, model_.config().cache(), first, rows);
    }

    std::unique_ptr<stepper> make_stepper(const skald::kv::spec& spec, const stepper::room& room) override {
        return std::make_unique<model_stepper>(model_, spec, room);
    }
    std::unique_ptr<writer> make_writer(const kv_options& c, std::size_t context, skald::context_overflow overflow,
                                        const sampling_options& sampling, const std::string& system) override {
        try {
            return std::make_unique<pipeline_writer>(model_, c, context, overflow, sampling, system);
        } catch (const skald::error& e) {
            if (e.code() != skald::errc::invalid_argument || c.kv_resident == 0) throw;
            throw skald::error(e.code(), "", skald::concat(e.what(), " (here: --kv-resident)"));
        }
    }
    search_function make_searcher(const generate_command& c, std::size_t context) override {
        struct searcher {
            searcher(const model& m, const generate_command& c, std::size_t context)
                : cold(c),
                  beams(m, beams_policy(c, context, cold),
                        make_processors(with_defaults(c.sampling, m.defaults()), m.has_tokenizer() ? &m.tokenizer() : nullptr),
                        skald::beam_search_options{.beams = c.search.beams}) {}

            cold_place cold;
            skald::beam_search<backend, cache_policy, skald::sampling::dynamic_chain> beams;
        };
        const auto made = std::make_shared<searcher>(model_, c, context);
        return [made, system = c.system](std::string_view prompt, bool as_chat, const skald::beam_options& o) {
            if (!as_chat) return made->beams.run(prompt, o);
            std::vector<skald::text::message> messages;
            if (!system.empty()) messages.push_back({"system", system});
            messages.push_back({"user", std::string(prompt)});
            return made->beams.chat(messages, o);
        };
    }
    embed_function make_embedder(const skald::kv::spec& spec, std::size_t context) override {
        const auto made = std::make_shared<skald::embedder<backend, cache_policy>>(model_, policy_for(spec, context, 1));
        return [made](std::string_view text, const skald::embedding_options& o) { return made->embed(text, o); };
    }
    score_function make_scorer(const skald::kv::spec& spec, std::size_t context) override {
        const auto made = std::make_shared<skald::scorer<backend, cache_policy>>(model_, policy_for(spec, context, 1));
        return [made](std::string_view prompt, std::string_view continuation, const std::stop_token& stop) {
            return made->score(prompt, continuation, stop);
        };
    }

private:
    model load(const model_options& options, const std::stop_token& stop) {
        progress_bar bar("loading");
        skald::load_options how = load_options_for(options, pool_);
        if (!options.packed_file.empty())
            how.logger = [](skald::log_level level, std::string_view line) {
                if (level == skald::log_level::warning) tell(skald::concat("skald: ", line, "\n"));
            };
        how.progress = [&](std::size_t done, std::size_t total) { bar.show(done, total); };
        how.stop = stop;
        return skald::load_model<backend>(options.path, how);
    }

    skald::thread_pool pool_;
    model model_;
};

}  // namespace

std::unique_ptr<engine> load_engine(const model_options& options, const std::stop_token& stop) {
    return std::make_unique<cpu_engine>(options, stop);
}

skald::memory_plan plan_memory(const model_options& options, const kv_options& c) {
    skald::thread_pool pool(options.threads);
    const cold_place cold(c);
    const cache_policy policy = policy_for(c, c.context, cold);
    return skald::plan<backend>(options.path, load_options_for(options, pool), policy,
                                {.rows = std::min(skald::pipeline_options{}.chunk, policy.max_length()), .wanted = 1});
}

cache_size size_of_cache(const skald::kv::spec& spec, const skald::kv::cache_shape& shape, std::size_t context) {
    constexpr std::size_t some = 1 << 16;
    const std::size_t less = policy_for(spec, some, 1).bytes(shape), more = policy_for(spec, 2 * some, 1).bytes(shape);
    const cache_policy policy = policy_for(spec, context, 1);
    return {policy.name(), (more - less) / some, policy.bytes(shape)};
}

double bytes_read(const skald::kv::spec& spec, const skald::kv::cache_shape& shape, std::size_t first, std::size_t rows) {
    constexpr std::size_t some = 1 << 16;
    using enum skald::kv::storage_kind;
    const std::size_t most = spec.storage == evicting || spec.is_quest() ? spec.budget
                             : spec.storage == ring                      ? spec.window
                             : spec.storage == window                    ? spec.window + spec.sinks
                                                                         : first + rows;
    std::size_t of_token = 0;
    if (spec.storage == evicting || spec.storage == ring || spec.storage == window) {
        skald::kv::spec smaller = spec, larger = spec;  // their memory grows with what they keep, not with the text
        smaller.budget = smaller.window = some;
        larger.budget = larger.window = 2 * some;
        of_token = (policy_for(larger, some, 1).bytes(shape) - policy_for(smaller, some, 1).bytes(shape)) / some;
    } else {
        of_token = size_of_cache(spec, shape, 1).of_token;
    }
    double tokens = 0;
    for (std::size_t row = first; row < first + rows; ++row) tokens += static_cast<double>(std::min(row + 1, most));
    return tokens * static_cast<double>(of_token);
}

}  // namespace cli
