# skald_separate(NAME BASE): a static library NAME with what programs on skald have alike, compiled once (skald/separate.hpp). Who links to it
# gets BASE (skald::native, say) and compiles against declarations.
function(skald_separate name base)
    file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp" CONTENT "#include <skald/separate.hpp>\n")
    add_library(${name} STATIC "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp")
    target_link_libraries(${name} PUBLIC ${base})
    target_compile_definitions(${name} INTERFACE SKALD_SEPARATE)
endfunction()
