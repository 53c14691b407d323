// SPDX-License-Identifier: MIT
#pragma once
// Intel's AMX: tiles of 16 rows of 64 bytes, and their products. A processor has them where the flags say so and the system lets the
// process use them.
#include <cstddef>
#include <cstdint>

#include <skald/backend/cpu/isa.hpp>

#if defined(SKALD_ISA_HAS_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace skald::inline SKALD_ISA::kernels {

#if defined(SKALD_ISA_HAS_AMX)

/// Whether this process may use tiles: asks Linux for them, once. Linux refuses where a thread's alternate signal stack is too small for
/// them, and from then on refuses alternate stacks below sysconf(_SC_SIGSTKSZ).
inline bool may_use_amx() noexcept {
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool permitted = ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    return permitted;
}

/// While it lives, this thread has eight tiles of rows of 64 bytes: the last two 16 rows, for right-hand sides, the others `rows`.
class amx_tiles {
public:
    static constexpr int right = 6;  ///< the first tile for right-hand sides

    explicit amx_tiles(std::size_t rows) noexcept {
        for (int t = 0; t < right + 2; ++t) {
            shapes_.row_bytes[t] = 64;
            shapes_.rows[t] = static_cast<std::uint8_t>(t < right ? rows : 16);
        }
        asm volatile("ldtilecfg %0" ::"m"(shapes_));
    }
    ~amx_tiles() { asm volatile("tilerelease"); }
    amx_tiles(const amx_tiles&) = delete;
    amx_tiles& operator=(const amx_tiles&) = delete;

private:
    struct alignas(64) {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {};
        std::uint8_t rows[16] = {};
    } shapes_;
    static_assert(sizeof(shapes_) == 64);
};

template <int Tile>
SKALD_INLINE void zero_tile() noexcept {
    asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
SKALD_INLINE void load_tile(const void* from, std::size_t stride = 64) noexcept {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
SKALD_INLINE void store_tile(void* to, std::size_t stride) noexcept {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(Tile) : "memory");
}
/// Sums += Left · Right, of bf16: rows of 32 columns by pairs of columns of 16 lanes, column after column.
template <int Sums, int Left, int Right>
SKALD_INLINE void multiply_bfloat16_tiles() noexcept {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
}
/// Sums += Left · Right, of signed bytes by unsigned ones: rows of 64 columns by fours of columns of 16 lanes; exact.
template <int Sums, int Left, int Right>
SKALD_INLINE void multiply_signed_unsigned_tiles() noexcept {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
}

/// Sums += Left · Right, of bytes: rows of 64 columns by fours of columns of 16 lanes; exact. Either side is signed or not.
template <int Sums, int Left, int Right, bool SignedLeft, bool SignedRight>
SKALD_INLINE void multiply_byte_tiles() noexcept {
    if constexpr (SignedLeft && SignedRight)
        asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
    else if constexpr (SignedLeft)
        asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
    else if constexpr (SignedRight)
        asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
    else
        asm volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
}

#else

inline bool may_use_amx() noexcept { return false; }

#endif

}  // namespace skald::inline SKALD_ISA::kernels
