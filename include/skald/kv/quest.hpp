// SPDX-License-Identifier: MIT
#pragma once
// Quest (Tang et al. 2024): nothing is dropped, most is skipped. Paged storage whose blocks are the paper's pages. Of each whole page the
// least and the greatest value of each channel of its keys are kept; Σ max(q · least, q · greatest) over channels is no less than the
// product of a query with any of its keys. A row reads, for each kv head, the page it stands in and those of the greatest such bounds.
//
// The pages of a row follow from its query and the keys before it, whatever step they came in: prompts, chunks, drafts and batches give
// the same bits, and all rows choose, those of prompts too, where the paper lets these read everything. Query heads that share a kv head
// read the same pages, those whose bounds have the greatest sum over the heads: like softmax, the order of sums does not change when one
// head's scores all grow by a constant, and they cost no more than one head's. Layers with a window choose inside it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory_resource>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>

#include <skald/attention/layer.hpp>
#include <skald/core/buffer.hpp>
#include <skald/core/executor.hpp>
#include <skald/kv/paged.hpp>

namespace skald::kv {

struct quest_options {
    std::size_t tokens = 2048;    ///< room of the pool, shared by all sequences; rounded up to whole pages
    std::size_t sequences = 1;    ///< how many can be open at once
    std::size_t budget = 1024;    ///< tokens that a row reads at most, in whole pages, its own among them
    std::size_t page = 16;        ///< tokens a page
    bool first_page = true;       ///< whether rows read the first page whatever its bound: attention rests there
    std::size_t full_layers = 2;  ///< layers, from the first on, whose rows read everything, as in the paper
    std::size_t context = 0;      ///< tokens one sequence is meant to reach; 0: as many as the pool has room for
};

/// Paged storage of which each row reads the pages chosen for it, or, where none were, all.
template <codec Codec>
class quest_run : public paged_run<Codec> {
public:
    /// The rows of a segment for which pages were chosen: from position `first` on, in rows `row` and following of the choice.
    struct part {
        position first;
        std::size_t row;
    };

    explicit quest_run(const paged_run<Codec>& all) noexcept : paged_run<Codec>(all) {}
    // chosen: (rows, kv_heads, tiles)
    quest_run(const paged_run<Codec>& all, const std::uint64_t* chosen, const part* parts, std::size_t kv_heads, std::size_t tiles) noexcept
        : paged_run<Codec>(all), chosen_(chosen), parts_(parts), kv_heads_(kv_heads), tiles_(tiles) {}

    std::uint64_t shown(std::size_t segment, std::size_t kv_head, position p, position t) const noexcept {
        if (chosen_ == nullptr) return ~std::uint64_t{0};
        const std::size_t row = parts_[segment].row + static_cast<std::size_t>(p - parts_[segment].first);
        return chosen_[(row * kv_heads_ + kv_head) * tiles_ + static_cast<std::size_t>(t) / attention::tile_size];
    }

private:
    const std::uint64_t* chosen_ = nullptr;
    const part* parts_ = nullptr;
    std::size_t kv_heads_ = 0, tiles_ = 0;
};

/// Memory: paged storage's, two rows of bounds a page, and for 64 rows, or one a sequence, a bit for each token of the pool and kv head.
/// // bounds: (layers, pages, kv_heads, {least, greatest}, width), in f16, or as f32 and bf16 keys are
/// Cost of a row besides attention: at pages of 16 an eighth of one query head's products with all keys, for each kv head.
template <codec Codec>
class quest_cache : private paged_cache<Codec> {
    using base = paged_cache<Codec>;
    using base::blocks_;
    using bound = std::conditional_t<std::is_same_v<Codec, f32> || std::is_same_v<Codec, bf16>, Codec, f16>;

public:
    static constexpr bool schedule_invariant = true;
    using run = quest_run<Codec>;

    quest_cache(const cache_shape& shape, const quest_options& o, std::pmr::memory_resource* memory)
        : base(shape, pool_of(o), memory),
          options_(o),
          bounded_((checked_size(shape.layers, "kv cache") * o.sequences).size(), memory),
          steps_(o.sequences, memory),
          ranges_(o.sequences, memory),
          parts_(o.sequences, memory),
          chosen_(chosen_words(shape, o), memory),
          rooms_(room_floats(shape, o), memory),
          bounds_(bounds_bytes(shape, o), memory) {
        std::ranges::fill(bounded_.span(), 0u);
    }

    static std::size_t bytes(const cache_shape& shape, const quest_options& o) {
        return base::bytes(shape, pool_of(o)) +
               buffer<std::uint32_t>::bytes_for((checked_size(shape.layers, "kv cache") * o.sequences).size()) +
               buffer<std::uint32_t>::bytes_for(o.sequences) + buffer<row_range>::bytes_for(o.sequences) +
               buffer<typename run::part>::bytes_for(o.sequences) + buffer<std::uint64_t>::bytes_for(chosen_words(shape, o)) +
               buffer<float>::bytes_for(room_floats(shape, o)) + buffer<>::bytes_for(bounds_bytes(shape, o));
    }
    std::size_t bytes() const noexcept {
        return base::bytes() + bounded_.bytes() + steps_.bytes() + ranges_.bytes() + parts_.bytes() + chosen_.bytes() + rooms_.bytes() +
               bounds_.bytes();
    }

    using base::commit, base::context, base::free_blocks, base::keeps, base::length, base::mark, base::select, base::shape, base::window;

    /// What keys and values depend on besides the tokens and the codec, as saved sequences name it.
    std::string reading() const { return concat("q", options_.budget, "/", block_, options_.first_page ? "+" : "-", options_.full_layers); }

    sequence_id open() {
        const sequence_id s = base::open();
        forget(s, 0);
        return s;
    }
    void close(sequence_id s) { base::close(s); }
    void rollback(sequence_id s, checkpoint to) {
        base::rollback(s, to);
        forget(s, to.length);
    }
    void truncate(sequence_id s, position length) {
        base::truncate(s, length);
        forget(s, length);
    }
    /// Shares pages, and the bounds of whole ones.
    sequence_id fork(sequence_id s) {
        const sequence_id copy = base::fork(s);
        for (std::size_t layer = 0; layer < shape().layers; ++layer) bounded(layer, copy.index) = bounded(layer, s.index);
        forget(copy, length(copy));
        return copy;
    }

    std::span<const row_range> plan(std::span<const segment> segments) {
        const std::span<const row_range> ranges = base::plan(segments);
        for (std::size_t i = 0; i < segments.size(); ++i) steps_[i] = segments[i].sequence.index;
        return ranges;
    }

    /// All that there is.
    std::tuple<run> view(std::size_t layer) const noexcept { return {run(std::get<0>(base::view(layer)))}; }

    /// What attention::run_layer() calls once the step's rows are appended: some rows at a time, attend(ranges, runs) with what they read.
    template <class Backend, class Attend>
    void attend_parts(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call,
                      std::span<const row_range> ranges, const Attend& attend) {
        using vector = typename Backend::vector;
        const auto whole = [&](const row_range& range) { return pages_before(range.first_position + static_cast<position>(range.rows)); };
        if (layer < options_.full_layers) return attend(ranges, view(layer));
        bound_pages<vector>(backend, layer, ranges);
        if (std::ranges::all_of(ranges, [&](const row_range& range) { return whole(range) < most_pages(); }))
            return attend(ranges, view(layer));
        const run pages(std::get<0>(base::view(layer)), chosen_.data(), parts_.data(), shape().kv_heads, tiles());
        for (std::size_t segment = 0, done = 0; segment < ranges.size();) {
            const std::size_t rows = next_part(ranges, segment, done);
            choose<vector>(backend, layer, call, ranges.size(), rows);
            attend(std::span<const row_range>(ranges_.data(), ranges.size()), std::tuple{pages});
        }
    }

    /// The least or the greatest value of each channel of a whole page of the sequence, once a row has read it: as floats, for tests and
    /// tools. // (head_dim)
    template <class Out>
    void load_bound(sequence_id s, std::size_t layer, std::size_t page, std::size_t kv_head, bool greatest, Out&& out) const {
        for (std::size_t d = 0; d < shape().head_dim; ++d)
            out[d] = bound::template decode<format::scalar>(bound_row(layer, blocks_of(s)[page], kv_head, greatest), d).value;
    }
    std::size_t bounded_pages(sequence_id s, std::size_t layer) const noexcept { return bounded_[layer * table_.size() + s.index]; }

protected:  // radix_quest.hpp builds on these
    using base::block_, base::blocks_for, base::blocks_needed, base::blocks_of, base::holders_of_tail, base::lead_of, base::pool,
        base::table_, base::tail_of, base::without;

    /// A new sequence whose first pages, in its table already, are whole and have their bounds.
    void begin_at(sequence_id s, position length) noexcept {
        base::begin_at(s, length);
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            bounded(layer, s.index) = layer < options_.full_layers ? 0 : static_cast<std::uint32_t>(pages_before(length));
    }

    /// The bounds of the whole pages of a sequence's first committed tokens, where no row has asked for them, as after a restore.
    void bound_first(sequence_id s, std::size_t tokens) {
        const std::size_t pages = std::min(static_cast<std::size_t>(table_.at(s).committed), tokens) / block_;
        for (std::size_t layer = options_.full_layers; layer < shape().layers; ++layer)
            for (std::uint32_t& done = bounded(layer, s.index); done < pages; ++done)
                for (std::size_t h = 0; h < shape().kv_heads; ++h) bound_page<format::scalar>(layer, h, blocks_of(s)[done]);
    }

private:
    static constexpr std::size_t most_threads = 16;  // that choose
    static constexpr std::size_t part_rows = 64;     // that are chosen for at once, or one a sequence

    static paged_options pool_of(const quest_options& o) {
        if (o.page == 0 || o.budget / o.page < (o.first_page ? 2 : 1))
            fail(errc::invalid_argument, "kv cache", "a budget of ", o.budget, " tokens in pages of ", o.page,
                 "; .page must be positive, and .budget hold a row's own page", o.first_page ? " and the first" : "");
        return {.tokens = o.tokens, .sequences = o.sequences, .block = o.page, .context = o.context};
    }
    static checked_size pool_tokens(const quest_options& o) { return round_up(checked_size(o.tokens, "kv cache"), o.page); }
    static std::size_t chosen_words(const cache_shape& shape, const quest_options& o) {
        const std::size_t words = round_up(pool_tokens(o), attention::tile_size).size() / attention::tile_size;
        return (checked_size(std::max(part_rows, o.sequences), "kv cache") * shape.kv_heads * words).size();
    }
    static std::size_t room_floats(const cache_shape& shape, const quest_options& o) {
        return (checked_size(room_of(shape, ceil_div(o.tokens, o.page)), "kv cache") * most_threads).size();
    }
    static std::size_t bounds_bytes(const cache_shape& shape, const quest_options& o) {
        return (checked_size(shape.layers, "kv cache") * ceil_div(o.tokens, o.page) * shape.kv_heads * 2 * bound::row_bytes(shape.width()))
            .size();
    }
    /// What a thread needs to choose: a group's queries added up, their positive parts and their negative ones; the bounds twice.
    static std::size_t room_of(const cache_shape& shape, std::size_t pages) noexcept { return 2 * (shape.width() + pages); }

    std::size_t most_pages() const noexcept { return options_.budget / block_; }
    std::size_t tiles() const noexcept { return ceil_div(blocks_ * block_, attention::tile_size); }
    std::size_t pages_before(position p) const noexcept { return static_cast<std::size_t>(p) / block_; }
    std::uint32_t& bounded(std::size_t layer, std::size_t s) noexcept { return bounded_[layer * table_.size() + s]; }
    void forget(sequence_id s, position length) noexcept {
        for (std::size_t layer = 0; layer < shape().layers; ++layer)
            bounded(layer, s.index) = std::min(bounded(layer, s.index), static_cast<std::uint32_t>(pages_before(length)));
    }
    std::byte* bound_row(std::size_t layer, std::size_t block, std::size_t h, bool greatest) const noexcept {
        return bounds_.data() +
               (((layer * blocks_ + block) * shape().kv_heads + h) * 2 + (greatest ? 1 : 0)) * bound::row_bytes(shape().width());
    }

    /// f(begin, end, thread) over [0, n).
    template <class Backend, class F>
    static void share(const Backend& backend, std::size_t n, const F& f) {
        executor* pool = nullptr;
        if constexpr (requires { backend.pool(); }) pool = backend.pool();
        const std::size_t threads = pool == nullptr ? 1 : std::min({pool->concurrency(), most_threads, n});
        if (threads <= 1) return f(std::size_t{0}, n, std::size_t{0});
        pool->run(threads, [&](std::size_t i) { f(n * i / threads, n * (i + 1) / threads, i); });
    }

    /// The bounds of all pages that are whole now and had none, of the step's sequences: forks may share them, so that threads share heads.
    template <class V, class Backend>
    void bound_pages(const Backend& backend, std::size_t layer, std::span<const row_range> ranges) {
        const auto whole = [&](std::size_t i) { return pages_before(ranges[i].first_position + static_cast<position>(ranges[i].rows)); };
        bool any = false;
        for (std::size_t i = 0; i < ranges.size(); ++i) any = any || whole(i) > bounded(layer, steps_[i]);
        if (!any) return;
        share(backend, shape().kv_heads, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t h = begin; h < end; ++h)
                for (std::size_t i = 0; i < ranges.size(); ++i)
                    for (std::size_t page = bounded(layer, steps_[i]); page < whole(i); ++page)
                        bound_page<V>(layer, h, blocks_of({steps_[i]})[page]);
        });
        for (std::size_t i = 0; i < ranges.size(); ++i)
            bounded(layer, steps_[i]) = std::max(bounded(layer, steps_[i]), static_cast<std::uint32_t>(whole(i)));
    }

    template <class V>
    void bound_page(std::size_t layer, std::size_t h, std::uint32_t block) const noexcept {
        constexpr float most = std::is_same_v<bound, f16> ? 65504.0f : std::numeric_limits<float>::max();
        const std::byte* keys = base::data_.data() + shape().planes() * layer * base::plane_bytes() + block * base::block_bytes() +
                                h * block_ * base::row_bytes();
        for (std::size_t d = 0; d < shape().width(); d += lane_count) {
            alignas(64) std::array<float, lane_count> least, greatest;
            for (std::size_t part = 0; part < lane_count; part += V::size) {
                V low = V::broadcast(most), high = V::broadcast(-most);
                for (std::size_t row = 0; row < block_; ++row) {
                    const V k = Codec::template decode<V>(keys + row * base::row_bytes(), d + part);
                    low = min(low, k), high = max(high, k);
                }
                max(low, V::broadcast(-most)).store(least.data() + part);
                min(high, V::broadcast(most)).store(greatest.data() + part);
            }
            const std::size_t at = bound::row_bytes(d);
            bound::template encode<V>(least.data(), lane_count, bound_row(layer, block, h, false) + at);
            bound::template encode<V>(greatest.data(), lane_count, bound_row(layer, block, h, true) + at);
        }
    }

    /// Makes ranges_ the next rows that are chosen for, from row `done` of a segment on, and parts_ what says where; returns how many.
    std::size_t next_part(std::span<const row_range> ranges, std::size_t& segment, std::size_t& done) noexcept {
        const std::size_t room = std::max(part_rows, table_.size());
        std::size_t rows = 0;
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            ranges_[i] = ranges[i];
            ranges_[i].rows = 0;
            if (i != segment || rows == room) continue;
            const std::size_t some = std::min(ranges[i].rows - done, room - rows);
            ranges_[i] = {ranges[i].first_row + done, some, ranges[i].first_position + static_cast<position>(done)};
            parts_[i] = {ranges_[i].first_position, rows};
            rows += some;
            done += some;
            if (done == ranges[i].rows) ++segment, done = 0;
        }
        return rows;
    }

    /// What the rows of ranges_ read.
    template <class V, class Backend>
    void choose(const Backend& backend, std::size_t layer, const attention::layer_call<Backend>& call, std::size_t segments,
                std::size_t rows) {
        share(backend, rows * shape().kv_heads, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            float* room = rooms_.data() + thread * room_of(shape(), blocks_);
            for (std::size_t i = 0, at = 0; i < segments; at += ranges_[i++].rows)
                for (std::size_t n = std::max(begin, at * shape().kv_heads); n < std::min(end, (at + ranges_[i].rows) * shape().kv_heads);
                     ++n) {
                    const std::size_t row = n / shape().kv_heads - at, h = n % shape().kv_heads;
                    const position p = ranges_[i].first_position + static_cast<position>(row);
                    add_queries<V>(call, ranges_[i].first_row + row, h, room);
                    choose_pages<V>(layer, steps_[i], h, call.variant.begin(p), p, room, chosen_.data() + n * tiles());
                }
        });
    }

    /// Σ max(q, 0) and Σ min(q, 0) over the query heads of a kv head. // out: (2, width)
    template <class V, class Backend>
    void add_queries(const attention::layer_call<Backend>& call, std::size_t row, std::size_t h, float* out) const noexcept {
        const std::size_t group = call.shape.heads / call.shape.kv_heads, width = shape().width();
        std::fill_n(out, 2 * width, 0.0f);
        for (std::size_t g = 0; g < group; ++g) {
            const float* q = call.q.data() + row * call.q.strides()[0] + (h * group + g) * call.shape.head_dim;
            for (std::size_t d = 0; d < call.shape.head_dim; ++d) {
                out[d] += std::max(q[d], 0.0f);
                out[width + d] += std::min(q[d], 0.0f);
            }
        }
    }

    /// Of the pages [page of from, page of p): the first and that of p, and the best of the others, of equals the last. // out: (tiles)
    template <class V>
    void choose_pages(std::size_t layer, std::uint32_t s, std::size_t h, position from, position p, float* room,
                      std::uint64_t* out) const noexcept {
        const std::size_t first = pages_before(from), own = pages_before(p);
        const std::size_t used = ceil_div((own + 1) * block_, attention::tile_size);
        if (own - first < most_pages()) {
            std::fill_n(out, used, ~std::uint64_t{0});
            return;
        }
        std::fill_n(out, used, std::uint64_t{0});
        float *sums = room, *worth = room + 2 * shape().width(), *order = worth + blocks_;
        const bool keeps_first = options_.first_page && first == 0;
        const std::size_t begin = first + (keeps_first ? 1 : 0), wanted = most_pages() - (keeps_first ? 2 : 1);
        show(out, own);
        if (keeps_first) show(out, 0);
        if (wanted == 0) return;
        for (std::size_t page = begin; page < own; ++page) {
            const float w = worth_of<V>(layer, blocks_of({s})[page], h, sums);
            worth[page] = w == w ? w : -std::numeric_limits<float>::infinity();
        }
        const std::size_t count = own - begin;
        std::copy_n(worth + begin, count, order);
        std::nth_element(order, order + (wanted - 1), order + count, std::greater<>{});
        const float least = order[wanted - 1];
        std::size_t equal =
            wanted - static_cast<std::size_t>(std::count_if(worth + begin, worth + own, [&](float w) { return w > least; }));
        for (std::size_t page = own; page-- > begin;)
            if (worth[page] > least || (worth[page] == least && equal != 0)) {
                equal -= worth[page] == least ? 1 : 0;
                show(out, page);
            }
    }

    /// Σ max(q · least, q · greatest), of all query heads of a kv head.
    template <class V>
    float worth_of(std::size_t layer, std::size_t block, std::size_t h, const float* sums) const noexcept {
        const std::byte *least = bound_row(layer, block, h, false), *greatest = bound_row(layer, block, h, true);
        V low = V::broadcast(0.0f), high = low;
        for (std::size_t d = 0; d < shape().width(); d += V::size) {
            high = fma(V::load(sums + d), bound::template decode<V>(greatest, d), high);
            low = fma(V::load(sums + shape().width() + d), bound::template decode<V>(least, d), low);
        }
        return reduce_add(low + high);
    }

    /// Sets the bits of a page.
    void show(std::uint64_t* out, std::size_t page) const noexcept {
        constexpr std::size_t tile = attention::tile_size;
        for (std::size_t from = page * block_, end = from + block_; from < end;) {
            const std::size_t count = std::min(end - from, tile - from % tile);
            out[from / tile] |= (~std::uint64_t{0} >> (tile - count)) << from % tile;
            from += count;
        }
    }

    quest_options options_;
    buffer<std::uint32_t> bounded_;     // (layers, sequences): pages, from the first on, whose bounds are known
    buffer<std::uint32_t> steps_;       // sequences of the step's segments
    buffer<row_range> ranges_;          // the rows that are chosen for, a range a segment
    buffer<typename run::part> parts_;  // where they stand in `chosen`
    buffer<std::uint64_t> chosen_;      // (rows, kv_heads, tiles)
    buffer<float> rooms_;               // (threads, room_of())
    buffer<> bounds_;
};

/// The policy: `quest<f16>{{.tokens = 32768, .budget = 1024}}`.
template <class Codec = f16>
struct quest {
    static_assert(require_codec<Codec>() && require_rotated<Codec>() && require_untransformed<Codec>());
    using cache = quest_cache<Codec>;
    quest_options options{};

    cache make(const cache_shape& shape, std::pmr::memory_resource* memory) const { return cache(shape, options, memory); }
    std::size_t bytes(const cache_shape& shape) const { return cache::bytes(shape, options); }
    std::size_t max_length() const noexcept {
        return paged<Codec>{{.tokens = options.tokens, .block = options.page, .context = options.context}}.max_length();
    }
    std::string name() const {
        return options.page == quest_options{}.page ? concat("quest:", options.budget, ":", Codec::name)
                                                    : concat("quest:", options.budget, "/", options.page, ":", Codec::name);
    }
};

static_assert(choosing_run<quest_run<f16>> && kv_cache<quest_cache<f16>> && policy<quest<f16>>);

}  // namespace skald::kv
