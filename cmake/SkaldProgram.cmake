# What our own programs have in common: where they go, how they warn, which compiler cache they use.

set(CMAKE_CXX_EXTENSIONS OFF)
if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
        set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
    endif()
    find_program(SKALD_CCACHE ccache)
    mark_as_advanced(SKALD_CCACHE)
    if(SKALD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
        set(CMAKE_CXX_COMPILER_LAUNCHER "${SKALD_CCACHE}")
    endif()
endif()

# Without a limit so high GCC collects its garbage again and again: a tenth of its time, for a quarter less memory (1 GB = 10^6 kB).
if(PROJECT_IS_TOP_LEVEL AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(--param=ggc-min-heapsize=1000000)
endif()

set(skald_warnings -Wall -Wextra -Wpedantic -Wnon-virtual-dtor -Woverloaded-virtual)
if(SKALD_WERROR)
    list(APPEND skald_warnings -Werror)
endif()
# clang 19 warns of its own reading of -march=native on processors with AVX10.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-Winvalid-feature-combination SKALD_HAS_FEATURE_WARNING)
if(SKALD_HAS_FEATURE_WARNING)
    list(APPEND skald_warnings -Wno-invalid-feature-combination)
endif()

option(SKALD_SANITIZE "Compile our programs with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
set(skald_sanitizers "")
if(SKALD_SANITIZE)
    set(skald_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()

# What all our programs have alike is compiled once, for the processor that they are compiled for (skald/separate.hpp).
set(skald_for_programs $<IF:$<BOOL:${SKALD_NATIVE}>,skald::native,skald::skald>)
skald_separate(skald_once ${skald_for_programs})
target_compile_options(skald_once PRIVATE ${skald_warnings} ${skald_sanitizers})

# skald_program(NAME SOURCES...): an executable on skald with our warnings.
function(skald_program name)
    add_executable(${name} ${ARGN})
    target_link_libraries(${name} PRIVATE skald_once)
    target_compile_options(${name} PRIVATE ${skald_warnings} ${skald_sanitizers})
    target_link_options(${name} PRIVATE ${skald_sanitizers})
endfunction()
