# Finds the libraries of packages/minimum with pkg-config, each in at least the version that is written there.
# Result: the list `sluice_deps` of all that a layer may link.

find_package(PkgConfig REQUIRED)

set(sluice_deps Threads::Threads m dl)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/packages/minimum)
file(STRINGS ${CMAKE_SOURCE_DIR}/packages/minimum lines REGEX "^[a-z]")
foreach(line IN LISTS lines)
    separate_arguments(pair UNIX_COMMAND "${line}")
    list(GET pair 0 module)
    list(GET pair 1 version)
    pkg_check_modules(dep_${module} REQUIRED IMPORTED_TARGET ${module}>=${version})
    list(APPEND sluice_deps PkgConfig::dep_${module})
endforeach()

# It comes without a usable pkg-config file.
find_path(WSLAY_INCLUDE wslay/wslay.h REQUIRED)
find_library(WSLAY_LIBRARY wslay REQUIRED)
list(APPEND sluice_deps ${WSLAY_LIBRARY})
include_directories(SYSTEM ${WSLAY_INCLUDE})
