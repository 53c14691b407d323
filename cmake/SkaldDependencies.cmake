# Finds what skald and its own programs link.

include("${CMAKE_CURRENT_LIST_DIR}/SkaldXsimd.cmake")

set(skald_fetched "")

# skald_require(NAME TARGET APT_PACKAGE GIT_REPOSITORY GIT_TAG): finds the package NAME, which gives TARGET; downloads it when
# that is allowed, and otherwise says what to do.
macro(skald_require name target apt repository tag)
    if(NOT TARGET ${target})
        find_package(${name} CONFIG QUIET)
    endif()
    if(NOT TARGET ${target} AND SKALD_FETCH_DEPENDENCIES)
        include(FetchContent)
        FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW ON)
        FetchContent_MakeAvailable(${name})
        list(APPEND skald_fetched ${name})
    endif()
    if(NOT TARGET ${target})
        message(FATAL_ERROR "skald needs ${name} (target ${target}), which CMake does not find. Install it (Debian and Ubuntu: apt install "
            "${apt}), name its place in CMAKE_PREFIX_PATH, or let CMake download it with -DSKALD_FETCH_DEPENDENCIES=ON.")
    endif()
endmacro()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
skald_require(Eigen3 Eigen3::Eigen libeigen3-dev https://gitlab.com/libeigen/eigen.git 3.4.0)
skald_require(xsimd xsimd libxsimd-dev https://github.com/xtensor-stack/xsimd.git 13.2.0)
skald_require(nlohmann_json nlohmann_json::nlohmann_json nlohmann-json3-dev https://github.com/nlohmann/json.git v3.11.3)
skald_repair_xsimd()

if(SKALD_BUILD_EXAMPLES)
    skald_require(CLI11 CLI11::CLI11 libcli11-dev https://github.com/CLIUtils/CLI11.git v2.4.2)
endif()
if(SKALD_BUILD_TESTS)
    skald_require(Catch2 Catch2::Catch2 catch2 https://github.com/catchorg/Catch2.git v3.7.1)
endif()
if(SKALD_BUILD_BENCH)
    set(BENCHMARK_ENABLE_TESTING OFF)
    skald_require(benchmark benchmark::benchmark libbenchmark-dev https://github.com/google/benchmark.git v1.9.1)
endif()
