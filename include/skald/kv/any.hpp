// SPDX-License-Identifier: MIT
#pragma once
// A cache whose policy is chosen at run time: one virtual call a layer and step, the kernels inside are those of the static policy for
// contiguous and paged f16; for the others they read erased runs, which costs up to 6% of a decoding step at a depth of 4096 (measured) and
// spares the compiler a kernel for every pair of storage and codec. For programs with a `--kv` option; programs that know their cache
// name its type instead.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <skald/attention/layer.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/detail/named_eviction.hpp>
#include <skald/kv/erased_run.hpp>
#include <skald/kv/evicting.hpp>
#include <skald/kv/fp8.hpp>
#include <skald/kv/hadamard.hpp>
#include <skald/kv/merged.hpp>
#include <skald/kv/paged.hpp>
#include <skald/kv/quest.hpp>
#include <skald/kv/radix.hpp>
#include <skald/kv/radix_quest.hpp>
#include <skald/kv/radix_tiers.hpp>
#include <skald/kv/ring.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/row_access.hpp>
#include <skald/kv/shifting.hpp>
#include <skald/kv/spec.hpp>
#include <skald/kv/state.hpp>
#include <skald/kv/tiered.hpp>
#include <skald/kv/tiered_by.hpp>
#include <skald/kv/unroped.hpp>
#include <skald/kv/window.hpp>
#include <skald/kv/word_codec.hpp>

namespace skald::kv {

/// Any cache, for one backend. Same meaning as the cache it holds; one that shares no prefixes reuses 0 tokens, remembers and pins none.
template <class Backend>
class any_cache {
public:
    static constexpr bool schedule_invariant = false;  // evicting storage is not; reads_by_position() tells of the cache it holds
    static constexpr bool shifts_positions = true;     // some do; can_shift() tells of the cache it holds

    template <kv_cache Cache>
    explicit any_cache(Cache cache) : self_(std::make_unique<model<Cache>>(std::move(cache))) {}

    cache_shape shape() const { return self_->shape(); }
    std::size_t context() const { return self_->context(); }
    std::size_t window() const { return self_->window(); }
    position farthest() const { return self_->farthest(); }
    std::size_t step_room(sequence_id s) const { return self_->step_room(s); }
    std::size_t bytes() const { return self_->bytes(); }
    bool reads_by_position() const { return self_->reads_by_position(); }  ///< schedule_invariant of the cache it holds
    sequence_id open() { return self_->open(); }
    void close(sequence_id s) { self_->close(s); }
    sequence_id fork(sequence_id s) { return self_->fork(s); }
    position length(sequence_id s) const { return self_->length(s); }
    checkpoint mark(sequence_id s) const { return {self_->length(s)}; }
    std::span<const row_range> plan(std::span<const segment> segments) { return self_->plan(segments); }
    bool has_room(const step_wish& wish, std::span<const sequence_id> leaving) { return self_->has_room(wish, leaving); }
    void commit(sequence_id s) { self_->commit(s); }
    void rollback(sequence_id s, checkpoint to) { self_->rollback(s, to); }
    void truncate(sequence_id s, position length) { self_->truncate(s, length); }
    bool keeps(sequence_id s, position length) const { return self_->keeps(s, length); }
    opened_sequence open_with(std::span<const token_id> prompt) { return self_->open_with(prompt); }
    std::size_t reusable(std::span<const token_id> prompt) const { return self_->reusable(prompt); }
    void remember(sequence_id s, std::span<const token_id> tokens) { self_->remember(s, tokens); }
    pinned_prefix pin(std::span<const token_id> tokens) { return self_->pin(tokens); }
    void unpin(const pinned_prefix& pinned) { self_->unpin(pinned); }

    /// Whether remove() and shift() are there: of contiguous and paged storage of keys before rope. Others throw errc::unsupported.
    bool can_shift() const noexcept { return self_->can_shift(); }
    void remove(sequence_id s, position first, position last) { self_->remove(s, first, last); }
    void shift(sequence_id s, position first, position last, position by) { self_->shift(s, first, last, by); }
    rotation_table* rotations() noexcept { return self_->rotations(); }
    const rotation_table* rotations() const noexcept { return self_->rotations(); }

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

    /// Its rows as floats (row_access.hpp).
    position select(sequence_id s) { return self_->select(s); }
    void load_rows(std::size_t layer, position from, position to, std::span<float> out) const { self_->load_rows(layer, from, to, out); }
    void store_rows(std::size_t layer, std::size_t head, position from, std::span<const float> keys, std::span<const float> values,
                    std::vector<float>& scratch) const {
        self_->store_rows(layer, head, from, keys, values, scratch);
    }

private:
    struct role {
        virtual ~role() = default;
        virtual cache_shape shape() const = 0;
        virtual std::size_t context() const = 0;
        virtual std::size_t window() const = 0;
        virtual position farthest() const = 0;
        virtual std::size_t step_room(sequence_id) const = 0;
        virtual std::size_t bytes() const = 0;
        virtual bool reads_by_position() const = 0;
        virtual sequence_id open() = 0;
        virtual void close(sequence_id) = 0;
        virtual sequence_id fork(sequence_id) = 0;
        virtual position length(sequence_id) const = 0;
        virtual std::span<const row_range> plan(std::span<const segment>) = 0;
        virtual bool has_room(const step_wish&, std::span<const sequence_id>) = 0;
        virtual void commit(sequence_id) = 0;
        virtual void rollback(sequence_id, checkpoint) = 0;
        virtual void truncate(sequence_id, position) = 0;
        virtual bool keeps(sequence_id, position) const = 0;
        virtual opened_sequence open_with(std::span<const token_id>) = 0;
        virtual std::size_t reusable(std::span<const token_id>) const = 0;
        virtual void remember(sequence_id, std::span<const token_id>) = 0;
        virtual pinned_prefix pin(std::span<const token_id>) = 0;
        virtual void unpin(const pinned_prefix&) = 0;
        virtual bool can_shift() const noexcept = 0;
        virtual void remove(sequence_id, position, position) = 0;
        virtual void shift(sequence_id, position, position, position) = 0;
        virtual rotation_table* rotations() noexcept = 0;
        virtual void run_layer(const Backend&, std::size_t, const attention::layer_call<Backend>&) = 0;
        virtual void save(sequence_id, std::span<const token_id>, std::string_view, const state_sink&, const state_options&) = 0;
        virtual saved_text restore(sequence_id, const state_source&, bool, const state_options&) = 0;
        virtual void require_fit(const state_header&, const state_options&) const = 0;
        virtual position select(sequence_id) = 0;
        virtual void load_rows(std::size_t, position, position, std::span<float>) const = 0;
        virtual void store_rows(std::size_t, std::size_t, position, std::span<const float>, std::span<const float>,
                                std::vector<float>&) const = 0;
    };

    template <class Cache>
    struct model final : role {
        explicit model(Cache c) : cache(std::move(c)) {}
        cache_shape shape() const override { return cache.shape(); }
        std::size_t context() const override { return cache.context(); }
        std::size_t window() const override { return cache.window(); }
        position farthest() const override { return kv::farthest(cache); }
        std::size_t step_room(sequence_id s) const override { return kv::step_room(cache, s); }
        std::size_t bytes() const override { return cache.bytes(); }
        bool reads_by_position() const override { return Cache::schedule_invariant; }
        sequence_id open() override { return cache.open(); }
        void close(sequence_id s) override { cache.close(s); }
        sequence_id fork(sequence_id s) override { return cache.fork(s); }
        position length(sequence_id s) const override { return cache.length(s); }
        std::span<const row_range> plan(std::span<const segment> segments) override { return cache.plan(segments); }
        bool has_room([[maybe_unused]] const step_wish& wish, [[maybe_unused]] std::span<const sequence_id> leaving) override {
            if constexpr (requires { cache.has_room(wish, leaving); })
                return cache.has_room(wish, leaving);
            else
                return true;
        }
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
        pinned_prefix pin([[maybe_unused]] std::span<const token_id> tokens) override {
            if constexpr (prefix_pinning<Cache>)
                return cache.pin(tokens);
            else
                return {};
        }
        void unpin([[maybe_unused]] const pinned_prefix& pinned) override {
            if constexpr (prefix_pinning<Cache>) cache.unpin(pinned);
        }
        bool can_shift() const noexcept override { return shifting_cache<Cache>; }
        void remove([[maybe_unused]] sequence_id s, [[maybe_unused]] position first, [[maybe_unused]] position last) override {
            if constexpr (shifting_cache<Cache>)
                cache.remove(s, first, last);
            else
                refuse_shifts();
        }
        void shift([[maybe_unused]] sequence_id s, [[maybe_unused]] position first, [[maybe_unused]] position last,
                   [[maybe_unused]] position by) override {
            if constexpr (shifting_cache<Cache>)
                cache.shift(s, first, last, by);
            else
                refuse_shifts();
        }
        rotation_table* rotations() noexcept override { return rotations_of(cache); }
        void run_layer(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call) override {
            attention::run_layer(backend, cache, layer, call, [&](std::span<const row_range> ranges, const auto& runs) {
                if constexpr (std::is_same_v<decltype(runs), const std::tuple<contiguous_run<f16>>&> ||
                              std::is_same_v<decltype(runs), const std::tuple<paged_run<f16>>&>)
                    attention::attend_layer(backend, call, ranges, runs);
                else
                    attention::attend_layer(backend, call, ranges, erase(runs));
            });
        }
        void save([[maybe_unused]] sequence_id s, [[maybe_unused]] std::span<const token_id> tokens, [[maybe_unused]] std::string_view note,
                  [[maybe_unused]] const state_sink& sink, [[maybe_unused]] const state_options& options) override {
            if constexpr (states_kept)
                kv::save(cache, s, tokens, sink, options, note);
            else
                refuse_states();
        }
        saved_text restore([[maybe_unused]] sequence_id s, [[maybe_unused]] const state_source& source, [[maybe_unused]] bool whole,
                           [[maybe_unused]] const state_options& options) override {
            if constexpr (states_kept)
                return detail::restore(cache, s, source, whole, options);
            else
                refuse_states();
        }
        void require_fit([[maybe_unused]] const state_header& saved, [[maybe_unused]] const state_options& options) const override {
            if constexpr (states_kept)
                kv::require_fit(cache, saved, options);
            else
                refuse_states();
        }
        position select([[maybe_unused]] sequence_id s) override {
            if constexpr (rows_reached)
                return detail::select_rows(cache, s);
            else
                refuse_rows();
        }
        void load_rows([[maybe_unused]] std::size_t layer, [[maybe_unused]] position from, [[maybe_unused]] position to,
                       [[maybe_unused]] std::span<float> out) const override {
            if constexpr (rows_reached)
                detail::load_rows(cache, layer, from, to, out);
            else
                refuse_rows();
        }
        void store_rows([[maybe_unused]] std::size_t layer, [[maybe_unused]] std::size_t head, [[maybe_unused]] position from,
                        [[maybe_unused]] std::span<const float> keys, [[maybe_unused]] std::span<const float> values,
                        [[maybe_unused]] std::vector<float>& scratch) const override {
            if constexpr (rows_reached)
                detail::store_rows(cache, layer, head, from, keys, values, scratch);
            else
                refuse_rows();
        }
        static constexpr bool states_kept = Cache::schedule_invariant || storable_cache<Cache>;
        static constexpr bool rows_reached = Cache::schedule_invariant && transcodable_cache<Cache>;
        [[noreturn]] static void refuse_states() {
            fail(errc::unsupported, "kv cache", "sequences of a cache that does not read by position alone cannot be saved or restored");
        }
        [[noreturn]] static void refuse_shifts() {
            fail(errc::unsupported, "kv cache",
                 "tokens can be removed or shifted where keys are kept before rope only, as by paged:unroped-f16");
        }
        [[noreturn]] static void refuse_rows() {
            fail(errc::unsupported, "kv cache",
                 "sequences of a cache that drops tokens or keeps tiers cannot be encoded; save them as they are");
        }
        Cache cache;
    };

    std::unique_ptr<role> self_;
};

/// The policy: `any<cpu<>>{parse_spec("paged/8:f32"), {.tokens = 4096}}`.
template <class Backend>
struct any {
    static_assert(backend<Backend>, "skald: kv::any takes the backend of the model, as kv::any<cpu<>>; its cache is named by its spec");
    struct capacity {
        /// As .tokens of the named storage: each sequence's when contiguous or tiered, by importance too, the pool's when paged, radix or
        /// quest; .context of the others.
        std::size_t tokens = 2048;
        std::size_t sequences = 1;
        std::size_t context = 0;                    ///< as .context where it is not 0; contiguous sequences have .tokens
        std::size_t step = 512;                     ///< as .step; contiguous, paged and radix storage need none
        std::pmr::memory_resource* cold = nullptr;  ///< as .cold of tiers, by importance excepted; others refuse it: errc::invalid_argument
        cold_paging paging{};                       ///< as .paging
    };

    using cache = any_cache<Backend>;
    kv::spec spec{};
    capacity room{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const;
    std::size_t bytes(const cache_shape& shape) const;
    std::size_t max_length() const;
    std::size_t max_step() const;
    std::string name() const;

private:
    void check() const {
        if ((room.cold != nullptr || room.paging.by != nullptr) && !spec.has_cold_tier())
            fail(errc::invalid_argument, "kv cache", name(),
                 " has no cold tier that could lie elsewhere; take tiers, as tiered:q8/256+4,kivi2", " or paged:kivi4");
    }
    template <class F>
    auto with_policy(F&& f) const {
        if (spec.storage == storage_kind::tiered && spec.codec == codec_kind::q4) return f(tiered<f16, grouped<q4>>{tiers()});
        if (spec.storage == storage_kind::evicting) {
            const evicting_options options{.budget = spec.budget, .step = room.step, .sequences = room.sequences, .context = context()};
            const detail::named_eviction named{spec.eviction};
            if (spec.codec == codec_kind::q8) return f(evicting<detail::named_eviction, q8>{options, named});
            return f(evicting<detail::named_eviction, f16>{options, named});
        }
        if (spec.storage == storage_kind::tiered_by) {
            const tiered_by_options options{
                .tokens = room.tokens, .budget = spec.budget, .sequences = room.sequences, .step = room.step, .context = room.context};
            const detail::named_eviction named{spec.eviction};
            if (spec.hot_codec == codec_kind::q8) return f(tiered_by<detail::named_eviction, q8, kivi2>{options, named});
            return f(tiered_by<detail::named_eviction, f16, kivi2>{options, named});
        }
        if (spec.is_quest()) {
            const quest_options options{
                .tokens = room.tokens, .sequences = room.sequences, .budget = spec.budget, .page = spec.block, .context = room.context};
            if (spec.codec == codec_kind::q8) return with_quest<q8>(f, options);
            return with_quest<f16>(f, options);
        }
        if (spec.is_merged()) {
            if (spec.codec == codec_kind::kivi4) return with_merged<kivi4>(f);
            if (spec.codec == codec_kind::kivi2) return with_merged<kivi2>(f);
            if (spec.codec == codec_kind::q8) return with_merged<q8>(f);
            return with_merged<f16>(f);
        }
        switch (spec.codec) {
            case codec_kind::kivi4: return with_groups<kivi4>(f);
            case codec_kind::kivi2: return with_groups<kivi2>(f);
            case codec_kind::kivi4v2: return with_tiers<kivi4v2>(f);
            case codec_kind::f32: return with_codec<f32>(f);
            case codec_kind::bf16: return with_codec<bf16>(f);
            case codec_kind::fp8: return with_codec<fp8>(f);
            case codec_kind::i16: return with_codec<i16>(f);
            case codec_kind::q8: return with_codec<q8>(f);
            case codec_kind::q4: return with_codec<q4>(f);
            case codec_kind::unroped_f16: return with_growing<unroped<f16>>(f);
            case codec_kind::unroped_q8: return with_growing<unroped<q8>>(f);
            case codec_kind::hadamard_q4: return with_all<hadamard<q4>>(f);
            case codec_kind::f16: break;
        }
        return with_codec<f16>(f);
    }

    /// Of storages whose memory does not bound a sequence.
    std::size_t context() const { return room.context != 0 ? room.context : room.tokens; }
    tiered_options tiers() const {
        return {.tokens = room.tokens,
                .sequences = room.sequences,
                .hot = spec.hot,
                .step = room.step,
                .context = room.context,
                .sinks = spec.hot_sinks,
                .cold = room.cold,
                .paging = room.paging};
    }
    template <class Group, class F>
    auto with_groups(F& f) const {
        if (spec.storage == storage_kind::paged) return f(paged_tiered<f16, Group>{tiers()});
        if (spec.storage == storage_kind::radix)
            return f(radix_tiered<f16, Group>{{.tokens = room.tokens,
                                               .sequences = room.sequences,
                                               .step = room.step,
                                               .context = room.context,
                                               .cold = room.cold,
                                               .paging = room.paging}});
        return with_tiers<Group>(f);
    }
    template <class Group, class F>
    auto with_tiers(F& f) const {
        if (spec.hot_codec == codec_kind::q8) return f(tiered<q8, Group>{tiers()});
        return f(tiered<f16, Group>{tiers()});
    }
    template <class Cold, class F>
    auto with_merged(F& f) const {
        const merged_options options{.tokens = room.tokens,
                                     .sequences = room.sequences,
                                     .sinks = spec.sinks,
                                     .step = std::min(room.step, merged<Cold>::layout::tokens),
                                     .context = room.context,
                                     .cold = room.cold,
                                     .paging = room.paging};
        if (spec.storage == storage_kind::paged_merged) return f(paged_merged<Cold>{options});
        if (spec.storage == storage_kind::radix_merged) return f(radix_merged<Cold>{options});
        return f(merged<Cold>{options});
    }

    template <class Codec, class F>
    auto with_quest(F& f, const quest_options& options) const {
        if (spec.storage == storage_kind::radix_quest) return f(radix_quest<Codec>{options});
        return f(quest<Codec>{options});
    }
    paged_options pool() const {
        return {.tokens = room.tokens, .sequences = room.sequences, .block = spec.block, .context = room.context};
    }
    /// Contiguous or paged storage.
    template <class Codec, class F>
    auto with_growing(F& f) const {
        if (spec.storage == storage_kind::contiguous) return f(contiguous<Codec>{{.tokens = room.tokens, .sequences = room.sequences}});
        return f(paged<Codec>{pool()});
    }
    /// Storage that keeps all tokens.
    template <class Codec, class F>
    auto with_all(F& f) const {
        if (spec.storage == storage_kind::radix) return f(radix<Codec>{pool()});
        return with_growing<Codec>(f);
    }
    template <class Codec, class F>
    auto with_codec(F& f) const {
        if (spec.storage == storage_kind::ring)
            return f(ring<Codec>{{.window = spec.window, .step = room.step, .sequences = room.sequences, .context = context()}});
        if (spec.storage == storage_kind::window)
            return f(window<Codec>{
                {.window = spec.window, .sinks = spec.sinks, .step = room.step, .sequences = room.sequences, .context = context()}});
        return with_all<Codec>(f);
    }
};

template <class Backend>
auto any<Backend>::make(const cache_shape& shape, std::pmr::memory_resource* memory) const -> cache {
    check();
    return with_policy([&](const auto& policy) { return cache(policy.make(shape, memory)); });
}
template <class Backend>
std::size_t any<Backend>::bytes(const cache_shape& shape) const {
    check();
    return with_policy([&](const auto& policy) { return policy.bytes(shape); });
}
template <class Backend>
std::size_t any<Backend>::max_length() const {
    return with_policy([](const auto& policy) { return policy.max_length(); });
}
template <class Backend>
std::size_t any<Backend>::max_step() const {
    return with_policy([](const auto& policy) { return longest_step(policy); });
}
template <class Backend>
std::string any<Backend>::name() const {
    return with_policy([](const auto& policy) { return policy.name(); });
}

}  // namespace skald::kv
