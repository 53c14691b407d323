# The package of xsimd 8.1 links a library xtl, which it does not bring; xsimd does not need it. Included by the build and by the
# installed skald-config.cmake.
macro(skald_repair_xsimd)
    get_target_property(skald_xsimd_links xsimd INTERFACE_LINK_LIBRARIES)
    if(skald_xsimd_links STREQUAL "xtl" AND NOT TARGET xtl)
        set_property(TARGET xsimd PROPERTY INTERFACE_LINK_LIBRARIES "")
    endif()
    unset(skald_xsimd_links)
endmacro()
