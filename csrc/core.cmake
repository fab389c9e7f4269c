# The core as a static library.
add_library(qwen3edge_core STATIC)
target_link_libraries(qwen3edge_core PUBLIC qwen3edge_use)
file(GLOB CORE_SOURCES CONFIGURE_DEPENDS base/*.cpp io/*.cpp ukernels/*.cpp text/*.cpp template/*.cpp prompt/*.cpp exec/*.cpp models/*.cpp runtime/*.cpp)
set_tiers(CORE_SOURCES)
target_sources(qwen3edge_core PRIVATE ${CORE_SOURCES})
# Templates run once a prompt: less code is worth more than speed there.
file(GLOB TEMPLATE_SOURCES CONFIGURE_DEPENDS template/*.cpp prompt/*.cpp)
set_source_files_properties(${TEMPLATE_SOURCES} PROPERTIES COMPILE_OPTIONS -Os)
