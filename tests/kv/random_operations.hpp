// SPDX-License-Identifier: MIT
#pragma once
// Random operations on a cache beside a naive model of it (random_model.hpp). After each operation lengths, bytes, what is kept and some
// of the rows are compared; now and then all rows and who holds how many blocks. What disagrees is thrown as a `mismatch` that names the
// operation; the same seed does the same operations again.
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <skald/core/error.hpp>
#include <skald/core/memory.hpp>
#include <skald/kv/state.hpp>

#include "kv/random_model.hpp"

namespace skald::test {

struct mismatch {
    std::string what;
};

/// How often each thing was done, so that a test can see that none is left out.
struct operation_counts {
    std::size_t steps = 0, full_steps = 0, full_slots = 0, truncations = 0, refused_truncations = 0, forks = 0, reused = 0, saves = 0,
                refused_saves = 0, restores = 0, full_restores = 0, audits = 0;
};

template <class Policy>
class random_operations {
    static constexpr kv::cache_shape shape{.layers = 2, .kv_heads = 2, .head_dim = 16};
    static constexpr std::size_t slots = 4, tokens = 48;
    using policy_type = decltype(Policy::make(tokens, slots));
    using cache_type = typename policy_type::cache;
    static constexpr bool shares = kv::prefix_sharing<cache_type>;
    static constexpr bool pins = requires(cache_type c, std::span<const token_id> t) { c.unpin(c.pin(t)); };
    static constexpr bool counts_blocks = requires(const cache_type c, const policy_type p) {
        c.free_blocks();
        p.options.block;
    };

public:
    explicit random_operations(std::uint32_t seed)
        : random_(seed), policy_(Policy::make(tokens, slots)), cache_(policy_.make(shape, &memory_)), bytes_(cache_.bytes()) {
        expect(bytes_ == policy_.bytes(shape), "the policy's bytes are not the cache's");
    }

    void run(std::size_t operations) {
        for (number_ = 0; number_ < operations; ++number_) {
            try {
                one();
                settled();
            } catch (const mismatch& m) {
                fail_here(m.what);
            } catch (const error& e) {
                fail_here(concat("an error that was not expected: ", e.what()));
            }
        }
        try {
            close_all();
        } catch (const mismatch& m) {
            fail_here(m.what);
        }
    }

    const operation_counts& counts() const noexcept { return counts_; }

private:
    [[noreturn]] void fail_here(std::string_view what) const {
        std::string last;
        for (const std::string_view name : names_) last += concat(" ", name);
        throw mismatch{concat(policy_.name(), ", operation ", number_, ": ", what, "; the last ones:", last)};
    }

    static void expect(bool fact, std::string_view otherwise) {
        if (!fact) throw mismatch{std::string(otherwise)};
    }

    /// The code that f throws; none where it does not.
    template <class F>
    static std::optional<errc> thrown(F&& f) {
        try {
            f();
        } catch (const error& e) {
            return e.code();
        }
        return std::nullopt;
    }

    std::size_t pick(std::size_t n) { return random_() % n; }
    known_sequence& any_sequence() { return sequences_[pick(sequences_.size())]; }
    bool has_slot() const noexcept { return sequences_.size() < slots; }
    void name(std::string_view operation) {
        names_.push_back(operation);
        if (names_.size() > 12) names_.pop_front();
    }

    void one() {
        const std::size_t what = pick(100);
        if (sequences_.empty()) return open();
        if (what < 45) return step();
        if (what < 58) return commit();
        if (what < 66) return roll_back();
        if (what < 71) return open();
        if (what < 76) return fork();
        if (what < 80) return truncate();
        if (what < 84) return close();
        if (what < 86) return save();
        if (what < 88) return restore();
        if (what < 90) return misuse();
        if (what < 91) return audit();
        if constexpr (shares) return what < 97 ? remember() : share();
        return step();
    }

    /// Holds after every operation.
    void settled() {
        for (const known_sequence& s : sequences_)
            expect(cache_.length(s.id) == static_cast<position>(s.size()) && cache_.mark(s.id).length == cache_.length(s.id),
                   "another length than that of the model");
        expect(cache_.bytes() == bytes_ && memory_.bytes() == bytes_, "the cache's bytes have changed");
        if (sequences_.empty()) return;
        const known_sequence& s = any_sequence();
        const std::size_t length = pick(s.size() + 2);
        expect(cache_.keeps(s.id, static_cast<position>(length)) == (length <= s.size() && Policy::keeps(length, s.most)),
               "keeps() says otherwise than the policy");
        if (pick(4) == 0) read_committed(s, 4);
    }

    // ---- what rows read

    template <class Run>
    bool same_row(const Run& run, const std::byte* kept, std::size_t i) {
        using codec = typename Run::codec;
        static const row_book<codec> book(shape.width());
        if constexpr (requires { Policy::template same_row<codec>(kept, book.floats(i)); })
            return Policy::template same_row<codec>(kept, book.floats(i));
        else
            return run.row_bytes() == book.bytes(i).size() && std::memcmp(kept, book.bytes(i).data(), book.bytes(i).size()) == 0;
    }

    /// f(run) for the run that has position p; throws where none or several have it.
    template <class View, class F>
    static void with_run_of(const View& view, std::size_t segment, std::size_t p, F&& f) {
        std::size_t found = 0;
        const auto look = [&](const auto& run) {
            if (static_cast<position>(p) < run.begin(segment) || static_cast<position>(p) >= run.end(segment)) return;
            ++found;
            f(run);
        };
        std::apply([&](const auto&... run) { (look(run), ...); }, view);
        expect(found == 1, concat(found, " runs have the position ", p));
    }

    void check_row(const known_sequence& s, std::size_t segment, std::size_t layer, std::size_t head, std::size_t p) {
        with_run_of(cache_.view(layer), segment, p, [&](const auto& run) {
            using book = row_book<typename std::remove_cvref_t<decltype(run)>::codec>;
            const auto at = static_cast<position>(p);
            for (const bool value : {false, true})
                expect(same_row(run, value ? run.value(segment, head, at) : run.key(segment, head, at),
                                book::index(s.prefixes[p], layer, head, value)),
                       concat(value ? "the value" : "the key", " of sequence ", s.id.index, ", layer ", layer, ", head ", head,
                              ", position ", p, " of ", s.size(), " is not what was written"));
            expect(run.stretch(at) != 0, "a stretch of no rows");
            if (run.stretch(at) > 1 && at + 1 < run.end(segment))
                expect(run.key(segment, head, at + 1) == run.key(segment, head, at) + run.row_bytes(), "rows of a stretch lie apart");
        });
    }

    /// Checks `samples` places of the positions [first, end) of a segment; all of them where there are no more.
    void check_rows(const known_sequence& s, std::size_t segment, std::size_t first, std::size_t end, std::size_t samples) {
        if (end - first > samples) {
            for (std::size_t i = 0; i < samples; ++i)
                check_row(s, segment, pick(shape.layers), pick(shape.kv_heads), first + pick(end - first));
            return;
        }
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (std::size_t head = 0; head < shape.kv_heads; ++head)
                for (std::size_t p = first; p < end; ++p) check_row(s, segment, layer, head, p);
    }

    /// The first position that a view shows of a segment.
    std::size_t begin_of(std::size_t segment) const {
        return static_cast<std::size_t>(std::apply([&](const auto&... run) { return std::min({run.begin(segment)...}); }, cache_.view(0)));
    }
    std::size_t end_of(std::size_t segment) const {
        return static_cast<std::size_t>(std::apply([&](const auto&... run) { return std::max({run.end(segment)...}); }, cache_.view(0)));
    }

    void read_committed(const known_sequence& s, std::size_t samples) {
        cache_.select(s.id);
        expect(end_of(0) == s.committed, "a selected sequence shows another length than is committed");
        expect(begin_of(0) <= std::min(Policy::first(s.committed), s.committed),
               "a selected sequence does not show what the next row reads");
        check_rows(s, 0, begin_of(0), s.committed, samples);
    }

    void write(const known_sequence& s, std::size_t segment, std::size_t from) {
        for (std::size_t layer = 0; layer < shape.layers; ++layer) {
            const auto view = cache_.view(layer);
            for (std::size_t p = from; p < s.size(); ++p)
                with_run_of(view, segment, p, [&](const auto& run) {
                    using codec = typename std::remove_cvref_t<decltype(run)>::codec;
                    static const row_book<codec> book(shape.width());
                    const auto put = [&](std::byte* out, std::size_t i) { std::ranges::copy(book.bytes(i), out); };
                    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
                        put(run.key(segment, head, static_cast<position>(p)), book.index(s.prefixes[p], layer, head, false));
                        put(run.value(segment, head, static_cast<position>(p)), book.index(s.prefixes[p], layer, head, true));
                    }
                });
        }
    }

    // ---- texts

    /// A token that often continues a sequence as an earlier text did.
    token_id next_token(const known_sequence& s) {
        const std::vector<token_id>& t = texts_[pick(texts_.size())];
        if (t.size() > s.size() && pick(4) != 0 && (s.size() == 0 || t[s.size() - 1] == s.tokens.back())) return t[s.size()];
        return static_cast<token_id>(pick(3));
    }

    void note_text(const known_sequence& s) { texts_[pick(texts_.size())] = s.tokens; }

    // ---- operations

    void open() {
        known_sequence s;
        if constexpr (shares)
            if (pick(2) == 0) {
                name("open_with");
                std::vector<token_id> prompt = texts_[pick(texts_.size())];
                if (!prompt.empty()) prompt.resize(pick(prompt.size() + 1));
                for (std::size_t i = pick(9); i != 0; --i) prompt.push_back(static_cast<token_id>(pick(3)));
                const std::size_t known = cache_.reusable(prompt);
                kv::opened_sequence o;
                const auto code = thrown([&] { o = cache_.open_with(prompt); });
                expect(code == (has_slot() ? std::nullopt : std::optional(errc::cache_full)),
                       "open_with() of a cache with or without slots");
                if (code) return void(++counts_.full_slots);
                expect(o.reused == known && known <= prompt.size() - (prompt.empty() ? 0 : 1), "open_with() reuses other than it said");
                for (std::size_t i = 0; i < o.reused; ++i) s.push(prompt[i]);
                s.committed = s.most = o.reused;
                s.id = o.sequence;
                counts_.reused += o.reused;
                sequences_.push_back(std::move(s));
                return read_committed(sequences_.back(), 8);
            }
        name("open");
        const auto code = thrown([&] { s.id = cache_.open(); });
        expect(code == (has_slot() ? std::nullopt : std::optional(errc::cache_full)), "open() of a cache with or without slots");
        if (code) return void(++counts_.full_slots);
        sequences_.push_back(std::move(s));
    }

    void step() {
        name("step");
        std::shuffle(sequences_.begin(), sequences_.end(), random_);
        const std::size_t count = 1 + pick(sequences_.size());
        std::array<kv::segment, slots> segments;
        std::array<wish, slots> wishes;
        std::size_t row = 0;
        for (std::size_t i = 0; i < sequences_.size(); ++i) {
            const known_sequence& s = sequences_[i];
            wishes[i] = {s.size(), s.pending(), i >= count ? 0 : 1 + pick(pick(16) == 0 ? tokens : 8)};
            segments[i] = {s.id, row, wishes[i].rows};
            row += wishes[i].rows;
        }
        std::span<const row_range> ranges;
        const auto code = thrown([&] { ranges = cache_.plan(std::span(segments).first(count)); });
        room expected = room_for(std::span(wishes).first(sequences_.size()));
        if (expected == room::enough && !pinned_.empty()) expected = room::either;
        expect(!code || code == errc::cache_full, "a step is refused otherwise than by cache_full");
        expect(code ? expected != room::enough : expected != room::none, code ? "a step that has room is refused" : "a step without room");
        if (code) return void(++counts_.full_steps);
        ++counts_.steps;
        expect(ranges.size() == count, "another number of ranges than of segments");
        std::array<std::size_t, slots> before{};
        for (std::size_t i = 0; i < count; ++i) {
            known_sequence& s = sequences_[i];
            before[i] = s.size();
            expect(ranges[i].first_position == static_cast<position>(s.size()) && ranges[i].rows == wishes[i].rows &&
                       ranges[i].first_row == segments[i].first_row,
                   "a range that is not its segment's");
            for (std::size_t r = 0; r < wishes[i].rows; ++r) s.push(next_token(s));
        }
        if (pick(32) == 0) {  // a step that was cancelled before a row was written
            for (std::size_t i = 0; i < count; ++i) {
                cache_.rollback(sequences_[i].id, {static_cast<position>(before[i])});
                sequences_[i].resize(before[i]);
            }
            return;
        }
        for (std::size_t i = 0; i < count; ++i) write(sequences_[i], i, before[i]);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t first = Policy::first(before[i]);
            expect(begin_of(i) <= first && end_of(i) == sequences_[i].size(), "a step does not show what its rows read");
            check_rows(sequences_[i], i, first, sequences_[i].size(), 4);
        }
    }

    room room_for(std::span<const wish> wishes) const {
        if constexpr (requires { Policy::room(policy_, wishes); })
            return Policy::room(policy_, wishes);
        else
            return room_of(policy_.options, wishes);
    }

    void commit() {
        name("commit");
        known_sequence& s = any_sequence();
        cache_.commit(s.id);
        s.committed = s.size();
        if (pick(4) == 0) note_text(s);
    }

    void roll_back() {
        name("rollback");
        known_sequence& s = any_sequence();
        const std::size_t to = s.committed + pick(s.pending() + 1);
        cache_.rollback(s.id, {static_cast<position>(to)});
        s.resize(to);
    }

    void fork() {
        name("fork");
        known_sequence copy = any_sequence();
        const auto code = thrown([&] { copy.id = cache_.fork(copy.id); });
        expect(code == (has_slot() ? std::nullopt : std::optional(errc::cache_full)), "fork() of a cache with or without slots");
        if (code) return void(++counts_.full_slots);
        ++counts_.forks;
        copy.resize(copy.committed);
        sequences_.push_back(std::move(copy));
        read_committed(sequences_.back(), 8);
    }

    void truncate() {
        name("truncate");
        known_sequence& s = any_sequence();
        const std::size_t to = pick(8) == 0 ? 0 : pick(s.size() + 1);
        const auto code = thrown([&] { cache_.truncate(s.id, static_cast<position>(to)); });
        expect(code == (Policy::keeps(to, s.most) ? std::nullopt : std::optional(errc::invalid_argument)),
               "truncate() does otherwise than keeps() says");
        if (code) return void(++counts_.refused_truncations);
        ++counts_.truncations;
        s.resize(to);
        if (to == 0) s.most = 0;
    }

    void close() {
        name("close");
        known_sequence& s = any_sequence();
        cache_.close(s.id);
        expect(thrown([&] { (void)cache_.length(s.id); }) == errc::invalid_argument, "a closed sequence has a length");
        std::swap(s, sequences_.back());
        sequences_.pop_back();
    }

    void save() {
        name("save");
        const known_sequence& s = any_sequence();
        const std::size_t length = pick(s.committed + 1);
        const std::span<const token_id> t = std::span(s.tokens).first(length);
        saved_state out{.tokens = {t.begin(), t.end()}, .bytes = {}};
        cache_.select(s.id);
        const bool whole = length == 0 || begin_of(0) == 0;
        const auto code = thrown([&] {
            kv::save(cache_, s.id, t,
                     [&](std::span<const std::byte> some) { out.bytes.insert(out.bytes.end(), some.begin(), some.end()); });
        });
        expect(code == (whole ? std::nullopt : std::optional(errc::unsupported)), "save() of a sequence that is whole or not");
        expect(whole || !Policy::keeps_all, "a cache that keeps all tokens has dropped some");
        if (code) return void(++counts_.refused_saves);
        ++counts_.saves;
        saved_[pick(saved_.size())] = std::move(out);
    }

    void restore() {
        const saved_state& from = saved_[pick(saved_.size())];
        if (from.bytes.empty()) return;
        name("restore");
        const bool fresh = has_slot();
        if (fresh) {
            sequences_.push_back({});
            sequences_.back().id = cache_.open();
        }
        known_sequence& s = fresh ? sequences_.back() : any_sequence();
        cache_.truncate(s.id, 0);
        s.resize(0);
        s.most = 0;
        std::array<wish, slots> wishes;
        for (std::size_t i = 0; i < sequences_.size(); ++i)
            wishes[i] = {sequences_[i].size(), sequences_[i].pending(), &sequences_[i] == &s ? from.tokens.size() : 0};
        room expected = room_for(std::span(wishes).first(sequences_.size()));
        if (expected == room::enough && !pinned_.empty()) expected = room::either;
        std::vector<std::byte> bytes = from.bytes;
        const bool damaged = pick(8) == 0;
        if (damaged) bytes[pick(bytes.size())] ^= std::byte{0x10};
        kv::saved_text text;
        const auto code = thrown([&] { text = kv::restore(cache_, s.id, std::span<const std::byte>(bytes)); });
        if (damaged) {
            expect(code.has_value(), "a damaged state is restored");
            return;
        }
        expect(!code || code == errc::cache_full, "a saved state is refused otherwise than by cache_full");
        expect(code ? expected != room::enough : expected != room::none, "a state is restored other than there is room");
        if (code) return void(++counts_.full_restores);
        ++counts_.restores;
        expect(text.tokens == from.tokens, "other tokens than were saved");
        for (const token_id t : text.tokens) s.push(t);
        s.committed = s.size();
        read_committed(s, 16);
    }

    void misuse() {
        name("misuse");
        const known_sequence& s = any_sequence();
        const auto refused = [&](auto&& f) { expect(thrown(f) == errc::invalid_argument, "misuse is not refused"); };
        const auto length = static_cast<position>(s.size());
        switch (pick(6)) {
            case 0: return refused([&] { cache_.rollback(s.id, {static_cast<position>(s.committed) - 1}); });
            case 1: return refused([&] { cache_.rollback(s.id, {length + 1}); });
            case 2: return refused([&] { cache_.truncate(s.id, length + 1 + static_cast<position>(pick(3))); });
            case 3: return refused([&] { cache_.plan(std::array{kv::segment{s.id, 0, 0}}); });
            case 4: return refused([&] { cache_.plan(std::array{kv::segment{s.id, 0, 1}, kv::segment{s.id, 1, 1}}); });
            default: return refused([&] { cache_.plan(std::array{kv::segment{s.id, 0, 1}, kv::segment{{slots}, 1, 1}}); });
        }
    }

    void remember()
        requires shares
    {
        name("remember");
        known_sequence& s = any_sequence();
        std::vector<token_id> t(s.tokens.begin(), s.tokens.begin() + static_cast<std::ptrdiff_t>(s.committed - pick(1 + s.committed / 4)));
        cache_.remember(s.id, t);
        const std::size_t whole = t.size() / policy_.options.block * policy_.options.block;
        texts_[pick(texts_.size())] = t;
        t.push_back(1);
        expect(cache_.reusable(t) == whole, "what was remembered is not reusable");
        read_committed(s, 4);
    }

    /// What only caches that share can be asked.
    void share() {
        if constexpr (pins) {
            if (pick(3) == 0) {
                name("evict");
                const std::size_t before = cache_.free_blocks(), gone = cache_.evict(pick(4));
                expect(cache_.free_blocks() == before + gone, "evict() frees other than it says");
            } else if (pick(2) == 0 && pinned_.size() < 3) {
                name("pin");
                const std::vector<token_id>& t = texts_[pick(texts_.size())];
                const kv::pinned_prefix p = cache_.pin(t);
                pinned_.push_back({p, {t.begin(), t.begin() + static_cast<std::ptrdiff_t>(p.tokens)}});
            } else if (!pinned_.empty()) {
                name("unpin");
                for (auto& [pin, text] : pinned_) {
                    std::vector<token_id> longer = text;
                    longer.push_back(1);
                    expect(cache_.reusable(longer) == text.size(), "a pinned prefix is gone");
                }
                cache_.unpin(pinned_.back().first);
                pinned_.pop_back();
            } else if (pick(8) == 0) {
                name("forget_all");
                cache_.forget_all();
                pinned_.clear();
                expect(cache_.cached_tokens() == 0, "tokens are left when all are forgotten");
            }
        }
    }

    /// Compares all rows of all sequences, and their blocks with those that are free.
    void audit() {
        name("audit");
        ++counts_.audits;
        for (known_sequence& s : sequences_) {
            if (pick(2) == 0) {
                cache_.commit(s.id);
                s.committed = s.size();
            } else {
                cache_.rollback(s.id, {static_cast<position>(s.committed)});
                s.resize(s.committed);
            }
        }
        for (const known_sequence& s : sequences_) read_committed(s, std::numeric_limits<std::size_t>::max());
        if constexpr (counts_blocks) {
            std::set<const std::byte*> held;
            for (const known_sequence& s : sequences_) {
                cache_.select(s.id);
                with_whole_run([&](const auto& run) {
                    for (std::size_t p = 0; p < s.size(); p += policy_.options.block) held.insert(run.key(0, 0, static_cast<position>(p)));
                });
            }
            const std::size_t gone = all_blocks() - cache_.free_blocks();
            if constexpr (pins) {
                const std::size_t tree = cache_.cached_tokens() / policy_.options.block;
                expect(gone >= std::max(held.size(), tree) && gone <= held.size() + tree, "blocks are lost, or free while held");
            } else {
                expect(gone == held.size(), concat(gone, " blocks are not free, ", held.size(), " are held"));
            }
        }
    }

    template <class F>
    void with_whole_run(F&& f) const {
        const auto [run] = cache_.view(0);
        f(run);
    }
    std::size_t all_blocks() const { return ceil_div(policy_.options.tokens, policy_.options.block); }

    void close_all() {
        name("close all");
        for (const known_sequence& s : sequences_) cache_.close(s.id);
        sequences_.clear();
        if constexpr (counts_blocks) {
            std::size_t held = 0;
            if constexpr (pins) {
                held = cache_.cached_tokens() / policy_.options.block;
                expect(cache_.free_blocks() + held == all_blocks(), "blocks are lost when all sequences are closed");
                for (const auto& [pin, text] : pinned_) cache_.unpin(pin);
                pinned_.clear();
                cache_.evict(all_blocks());
            }
            expect(cache_.free_blocks() == all_blocks(), "blocks are lost when all sequences are closed and all is forgotten");
        }
    }

    struct saved_state {
        std::vector<token_id> tokens;
        std::vector<std::byte> bytes;
    };

    std::mt19937 random_;
    counting_resource memory_;
    policy_type policy_;
    cache_type cache_;
    std::size_t bytes_;
    std::size_t number_ = 0;
    std::deque<std::string_view> names_;
    std::vector<known_sequence> sequences_;
    std::array<std::vector<token_id>, 6> texts_;
    std::array<saved_state, 3> saved_;
    std::vector<std::pair<kv::pinned_prefix, std::vector<token_id>>> pinned_;
    operation_counts counts_;
};

}  // namespace skald::test
