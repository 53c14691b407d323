// SPDX-License-Identifier: MIT
#pragma once
// Who can take memory away for a while and bring it back as it was, as files that are mapped can: the role. Whoever uses such memory says
// what it will read and what it has read, and so bounds what is there at a time. An implementation: io/temporary_file_resource.hpp.
#include <cstddef>
#include <span>

namespace skald {

/// Of memory that it gave out. All members may be called from several threads at once, and while others read and write the memory: what was
/// released is there again when it is used, and nothing that was written is lost.
class pager {
public:
    virtual ~pager() = default;

    /// Begins to bring in what is not there, and may return before it is. A hint.
    virtual void will_need(std::span<const std::byte> memory) noexcept = 0;

    /// Takes the pages that the range touches away.
    virtual void release(std::span<const std::byte> memory) noexcept = 0;

    /// Bytes that using a range brings in at most beside it: what is around its ends.
    virtual std::size_t slack() const noexcept = 0;

protected:
    pager() = default;
    pager(const pager&) = default;
    pager& operator=(const pager&) = default;
};

}  // namespace skald
