// SPDX-License-Identifier: MIT
#pragma once
// The pipeline: one sequence on one model. Text, tokens or a conversation go in, a range of text pieces or a callback comes
// out. Several pipelines share a model, also from several threads; one pipeline is used by one thread at a time.
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/kv/cache.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/transport/format.hpp>
#include <skald/model/model.hpp>
#include <skald/pipeline/generation.hpp>
#include <skald/pipeline/request.hpp>
#include <skald/pipeline/session.hpp>
#include <skald/sampling/chain.hpp>
#include <skald/sampling/greedy.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald {

/// Holds the model's handle by value, a cache made by `Policy`, and a sampler (`sampling::chain` or anything with its choose()).
///
/// Every call starts from the cache's longest prefix in common with the new prompt, so a second turn reads only what is new; a cache that
/// shares prefixes knows those of all earlier prompts.
/// While a generation lives, another call throws errc::busy.
template <class Backend, class Policy = kv::paged<>, class Sampler = sampling::chain<sampling::greedy>>
class pipeline {
    static_assert(kv::require_policy<Policy>());
    using session = detail::session<Backend, Policy, Sampler>;

public:
    using generation_type = generation<session>;
    using piece_callback = std::function<void(std::string_view)>;

    /// Allocates cache and workspace from the model's memory resource.
    explicit pipeline(model<Backend> m, const Policy& policy = {}, Sampler sampler = {}, pipeline_options options = {})
        : session_(std::make_shared<session>(std::move(m), policy, std::move(sampler), std::move(options))) {}

    pipeline(pipeline&&) noexcept = default;
    pipeline& operator=(pipeline&&) noexcept = default;

    /// Continues a text. The model's begin-of-text token is put before it where the model asks for one; text that looks like a
    /// special token stays text.
    generation_type generate(std::string_view prompt, generate_options options = {}) {
        const text::tokenizer& t = get_model().tokenizer();
        return generate(t.encode(prompt, {.add_bos = t.add_bos()}), std::move(options));
    }

    /// Continues tokens, exactly as they are.
    generation_type generate(std::vector<token_id> prompt, generate_options options = {}) {
        session_->start(std::move(prompt), std::move(options));
        return generation_type(session_);
    }

    /// Answers the next message of this pipeline's conversation.
    generation_type chat(std::string_view message, generate_options options = {}) {
        session_->start_chat(message, std::move(options));
        return generation_type(session_);
    }

    /// Answers a conversation of the caller's own.
    generation_type chat(std::span<const text::message> messages, generate_options options = {}) {
        if (const std::string_view stop = get_model().chat().stop_string(); !stop.empty()) options.stop.emplace_back(stop);
        return generate(session_->encode(messages), std::move(options));
    }

    /// Runs a generation to its end, telling every piece to `on_piece`.
    static completion run(generation_type g, const piece_callback& on_piece = {}) {
        for (const std::string_view piece : g)
            if (on_piece) on_piece(piece);
        return {g.text(), g.tokens(), g.finish(), g.stats()};
    }

    /// Continues a text to the end. The callback sees the pieces as they come.
    completion complete(std::string_view prompt, generate_options options = {}, const piece_callback& on_piece = {}) {
        return run(generate(prompt, std::move(options)), on_piece);
    }

    /// Keeps a beginning of prompts ready, whatever else the cache has to give up: reads what it does not know of it now, and holds it
    /// until unpin(). The cache holds whole blocks of it; `tokens` of what is returned says how many tokens. A cache of a run-time kind
    /// that shares nothing pins 0. Throws errc::cache_full, errc::cancelled, errc::busy, errc::invalid_argument for no tokens; nothing is
    /// pinned then. Cost: the room of its tokens stays taken.
    kv::pinned_prefix pin(std::vector<token_id> tokens, std::stop_token cancel = {}) {
        static_assert(kv::prefix_pinning<typename Policy::cache>,
                      "skald: this pipeline's cache shares no prefixes, so it has none to pin; use kv::radix");
        return session_->pin(std::move(tokens), std::move(cancel));
    }

    /// The same of the beginning of a text, as generate() takes it.
    kv::pinned_prefix pin(std::string_view text, std::stop_token cancel = {}) {
        const text::tokenizer& t = get_model().tokenizer();
        return pin(t.encode(text, {.add_bos = t.add_bos()}), std::move(cancel));
    }

    /// The same of the beginning of conversations, as chat() takes them: a system message, and examples if there are any. A user's message
    /// follows it.
    kv::pinned_prefix pin(std::span<const text::message> messages, std::stop_token cancel = {}) {
        return pin(session_->encode_beginning(messages), std::move(cancel));
    }

    /// Lets a pinned beginning be evicted again. Throws errc::invalid_argument for one that is not pinned.
    void unpin(const kv::pinned_prefix& pinned) {
        static_assert(kv::prefix_pinning<typename Policy::cache>,
                      "skald: this pipeline's cache shares no prefixes, so it has none to pin; use kv::radix");
        session_->unpin(pinned);
    }

    /// Forgets the conversation (not the cache: a prompt with a known beginning still starts fast).
    void reset() { session_->reset(); }

    /// Writes the conversation, and the cache's tokens with their keys and values, to a file, which appears whole or not at all. A pipeline
    /// on the same model, with a cache of the same codec, goes on from it as if it had never stopped. Throws errc::io, errc::busy.
    void save(const std::filesystem::path& path) const { session_->save(path); }

    /// The same in a seventh of the bytes of an f16 cache, keys and values nearly as they were (kv/transport.hpp; quality 1 to 5): the
    /// other pipeline's cache may be of any codec.
    void save_encoded(const std::filesystem::path& path, unsigned quality = kv::encoding_options{}.quality) const {
        session_->save_encoded(path, quality);
    }

    /// Takes the place of the pipeline that saved in either way: the next call starts with all its tokens known. Throws errc::io,
    /// errc::bad_file for a damaged file, errc::unsupported for another version, errc::invalid_argument for that of another model, shape
    /// or, saved exactly, codec, errc::cache_full, errc::busy; all is then as it was, but for a file that changes while it is read, which
    /// leaves the cache empty. Cost: the file is read twice.
    void load(const std::filesystem::path& path) { session_->load(path); }

    const std::vector<text::message>& conversation() const noexcept { return session_->conversation(); }
    const std::vector<token_id>& tokens() const noexcept { return session_->cached(); }  ///< those in the cache
    const model<Backend>& get_model() const noexcept { return session_->get_model(); }
    std::size_t cache_bytes() const { return session_->cache_bytes(); }  ///< what the cache took from the memory resource

private:
    std::shared_ptr<session> session_;
};

}  // namespace skald
