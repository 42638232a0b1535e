# The load generators of the benchmark: only when they are asked for.

# h3load, that of the HTTP/3 cases.

add_executable(h3load EXCLUDE_FROM_ALL
    ${CMAKE_SOURCE_DIR}/bench/h3load/h3.c ${CMAKE_SOURCE_DIR}/bench/h3load/h3load.c
    ${CMAKE_SOURCE_DIR}/bench/h3load/tally.c)
sluice_link(h3load quic)

# pipeload, both ends of the tunnel's cases.
add_executable(pipeload EXCLUDE_FROM_ALL
    ${CMAKE_SOURCE_DIR}/bench/pipeload/main.c ${CMAKE_SOURCE_DIR}/bench/pipeload/serve.c
    ${CMAKE_SOURCE_DIR}/bench/pipeload/streams.c ${CMAKE_SOURCE_DIR}/bench/pipeload/datagrams.c)
sluice_link(pipeload base)
