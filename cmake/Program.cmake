# The program, and what an installation consists of.

if(EXISTS ${CMAKE_SOURCE_DIR}/src/app/main.c)
    add_executable(sluice ${CMAKE_SOURCE_DIR}/src/app/main.c)
    sluice_link(sluice app)
    set_target_properties(sluice PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
    install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

foreach(dir lua scripts)
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/${dir} DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice OPTIONAL
            PATTERN "*_spec.lua" EXCLUDE)
endforeach()
