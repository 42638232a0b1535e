# src/<layer>/<name>_fuzz.c becomes the libFuzzer program build/fuzz/fuzz/<layer>.<name>. `./dev fuzz` runs them.

foreach(layer IN LISTS sluice_layers)
    sluice_sources(sources ${layer} *_fuzz.c)
    foreach(source IN LISTS sources)
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_fuzz$" "" name ${name})
        add_executable(fuzz.${layer}.${name} ${source})
        sluice_link(fuzz.${layer}.${name} ${layer})
        target_compile_options(fuzz.${layer}.${name} PRIVATE -Wno-missing-prototypes) # libFuzzer has no header
        target_link_options(fuzz.${layer}.${name} PRIVATE -fsanitize=fuzzer)
        set_target_properties(fuzz.${layer}.${name} PROPERTIES
            OUTPUT_NAME ${layer}.${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    endforeach()
endforeach()
