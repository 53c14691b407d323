# cmake -Dprogram=… -Darea=… -Dlist_option=… -Dstrict_option=… -Demulator=… -Doutput=… -P discover_tests.cmake
# Writes the ctest file of a Catch2 program: one test a TEST_CASE; `emulator` runs it where it was compiled for another machine. Catch2's own module loses the tests that follow one with a
# bracket in its name.

separate_arguments(list_option)
execute_process(COMMAND ${emulator} "${program}" ${list_option} OUTPUT_VARIABLE names RESULT_VARIABLE count)
if(NOT count MATCHES "^[0-9]+$" OR names STREQUAL "")
    message(FATAL_ERROR "${program} did not list its tests (${count}):\n${names}")
endif()

# CMake's lists give brackets and semicolons a meaning: other characters stand in for them until a name is alone.
string(ASCII 1 open)
string(ASCII 2 close)
string(ASCII 3 semicolon)
string(REPLACE "[" "${open}" names "${names}")
string(REPLACE "]" "${close}" names "${names}")
string(REPLACE ";" "${semicolon}" names "${names}")
string(REGEX REPLACE "\n+$" "" names "${names}")
string(REPLACE "\n" ";" names "${names}")

list(APPEND emulator "${program}")
list(JOIN emulator "]==] [==[" command)
set(text "")
foreach(name IN LISTS names)
    string(STRIP "${name}" name)
    string(REPLACE "${open}" "[" name "${name}")
    string(REPLACE "${close}" "]" name "${name}")
    string(REPLACE "${semicolon}" ";" name "${name}")
    # What Catch2 would read as a pattern.
    set(pattern "${name}")
    foreach(char IN ITEMS "\\" "," "[" "]")
        string(REPLACE "${char}" "\\${char}" pattern "${pattern}")
    endforeach()
    string(APPEND text "add_test([==[${area}/${name}]==] [==[${command}]==] [==[${pattern}]==] ${strict_option})\n"
        "set_tests_properties([==[${area}/${name}]==] PROPERTIES LABELS ${area} TIMEOUT 600)\n")
endforeach()
file(WRITE "${output}" "${text}")
