// SPDX-License-Identifier: MIT
#pragma once
// What stands behind a pipeline and the generation that runs on it: one sequence, its cache, its workspace, and the loop from
// logits to text. Users meet it only through `pipeline` and `generation`.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/shifting.hpp>
#include <skald/kv/state_file.hpp>
#include <skald/kv/transport_file.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/identity.hpp>
#include <skald/model/key_ropes.hpp>
#include <skald/model/model.hpp>
#include <skald/pipeline/known_prefix.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/pipeline/saved_conversation.hpp>
#include <skald/pipeline/stop_strings.hpp>
#include <skald/sampling/logprobs.hpp>
#include <skald/sampling/processor.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/stream_decoder.hpp>

namespace skald::detail {

template <class Backend, kv::policy Policy, class Sampler>
class session {
public:
    session(model<Backend> m, const Policy& policy, Sampler sampler, pipeline_options options)
        : model_(std::move(m)),
          sampler_(std::move(sampler)),
          options_(std::move(options)),
          limit_(kv::max_length(policy, model_.config().cache())),
          limits_(step_limits{.rows = options_.chunk, .wanted = 1}.fit(std::min(limit_, kv::longest_step(policy)))),
          cache_(policy.make(model_.config().cache(), model_.backend().memory())),
          ropes_(key_ropes(model_, cache_.context())),
          workspace_(model_.backend(), model_.architecture(), model_.config(), limits_),
          logits_(model_.config().vocabulary, model_.backend().memory()),
          sequence_(cache_.open()) {
        if (model_.architecture().learned_positions) limit_ = std::min(limit_, model_.config().context);
        if (!options_.system.empty()) conversation_.push_back({"system", options_.system});
        if (drops() && (!kv::can_shift(cache_) || model_.config().rope_pairs() == 0))
            fail(errc::unsupported, "pipeline",
                 "old tokens can be dropped where keys are kept before rope only: by a model with rope, in a cache as "
                 "kv::paged<kv::unroped<kv::f16>>");
    }

    const model<Backend>& get_model() const noexcept { return model_; }
    std::size_t cache_bytes() const { return cache_.bytes(); }
    const std::vector<text::message>& conversation() const noexcept { return conversation_; }

    void reset() {
        require_idle();
        conversation_.clear();
        if (!options_.system.empty()) conversation_.push_back({"system", options_.system});
    }

    /// Writes the tokens in the cache with their keys and values, and the conversation.
    void save(const std::filesystem::path& path) {
        require_idle();
        kv::save(cache_, sequence_, cached_, path, state(), write_conversation(conversation_));
    }
    void save_encoded(const std::filesystem::path& path, unsigned quality) {
        require_idle();
        kv::encoding_options options = encoding();
        options.quality = quality;
        kv::encode(cache_, sequence_, cached_, path, options, write_conversation(conversation_));
    }

    /// Reads them back in the place of what is there, after the whole file was found to be good.
    void load(const std::filesystem::path& path) {
        require_idle();
        const std::string place = path.string();
        if (kv::is_encoded(path)) {
            kv::encoding_options options = encoding();
            options.place = place;
            const kv::checked_encoding saved = kv::check_encoded(path, options);
            kv::require_fit(cache_, saved, options);
            take_place(saved.text, place, [&] { return kv::decode(cache_, sequence_, path, options).tokens; });
        } else {
            kv::state_options options = state();
            options.place = place;
            const kv::checked_state saved = kv::check(path, options);
            kv::require_fit(cache_, saved.header, options);
            take_place(saved.text, place, [&] { return kv::restore(cache_, sequence_, path, options).tokens; });
        }
    }

    /// Reads tokens that prompts will begin with, as far as the cache does not know them, and pins them.
    kv::pinned_prefix pin(std::vector<token_id> tokens, std::stop_token cancel) {
        require_idle();
        require_room(tokens.size());
        prompt_ = std::move(tokens);
        request_ = {.cancel = std::move(cancel)};
        read_prompt();
        cache_.remember(sequence_, cached_);
        return cache_.pin(cached_);
    }

    void unpin(const kv::pinned_prefix& pinned) { cache_.unpin(pinned); }

    /// The tokens that all prompts have in common which continue these messages.
    std::vector<token_id> encode_beginning(std::span<const text::message> messages) const {
        std::vector<text::message> continued(messages.begin(), messages.end());
        continued.push_back({"user", "a"});
        std::vector<token_id> tokens = encode(continued);
        continued.back().content = "1";
        const std::vector<token_id> other = encode(continued);
        tokens.erase(std::mismatch(tokens.begin(), tokens.end(), other.begin(), other.end()).first, tokens.end());
        return tokens;
    }

    /// The tokens in the cache.
    const std::vector<token_id>& cached() const noexcept { return cached_; }

    /// Takes a request; the work starts with the first step(). Strong guarantee.
    void start(std::vector<token_id> prompt, generate_options request) {
        require_idle();
        leave_out_dropped(prompt);
        require_room(prompt.size());
        stop_strings stops(request.stop);
        prompt_ = std::move(prompt);
        request_ = std::move(request);
        stops_ = std::move(stops);
        decoder_ = {};
        text_.clear();
        tokens_.clear();
        forced_.clear();
        stats_ = {.prompt_tokens = prompt_.size()};
        finish_ = finish_reason::none;
        in_chat_ = false;
        busy_ = true;
    }

    /// Takes the next message of the conversation.
    void start_chat(std::string_view user, generate_options request) {
        require_idle();
        const std::size_t before = conversation_.size();
        try {
            conversation_.push_back({"user", std::string(user)});
            std::vector<token_id> prompt = encode(conversation_);
            conversation_.push_back({"assistant", ""});  // filled by end(), which must not throw
            if (const std::string_view stop = model_.chat().stop_string(); !stop.empty()) request.stop.emplace_back(stop);
            start(std::move(prompt), std::move(request));
        } catch (...) {
            conversation_.resize(before);
            throw;
        }
        in_chat_ = true;
    }

    /// A conversation's tokens, up to where the assistant begins.
    std::vector<token_id> encode(std::span<const text::message> messages) const {
        return text::encode_chat(model_.tokenizer(), model_.chat(), messages, {.variables = options_.variables});
    }

    /// Generates one token; its text, and text held back before, is appended to `piece`. False when the generation has ended.
    bool step(std::string& piece) {
        if (finish_ != finish_reason::none) return false;
        const auto begin = std::chrono::steady_clock::now();
        tokens_.reserve(tokens_.size() + 1);
        generated_token next = forced_.empty() ? choose() : take_forced();
        const token_id token = next.token;
        std::string shown;
        const bool at_end = !request_.ignore_end && model_.is_end(token);
        if (model_.has_tokenizer() && !at_end) stops_.push(decoder_.push(model_.piece(token)), shown);
        tokens_.push_back(std::move(next));

        if (at_end)
            finish_ = finish_reason::end_token;
        else if (stops_.stopped())
            finish_ = finish_reason::stop_string;
        else if (tokens_.size() >= request_.max_tokens || (!drops() && prompt_.size() + tokens_.size() > limit_))
            finish_ = finish_reason::length;
        if (finish_ != finish_reason::none) {
            if (finish_ != finish_reason::length) stops_.push(decoder_.flush(), shown);  // else the code point was only cut off
            stops_.flush(shown);
        }
        piece += shown;
        text_ += shown;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        (tokens_.size() == 1 ? stats_.prompt_seconds : stats_.decode_seconds) += seconds;
        stats_.generated_tokens = tokens_.size();
        return true;
    }

    /// Ends the request, finished or broken off: what was yielded stays, in the cache and in the conversation.
    void end() noexcept {
        if (!busy_) return;
        busy_ = false;
        if (!in_chat_) return;
        if (tokens_.empty())
            conversation_.erase(conversation_.end() - 2, conversation_.end());
        else
            conversation_.back().content.swap(text_);
    }

    const std::string& text() const noexcept { return text_; }
    const std::vector<generated_token>& tokens() const noexcept { return tokens_; }
    const statistics& stats() const noexcept { return stats_; }
    finish_reason finish() const noexcept { return finish_; }

private:
    /// Fills the sequence by `read`, which gives its tokens.
    template <class Read>
    void take_place(const kv::saved_text& saved, std::string_view place, Read&& read) {
        std::vector<text::message> conversation = read_conversation(saved.note, place);
        std::vector<token_id> tokens = saved.tokens;
        if (tokens.size() > limit_)
            fail(errc::cache_full, place, "has ", tokens.size(), " tokens; the cache holds ", limit_, "; raise .tokens");
        for (const token_id id : tokens)
            if (static_cast<std::size_t>(id) >= model_.config().vocabulary)
                fail(errc::bad_file, place, "token ", id, " is outside the vocabulary of ", model_.config().vocabulary);

        cache_.truncate(sequence_, 0);
        cached_.clear();
        dropped_.clear();
        if (read() != tokens) {
            cache_.truncate(sequence_, 0);
            fail(errc::bad_file, place, "changed while it was read");
        }
        cached_.swap(tokens);
        conversation_.swap(conversation);
    }

    kv::encoding_options encoding() const {
        const kv::state_options options = state();
        return {.model = options.model, .memory = options.memory, .ropes = ropes_};
    }

    kv::state_options state() const {
        return {.model = rows_identity(model_.identity(), model_.config(), cache_.context()), .memory = model_.backend().memory()};
    }

    void require_idle() const {
        if (busy_) fail(errc::busy, "pipeline", "a generation on it is still alive; end or destroy it first");
    }

    /// Brings the cache to the prompt: keeps the beginning it knows, reads the rest in chunks, ends with the last token's logits.
    void read_prompt() {
        keep_known_prefix(cache_, sequence_, cached_, prompt_);
        stats_.reused_tokens = cached_.size();
        read(std::span(prompt_).subspan(cached_.size()));
    }

    void require_room(std::size_t prompt) const {
        if (prompt == 0) fail(errc::invalid_argument, "prompt", "is empty; a generation needs at least one token");
        if (!drops() && prompt > limit_)
            fail(errc::cache_full, "prompt", "has ", prompt, " tokens; the cache holds ", limit_, "; raise .tokens");
    }

    bool drops() const noexcept { return options_.overflow == context_overflow::drop_oldest; }

    /// Takes out of a prompt what was dropped of the text that it continues. For another prompt, what followed that is of no use.
    void leave_out_dropped(std::vector<token_id>& prompt) {
        if (dropped_.empty()) return;
        const bool same = prompt.size() > kept_ + dropped_.size() && std::equal(cached_.begin(), at(cached_, kept_), prompt.begin()) &&
                          std::equal(dropped_.begin(), dropped_.end(), at(prompt, kept_));
        if (same) {
            prompt.erase(at(prompt, kept_), at(prompt, kept_ + dropped_.size()));
            return;
        }
        cache_.truncate(sequence_, static_cast<position>(kept_));
        cached_.resize(kept_);
        dropped_.clear();
    }

    /// How many of the first tokens stay when others are dropped: half of the room at most.
    std::size_t tokens_to_keep() const {
        std::size_t keep = options_.keep;
        if (in_chat_ && conversation_.front().role == "system")
            keep = std::max(keep, encode_beginning(std::span(conversation_).first(1)).size());
        return std::min({keep, cached_.size(), limit_ / 2});
    }

    /// Drops the oldest half after what is kept, or more where `rows` need it. Of a generation that runs.
    void make_room([[maybe_unused]] std::size_t rows) {
        if constexpr (kv::shifting_cache<typename Policy::cache>) {
            if (!drops() || cached_.size() + rows <= limit_) return;
            if (dropped_.empty()) kept_ = tokens_to_keep();
            const std::size_t kept = kept_;
            const std::size_t count = std::max((cached_.size() - kept) / 2, cached_.size() + rows - limit_);
            dropped_.insert(dropped_.end(), at(cached_, kept), at(cached_, kept + count));
            try {
                cache_.remove(sequence_, static_cast<position>(kept), static_cast<position>(kept + count));
            } catch (...) {
                dropped_.resize(dropped_.size() - count);
                throw;
            }
            cached_.erase(at(cached_, kept), at(cached_, kept + count));
            stats_.dropped_tokens += count;
        }
    }

    template <class Tokens>
    static auto at(Tokens& tokens, std::size_t i) noexcept {
        return tokens.begin() + static_cast<std::ptrdiff_t>(i);
    }

    /// Reads tokens in chunks, up to the last one's logits.
    void read(std::span<const token_id> tokens) {
        while (!tokens.empty()) {
            const std::size_t rows =
                std::min({limits_.rows, kv::step_room(cache_, sequence_), tokens.size(), drops() ? (limit_ + 3) / 4 : limit_});
            make_room(rows);
            append(tokens.first(rows), rows == tokens.size());
            tokens = tokens.subspan(rows);
        }
    }

    /// Asks the model for the next token.
    generated_token choose() {
        if (tokens_.empty()) {
            read_prompt();
        } else {
            std::vector<token_id> unread;
            for (std::size_t i = cached_.size() + stats_.dropped_tokens - prompt_.size(); i < tokens_.size(); ++i)
                unread.push_back(tokens_[i].token);
            read(unread);
        }
        const auto logits = std::span<const float>(logits_.span());
        std::vector<scored_token> top;
        for (const auto& [token, logprob] : sampling::top_logprobs(logits, request_.top_logprobs)) top.push_back({token, logprob});
        const auto [token, logprob] = sampler_.choose(logits, cached_, request_.seed, tokens_.size());
        if (request_.fast_forward) look_ahead(token);
        return {token, logprob, std::move(top)};
    }

    /// Asks the sampler which tokens follow the one just chosen in any case.
    void look_ahead(token_id token) {
        const auto encode = [this](std::string_view text) { return model_.tokenizer().encode(text); };
        if constexpr (requires(const sampling::context& x) { sampler_.forced(x, encode); }) {
            if (!model_.has_tokenizer()) return;
            std::vector<token_id> history = cached_;
            history.push_back(token);
            forced_ = sampler_.forced(sampling::context{history, tokens_.size() + 1, request_.seed}, encode);
        }
    }

    generated_token take_forced() {
        const token_id token = forced_.front();
        forced_.erase(forced_.begin());
        ++stats_.forced_tokens;
        return {token, std::numeric_limits<float>::quiet_NaN(), {}};
    }

    /// Runs tokens through the model and commits them.
    void append(std::span<const token_id> tokens, bool want_logits) {
        cached_.reserve(cached_.size() + tokens.size());
        const std::array segments{kv::segment{.sequence = sequence_, .first_row = 0, .rows = tokens.size()}};
        const std::array<std::size_t, 1> wanted{tokens.size() - 1};
        forward(model_, workspace_, cache_,
                batch{.tokens = tokens, .segments = segments, .wanted = std::span(wanted).first(want_logits ? 1 : 0)},
                matrix_view<float>(logits_.data(), {1, logits_.size()}), request_.cancel);
        cache_.commit(sequence_);
        cached_.insert(cached_.end(), tokens.begin(), tokens.end());
    }

    model<Backend> model_;
    Sampler sampler_;
    pipeline_options options_;
    std::size_t limit_;  // tokens the sequence can reach
    step_limits limits_;
    typename Policy::cache cache_;
    std::vector<kv::key_rope> ropes_;
    workspace<Backend> workspace_;
    buffer<float> logits_;
    kv::sequence_id sequence_;
    std::vector<token_id> cached_;   // the tokens in the cache
    std::vector<token_id> dropped_;  // those that followed the first kept_ ones in the text
    std::size_t kept_ = 0;
    std::vector<text::message> conversation_;
    bool busy_ = false;

    // The request that runs.
    std::vector<token_id> prompt_;
    generate_options request_;
    stop_strings stops_;
    text::stream_decoder decoder_;
    std::string text_;
    std::vector<generated_token> tokens_;
    std::vector<token_id> forced_;  // that follow tokens_ in any case
    statistics stats_;
    finish_reason finish_ = finish_reason::none;
    bool in_chat_ = false;
};

}  // namespace skald::detail
