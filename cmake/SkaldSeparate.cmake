# skald_separate(NAME BASE): a static library NAME with what programs on skald have alike, compiled once (skald/separate.hpp). Who links to it
# gets BASE (skald::native, say) and compiles against declarations.
function(skald_separate name base)
    set(files "")
    foreach(part IN ITEMS 1 2)
        set(file "${CMAKE_CURRENT_BINARY_DIR}/${name}_${part}.cpp")
        file(CONFIGURE OUTPUT "${file}" CONTENT "#define SKALD_SEPARATE_PART ${part}\n#include <skald/separate.hpp>\n")
        list(APPEND files "${file}")
    endforeach()
    add_library(${name} STATIC ${files})
    target_link_libraries(${name} PUBLIC ${base})
    target_compile_definitions(${name} INTERFACE SKALD_SEPARATE)
endfunction()
