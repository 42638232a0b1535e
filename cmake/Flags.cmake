# Compiler and linker flags: what every build has, then what its flavour adds. A preset chooses the flavour.

set(SLUICE_FLAVOUR release CACHE STRING "release, dev, asan, tsan or fuzz")
set_property(CACHE SLUICE_FLAVOUR PROPERTY STRINGS release dev asan tsan fuzz)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Strict aliasing is off: a proxy looks at bytes as addresses and headers all day, and the gain was never measurable.
add_compile_options(
    -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wundef -Wwrite-strings -Wno-format-nonliteral
    -fno-common -fno-strict-aliasing -fno-omit-frame-pointer -fvisibility=hidden -g
)
# Where the program finds lua/ and scripts/: in the checkout, else installed. A build that is made to be installed (the
# image) knows the installed place alone, and never looks for code where a checkout once was.
set(sluice_data_dir ${CMAKE_INSTALL_FULL_DATADIR}/sluice)
if(SLUICE_TESTS)
    set(sluice_source_dir ${CMAKE_SOURCE_DIR})
else()
    set(sluice_source_dir ${sluice_data_dir})
endif()
add_compile_definitions(
    _GNU_SOURCE
    SLUICE_VERSION="${PROJECT_VERSION}"
    SLUICE_SOURCE_DIR="${sluice_source_dir}"
    SLUICE_DATA_DIR="${sluice_data_dir}"
)
add_link_options(-Wl,--as-needed)

# Adds flags to both the compiler and the linker, as sanitizers need it.
function(sluice_sanitize)
    add_compile_options(-O1 -fno-optimize-sibling-calls -fno-sanitize-recover=all ${ARGN})
    add_link_options(${ARGN})
endfunction()

if(SLUICE_FLAVOUR STREQUAL "release")
    add_compile_options(-O2 -fno-plt -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE)
    if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
        add_compile_options(-fcf-protection)
    endif()
    add_compile_definitions(_FORTIFY_SOURCE=3)
    add_link_options(-pie -Wl,-z,relro,-z,now,-z,noexecstack)
elseif(SLUICE_FLAVOUR STREQUAL "dev")
    add_compile_options(-Og -g3)
elseif(SLUICE_FLAVOUR STREQUAL "asan")
    add_compile_definitions(SLUICE_ASAN=1)
    sluice_sanitize(-fsanitize=address,undefined)
elseif(SLUICE_FLAVOUR STREQUAL "tsan")
    add_compile_definitions(SLUICE_TSAN=1)
    sluice_sanitize(-fsanitize=thread)
elseif(SLUICE_FLAVOUR STREQUAL "fuzz")
    add_compile_definitions(SLUICE_FUZZ=1)
    sluice_sanitize(-fsanitize=fuzzer-no-link,address,undefined)
else()
    message(FATAL_ERROR "SLUICE_FLAVOUR is ${SLUICE_FLAVOUR}: must be release, dev, asan, tsan or fuzz")
endif()
