// SPDX-License-Identifier: MIT
#pragma once
// Evicting storage: for each sequence, layer and kv head the tokens that a policy thinks most of, at most `budget` of them when a step is
// committed, so that memory and the cost of a token do not grow with the text. What was dropped is gone: rows that come later do not see
// it.
//
// Tokens stand in slots, in ascending order of position; attention runs over slots. Keys are kept after rope at their own positions, so
// that what a row sees of a token does not depend on its slot. A step's rows stand behind the slots kept, and see these and the step's rows
// up to their own.
//
// Tokens are dropped when they are committed and not before, so that pending ones can be rolled back: so can what the policy has observed
// of them (`.undo` says how finely). What is kept depends on the steps a text was read in: schedule_invariant is false. It does not depend
// on threads or on other sequences.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include <skald/attention/layer.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/detail/kept_tokens.hpp>
#include <skald/kv/eviction.hpp>
#include <skald/kv/eviction_policies.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

/// Memory: layers × 2 × sequences × kv_heads × (budget + slack + step) encoded rows, a position each, and for a policy that observes a
/// float each, undo + 1 times. // (layers, {k, v}, sequences, kv_heads, slots, row_bytes)
///
/// Cost of a commit that drops tokens: the policy's, a selection in each head, and moving the rows of all slots behind the first one
/// dropped; of observing: backend.attention_weights() for the rows the policy asks for.
template <eviction_policy Policy, codec Codec>
class evicting_cache {
public:
    static constexpr bool schedule_invariant = false;
    using run = contiguous_run<Codec>;

    /// Tokens that a sequence can reach: positions end there, less what tiles and restarts of attention are rounded up by.
    static constexpr std::size_t longest = static_cast<std::size_t>(std::numeric_limits<position>::max()) - 1023;

    /// Query heads of a kv head that are observed, at most.
    static constexpr std::size_t most_group = 32;

    evicting_cache(const Policy& policy, const cache_shape& shape, const evicting_options& options, std::pmr::memory_resource* memory)
        : shape_(shape),
          options_(options),
          table_(options.sequences, memory),
          tokens_(policy, shape, options, memory),
          steps_(options.sequences, memory),
          slots_(shape.layers * options.sequences, memory),
          ranges_(shape.layers * options.sequences, memory),
          weights_(tokens_.observes() ? weights_of(shape, tokens_.most_slots()) : 0, memory),
          data_(data_bytes(shape, options, tokens_.all_tokens()), memory) {
        prefer_large_pages(data_.span());
    }

    static std::size_t bytes(const Policy& policy, const cache_shape& shape, const evicting_options& options) {
        std::size_t tokens = 0, most = 0;
        detail::place_layers(policy, shape, options, [&](std::size_t, const detail::layer_place& place) {
            tokens = place.tokens;
            most = std::max(most, place.capacity);
        });
        return detail::sequence_table::bytes(options.sequences) + detail::kept_table<Policy>::bytes(policy, shape, options) +
               buffer<step_part>::bytes_for(options.sequences) + buffer<typename run::slot>::bytes_for(shape.layers * options.sequences) +
               buffer<row_range>::bytes_for(shape.layers * options.sequences) +
               (detail::observations_of(policy, options) == 0 ? 0 : buffer<float>::bytes_for(weights_of(shape, most))) +
               buffer<>::bytes_for(data_bytes(shape, options, tokens));
    }
    static std::size_t max_length(const evicting_options& o) noexcept { return o.context == 0 ? longest : std::min(o.context, longest); }

    const cache_shape& shape() const noexcept { return shape_; }
    const Policy& policy() const noexcept { return tokens_.policy(); }
    std::size_t context() const noexcept { return max_length(options_); }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + tokens_.bytes() + steps_.bytes() + slots_.bytes() + ranges_.bytes() +
               weights_.bytes() + data_.bytes();
    }

    sequence_id open() {
        const sequence_id s = table_.open();
        tokens_.clear(s.index);
        return s;
    }
    void close(sequence_id s) { table_.at(s).open = false; }
    position length(sequence_id s) const { return table_.at(s).length; }
    checkpoint mark(sequence_id s) const { return {table_.at(s).length}; }

    void rollback(sequence_id s, checkpoint to) {
        table_.rollback(s, to);
        tokens_.cut(s.index, pending(s));
    }

    /// Throws what the policy throws; nothing is committed then.
    void commit(sequence_id s) {
        commit(s, std::numeric_limits<position>::max(), [](std::size_t, std::size_t, std::span<const position>) {});
    }

    /// Committed tokens can be cut off where none before the new end has been dropped; scores keep what the rows that go have added.
    bool keeps(sequence_id s, position length) const {
        return table_.keeps(s, length) && (length == 0 || length >= table_.at(s).committed || length <= tokens_.first_lost(s.index));
    }
    /// Throws errc::invalid_argument, too, where a token before `length` has been dropped.
    void truncate(sequence_id s, position length) {
        if (table_.keeps(s, length) && !keeps(s, length))
            fail(errc::invalid_argument, "kv cache", "truncation to ", length, " of a sequence of ", table_.at(s).length,
                 " tokens that has dropped some from ", tokens_.first_lost(s.index), " on; truncate to 0 and read the text again");
        const bool cuts = table_.keeps(s, length) && length < table_.at(s).committed;
        table_.truncate(s, length);
        if (cuts)
            tokens_.shorten(s.index, static_cast<std::size_t>(length));
        else
            tokens_.cut(s.index, pending(s));
    }

    /// Copies the committed tokens that are kept, and their scores. Cost: as many bytes as they take.
    sequence_id fork(sequence_id s) {
        const position length = table_.at(s).committed;
        const sequence_id copy = table_.open();
        table_.at(copy) = {.length = length, .committed = length, .open = true};
        tokens_.copy(s.index, copy.index);
        for (std::size_t layer = 0; layer < shape_.layers; ++layer)
            for (std::size_t h = 0; h < shape_.kv_heads; ++h)
                for (const bool values : {false, true})
                    std::memcpy(row(values, copy.index, layer, h, 0), row(values, s.index, layer, h, 0),
                                tokens_.kept(s.index, layer) * row_bytes());
        return copy;
    }

    /// Throws errc::cache_full for more than `step` pending tokens of a sequence, for more pending steps than observations can be told
    /// apart, and at the end of positions.
    std::span<const row_range> plan(std::span<const segment> segments) {
        table_.check(segments);
        for (const segment& s : segments) {
            const detail::sequence_state& state = table_.at(s.sequence);
            const std::size_t more = pending(s.sequence);
            if (s.rows > options_.step - more)
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", more, " pending tokens and cannot take ", s.rows,
                     " more: there is room for ", options_.step, "; raise .step or take fewer rows a step");
            if (tokens_.observes() && tokens_.free_entries(s.sequence.index) < tokens_.wanted_entries(s.rows, 0))
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " has ", tokens_.entries(s.sequence.index),
                     " observations of pending rows and no room for more; commit, or raise .undo");
            if (s.rows > longest - static_cast<std::size_t>(state.length))
                fail(errc::cache_full, "kv cache", "sequence ", s.sequence.index, " holds ", state.length, " tokens and cannot take ",
                     s.rows, " more: positions end at ", longest);
        }
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const std::uint32_t s = segments[i].sequence.index;
            steps_[i] = {.sequence = s,
                         .first_row = segments[i].first_row,
                         .rows = segments[i].rows,
                         .before = pending(segments[i].sequence),
                         .first_entry = tokens_.entries(s)};
            tokens_.append(s, steps_[i].before, table_.at(segments[i].sequence).length, segments[i].rows);
            for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
                const std::size_t first = tokens_.kept(s, layer) + steps_[i].before;
                slots_[layer * table_.size() + i] = {s, static_cast<position>(first + segments[i].rows)};
                ranges_[layer * table_.size() + i] = {segments[i].first_row, segments[i].rows, static_cast<position>(first)};
            }
        }
        planned_ = segments.size();
        return table_.append(segments);
    }

    /// Where the rows of the planned step stand in a layer's slots.
    std::span<const row_range> ranges(std::size_t layer) const noexcept { return {ranges_.data() + layer * table_.size(), planned_}; }

    /// view(layer) then shows what is kept of the committed tokens of s.
    void select(sequence_id s) {
        (void)table_.at(s);
        planned_ = 0;
        for (std::size_t layer = 0; layer < shape_.layers; ++layer)
            slots_[layer * table_.size()] = {s.index, static_cast<position>(tokens_.kept(s.index, layer))};
    }

    // What storable_cache asks for; the policy's settings, too, must be alike, and how many observations can be taken back, so that what
    // comes back is evicted from as it would have been.

    state_form form() const {
        return {.codec = std::string(Codec::name),
                .row_bytes = row_bytes(),
                .terms = {{"kind", "evicting"},
                          {"policy", concat(policy().name(), detail::settings_of(policy()))},
                          {"budget", concat(options_.budget, " tokens")},
                          {"slack", concat(options_.slack, " tokens")},
                          {"undo", concat(detail::observations_of(policy(), options_), " observations")}}};
    }
    position committed(sequence_id s) const { return table_.at(s).committed; }

    // Beside what kept_table writes: of each head keys, then values. // (kept, row_bytes)
    void write_kept(sequence_id s, position length, const state_put& put) const {
        tokens_.write(s.index, length, length == committed(s), put, [&](std::size_t layer, std::size_t h, std::size_t count) {
            for (const bool values : {false, true}) put({row(values, s.index, layer, h, 0), count * row_bytes()});
        });
    }
    void read_kept(sequence_id s, position length, const state_plan&, const state_get& get, std::string_view place) {
        if (static_cast<std::size_t>(length) > longest)
            fail(errc::cache_full, place, "has ", length, " tokens; positions end at ", longest);
        tokens_.read(s.index, length, get, place, [&](std::size_t layer, std::size_t h, std::size_t count) {
            for (const bool values : {false, true}) get({row(values, s.index, layer, h, 0), count * row_bytes()});
        });
        table_.at(s) = {.length = length, .committed = length, .open = true};
    }

    /// A run over the slots of a layer.
    std::tuple<run> view(std::size_t layer) const noexcept {
        return {run(row(false, 0, layer, 0, 0), row(true, 0, layer, 0, 0), slots_.data() + layer * table_.size(), shape_.kv_heads,
                    tokens_.place(layer).capacity, row_bytes())};
    }

    /// The positions of the committed tokens that one kv head of a layer has, ascending.
    std::span<const position> positions(sequence_id s, std::size_t layer, std::size_t kv_head) const {
        (void)table_.at(s);
        return {tokens_.positions(s.index, layer, kv_head), tokens_.kept(s.index, layer)};
    }

    /// What run_layer() calls before it writes: windows, masks and biases by distance (ALiBi) count positions, and slots are none. Throws
    /// errc::unsupported for a variant with masks or biases, and for a layer whose window is shorter than the context, or than a sequence
    /// of the step.
    template <class Variant>
    void require(std::size_t layer, const Variant& variant) const {
        if constexpr (attention::masking<Variant> || attention::by_distance<Variant>)
            fail(errc::unsupported, "kv cache", "layer ", layer, " masks keys or scores them by how far away they are; a cache that drops ",
                 "tokens by importance does not keep distances; use ring, contiguous or paged storage");
        std::size_t reach = context();
        for (std::size_t i = 0; i < planned_; ++i)
            reach = std::max(reach, static_cast<std::size_t>(table_.at({steps_[i].sequence}).length));
        if (static_cast<std::size_t>(variant.window) < reach)
            fail(errc::unsupported, "kv cache", "layer ", layer, " sees the last ", variant.window,
                 " positions; a cache that drops tokens by importance serves layers that see all of the context, ", reach,
                 " tokens; use ring, contiguous or paged storage");
    }

    /// What run_layer() calls after the step's rows were attended: the policy sees the weights it asks for.
    template <class Backend, class Variant>
    void observe(const Backend& backend, std::size_t layer, matrix_view<const float> q, const attention_shape& shape,
                 const Variant& variant, typename Backend::scratch& room)
        requires observing_policy<Policy>
    {
        if (!tokens_.observes()) return;
        if (shape.heads / shape.kv_heads > most_group)
            fail(errc::unsupported, "kv cache", shape.heads / shape.kv_heads, " query heads read one kv head; weights are observed of ",
                 most_group, " at most");
        for (std::size_t i = 0; i < planned_; ++i) {
            const auto weigh = [&](std::size_t first, std::size_t rows, tensor_view<float, 3> out) {
                row_range range = ranges(layer)[i];
                range = {range.first_row + first, rows, range.first_position + static_cast<position>(first)};
                backend.attention_weights(q, shape, variant, i, range, view(layer), out, room);
            };
            observe_segment(steps_[i], layer, shape.heads / shape.kv_heads, weigh);
        }
    }

protected:  // tiered_by.hpp builds on these
    /// Drops no token from the position `stay` on; lose(layer, head, positions) is told what is dropped.
    template <class Lose>
    void commit(sequence_id s, position stay, const Lose& lose) {
        if (const std::size_t more = pending(s); more != 0) {
            const auto move = [&](std::size_t layer, std::size_t h, std::size_t from, std::size_t to, std::size_t count) {
                move_rows(s.index, layer, h, from, to, count);
            };
            tokens_.commit(s.index, more, stay, move, lose);
        }
        table_.commit(s);
    }
    const detail::sequence_table& table() const noexcept { return table_; }
    std::size_t planned() const noexcept { return planned_; }
    std::size_t kept(std::uint32_t s, std::size_t layer) const noexcept { return tokens_.kept(s, layer); }
    const detail::layer_place& place(std::size_t layer) const noexcept { return tokens_.place(layer); }
    std::byte* rows(bool values, std::size_t layer) const noexcept { return row(values, 0, layer, 0, 0); }

private:
    struct step_part {
        std::uint32_t sequence;
        std::size_t first_row, rows, before, first_entry;  // pending rows and entries before the step
    };

    static std::size_t weights_of(const cache_shape& shape, std::size_t slots) {
        return (checked_size(shape.kv_heads, "kv cache") * most_group * slots).size();
    }
    static std::size_t data_bytes(const cache_shape& shape, const evicting_options& o, std::size_t tokens) {
        require_values(shape);
        return (checked_size(tokens, "kv cache") * 2 * o.sequences * Codec::row_bytes(shape.width())).size();
    }
    std::size_t row_bytes() const noexcept { return Codec::row_bytes(shape_.width()); }
    std::size_t pending(sequence_id s) const {
        const detail::sequence_state& state = table_.at(s);
        return static_cast<std::size_t>(state.length - state.committed);
    }

    std::byte* row(bool values, std::uint32_t s, std::size_t layer, std::size_t h, std::size_t slot) const noexcept {
        const detail::layer_place& place = tokens_.place(layer);
        const std::size_t plane = table_.size() * shape_.kv_heads * place.capacity;
        return data_.data() +
               (2 * table_.size() * place.tokens + (values ? plane : 0) + (s * shape_.kv_heads + h) * place.capacity + slot) * row_bytes();
    }

    void move_rows(std::uint32_t s, std::size_t layer, std::size_t h, std::size_t from, std::size_t to, std::size_t count) noexcept {
        for (const bool values : {false, true})
            std::memmove(row(values, s, layer, h, to), row(values, s, layer, h, from), count * row_bytes());
    }

    /// Entry after entry of the log, row after row of what it looks at; weights are computed for some rows at a time, when they are needed.
    template <class Weigh>
    void observe_segment(const step_part& step, std::size_t layer, std::size_t group, const Weigh& weigh) {
        const std::size_t kept = tokens_.kept(step.sequence, layer), slots = kept + step.before + step.rows;
        const std::size_t block = most_group / group >= 8 ? most_group / group / 8 * 8 : most_group / group;
        const tensor_view<float, 3> weights(weights_.data(), {shape_.kv_heads * group, block, slots});
        std::size_t block_begin = 0, block_end = 0;
        for (std::size_t e = step.first_entry; e < tokens_.entries(step.sequence); ++e) {
            const std::size_t end = tokens_.end(step.sequence, e) - step.before;
            const std::size_t looked_at = detail::observed_rows(policy(), end);
            const std::size_t before = e == step.first_entry ? 0 : tokens_.end(step.sequence, e - 1) - step.before;
            const std::size_t begin = std::max(before, end - looked_at);
            tokens_.begin_entry(step.sequence, layer, e);
            for (std::size_t r = begin; r < end; ++r) {
                if (r >= block_end) {
                    block_begin = r;
                    block_end = std::min(r + block, step.rows);
                    weigh(block_begin, block_end - block_begin, weights);
                }
                add_up(weights, r - block_begin, group, kept + step.before + r + 1);
                for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
                    const std::size_t from = detail::whole_layer(policy()) ? 0 : h * group;
                    policy().observe(tokens_.tokens(step.sequence, e + 1, layer, h, kept + step.before + end),
                                     {.weights = {&weights(from, r - block_begin, 0), kept + step.before + r + 1},
                                      .index = r - begin,
                                      .count = end - begin});
                }
            }
            tokens_.end_entry(step.sequence, layer, e);
        }
    }

    /// One row's weights, summed into those of the first query head of each kv head, or of the layer.
    void add_up(const tensor_view<float, 3>& weights, std::size_t row, std::size_t group, std::size_t count) const noexcept {
        const std::size_t together = detail::whole_layer(policy()) ? weights.extent(0) : group;
        for (std::size_t h = 0; h < weights.extent(0); ++h) {
            if (h % together == 0) continue;
            float* sum = &weights(h / together * together, row, 0);
            const float* more = &weights(h, row, 0);
            for (std::size_t j = 0; j < count; ++j) sum[j] += more[j];
        }
    }

    cache_shape shape_;
    evicting_options options_;
    detail::sequence_table table_;
    detail::kept_table<Policy> tokens_;
    buffer<step_part> steps_;           // (sequences), of the planned step
    buffer<typename run::slot> slots_;  // (layers, sequences)
    buffer<row_range> ranges_;          // (layers, sequences)
    buffer<float> weights_;             // (heads, rows, slots) of the rows being observed
    buffer<> data_;
    std::size_t planned_ = 0;
};

/// The policy: `evicting<h2o, f16>{{.budget = 512}}`.
template <eviction_policy Policy, class Codec = f16>
struct evicting {
    static_assert(require_codec<Codec>() && require_rotated<Codec>() && require_untransformed<Codec>());
    using cache = evicting_cache<Policy, Codec>;
    evicting_options options{};
    Policy choice{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(choice, shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(choice, shape, options); }
    std::size_t max_length() const noexcept { return cache::max_length(options); }
    std::size_t max_step() const noexcept { return options.step; }
    std::string name() const { return concat(choice.name(), ":", options.budget, ":", Codec::name); }
};

static_assert(storable_cache<evicting_cache<h2o, f16>> && policy<evicting<tova, f16>>);

}  // namespace skald::kv
