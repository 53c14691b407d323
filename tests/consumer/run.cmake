# cmake -Dproject=… -Dbinary=… -Dgenerator=… -Dcompiler=… [-Dlauncher=…] [-Doptions=…] [-Dinstall=BUILD_TREE] -Dmodel=… -P run.cmake
# With `install`, that build tree is installed first and found there.

file(REMOVE_RECURSE "${binary}")
if(install)
    execute_process(COMMAND "${CMAKE_COMMAND}" --install "${install}" --prefix "${binary}/prefix" OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
    list(APPEND options "-DCMAKE_PREFIX_PATH=${binary}/prefix")
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" -S "${project}" -B "${binary}/build" -G "${generator}" "-DCMAKE_CXX_COMPILER=${compiler}"
    "-DCMAKE_CXX_COMPILER_LAUNCHER=${launcher}" ${options} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${binary}/build" COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${binary}/build/consumer" "${model}" COMMAND_ERROR_IS_FATAL ANY)
