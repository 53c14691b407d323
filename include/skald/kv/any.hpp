// SPDX-License-Identifier: MIT
#pragma once
// A cache whose policy is chosen at run time: one virtual call a layer and step, the kernels inside are those of the static
// policy. For programs with a `--kv` option; programs that know their cache name its type instead.
#include <cstddef>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <skald/attention/layer.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/detail/named_eviction.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/spec.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

/// Any cache, for one backend. Same meaning as the cache it holds; one that shares no prefixes reuses 0 tokens and remembers none.
template <class Backend>
class any_cache {
public:
    static constexpr bool schedule_invariant = false;  // evicting storage is not; reads_by_position() tells of the cache it holds

    template <kv_cache Cache>
    explicit any_cache(Cache cache) : self_(std::make_unique<model<Cache>>(std::move(cache))) {}

    cache_shape shape() const { return self_->shape(); }
    std::size_t context() const { return self_->context(); }
    std::size_t window() const { return self_->window(); }
    std::size_t bytes() const { return self_->bytes(); }
    bool reads_by_position() const { return self_->reads_by_position(); }  ///< schedule_invariant of the cache it holds
    sequence_id open() { return self_->open(); }
    void close(sequence_id s) { self_->close(s); }
    sequence_id fork(sequence_id s) { return self_->fork(s); }
    position length(sequence_id s) const { return self_->length(s); }
    checkpoint mark(sequence_id s) const { return {self_->length(s)}; }
    std::span<const row_range> plan(std::span<const segment> segments) { return self_->plan(segments); }
    void commit(sequence_id s) { self_->commit(s); }
    void rollback(sequence_id s, checkpoint to) { self_->rollback(s, to); }
    void truncate(sequence_id s, position length) { self_->truncate(s, length); }
    bool keeps(sequence_id s, position length) const { return self_->keeps(s, length); }
    opened_sequence open_with(std::span<const token_id> prompt) { return self_->open_with(prompt); }
    std::size_t reusable(std::span<const token_id> prompt) const { return self_->reusable(prompt); }
    void remember(sequence_id s, std::span<const token_id> tokens) { self_->remember(s, tokens); }

    void run_layer(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call) {
        self_->run_layer(backend, layer, call);
    }

    /// What kv::save, kv::restore and kv::require_fit call.
    void save(sequence_id s, std::span<const token_id> tokens, std::string_view note, const state_sink& sink,
              const state_options& options) {
        self_->save(s, tokens, note, sink, options);
    }
    saved_text restore(sequence_id s, const state_source& source, bool whole, const state_options& options) {
        return self_->restore(s, source, whole, options);
    }
    void require_fit(const state_header& saved, const state_options& options) const { self_->require_fit(saved, options); }

private:
    struct role {
        virtual ~role() = default;
        virtual cache_shape shape() const = 0;
        virtual std::size_t context() const = 0;
        virtual std::size_t window() const = 0;
        virtual std::size_t bytes() const = 0;
        virtual bool reads_by_position() const = 0;
        virtual sequence_id open() = 0;
        virtual void close(sequence_id) = 0;
        virtual sequence_id fork(sequence_id) = 0;
        virtual position length(sequence_id) const = 0;
        virtual std::span<const row_range> plan(std::span<const segment>) = 0;
        virtual void commit(sequence_id) = 0;
        virtual void rollback(sequence_id, checkpoint) = 0;
        virtual void truncate(sequence_id, position) = 0;
        virtual bool keeps(sequence_id, position) const = 0;
        virtual opened_sequence open_with(std::span<const token_id>) = 0;
        virtual std::size_t reusable(std::span<const token_id>) const = 0;
        virtual void remember(sequence_id, std::span<const token_id>) = 0;
        virtual void run_layer(const Backend&, std::size_t, const attention::layer_call<Backend>&) = 0;
        virtual void save(sequence_id, std::span<const token_id>, std::string_view, const state_sink&, const state_options&) = 0;
        virtual saved_text restore(sequence_id, const state_source&, bool, const state_options&) = 0;
        virtual void require_fit(const state_header&, const state_options&) const = 0;
    };

    template <class Cache>
    struct model final : role {
        explicit model(Cache c) : cache(std::move(c)) {}
        cache_shape shape() const override { return cache.shape(); }
        std::size_t context() const override { return cache.context(); }
        std::size_t window() const override { return cache.window(); }
        std::size_t bytes() const override { return cache.bytes(); }
        bool reads_by_position() const override { return Cache::schedule_invariant; }
        sequence_id open() override { return cache.open(); }
        void close(sequence_id s) override { cache.close(s); }
        sequence_id fork(sequence_id s) override { return cache.fork(s); }
        position length(sequence_id s) const override { return cache.length(s); }
        std::span<const row_range> plan(std::span<const segment> segments) override { return cache.plan(segments); }
        void commit(sequence_id s) override { cache.commit(s); }
        void rollback(sequence_id s, checkpoint to) override { cache.rollback(s, to); }
        void truncate(sequence_id s, position length) override { cache.truncate(s, length); }
        bool keeps(sequence_id s, position length) const override { return cache.keeps(s, length); }
        opened_sequence open_with(std::span<const token_id> prompt) override {
            if constexpr (prefix_sharing<Cache>)
                return cache.open_with(prompt);
            else
                return {cache.open(), 0};
        }
        std::size_t reusable([[maybe_unused]] std::span<const token_id> prompt) const override {
            if constexpr (prefix_sharing<Cache>)
                return cache.reusable(prompt);
            else
                return 0;
        }
        void remember([[maybe_unused]] sequence_id s, [[maybe_unused]] std::span<const token_id> tokens) override {
            if constexpr (prefix_sharing<Cache>) cache.remember(s, tokens);
        }
        void run_layer(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call) override {
            attention::run_layer(backend, cache, layer, call);
        }
        void save([[maybe_unused]] sequence_id s, [[maybe_unused]] std::span<const token_id> tokens, [[maybe_unused]] std::string_view note,
                  [[maybe_unused]] const state_sink& sink, [[maybe_unused]] const state_options& options) override {
            if constexpr (Cache::schedule_invariant)
                kv::save(cache, s, tokens, sink, options, note);
            else
                refuse_states();
        }
        saved_text restore([[maybe_unused]] sequence_id s, [[maybe_unused]] const state_source& source, [[maybe_unused]] bool whole,
                           [[maybe_unused]] const state_options& options) override {
            if constexpr (Cache::schedule_invariant)
                return detail::restore(cache, s, source, whole, options);
            else
                refuse_states();
        }
        void require_fit([[maybe_unused]] const state_header& saved, [[maybe_unused]] const state_options& options) const override {
            if constexpr (Cache::schedule_invariant)
                kv::require_fit(cache, saved, options);
            else
                refuse_states();
        }
        [[noreturn]] static void refuse_states() {
            fail(errc::unsupported, "kv cache", "sequences of a cache that drops tokens cannot be saved or restored");
        }
        Cache cache;
    };

    std::unique_ptr<role> self_;
};

/// The policy: `any<cpu<>>{parse_spec("paged/8:f32"), {.tokens = 4096}}`.
template <class Backend>
struct any {
    struct capacity {
        /// As .tokens of the named storage: each sequence's when contiguous, the pool's when paged or radix; .context of ring and evicting.
        std::size_t tokens = 2048;
        std::size_t sequences = 1;
        std::size_t context = 0;  ///< as .context of the others, where it is not 0; contiguous sequences have .tokens
        std::size_t step = 512;   ///< as .step of ring and evicting; the others need none
    };

    using cache = any_cache<Backend>;
    kv::spec spec{};
    capacity room{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const {
        return with_policy([&](const auto& policy) { return cache(policy.make(shape, memory)); });
    }
    std::size_t bytes(const cache_shape& shape) const {
        return with_policy([&](const auto& policy) { return policy.bytes(shape); });
    }
    std::size_t max_length() const {
        return with_policy([](const auto& policy) { return policy.max_length(); });
    }
    std::string name() const {
        return with_policy([](const auto& policy) { return policy.name(); });
    }

private:
    template <class F>
    auto with_policy(F&& f) const {
        if (spec.storage == storage_kind::evicting) {
            const evicting_options options{.budget = spec.budget,
                                           .step = room.step,
                                           .sequences = room.sequences,
                                           .context = room.context != 0 ? room.context : room.tokens};
            const detail::named_eviction named{spec.eviction};
            if (spec.codec == codec_kind::q8) return f(evicting<detail::named_eviction, q8>{options, named});
            return f(evicting<detail::named_eviction, f16>{options, named});
        }
        switch (spec.codec) {
            case codec_kind::f32: return with_codec<f32>(f);
            case codec_kind::bf16: return with_codec<bf16>(f);
            case codec_kind::fp8: return with_codec<fp8>(f);
            case codec_kind::i16: return with_codec<i16>(f);
            case codec_kind::q8: return with_codec<q8>(f);
            case codec_kind::q4: return with_codec<q4>(f);
            case codec_kind::f16: break;
        }
        return with_codec<f16>(f);
    }

    template <class Codec, class F>
    auto with_codec(F& f) const {
        if (spec.storage == storage_kind::contiguous) return f(contiguous<Codec>{{.tokens = room.tokens, .sequences = room.sequences}});
        if (spec.storage == storage_kind::ring)
            return f(ring<Codec>{{.window = spec.window,
                                  .step = room.step,
                                  .sequences = room.sequences,
                                  .context = room.context != 0 ? room.context : room.tokens}});
        const paged_options pool{.tokens = room.tokens, .sequences = room.sequences, .block = spec.block, .context = room.context};
        if (spec.storage == storage_kind::radix) return f(radix<Codec>{pool});
        return f(paged<Codec>{pool});
    }
};

}  // namespace skald::kv
