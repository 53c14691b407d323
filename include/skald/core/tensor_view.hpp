// SPDX-License-Identifier: MIT
#pragma once
// A tensor somebody else owns: pointer, shape, strides. The memory space is part of the type, so that a device pointer can
// not be read on the host by mistake. Views are trivially copyable and are passed by value.
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

namespace skald {

/// Memory that the CPU reads and writes.
struct host {};

/// A view of Rank dimensions, the last one contiguous unless strides say otherwise. Strides count elements.
template <class T, std::size_t Rank, class Space = host>
class tensor_view {
public:
    using value_type = T;
    using space = Space;
    using extents = std::array<std::size_t, Rank>;

    constexpr tensor_view() noexcept = default;

    /// A dense row-major tensor at `data`.
    constexpr tensor_view(T* data, extents shape) noexcept : data_(data), shape_(shape) {
        std::size_t step = 1;
        for (std::size_t i = Rank; i-- > 0; step *= shape_[i]) strides_[i] = step;
    }

    constexpr tensor_view(T* data, extents shape, extents strides) noexcept : data_(data), shape_(shape), strides_(strides) {}

    /// A view of T converts to a view of const T.
    template <class U>
        requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
    constexpr tensor_view(tensor_view<U, Rank, Space> other) noexcept  // NOLINT(google-explicit-constructor)
        : data_(other.data()), shape_(other.shape()), strides_(other.strides()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr const extents& shape() const noexcept { return shape_; }
    constexpr const extents& strides() const noexcept { return strides_; }
    constexpr std::size_t extent(std::size_t dimension) const noexcept { return shape_[dimension]; }

    constexpr std::size_t size() const noexcept {
        std::size_t n = 1;
        for (const std::size_t extent : shape_) n *= extent;
        return n;
    }

    template <class... Index>
        requires(sizeof...(Index) == Rank && std::is_same_v<Space, host>)
    constexpr T& operator()(Index... index) const noexcept {
        std::size_t offset = 0, dimension = 0;
        ((offset += static_cast<std::size_t>(index) * strides_[dimension++]), ...);
        return data_[offset];
    }

    /// Entry i of the first dimension.
    constexpr auto operator[](std::size_t i) const noexcept
        requires(Rank > 1)
    {
        std::array<std::size_t, Rank - 1> shape{}, strides{};
        for (std::size_t d = 1; d < Rank; ++d) shape[d - 1] = shape_[d], strides[d - 1] = strides_[d];
        return tensor_view<T, Rank - 1, Space>(data_ + i * strides_[0], shape, strides);
    }

    /// Entries [first, first + count) of the first dimension.
    constexpr tensor_view slice(std::size_t first, std::size_t count) const noexcept {
        extents shape = shape_;
        shape[0] = count;
        return tensor_view(data_ + first * strides_[0], shape, strides_);
    }

    /// Row i as a span; the last dimension must be contiguous.
    constexpr std::span<T> row(std::size_t i) const noexcept
        requires(Rank == 2)
    {
        return {data_ + i * strides_[0], shape_[1]};
    }

private:
    T* data_ = nullptr;
    extents shape_{};
    extents strides_{};
};

template <class T>
using matrix_view = tensor_view<T, 2>;  // (rows, cols)

static_assert(std::is_trivially_copyable_v<tensor_view<float, 3>>);

}  // namespace skald
