# The core as a static library.
add_library(qwen3edge_core STATIC)
target_link_libraries(qwen3edge_core PUBLIC qwen3edge_use)
file(GLOB CORE_SOURCES CONFIGURE_DEPENDS base/*.cpp io/*.cpp ukernels/*.cpp text/*.cpp exec/*.cpp models/*.cpp runtime/*.cpp)
list(FILTER CORE_SOURCES EXCLUDE REGEX "_(avx2|avxvnni|avx512|amx|amx_emulated|neon)\\.cpp$")
target_sources(qwen3edge_core PRIVATE ${CORE_SOURCES})

# Each tier's files have their own flags and internal linkage; ukernels/kernel_table.cpp chooses at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  file(GLOB AVX2_SOURCES CONFIGURE_DEPENDS ukernels/*_avx2.cpp)
  # The tiles of AMX are our own asm, so that its files need no more than AVX-512.
  file(GLOB AVX512_SOURCES CONFIGURE_DEPENDS ukernels/*_avx512.cpp ukernels/*_amx.cpp ukernels/*_amx_emulated.cpp)
  file(GLOB AVXVNNI_SOURCES CONFIGURE_DEPENDS ukernels/*_avxvnni.cpp)
  target_sources(qwen3edge_core PRIVATE ${AVX2_SOURCES} ${AVXVNNI_SOURCES} ${AVX512_SOURCES})
  set_source_files_properties(${AVX2_SOURCES} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(${AVXVNNI_SOURCES} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mavxvnni")
  # GCC 12 warns of the undefined operand inside its own AVX-512 intrinsics.
  set_source_files_properties(${AVX512_SOURCES} PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  file(GLOB NEON_SOURCES CONFIGURE_DEPENDS ukernels/*_neon.cpp)
  target_sources(qwen3edge_core PRIVATE ${NEON_SOURCES})
  set_source_files_properties(${NEON_SOURCES} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
endif()
