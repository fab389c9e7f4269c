# Files of a tier, by the end of their names: which of them are in this build, and with what options. Each has internal linkage;
# ukernels/kernels.cpp chooses at run time among those that the generated base/tiers.h lists.
set(DOTPROD_OPTIONS -march=armv8.2-a+dotprod)
set(I8MM_OPTIONS -march=armv8.2-a+dotprod+i8mm)
set(RVV_OPTIONS -march=rv64gcv)
if(ZIG)  # names processors its own way
  set(DOTPROD_OPTIONS -mcpu=generic+dotprod)
  set(I8MM_OPTIONS -mcpu=generic+dotprod+i8mm)
  set(RVV_OPTIONS -mcpu=generic_rv64+m+a+f+d+c+v)
endif()

set(ALL_TIERS avx2 avxvnni avx512 amx neon dotprod i8mm rvv)
set(QWEN3EDGE_TIERS "all" CACHE STRING "Tiers beside the scalar one, of ${ALL_TIERS}: a list, or all that this processor has")
set(OWN_TIERS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(OWN_TIERS avx2 avxvnni avx512 amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(OWN_TIERS neon dotprod i8mm)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "riscv64")
  # Vectors of 16 lanes of any compiler that knows them and RVV 1.0: clang 17 and later.
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS ${RVV_OPTIONS})
  check_cxx_source_compiles("
    #ifndef __riscv_v
    #error no vectors
    #endif
    typedef float F __attribute__((vector_size(64)));
    F f(F a) { return __builtin_elementwise_fma(a, a, a) > a ? a : -a; }
    int main() {}" QWEN3EDGE_HAS_RVV)
  unset(CMAKE_REQUIRED_FLAGS)
  # Not compared with the scalar tier yet, so that only who names it gets it.
  if(QWEN3EDGE_HAS_RVV AND "rvv" IN_LIST QWEN3EDGE_TIERS)
    set(OWN_TIERS rvv)
  endif()
endif()
if(NOT QWEN3EDGE_TIERS STREQUAL "all")
  foreach(TIER ${QWEN3EDGE_TIERS})
    if(NOT TIER IN_LIST ALL_TIERS)
      message(FATAL_ERROR "QWEN3EDGE_TIERS: expected names of ${ALL_TIERS}, found '${TIER}'")
    endif()
  endforeach()
  foreach(TIER ${OWN_TIERS})
    if(NOT TIER IN_LIST QWEN3EDGE_TIERS)
      list(REMOVE_ITEM OWN_TIERS ${TIER})
    endif()
  endforeach()
endif()
# These take what they do not have themselves from another one.
foreach(PAIR avxvnni:avx2 amx:avx512 dotprod:neon i8mm:dotprod)
  string(REPLACE ":" ";" PAIR ${PAIR})
  list(GET PAIR 0 TIER)
  list(GET PAIR 1 NEEDED)
  if(TIER IN_LIST OWN_TIERS AND NOT NEEDED IN_LIST OWN_TIERS)
    message(FATAL_ERROR "QWEN3EDGE_TIERS: expected ${NEEDED} with ${TIER}, found ${OWN_TIERS}")
  endif()
endforeach()

set(OTHER_TIERS ${ALL_TIERS})
set(LIST "")
set(NAMES "")
foreach(TIER ${OWN_TIERS})
  list(REMOVE_ITEM OTHER_TIERS ${TIER})
  string(TOUPPER ${TIER} NAME)
  string(APPEND LIST " TIER(${TIER})")
  string(APPEND NAMES "#define Q3E_TIER_${NAME} 1\n")
endforeach()
if(NOT "avx512" IN_LIST OWN_TIERS)
  list(APPEND OTHER_TIERS amx_emulated)
endif()
file(CONFIGURE OUTPUT generated/base/tiers.h CONTENT [[
// Made by tiers.cmake: the tiers of this build beside the scalar one.
#pragma once

#define Q3E_TIERS(TIER)@LIST@
@NAMES@]] @ONLY)
string(REPLACE ";" "|" OTHER_TIERS "${OTHER_TIERS}")
list(JOIN OWN_TIERS " " TIER_NAMES)
message(STATUS "Tiers: scalar ${OWN_TIERS}")

function(set_tiers sources)
  list(FILTER ${sources} EXCLUDE REGEX "_(${OTHER_TIERS})\\.cpp$")
  set(${sources} ${${sources}} PARENT_SCOPE)
  foreach(source ${${sources}})
    if(source MATCHES "_avx2\\.cpp$")
      set(options -mavx2 -mfma -mf16c)
    elseif(source MATCHES "_avxvnni\\.cpp$")
      set(options -mavx2 -mfma -mf16c -mavxvnni)
    elseif(source MATCHES "_(avx512|amx|amx_emulated)\\.cpp$")
      # The tiles of AMX are our own asm, so that its files need no more than AVX-512. GCC 12 warns of the undefined operand inside
      # its own AVX-512 intrinsics.
      set(options -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512
          -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    elseif(source MATCHES "_dotprod\\.cpp$")
      set(options ${DOTPROD_OPTIONS})
    elseif(source MATCHES "_i8mm\\.cpp$")
      set(options ${I8MM_OPTIONS})
    elseif(source MATCHES "_rvv\\.cpp$")
      set(options ${RVV_OPTIONS})
    elseif(source MATCHES "_neon\\.cpp$")
      set(options "")
    else()
      continue()
    endif()
    # Vectors leave memory only in loops that are unrolled, also where all else is short.
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options};$<$<CONFIG:MinSizeRel>:-O3>")
  endforeach()
endfunction()
