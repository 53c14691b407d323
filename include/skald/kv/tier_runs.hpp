// SPDX-License-Identifier: MIT
#pragma once
// How the tiers of a sequence (tiered.hpp) are read and made: which positions a row reads from which tier, the runs over the hot and the
// cold one and over first tokens that stay as they are, and how the cold tier of all layers is laid out where every layer has groups of its
// own. It knows nothing of who keeps which group where.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/group_codec.hpp>
#include <skald/kv/kivi.hpp>
#include <skald/kv/state_terms.hpp>

namespace skald::kv {

/// Which positions are read from which tier; those before `first` stand in neither once the first group is whole.
struct tier_rule {
    position hot, group, first = 0;
    /// A row at p reads [first, boundary(p)) from the cold tier, [boundary(p), p] from the hot one.
    position boundary(position p) const noexcept { return std::max<position>(0, p + 1 - hot) / group * group; }
};

/// Where the segments of the step lie.
struct tiered_slot {
    const std::uint32_t* table;  ///< of places of groups; null: in order
    std::size_t first_place;     ///< of group 0, without a table
    std::uint32_t sequence;
    position hot_begin, end;
};

/// The run over the hot tier at one layer.
template <codec Codec>
class hot_run {
public:
    using codec = Codec;

    hot_run(std::byte* keys, std::byte* values, const tiered_slot* slots, tier_rule rule, std::size_t kv_heads, std::size_t capacity,
            std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          rule_(rule),
          capacity_(static_cast<std::uint32_t>(capacity)),
          kv_heads_(kv_heads),
          row_bytes_(row_bytes) {}

    position begin(std::size_t segment) const noexcept { return slots_[segment].hot_begin; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    position_range seen_by(position p) const noexcept { return {rule_.boundary(p), p + 1}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return capacity_ - place(p); }

private:
    std::uint32_t place(position p) const noexcept { return static_cast<std::uint32_t>(p) % capacity_; }
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return ((slots_[segment].sequence * kv_heads_ + kv_head) * capacity_ + place(p)) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const tiered_slot* slots_;
    tier_rule rule_;
    std::uint32_t capacity_;
    std::size_t kv_heads_, row_bytes_;
};

/// Makes a group, keys and values, of the rows that a run has at at(0), at(1), …
template <format::float_vector V, group_codec Cold, kv_run Run, class At>
void seal_group(const Run& run, std::size_t segment, std::size_t kv_head, const At& at, std::size_t width, std::byte* keys,
                std::byte* values) noexcept {
    const auto rows = [&](const auto& address) {
        return source_rows<typename Run::codec, std::remove_cvref_t<decltype(address)>>{address};
    };
    Cold::template seal_keys<V>(rows([&](std::size_t i) -> const std::byte* { return run.key(segment, kv_head, at(i)); }), width, keys);
    Cold::template seal_values<V>(rows([&](std::size_t i) -> const std::byte* { return run.value(segment, kv_head, at(i)); }), width,
                                  values);
}

/// Where groups of one kind of rows lie: in places, and heads, so many bytes apart.
struct cold_plane {
    std::byte* data;
    std::size_t place, head;

    std::byte* at(std::size_t where, std::size_t kv_head) const noexcept { return data + where * place + kv_head * head; }
};

/// The place of group g of a segment.
inline std::size_t place_of(const tiered_slot& slot, position g) noexcept {
    return slot.table == nullptr ? slot.first_place + static_cast<std::size_t>(g) : slot.table[g];
}

/// The first tokens of a sequence at one layer, in a place of a plane before that of group 0, from `offset` on in each head's part of it.
template <codec Hot>
class kept_sinks {
public:
    using codec = Hot;

    kept_sinks(const cold_plane& keys, const cold_plane& values, std::size_t offset, const tiered_slot* slots, tier_rule rule,
               std::size_t row_bytes, const hot_run<Hot>& hot) noexcept
        : keys_(keys), values_(values), offset_(offset), slots_(slots), rule_(rule), row_bytes_(row_bytes), hot_(hot) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end >= rule_.group ? rule_.first : 0; }
    position_range seen_by(position p) const noexcept { return {0, rule_.boundary(p) > 0 ? rule_.first : 0}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return row(keys_, segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return row(values_, segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(rule_.first - p); }

    /// Copies them where the rows at [first, last) complete group 0.
    template <format::float_vector V>
    void seal(std::size_t segment, std::size_t kv_head, position first, position last) const noexcept {
        if (first >= rule_.group || last < rule_.group) return;
        for (position p = 0; p < rule_.first; ++p) {
            std::memcpy(key(segment, kv_head, p), hot_.key(segment, kv_head, p), row_bytes_);
            std::memcpy(value(segment, kv_head, p), hot_.value(segment, kv_head, p), row_bytes_);
        }
    }

private:
    std::byte* row(const cold_plane& plane, std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return plane.at(place_of(slots_[segment], -1), kv_head) + offset_ + static_cast<std::size_t>(p) * row_bytes_;
    }

    cold_plane keys_, values_;
    std::size_t offset_;
    const tiered_slot* slots_;
    tier_rule rule_;
    std::size_t row_bytes_;
    hot_run<Hot> hot_;
};

/// Rows in groups, of the planes of keys and of values of one layer; `where` is the place of the group that has position p.
template <group_codec Cold>
class group_rows {
public:
    using codec = typename Cold::key_codec;
    using value_codec = typename Cold::value_codec;

    std::size_t row_bytes() const noexcept { return codec::row_bytes(width_); }
    std::size_t value_row_bytes() const noexcept { return value_codec::row_bytes(width_); }
    std::size_t stretch(position p) const noexcept { return static_cast<std::size_t>(group - p % group); }

protected:
    static constexpr auto group = static_cast<position>(Cold::tokens);

    group_rows(const cold_plane& keys, const cold_plane& values, std::size_t width) noexcept
        : keys_(keys), values_(values), width_(width) {}

    std::byte* key_at(std::size_t where, std::size_t kv_head, position p) const noexcept {
        return keys_.at(where, kv_head) + Cold::first_key(width_) + static_cast<std::size_t>(p % group) * row_bytes();
    }
    std::byte* value_at(std::size_t where, std::size_t kv_head, position p) const noexcept {
        return values_.at(where, kv_head) + Cold::first_value(width_) + static_cast<std::size_t>(p % group) * value_row_bytes();
    }
    /// Makes a group of hot rows, the i-th of which stands at position at(i) of their run.
    template <format::float_vector V, class Hot, class At>
    void seal_at(std::size_t where, std::size_t kv_head, const Hot& hot, std::size_t segment, const At& at) const noexcept {
        seal_group<V, Cold>(hot, segment, kv_head, at, width_, keys_.at(where, kv_head), values_.at(where, kv_head));
    }

private:
    cold_plane keys_, values_;
    std::size_t width_;
};

/// The run over the cold tier: the whole groups of a segment. // (places, kv_heads, group bytes) or (sequences, kv_heads, groups, …)
/// Where it is empty, no row reads anything of it, and no group is made.
template <codec Hot, group_codec Cold>
class cold_run : public group_rows<Cold> {
    using base = group_rows<Cold>;
    using base::group;

public:
    cold_run(const cold_plane& keys, const cold_plane& values, const tiered_slot* slots, tier_rule rule, std::size_t width,
             const hot_run<Hot>& hot, bool empty = false) noexcept
        : base(keys, values, width), slots_(slots), rule_(rule), hot_(hot), empty_(empty) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return empty_ ? 0 : slots_[segment].end / group * group; }
    position_range seen_by(position p) const noexcept { return {rule_.first, empty_ ? 0 : rule_.boundary(p)}; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return base::key_at(place_of(slots_[segment], p / group), kv_head, p);
    }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return base::value_at(place_of(slots_[segment], p / group), kv_head, p);
    }

    /// Makes the groups that the rows at [first, last) complete. What nobody reads in one is like the row after it.
    template <format::float_vector V>
    void seal(std::size_t segment, std::size_t kv_head, position first, position last) const noexcept {
        if (empty_) return;
        for (position g = first / group; (g + 1) * group <= last; ++g) {
            const auto at = [&](std::size_t i) { return std::max(rule_.first, g * group + static_cast<position>(i)); };
            base::template seal_at<V>(place_of(slots_[segment], g), kv_head, hot_, segment, at);
        }
    }

private:
    const tiered_slot* slots_;
    tier_rule rule_;
    hot_run<Hot> hot_;
    bool empty_;
};

/// How the cold tier of all layers is laid out, and read.
///
/// | member                         | meaning                                                                                         |
/// |--------------------------------|-------------------------------------------------------------------------------------------------|
/// | L::hot, L::tokens              | the codec of the hot tier; tokens of a group                                                    |
/// | L::whole_steps                 | a step has to end where a group does: what it completes is read by later steps only             |
/// | l.name()                       | what the tiers are, for messages                                                                |
/// | l.check()                      | throws for a shape or options that it cannot serve                                              |
/// | l.first()                      | so many tokens of a sequence are never in a group; they have a place before that of group 0     |
/// | l.planes(), l.bytes_before(i)  | how many planes there are; bytes of the first i planes of one head's group                      |
/// | l.first_bytes(i)               | how many bytes of that place are used in plane i                                                |
/// | l.describe(terms)              | adds what saved sequences say of it: codec, sizes                                               |
/// | l.plausible(i, bytes)          | whether what a row of plane i is found by in these bytes of a group stays inside them           |
/// | l.plane_of(layer)              | the first of the two planes that a layer reads, and no other but that which shares them          |
/// | l.view(layer, hot, plane, slots, rule) | the runs of a layer: hot(layer) is the hot_run of one, plane(i) a cold_plane            |
template <class L>
concept cold_layout = requires(const L l, std::size_t n, state_terms& terms, std::span<const std::byte> bytes) {
    typename L::hot;
    { L::tokens } -> std::convertible_to<std::size_t>;
    { L::whole_steps } -> std::convertible_to<bool>;
    { l.name() } -> std::same_as<std::string>;
    l.check();
    { l.first() } -> std::same_as<std::size_t>;
    { l.planes() } -> std::same_as<std::size_t>;
    { l.bytes_before(n) } -> std::same_as<std::size_t>;
    { l.first_bytes(n) } -> std::same_as<std::size_t>;
    l.describe(terms);
    { l.plausible(n, bytes) } -> std::same_as<bool>;
    { l.plane_of(n) } -> std::same_as<std::size_t>;
};

/// How many first tokens a place of groups has room for beside each other in the hot codec: less than a group; none of heads of no values.
template <codec Hot>
constexpr std::size_t most_sinks(std::size_t group, std::size_t room, std::size_t width) noexcept {
    return width == 0 ? 0 : std::min(group - 1, room / Hot::row_bytes(width));
}

/// Refuses more of them.
inline void check_sinks(std::size_t sinks, std::size_t most, std::string_view cold) {
    if (sinks > most)
        fail(errc::invalid_argument, "kv cache", sinks, " tokens kept as sinks; of groups in ", cold, " there is room for ", most,
             "; lower .sinks");
}

/// Refuses a shape of which groups hold nothing.
inline void check_groups_of(const cache_shape& shape) {
    if (shape.layers == 0 || shape.head_dim == 0)
        fail(errc::invalid_argument, "kv cache", "tiers for ", shape.layers, " layers and heads of ", shape.head_dim,
             " values; neither may be 0");
}

/// Every layer has groups of its own: its keys are plane 2 · layer, its values the next. The first `sinks` tokens stay in the hot codec.
template <codec Hot, group_codec Cold>
class layers_apart {
public:
    using hot = Hot;
    static constexpr std::size_t tokens = Cold::tokens;
    static constexpr bool whole_steps = false;

    /// Without a number of sinks: as many as Cold asks for, or as there is room for.
    explicit layers_apart(const cache_shape& shape, std::optional<std::size_t> sinks = 0) noexcept
        : shape_(shape), sinks_(sinks.value_or(std::min(asked_sinks(), room_for_sinks()))) {}

    static std::string name() { return concat(Hot::name, " and ", Cold::name); }
    void check() const {
        check_groups_of(shape_);
        const std::size_t width = shape_.width();
        if (width > Cold::most_width)
            fail(errc::unsupported, "kv cache", "heads of ", shape_.head_dim, " values in groups of ", Cold::name, "; the widest are ",
                 Cold::most_width);
        check_sinks(sinks_, room_for_sinks(), Cold::name);
    }
    std::size_t first() const noexcept { return sinks_; }
    std::size_t planes() const noexcept { return 2 * shape_.layers; }
    std::size_t bytes_before(std::size_t plane) const noexcept {
        const std::size_t keys = Cold::key_bytes(shape_.width()), values = Cold::value_bytes(shape_.width());
        return plane / 2 * (keys + values) + plane % 2 * keys;
    }
    std::size_t first_bytes(std::size_t) const noexcept { return sinks_ * Hot::row_bytes(shape_.width()); }
    void describe(state_terms& terms) const {
        describe_groups<Cold>(terms);
        terms.push_back({"sinks", concat(sinks_, " tokens")});
    }
    bool plausible(std::size_t plane, std::span<const std::byte> bytes) const noexcept {
        return plausible_group<Cold>(plane % 2 == 0, shape_.width(), bytes.data());
    }

    static std::size_t plane_of(std::size_t layer) noexcept { return 2 * layer; }

    template <class HotOf, class PlaneAt>
    std::tuple<kept_sinks<Hot>, cold_run<Hot, Cold>, hot_run<Hot>> view(std::size_t layer, const HotOf& hot, const PlaneAt& plane,
                                                                        const tiered_slot* slots, tier_rule rule) const noexcept {
        const hot_run<Hot> tail = hot(layer);
        const cold_plane keys = plane(plane_of(layer)), values = plane(plane_of(layer) + 1);
        const std::size_t width = shape_.width();
        return {kept_sinks<Hot>(keys, values, 0, slots, rule, Hot::row_bytes(width), tail),
                cold_run<Hot, Cold>(keys, values, slots, rule, width, tail), tail};
    }

private:
    static constexpr std::size_t asked_sinks() noexcept {
        if constexpr (requires { Cold::sinks; })
            return Cold::sinks;
        else
            return 0;
    }
    std::size_t room_for_sinks() const noexcept {
        const std::size_t width = shape_.width();
        return most_sinks<Hot>(tokens, std::min(Cold::key_bytes(width), Cold::value_bytes(width)), width);
    }

    cache_shape shape_;
    std::size_t sinks_;
};

static_assert(kv_run<hot_run<f16>> && selective_run<hot_run<f16>> && cold_layout<layers_apart<f16, kivi4>>);
static_assert(selective_run<kept_sinks<f16>> && sealing_run<kept_sinks<f16>, format::scalar>);
static_assert(selective_run<cold_run<f16, kivi4>> && split_run<cold_run<f16, kivi4>> && sealing_run<cold_run<f16, kivi4>, format::scalar>);

}  // namespace skald::kv
