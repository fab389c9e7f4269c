# Files of a tier, by the end of their names: which of them are for this processor, and with what options. Each has internal
# linkage; ukernels/kernels.cpp chooses at run time.
set(OTHER_TIERS "_(avx2|avxvnni|avx512|amx|amx_emulated|neon)\\.cpp$")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(OTHER_TIERS "_neon\\.cpp$")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  string(REPLACE "|neon" "" OTHER_TIERS "${OTHER_TIERS}")
endif()

function(set_tiers sources)
  list(FILTER ${sources} EXCLUDE REGEX "${OTHER_TIERS}")
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
    elseif(source MATCHES "_neon\\.cpp$")
      set(options -march=armv8.2-a+dotprod)
    else()
      continue()
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
  endforeach()
endfunction()
