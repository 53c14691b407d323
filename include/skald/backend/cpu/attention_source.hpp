// SPDX-License-Identifier: MIT
#pragma once
// What a tile of attention is read from: the runs that have it, their rows' addresses, and keys that are rotated on the way.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <tuple>

#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/rope.hpp>
#include <skald/backend/cpu/rows_by_eight.hpp>
#include <skald/backend/cpu/simd.hpp>
#include <skald/backend/ops.hpp>

namespace skald::inline SKALD_ISA::kernels {

/// Where keys that are kept before rope are rotated: room for a tile of them. // rows: (tile_size, width)
struct key_rotation {
    const rope_rows* rope = nullptr;
    std::size_t head_dim = 0, width = 0;
    float* rows = nullptr;
};

/// How these rows are kept meanwhile.
struct rotated_keys {
    static constexpr std::size_t row_bytes(std::size_t width) noexcept { return width * sizeof(float); }
    template <class V>
    static V decode(const std::byte* row, std::size_t i) noexcept {
        return V::load(reinterpret_cast<const float*>(row) + i);
    }
};

/// The addresses of what a run keeps of a segment and head, from the row at `begin` on.
template <bool Key, class Run>
struct row_addresses {
    const Run& run;
    std::size_t segment, kv_head;
    position begin;

    const std::byte* one(std::size_t i) const noexcept {
        const position p = begin + static_cast<position>(i);
        return Key ? run.key(segment, kv_head, p) : run.value(segment, kv_head, p);
    }
    /// Of rows i … i + count - 1.
    void operator()(std::size_t i, std::size_t count, const std::byte** out) const noexcept {
        for (std::size_t done = 0; done < count;) {
            const std::byte* at = one(i + done);
            const std::size_t stretch = run.stretch(begin + static_cast<position>(i + done));
            for (std::size_t left = std::min(count - done, stretch); left > 0; --left, at += row_bytes_of<Key>(run)) out[done++] = at;
        }
    }
    /// Of rows i … i + 31; false where those of some eight do not lie together.
    bool by_eight(std::size_t i, rows_by_eight& out) const noexcept {
        out.row_bytes = row_bytes_of<Key>(run);
        for (std::size_t k = 0; k < std::size(out.first);) {
            const std::byte* at = one(i + 8 * k);
            std::size_t eights = run.stretch(begin + static_cast<position>(i + 8 * k)) / 8;
            if (eights == 0) return false;
            for (; eights > 0 && k < std::size(out.first); --eights, at += 8 * out.row_bytes) out.first[k++] = at;
        }
        return true;
    }
};

/// One tile of one kv head, in the runs that have it.
template <class Arch, class... Runs>
struct tile_source {
    std::tuple<const Runs&...> runs;
    std::size_t segment, kv_head;
    position origin;
    key_rotation rotation{};

    /// f(codec, at, n, rows, held) for what each run holds of the tile's positions [from, to): rows(i, count, out) writes the addresses of
    /// the keys of at + i and following, rows.by_eight(i, out) those of 32, rows.one(i) returns the first of these; the last of them is
    /// before `held`, which may be more than n and lead to the tiles that are read next.
    template <class F>
    void keys(std::size_t from, std::size_t to, const F& f) const noexcept {
        each<true>(from, to, f);
    }
    /// The same for values.
    template <class F>
    void values(std::size_t from, std::size_t to, const F& f) const noexcept {
        each<false>(from, to, f);
    }

private:
    template <bool Key, class F>
    void each(std::size_t from, std::size_t to, const F& f) const noexcept {
        const auto visit = [&]<class Run>(const Run& run) {
            const position begin = std::max(origin + static_cast<position>(from), run.begin(segment));
            const position end = std::min(origin + static_cast<position>(to), run.end(segment));
            if (begin >= end) return;
            const row_addresses<Key, Run> rows{run, segment, kv_head, begin};
            const auto at = static_cast<std::size_t>(begin - origin), n = static_cast<std::size_t>(end - begin);
            const auto held = static_cast<std::size_t>((choosing_run<Run> ? end : run.end(segment)) - begin);
            if constexpr (Key && unrotated_run<Run>)
                rotate<Run>(begin, at, n, rows, held, f);
            else
                f(row_codec<codec_of<Run, Key>>{}, at, n, rows, held);
        };
        std::apply([&](const auto&... run) { (visit(run), ...); }, runs);
    }

    struct rotated_addresses {
        const key_rotation& to;

        const std::byte* one(std::size_t i) const noexcept { return reinterpret_cast<const std::byte*>(to.rows + i * to.width); }
        void operator()(std::size_t i, std::size_t count, const std::byte** out) const noexcept {
            for (std::size_t j = 0; j < count; ++j) out[j] = one(i + j);
        }
        bool by_eight(std::size_t i, rows_by_eight& out) const noexcept {
            out = rows_by_eight::from(one(i), to.width * sizeof(float));
            return true;
        }
    };

    /// Hands f the keys at begin and following as they are when they are rotated.
    template <class Run, class Rows, class F>
    void rotate(position begin, std::size_t at, std::size_t n, const Rows& rows, std::size_t held, const F& f) const noexcept {
        using V = simd<Arch>;
        using codec = row_codec<typename Run::codec>;
        const std::byte* kept[2 * attention::tile_size];
        const std::size_t more = std::min(n, held - n), pairs = rotation.rope->dims / 2;
        rows(0, n + more, kept);
        for (std::size_t i = 0; i < n; ++i) {
            if (i < more)
                for (std::size_t line = 0; line < codec::row_bytes(rotation.width); line += 64)
                    __builtin_prefetch(kept[n + i] + line, 0, 2);
            float* row = rotation.rows + i * rotation.width;
            for (std::size_t d = 0; d < rotation.width; d += lanes) codec::template decode<V>(kept[i], d).store(row + d);
            const auto p = static_cast<std::size_t>(begin) + i;
            detail::rotate<Arch>(row, 1, rotation.head_dim, *rotation.rope, rotation.rope->key_cosine + p * pairs,
                                 rotation.rope->key_sine + p * pairs);
        }
        f(rotated_keys{}, at, n, rotated_addresses{rotation}, n);
    }
};

}  // namespace skald::inline SKALD_ISA::kernels
