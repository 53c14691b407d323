// SPDX-License-Identifier: MIT
#pragma once
// A run of any storage whose addresses are asked for through functions, so that a kernel is compiled once a codec and not once a storage
// and codec. For kv::any, which instantiates them all: a call more for every stretch of rows that follow one another.
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>

#include <skald/backend/ops.hpp>
#include <skald/kv/codec.hpp>

namespace skald::kv {

namespace detail {

/// The members of a run.
struct run_functions {
    position (*begin)(const void*, std::size_t) noexcept;
    position (*end)(const void*, std::size_t) noexcept;
    std::byte* (*key)(const void*, std::size_t, std::size_t, position) noexcept;
    std::byte* (*value)(const void*, std::size_t, std::size_t, position) noexcept;
    std::size_t (*stretch)(const void*, position) noexcept;
    position_range (*seen_by)(const void*, position) noexcept;                                   // null: of a run that shows all it holds
    position (*farthest)(const void*) noexcept;                                                  // null: of one that turns no queries
    std::uint64_t (*shown)(const void*, std::size_t, std::size_t, position, position) noexcept;  // null: of one that chooses nothing
};

template <kv_run Run>
inline constexpr run_functions functions_of{
    [](const void* r, std::size_t s) noexcept { return static_cast<const Run*>(r)->begin(s); },
    [](const void* r, std::size_t s) noexcept { return static_cast<const Run*>(r)->end(s); },
    [](const void* r, std::size_t s, std::size_t h, position p) noexcept { return static_cast<const Run*>(r)->key(s, h, p); },
    [](const void* r, std::size_t s, std::size_t h, position p) noexcept { return static_cast<const Run*>(r)->value(s, h, p); },
    [](const void* r, position p) noexcept { return static_cast<const Run*>(r)->stretch(p); },
    [] {
        if constexpr (selective_run<Run>)
            return +[](const void* r, position p) noexcept { return static_cast<const Run*>(r)->seen_by(p); };
        else
            return nullptr;
    }(),
    [] {
        if constexpr (turning_run<Run>)
            return +[](const void* r) noexcept { return static_cast<const Run*>(r)->farthest(); };
        else
            return nullptr;
    }(),
    [] {
        if constexpr (choosing_run<Run>)
            return +[](const void* r, std::size_t s, std::size_t h, position p, position t) noexcept {
                return static_cast<const Run*>(r)->shown(s, h, p, t);
            };
        else
            return nullptr;
    }()};

}  // namespace detail

/// Reads as the run it was made from, which outlives it.
template <class Codec, class ValueCodec = Codec>
class erased_run {
public:
    using codec = Codec;
    using value_codec = ValueCodec;

    template <kv_run Run>
        requires std::is_same_v<codec_of<Run, true>, Codec> && std::is_same_v<codec_of<Run, false>, ValueCodec>
    explicit erased_run(const Run& run) noexcept
        : run_(&run),
          functions_(&detail::functions_of<Run>),
          row_bytes_(row_bytes_of<true>(run)),
          value_row_bytes_(row_bytes_of<false>(run)) {
        if constexpr (sharing_run<Run>) sharing_ = run.sharing();
    }

    position begin(std::size_t segment) const noexcept { return functions_->begin(run_, segment); }
    position end(std::size_t segment) const noexcept { return functions_->end(run_, segment); }
    std::byte* key(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return functions_->key(run_, segment, kv_head, p);
    }
    std::byte* value(std::size_t segment, std::size_t kv_head, position p) const noexcept {
        return functions_->value(run_, segment, kv_head, p);
    }
    std::size_t row_bytes() const noexcept { return row_bytes_; }
    std::size_t value_row_bytes() const noexcept { return value_row_bytes_; }
    std::size_t stretch(position p) const noexcept { return functions_->stretch(run_, p); }
    std::span<const shared_prefix> sharing() const noexcept { return sharing_; }

protected:
    const void* run_;
    const detail::run_functions* functions_;

private:
    std::size_t row_bytes_, value_row_bytes_;
    std::span<const shared_prefix> sharing_{};
};

/// The same of a run that says which rows read what of it.
template <class Codec, class ValueCodec = Codec>
class erased_selective_run : public erased_run<Codec, ValueCodec> {
public:
    using erased_run<Codec, ValueCodec>::erased_run;

    position_range seen_by(position p) const noexcept { return this->functions_->seen_by(this->run_, p); }
};

/// The same of a run that queries are turned for.
template <class Codec, class ValueCodec = Codec>
class erased_turning_run : public erased_selective_run<Codec, ValueCodec> {
public:
    using erased_selective_run<Codec, ValueCodec>::erased_selective_run;

    position farthest() const noexcept { return this->functions_->farthest(this->run_); }
};

/// The same of a run of which each row reads what was chosen for it.
template <class Codec, class ValueCodec = Codec>
class erased_choosing_run : public erased_run<Codec, ValueCodec> {
public:
    using erased_run<Codec, ValueCodec>::erased_run;

    std::uint64_t shown(std::size_t segment, std::size_t kv_head, position p, position t) const noexcept {
        return this->functions_->shown(this->run_, segment, kv_head, p, t);
    }
};

/// The runs of a view, erased. `runs` outlives them.
template <kv_run... Runs>
auto erase(const std::tuple<Runs...>& runs) noexcept {
    const auto one = []<class Run>(const Run& run) {
        using keys = codec_of<Run, true>;
        using values = codec_of<Run, false>;
        if constexpr (turning_run<Run>)
            return erased_turning_run<keys, values>(run);
        else if constexpr (selective_run<Run>)
            return erased_selective_run<keys, values>(run);
        else if constexpr (choosing_run<Run>)
            return erased_choosing_run<keys, values>(run);
        else
            return erased_run<keys, values>(run);
    };
    return std::apply([&](const auto&... run) { return std::tuple{one(run)...}; }, runs);
}

static_assert(kv_run<erased_run<f16>> && selective_run<erased_selective_run<f16>> && turning_run<erased_turning_run<f16>> &&
              choosing_run<erased_choosing_run<f16>>);

}  // namespace skald::kv
