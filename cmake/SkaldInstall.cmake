# Packages for find_package(skald), from an install tree and from this build tree.

if(skald_fetched)
    message(STATUS "skald: no install rules, since these libraries were downloaded into this build: ${skald_fetched}")
    return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(skald_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/skald")

install(TARGETS skald skald_native EXPORT skald-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT skald-targets NAMESPACE skald:: DESTINATION "${skald_package_dir}")
export(EXPORT skald-targets NAMESPACE skald:: FILE "${PROJECT_BINARY_DIR}/skald-targets.cmake")

configure_package_config_file(cmake/skald-config.cmake.in "${PROJECT_BINARY_DIR}/skald-config.cmake"
    INSTALL_DESTINATION "${skald_package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/skald-config-version.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
foreach(module IN ITEMS SkaldSeparate SkaldXsimd)
    configure_file(cmake/${module}.cmake "${PROJECT_BINARY_DIR}/${module}.cmake" COPYONLY)
endforeach()
install(FILES "${PROJECT_BINARY_DIR}/skald-config.cmake" "${PROJECT_BINARY_DIR}/skald-config-version.cmake" cmake/SkaldSeparate.cmake
    cmake/SkaldXsimd.cmake DESTINATION "${skald_package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
