# The core as a static library.
add_library(qwen3edge_core STATIC)
target_link_libraries(qwen3edge_core PUBLIC qwen3edge_use)
file(GLOB CORE_SOURCES CONFIGURE_DEPENDS base/*.cpp io/*.cpp ukernels/*.cpp text/*.cpp template/*.cpp prompt/*.cpp exec/*.cpp models/*.cpp runtime/*.cpp)
set_tiers(CORE_SOURCES)
target_sources(qwen3edge_core PRIVATE ${CORE_SOURCES})
# What runs for each value, byte or item of a team is compiled for speed. All else runs once a model, a request or a layer: less
# code is worth more there.
set(FAST "ukernels/[a-z0-9_]+|exec/(steps|thread_pool|rotary)|models/(attention|delta_net|delta_state|experts)")
string(APPEND FAST "|runtime/(sampler|logprobs|embedding|prompt_lookup)|io/(crc32|tensor_check)")
foreach(SOURCE ${CORE_SOURCES})
  if(SOURCE MATCHES "/text/(bpe|byte_alphabet|normal_form|text_chunks|tokenizer|utf8|word_splitter)\\.cpp$")
    set_source_files_properties(${SOURCE} PROPERTIES COMPILE_OPTIONS $<$<NOT:$<CONFIG:MinSizeRel>>:-O2>)
  elseif(NOT SOURCE MATCHES "/(${FAST})\\.cpp$")
    set_source_files_properties(${SOURCE} PROPERTIES COMPILE_OPTIONS -Os)
  endif()
endforeach()
