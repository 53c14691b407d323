# cmake -Dcompiler=… -Dsource=… -Dfolders=… -P check.cmake

file(STRINGS "${source}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
    message(FATAL_ERROR "${source}: the first line must be // expect: TEXT")
endif()
string(REPLACE "\\;" ";" expected "${CMAKE_MATCH_1}")  # file(STRINGS) marks semicolons

list(TRANSFORM folders PREPEND "-I")
execute_process(COMMAND "${compiler}" -std=c++20 -fsyntax-only ${folders} "${source}" RESULT_VARIABLE result ERROR_VARIABLE message
    OUTPUT_QUIET)

if(result EQUAL 0)
    message(FATAL_ERROR "${source} compiles")
endif()
string(FIND "${message}" "${expected}" place)
if(place EQUAL -1)
    message(FATAL_ERROR "${source} is refused, but not with the words \"${expected}\":\n${message}")
endif()
