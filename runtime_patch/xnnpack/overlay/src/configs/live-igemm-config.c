// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if XNN_ENABLE_CPUINFO
#include <cpuinfo.h>
#endif  // XNN_ENABLE_CPUINFO

#include "xnnpack/common.h"
#include "xnnpack/hardware-config.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/operator-type.h"

#if XNN_ARCH_ARM64 && XNN_ENABLE_ASSEMBLY && XNN_ENABLE_CPUINFO
// Cores that begin instructions in the order of the program: compilers' code is not written for them.
static bool is_in_order_core(void)
{
  switch (cpuinfo_get_core(0)->uarch) {
    case cpuinfo_uarch_cortex_a35:
    case cpuinfo_uarch_cortex_a53:
    case cpuinfo_uarch_cortex_a55r0:
    case cpuinfo_uarch_cortex_a55:
    case cpuinfo_uarch_cortex_a510:
      return true;
    default:
      return false;
  }
}
#endif

const struct xnn_live_igemm_config*
xnn_get_live_igemm_config(enum xnn_operator_type type, uint32_t nr, uint32_t kr, uint32_t sr)
{
  const struct xnn_hardware_config* hardware_config = xnn_init_hardware_config();
  if (hardware_config == NULL || sr != 1) {
    return NULL;
  }
#if XNN_ARCH_ARM64
  static const struct xnn_live_igemm_config neonfma = {
    .ukernels = xnn_f32_live_igemm_minmax_ukernel_table__aarch64_neonfma,
    .max_rows = XNN_COUNT_OF(xnn_f32_live_igemm_minmax_ukernel_table__aarch64_neonfma),
    .busy_rows = 2,
    .weight_halves = 1,
    .nr = 8,
    .kr = 1,
    .max_percent = 90,
  };
  if (type == xnn_operator_type_convolution_nhwc_f32 && nr == neonfma.nr && kr == neonfma.kr) {
#if XNN_ENABLE_ASSEMBLY && XNN_ENABLE_CPUINFO
    static const struct xnn_live_igemm_config in_order = {
      .ukernels = xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53,
      .max_rows = XNN_COUNT_OF(xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53),
      .busy_rows = 1,
      .weight_halves = 3,
      .nr = 8,
      .kr = 1,
      .max_percent = 90,
    };
    if (is_in_order_core()) {
      return &in_order;
    }
#endif
    return &neonfma;
  }
#elif XNN_ARCH_X86 || XNN_ARCH_X86_64
  static const struct xnn_live_igemm_config avx512f = {
    .ukernels = xnn_f32_live_igemm_minmax_ukernel_table__avx512f_broadcast,
    .max_rows = XNN_COUNT_OF(xnn_f32_live_igemm_minmax_ukernel_table__avx512f_broadcast),
    .busy_rows = 2,
    .weight_halves = 1,
    .nr = 32,
    .kr = 1,
    .max_percent = 90,
  };
  static const struct xnn_live_igemm_config fma3 = {
    .ukernels = xnn_f32_live_igemm_minmax_ukernel_table__fma3_broadcast,
    .max_rows = XNN_COUNT_OF(xnn_f32_live_igemm_minmax_ukernel_table__fma3_broadcast),
    .busy_rows = 3,
    .weight_halves = 1,
    .nr = 16,
    .kr = 1,
    .max_percent = 90,
  };
  if (
    type == xnn_operator_type_convolution_nhwc_f32 && nr == avx512f.nr && kr == avx512f.kr &&
    hardware_config->use_x86_avx512f) {
    return &avx512f;
  }
  if (
    type == xnn_operator_type_convolution_nhwc_f32 && nr == fma3.nr && kr == fma3.kr && hardware_config->use_x86_fma3) {
    return &fma3;
  }
#if XNN_ENABLE_AVX512VNNI
  static const struct xnn_live_igemm_config avx512vnni = {
    .ukernels = xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_table__avx512vnni,
    .max_rows = XNN_COUNT_OF(xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_table__avx512vnni),
    .busy_rows = 2,
    .weight_halves = 1,
    .nr = 16,
    .kr = 8,
    .sum_ukernel = xnn_qs8_qc8w_live_sum_ukernel_1x16c8__avx512vnni,
    .max_percent = 90,
  };
  if (
    type == xnn_operator_type_convolution_nhwc_qc8 && nr == avx512vnni.nr && kr == avx512vnni.kr &&
    hardware_config->use_x86_avx512vnni) {
    return &avx512vnni;
  }
#endif
#endif
  return NULL;
}
