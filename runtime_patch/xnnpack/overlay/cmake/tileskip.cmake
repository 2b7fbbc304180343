# Copyright 2026 The Tileskip Authors
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

# Our files, in upstream's lists.
LIST(APPEND OPERATOR_SRCS
  src/operators/channel-blocks.c
  src/operators/live-taps-compute.c
  src/operators/live-taps.c
  src/operators/masked-convolution-nhwc.c
  src/operators/masked-dwconv-nhwc.c
  src/operators/merged-taps.c
  src/pixel-mask.c)

LIST(APPEND SUBGRAPH_SRCS
  src/subgraph/compact-layout.c
  src/subgraph/expand-pixels.c
  src/subgraph/masked-convolution-2d.c
  src/subgraph/operator-plan.c)

LIST(APPEND XNNPACK_SRCS
  src/configs/live-igemm-config.c)

# Micro-kernels, by the instructions that they are compiled for: the list of what is compiled, and the
# list of what gets the compiler's options for them.
FUNCTION(TILESKIP_ADD_MICROKERNELS ISA)
  FOREACH(LIST_NAME PROD_${ISA}_MICROKERNEL_SRCS ALL_${ISA}_MICROKERNEL_SRCS)
    LIST(APPEND ${LIST_NAME} ${ARGN})
    SET(${LIST_NAME} ${${LIST_NAME}} PARENT_SCOPE)
  ENDFOREACH()
ENDFUNCTION()
TILESKIP_ADD_MICROKERNELS(AVX512F
  src/f32-live-igemm/f32-live-igemm-7x32-minmax-avx512f-broadcast.c)
TILESKIP_ADD_MICROKERNELS(AVX512VNNI
  src/qs8-qc8w-live-igemm/qs8-qc8w-live-igemm-7x16c8-minmax-fp32-avx512vnni.c)
TILESKIP_ADD_MICROKERNELS(FMA3
  src/f32-live-igemm/f32-live-igemm-5x16-minmax-fma3-broadcast.c)
TILESKIP_ADD_MICROKERNELS(NEONFMA_AARCH64
  src/f32-live-igemm/f32-live-igemm-6x8-minmax-aarch64-neonfma.c)
TILESKIP_ADD_MICROKERNELS(AARCH64_ASM
  src/f32-live-igemm/f32-live-igemm-6x8-minmax-asm-aarch64-neonfma-cortex-a53.S)
