# Faults of upstream's XNNPACK that would end a program with a sanitizer, each in the files that have
# it; all others are checked for everything. Run in XNNPACK's project (CMAKE_PROJECT_XNNPACK_INCLUDE).

# A node that reads an external input twice (x + x) gets two Convert nodes with one output where the
# subgraph is rewritten for fp16. It does no harm, but an assertion says that it cannot be.
set_source_files_properties(src/subgraph.c PROPERTIES COMPILE_DEFINITIONS NDEBUG)

# These pack int8 filters for AVX-VNNI: where fewer than eight bytes are left they load eight all the
# same, beyond the end of what the user gave, and drop the others.
file(GLOB PACKING RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
  src/qs8-packw/gen/*vnni*.c src/qs8-qu8-packw/gen/*vnni*.c)
set_source_files_properties(${PACKING} PROPERTIES COMPILE_OPTIONS -fno-sanitize=address,thread)

# _mm_load_sd of two floats: a pointer to double that only floats' alignment is sure of; the
# instruction does not mind.
file(GLOB LOADING_DOUBLES RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} src/x32-packw/gen/*sse2*.c)
set_source_files_properties(${LOADING_DOUBLES} PROPERTIES COMPILE_OPTIONS -fno-sanitize=alignment)

# Products of int8 read eight channels where fewer are left, beyond the end of a tensor: into the
# next one, which another thread may write. They drop the others. Upstream says so of each
# (XNN_OOB_READS), in a word that Clang alone understands. Those of live taps do the same.
file(GLOB READING_ON RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
  src/qs8-qc8w-live-igemm/*.c src/qs8-*gemm/gen/*.c src/qu8-*gemm/gen/*.c src/qd8-*gemm/gen/*.c)
set_source_files_properties(${READING_ON} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread)
