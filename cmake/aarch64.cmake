# A toolchain file: programs for AArch64, compiled on another machine by Debian's cross compiler, run by qemu (packages
# g++-aarch64-linux-gnu and qemu-user).

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
find_program(CMAKE_CXX_COMPILER NAMES aarch64-linux-gnu-g++ aarch64-linux-gnu-g++-12 REQUIRED)
find_program(SKALD_QEMU NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR "${SKALD_QEMU};-cpu;max;-L;/usr/aarch64-linux-gnu")

# The libraries that skald needs are headers alone: this machine's own serve.
file(GLOB skald_packages /usr/lib/*/cmake)
list(APPEND CMAKE_PREFIX_PATH ${skald_packages})
