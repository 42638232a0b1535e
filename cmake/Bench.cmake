# h3load, the load generator of the benchmark's HTTP/3 cases: only when it is asked for.

add_executable(h3load EXCLUDE_FROM_ALL
    ${CMAKE_SOURCE_DIR}/bench/h3load/h3.c ${CMAKE_SOURCE_DIR}/bench/h3load/h3load.c
    ${CMAKE_SOURCE_DIR}/bench/h3load/tally.c)
sluice_link(h3load quic)
