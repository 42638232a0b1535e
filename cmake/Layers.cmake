# One static library per layer, `sl_<layer>`, from src/<layer>/*.c. A layer links those before it, so that an include
# that points up does not link. Files are found, not listed: a new file needs no change here.
# src/app/main.c is not part of sl_app: the tests of app link that library too.

set(sluice_layers base codec loop net tls quic http tunnel route proxy script app)
set(sluice_link_codec sl_base) # codec and route know base alone
set(sluice_link_route sl_base)

function(sluice_sources out layer pattern)
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${layer}/${pattern})
    set(${out} ${found} PARENT_SCOPE)
endfunction()

include_directories(${CMAKE_SOURCE_DIR}/src)
link_libraries(${sluice_deps})

set(before)
foreach(layer IN LISTS sluice_layers)
    sluice_sources(sources ${layer} *.c)
    list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.c$|/app/main\\.c$")
    if(NOT sources)
        continue()
    endif()
    add_library(sl_${layer} STATIC ${sources})
    if(DEFINED sluice_link_${layer})
        set(links ${sluice_link_${layer}})
    else()
        set(links ${before})
    endif()
    foreach(lib IN LISTS links)
        if(TARGET ${lib})
            target_link_libraries(sl_${layer} PUBLIC ${lib})
        endif()
    endforeach()
    list(PREPEND before sl_${layer})
endforeach()

# Every library that exists, last layer first, which is the order in which a linker wants them.
set(sluice_libs ${before})

# Links a program to a layer, or to those before it while the layer itself has nothing but headers.
function(sluice_link target layer)
    if(TARGET sl_${layer})
        target_link_libraries(${target} PRIVATE sl_${layer})
    else()
        target_link_libraries(${target} PRIVATE ${sluice_libs})
    endif()
endfunction()
