// SPDX-License-Identifier: MIT
#pragma once
// Paged storage (vLLM's PagedAttention, Kwon et al. 2023): one pool of blocks of `block` tokens, a block table a sequence, a
// free list, and reference counts: forks share blocks and copy one only when they write into it. A sequence wastes less than
// one block.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>

#include <skald/core/buffer.hpp>
#include <skald/core/large_pages.hpp>
#include <skald/kv/cache.hpp>
#include <skald/kv/detail/block_pool.hpp>
#include <skald/kv/detail/prefix_order.hpp>
#include <skald/kv/rotation_table.hpp>
#include <skald/kv/shifting.hpp>

namespace skald::kv {

struct paged_options {
    std::size_t tokens = 2048;  ///< room of the pool, shared by all sequences; rounded up to whole blocks
    std::size_t sequences = 1;  ///< how many can be open at once
    std::size_t block = 16;     ///< tokens a block, any positive number
    std::size_t context = 0;    ///< tokens one sequence is meant to reach; 0: as many as the pool has room for
};

/// One run over all positions of paged storage at one layer.
template <codec Codec>
class paged_run {
public:
    using codec = Codec;

    /// Where the segments of the step lie: block table and length.
    struct slot {
        const std::uint32_t* blocks;
        position end;
    };

    paged_run(std::byte* keys, std::byte* values, const slot* slots, std::span<const shared_prefix> sharing, std::size_t kv_heads,
              std::size_t block, std::size_t row_bytes) noexcept
        : keys_(keys),
          values_(values),
          slots_(slots),
          sharing_(sharing),
          block_(static_cast<std::uint32_t>(block)),
          kv_heads_(kv_heads),
          row_bytes_(row_bytes) {}

    position begin(std::size_t) const noexcept { return 0; }
    position end(std::size_t segment) const noexcept { return slots_[segment].end; }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept { return keys_ + offset(segment, kv_head, p); }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept { return values_ + offset(segment, kv_head, p); }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t stretch(position p) const noexcept { return block_ - static_cast<std::uint32_t>(p) % block_; }
    std::span<const shared_prefix> sharing() const noexcept { return sharing_; }

private:
    std::size_t offset(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        const auto u = static_cast<std::uint32_t>(p);
        return ((slots_[segment].blocks[u / block_] * kv_heads_ + kv_head) * block_ + u % block_) * row_bytes_;
    }

    std::byte* keys_;
    std::byte* values_;
    const slot* slots_;
    std::span<const shared_prefix> sharing_;
    std::uint32_t block_;
    std::size_t kv_heads_, row_bytes_;
};

/// Memory: layers × 2 × blocks × kv_heads × block encoded rows, of latents half as many; the tables and counts.
/// // (layers, {k, v}, blocks, kv_heads, block, row_bytes)
template <codec Codec>
class paged_cache {
public:
    static constexpr bool schedule_invariant = true, shifts_positions = unrotated_codec<Codec>;
    using run = paged_run<Codec>;

    paged_cache(const cache_shape& shape, const paged_options& options, std::pmr::memory_resource* memory)
        : shape_(shape),
          context_(options.context == 0 ? options.tokens : std::min(options.context, options.tokens)),
          block_(checked_block(options)),
          blocks_(ceil_div(options.tokens, options.block)),
          table_(options.sequences, memory),
          slots_(options.sequences, memory),
          sharing_(options.sequences, memory),
          tables_(table_entries(options), memory),
          pool_(blocks_, memory),
          rotations_(positions(options), shape.rope_pairs, memory),
          data_(data_bytes(shape, options), memory) {
        prefer_large_pages(data_.span());
    }

    static std::size_t bytes(const cache_shape& shape, const paged_options& options) {
        const std::size_t blocks = ceil_div(options.tokens, checked_block(options));
        return detail::sequence_table::bytes(options.sequences) + buffer<typename run::slot>::bytes_for(options.sequences) +
               detail::prefix_order::bytes(options.sequences) + buffer<std::uint32_t>::bytes_for(table_entries(options)) +
               detail::block_pool::bytes(blocks) + rotation_table::bytes(positions(options), shape.rope_pairs) +
               buffer<>::bytes_for(data_bytes(shape, options));
    }

    const cache_shape& shape() const noexcept { return shape_; }
    std::size_t context() const noexcept { return context_; }
    std::size_t window() const noexcept { return all_tokens; }
    std::size_t bytes() const noexcept {
        return detail::sequence_table::bytes(table_.size()) + slots_.bytes() + sharing_.bytes() + tables_.bytes() + pool_.bytes() +
               rotations_.bytes() + data_.bytes();
    }
    std::size_t free_blocks() const noexcept { return pool_.free_count(); }

    sequence_id open() { return table_.open(); }
    void close(sequence_id s) {
        release(s, 0);
        table_.at(s).open = false;
    }
    position length(sequence_id s) const { return table_.at(s).length; }
    checkpoint mark(sequence_id s) const { return {table_.at(s).length}; }
    void commit(sequence_id s) { table_.commit(s); }
    void rollback(sequence_id s, checkpoint to) {
        const position before = table_.at(s).length;
        table_.rollback(s, to);
        release(s, to.length, before);
    }
    bool keeps(sequence_id s, position length) const { return table_.keeps(s, length); }
    void truncate(sequence_id s, position length) {
        const position before = table_.at(s).length;
        table_.truncate(s, length);
        release(s, length, before);
    }

    /// Shares the committed tokens' blocks. Cost: one table row.
    sequence_id fork(sequence_id s) {
        const position length = table_.at(s).committed;
        const sequence_id copy = table_.open();
        table_.at(copy) = {.length = length, .committed = length, .open = true};
        const std::size_t used = blocks_for(length);
        std::copy_n(blocks_of(s), used, blocks_of(copy));
        for (std::size_t i = 0; i < used; ++i) pool_.share(blocks_of(copy)[i]);
        return copy;
    }

    /// Cost: a look at each block of those that leave.
    bool has_room(const step_wish& wish, std::span<const sequence_id> leaving) {
        return without(leaving, [&](std::size_t freed) { return blocks_needed(wish) <= free_blocks() + freed; });
    }

    std::span<const row_range> plan(std::span<const segment> segments) {
        const std::size_t needed = blocks_needed(segments);
        if (needed > free_blocks())
            fail(errc::cache_full, "kv cache", "the step needs ", needed, " more blocks of ", block_, " tokens and ", free_blocks(), " of ",
                 blocks_, " are free; raise .tokens or close sequences");
        for (const segment& s : segments) grow(s);
        const std::span<const row_range> ranges = table_.append(segments);
        for (std::size_t i = 0; i < segments.size(); ++i)
            slots_[i] = {blocks_of(segments[i].sequence), table_.at(segments[i].sequence).length};
        sharing_.arrange(segments.size(), block_, [&](std::size_t i) {
            return std::span<const std::uint32_t>(slots_[i].blocks, static_cast<std::size_t>(ranges[i].first_position) / block_);
        });
        return ranges;
    }

    void select(sequence_id s) {
        const position committed = table_.at(s).committed;
        slots_[0] = {blocks_of(s), committed};
        sharing_.clear();
    }

    std::tuple<run> view(std::size_t layer) const noexcept {
        std::byte* keys = data_.data() + shape_.planes() * layer * plane_bytes();
        std::byte* values = shape_.latent ? keys : keys + plane_bytes();
        return {run(keys, values, slots_.data(), sharing_.list(), shape_.kv_heads, block_, row_bytes())};
    }

    /// As shifting.hpp says. Cost: the rows from `first` on are moved, to blocks of their own where theirs are shared; where `first` and
    /// `last` are multiples of the block, blocks are only put in another order.
    void remove(sequence_id s, position first, position last) {
        detail::require_shifting<Codec>();
        const detail::sequence_state& state = table_.at(s);
        detail::require_rope(shape_);
        detail::require_part(s, state, first, last);
        const position before = state.length, length = before - (last - first);
        std::uint32_t* blocks = blocks_of(s);
        const auto unit = static_cast<position>(block_);
        if (first % unit == 0 && last % unit == 0) {
            std::rotate(blocks + first / unit, blocks + last / unit, blocks + blocks_for(before));
        } else {
            own(s, first, length);
            select(s);
            for (std::size_t layer = 0; layer < shape_.layers; ++layer)
                detail::move_rows(std::get<0>(view(layer)), shape_.kv_heads, first, last, static_cast<std::size_t>(before - last));
        }
        table_.truncate(s, length);
        release(s, length, before);
    }
    /// Cost: two exchanges of each row that moves.
    void shift(sequence_id s, position first, position last, position by) {
        detail::require_shifting<Codec>();
        detail::require_rope(shape_);
        const detail::rotated_part part = detail::require_move(s, table_.at(s), first, last, by);
        if (part.first == part.middle || part.middle == part.last) return;
        own(s, part.first, part.last);
        select(s);
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) detail::rotate_rows(std::get<0>(view(layer)), shape_.kv_heads, part);
    }
    /// What kernels rotate keys by.
    rotation_table* rotations() noexcept { return shifts_positions ? &rotations_ : nullptr; }
    const rotation_table* rotations() const noexcept { return shifts_positions ? &rotations_ : nullptr; }

protected:  // radix.hpp builds on these
    static std::size_t checked_block(const paged_options& o) {
        if (o.block == 0 || o.block > static_cast<std::size_t>(std::numeric_limits<position>::max()))
            fail(errc::invalid_argument, "kv cache", "a block of ", o.block, " tokens; .block must be positive and below 2^31");
        return o.block;
    }
    static std::size_t table_entries(const paged_options& o) {
        return (checked_size(o.sequences, "kv cache") * ceil_div(o.tokens, o.block)).size();
    }
    static std::size_t positions(const paged_options& o) { return shifts_positions ? ceil_div(o.tokens, o.block) * o.block : 0; }
    static std::size_t data_bytes(const cache_shape& shape, const paged_options& o) {
        const std::size_t tokens = (checked_size(ceil_div(o.tokens, o.block), "kv cache") * o.block).size();
        return ((((checked_size(shape.layers, "kv cache") * shape.planes()) * shape.kv_heads) * tokens) * Codec::row_bytes(shape.width()))
            .size();
    }
    std::size_t row_bytes() const noexcept { return Codec::row_bytes(shape_.width()); }
    std::size_t block_bytes() const noexcept { return shape_.kv_heads * block_ * row_bytes(); }
    std::size_t plane_bytes() const noexcept { return blocks_ * block_bytes(); }
    std::uint32_t* blocks_of(sequence_id s) const noexcept { return tables_.data() + s.index * blocks_; }
    std::uint32_t* lead_of(sequence_id) const noexcept { return nullptr; }
    detail::block_pool& pool() noexcept { return pool_; }
    const detail::block_pool& pool() const noexcept { return pool_; }
    /// A new sequence whose first blocks, in its table already, hold so many committed tokens.
    void begin_at(sequence_id s, position length) noexcept { table_.at(s) = {.length = length, .committed = length, .open = true}; }
    std::size_t blocks_for(position length) const noexcept { return ceil_div(static_cast<std::size_t>(length), block_); }

    /// The partly filled block that a sequence goes on in; null where it starts a new one.
    std::uint32_t* tail_of(sequence_id s) const {
        const auto length = static_cast<std::size_t>(table_.at(s).length);
        return length % block_ == 0 ? nullptr : blocks_of(s) + length / block_;
    }

    /// How many hold the tail of segment i when the segments before it have copied it; more than one: it must be copied again.
    std::size_t holders_of_tail(std::span<const segment> segments, std::size_t i) const {
        const std::uint32_t* tail = tail_of(segments[i].sequence);
        std::size_t holders = tail == nullptr ? 0 : pool_.references(*tail);
        for (std::size_t j = 0; holders > 1 && j < i; ++j) {
            const std::uint32_t* other = tail_of(segments[j].sequence);
            if (other != nullptr && *other == *tail) --holders;
        }
        return holders;
    }

    /// The free blocks that a step takes. Checks its segments.
    std::size_t blocks_needed(std::span<const segment> segments) const {
        table_.check(segments);
        std::size_t needed = 0;
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const position length = table_.at(segments[i].sequence).length;
            const std::size_t total = ceil_div(checked_size(static_cast<std::size_t>(length), "batch") + segments[i].rows);
            needed += total - blocks_for(length) + (holders_of_tail(segments, i) > 1 ? 1 : 0);
        }
        return needed;
    }
    std::size_t blocks_needed(const step_wish& wish) const {
        std::size_t needed = blocks_needed(wish.segments);
        for (const std::size_t rows : wish.opened) needed += ceil_div(checked_size(rows, "batch"));
        return needed;
    }

    /// f(blocks that would be free besides) while blocks are counted as if these sequences, each of which stands here once, were closed.
    template <class F>
    bool without(std::span<const sequence_id> sequences, const F& f) {
        const auto each_block = [&](const auto& visit) {
            for (const sequence_id s : sequences) {
                const std::uint32_t* blocks = blocks_of(s);
                for (std::size_t i = 0; i < blocks_for(table_.at(s).length); ++i) visit(blocks[i]);
            }
        };
        return pool_.without(each_block, f);
    }

    std::size_t ceil_div(checked_size n) const { return (round_up(n, block_)).size() / block_; }
    static std::size_t ceil_div(std::size_t n, std::size_t unit) noexcept { return skald::ceil_div(n, unit); }

    void grow(const segment& s) noexcept {
        const auto length = static_cast<std::size_t>(table_.at(s.sequence).length);
        std::uint32_t* blocks = blocks_of(s.sequence);
        if (std::uint32_t* tail = tail_of(s.sequence); tail != nullptr && pool_.references(*tail) > 1) copy(*tail);
        const std::size_t last = ceil_div(length + s.rows, block_);
        for (std::size_t i = ceil_div(length, block_); i < last; ++i) blocks[i] = pool_.take();
    }

    /// Puts a copy in a shared block's place.
    void copy(std::uint32_t& block) noexcept {
        const std::uint32_t made = pool_.take();
        for (std::size_t plane = 0; plane < shape_.planes() * shape_.layers; ++plane) {
            std::byte* base = data_.data() + plane * plane_bytes();
            std::memcpy(base + made * block_bytes(), base + block * block_bytes(), block_bytes());
        }
        pool_.drop(block);
        block = made;
    }

    /// Copies the shared ones of the blocks that hold tokens [from, to). Throws errc::cache_full before anything is copied.
    void own(sequence_id s, position from, position to) {
        if (from >= to) return;
        const std::span<std::uint32_t> blocks(blocks_of(s) + from / static_cast<position>(block_), blocks_of(s) + blocks_for(to));
        const auto shared = [&](std::uint32_t block) { return pool_.references(block) > 1; };
        const auto needed = static_cast<std::size_t>(std::ranges::count_if(blocks, shared));
        if (needed > free_blocks())
            fail(errc::cache_full, "kv cache", needed, " blocks of sequence ", s.index, " are shared and have to be copied; ",
                 free_blocks(), " of ", blocks_, " are free; raise .tokens or close sequences");
        for (std::uint32_t& block : blocks)
            if (shared(block)) copy(block);
    }

    /// Gives back the blocks that held tokens [to, from) and hold none any more, the last first, so that they are taken again in the order
    /// in which they lie.
    void release(sequence_id s, position to, position from) noexcept {
        for (std::size_t i = blocks_for(from); i > blocks_for(to); --i) pool_.drop(blocks_of(s)[i - 1]);
    }
    void release(sequence_id s, position to) { release(s, to, table_.at(s).length); }

    cache_shape shape_;
    std::size_t context_;
    std::size_t block_, blocks_;
    detail::sequence_table table_;
    buffer<typename run::slot> slots_;
    detail::prefix_order sharing_;
    buffer<std::uint32_t> tables_;  // (sequences, blocks)
    detail::block_pool pool_;
    rotation_table rotations_;  // of no positions where keys are rotated
    buffer<> data_;
};

/// The policy: `paged<f16>{{.tokens = 4096, .sequences = 8}}`.
template <class Codec = f16>
struct paged {
    static_assert(require_codec<Codec>());
    using cache = paged_cache<Codec>;
    paged_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const noexcept {
        const std::size_t pool = ceil_div(options.tokens, std::max<std::size_t>(options.block, 1)) * options.block;
        return options.context == 0 ? pool : std::min(options.context, pool);
    }
    std::string name() const { return concat("paged/", options.block, ":", Codec::name); }
};

static_assert(sharing_run<paged_run<f16>> && kv_cache<paged_cache<f16>> && policy<paged<f16>>);

}  // namespace skald::kv
