# Every test is a ctest test with a name that says where it is:
#
#   c.codec.frame              src/codec/frame_test.c
#   unit.admin                 spec/unit/admin_spec.lua
#   e2e.h1_attacks             spec/e2e/h1_attacks_spec.lua
#   example.quickstart.policy  examples/quickstart/policy_spec.lua
#   lint.luacheck, lint.layers, lint.format, image
#
# Labels: c, unit, e2e, example, lint, and once for those that need not run again under a sanitizer.

enable_testing()

# A sanitized program is slower, and its reports go where run-tests finds them.
set(sluice_reports log_path=${CMAKE_BINARY_DIR}/reports/report)
if(SLUICE_FLAVOUR MATCHES "asan|tsan")
    set(sluice_timeout 360)
else()
    set(sluice_timeout 120)
endif()
set(sluice_test_env
    "SLUICE_FLAVOUR=${SLUICE_FLAVOUR}"
    "ASAN_OPTIONS=${sluice_reports}:detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=${sluice_reports}:print_stacktrace=1"
    "TSAN_OPTIONS=${sluice_reports}:second_deadlock_stack=1:suppressions=${CMAKE_SOURCE_DIR}/cmake/tsan.supp"
    "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/lsan.supp:print_suppressions=0"
)

function(sluice_test name label)
    add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES
        LABELS "${label}" TIMEOUT ${sluice_timeout} ENVIRONMENT "${sluice_test_env}")
endfunction()

# C tests stand beside the code.
foreach(layer IN LISTS sluice_layers)
    sluice_sources(sources ${layer} *_test.c)
    foreach(source IN LISTS sources)
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_test$" "" name ${name})
        add_executable(c.${layer}.${name} ${source})
        sluice_link(c.${layer}.${name} ${layer})
        set_target_properties(c.${layer}.${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
        sluice_test(c.${layer}.${name} c $<TARGET_FILE:c.${layer}.${name}>)
    endforeach()
endforeach()

# Specs run under LuaJIT, which is what runs the same modules in the program.
find_program(LUAJIT luajit REQUIRED)
find_program(BUSTED busted REQUIRED)

function(sluice_specs label folder)
    file(GLOB_RECURSE specs CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/${folder}
         ${CMAKE_SOURCE_DIR}/${folder}/*_spec.lua)
    foreach(spec IN LISTS specs)
        string(REGEX REPLACE "_spec\\.lua$" "" name ${spec})
        string(REPLACE "/" "." name ${label}.${name})
        sluice_test(${name} ${label} cmake/run-spec ${CMAKE_BINARY_DIR} ${folder}/${spec})
    endforeach()
endfunction()

sluice_specs(unit spec/unit)
sluice_specs(e2e spec/e2e)
sluice_specs(example examples)

# What some specs need beside the packages of test.list is fetched once, before the first test that needs it, and not in the
# time of that test.
function(sluice_setup name)
    cmake_parse_arguments(PARSE_ARGV 1 setup "" "" "COMMAND;TESTS")
    add_test(NAME setup.${name} COMMAND ${setup_COMMAND} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(setup.${name} PROPERTIES LABELS "e2e" TIMEOUT 1200 FIXTURES_SETUP ${name})
    foreach(test IN LISTS setup_TESTS)
        if(TEST ${test})
            set_tests_properties(${test} PROPERTIES FIXTURES_REQUIRED ${name})
        endif()
    endforeach()
endfunction()

sluice_setup(coreflow COMMAND spec/support/coreflow/install TESTS e2e.coreflow e2e.coreflow_libraries example.coreflow.coreflow)
set_tests_properties(e2e.coreflow_libraries PROPERTIES TIMEOUT 600) # node with 400 packages, started twenty times
sluice_setup(peers COMMAND packages/setup peers websocket
    TESTS e2e.acme e2e.acme_redis e2e.attacks_h2 e2e.attacks_quic e2e.backend_h2 e2e.brickchain e2e.brickchain_client
          e2e.brickchain_client_ws e2e.brickchain_original e2e.brickchain_redis e2e.brickchain_stream e2e.brickchain_ws
          e2e.bus_redis e2e.coreserver e2e.coreserver_netns e2e.coreserver_release e2e.coreserver_tls e2e.h3 e2e.mux
          e2e.mux_life e2e.proxy_quic e2e.redis e2e.stream e2e.transports e2e.tunnel e2e.websocket)

# A browser and a bad network cost their own time, whatever is in the program.
sluice_setup(browser COMMAND packages/setup browser TESTS e2e.browser e2e.brickchain_browser)
foreach(test setup.browser e2e.browser e2e.brickchain_browser e2e.h3_loss e2e.tunnel_netns)
    if(TEST ${test})
        set_property(TEST ${test} APPEND PROPERTY LABELS once)
    endif()
endforeach()
set_tests_properties(e2e.brickchain_browser PROPERTIES FIXTURES_REQUIRED "browser;peers")

# The form of the code.
find_program(LUACHECK luacheck REQUIRED)
find_program(CLANG_FORMAT clang-format REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

sluice_test(lint.luacheck "lint;once" ${LUACHECK} --quiet .)
sluice_test(lint.layers "lint;once" ${Python3_EXECUTABLE} spec/support/check_layers.py)

file(GLOB_RECURSE sluice_c_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*.c ${CMAKE_SOURCE_DIR}/src/*.h)
if(sluice_c_files)
    sluice_test(lint.format "lint;once" ${CLANG_FORMAT} --dry-run -Werror ${sluice_c_files})
    add_custom_target(format COMMAND ${CLANG_FORMAT} -i ${sluice_c_files})
    add_custom_target(tidy COMMAND clang-tidy --quiet -p ${CMAKE_BINARY_DIR} ${sluice_c_files})
    add_custom_target(format-check COMMAND ${CLANG_FORMAT} --dry-run -Werror ${sluice_c_files})
endif()

# The container image, built and started for real; alone, because it keeps the machine busy.
if(TARGET sluice AND EXISTS ${CMAKE_SOURCE_DIR}/scripts/coretraffic.lua)
    add_test(NAME image COMMAND docker/test.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(image PROPERTIES LABELS "once" TIMEOUT 900 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endif()
