// SPDX-License-Identifier: MIT
#pragma once
// The ragged batch: rows of work for one step, from any number of sequences. A prompt, a chunk of one, a decoded token and
// many of each together are only different ways to fill it; there is one forward.
#include <cstddef>
#include <span>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/kv/cache.hpp>

namespace skald {

/// Rows follow their sequence's last token in the cache, so positions need not be told.
struct batch {
    std::span<const token_id> tokens;       // (rows)
    std::span<const kv::segment> segments;  // in the order of their rows, covering all
    std::span<const std::size_t> wanted;    // the rows whose logits the caller wants, in the order it wants them
};

/// Throws errc::invalid_argument unless the segments cover the rows in order, tokens are inside the vocabulary and wanted rows exist.
inline void validate(const batch& b, std::size_t vocabulary) {
    std::size_t next = 0;
    for (const kv::segment& s : b.segments) {
        if (s.first_row != next || s.rows > b.tokens.size() - next)
            fail(errc::invalid_argument, "batch", "a segment of rows ", s.first_row, " to ", s.first_row + s.rows, " where row ", next,
                 " of ", b.tokens.size(), " comes next");
        next += s.rows;
    }
    if (next != b.tokens.size()) fail(errc::invalid_argument, "batch", "the segments cover ", next, " of ", b.tokens.size(), " rows");
    for (const token_id t : b.tokens)
        if (t < 0 || static_cast<std::size_t>(t) >= vocabulary)
            fail(errc::invalid_argument, "batch", "token ", t, " is outside the vocabulary of ", vocabulary);
    for (const std::size_t r : b.wanted)
        if (r >= b.tokens.size()) fail(errc::invalid_argument, "batch", "row ", r, " is wanted and there are ", b.tokens.size());
}

}  // namespace skald
