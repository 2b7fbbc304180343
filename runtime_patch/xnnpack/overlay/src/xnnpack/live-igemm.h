// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/math.h"
#include "xnnpack/microparams.h"
#include "xnnpack/operator-type.h"

#ifdef __cplusplus
extern "C" {
#endif

// IGEMM over some taps of the kernel only. Differs from an igemm micro-kernel in this:
// - the weights are packed for all taps; tap_offsets[i] is where those of the i-th live tap begin in a block of NR
//   output channels, in bytes; w_stride is the size of a block;
// - the bias is no part of the weights: it holds the products of all other taps, too. Padded to a multiple of NR;
// - the number of rows belongs to the micro-kernel: a has as many pointers for each live tap;
// - row m is written to row c_rows[m] of c.
//
// Reads up to NR elements of bias and weights beyond nc, as micro-kernels do; the memory is packed so.
typedef void xnn_live_igemm_ukernel(
  size_t nc,
  size_t kc,
  size_t num_taps,
  const void** a,
  const size_t* tap_offsets,
  const void* bias,
  const void* w,
  size_t w_stride,
  void* c,
  size_t cm_stride,
  const uint32_t* c_rows,
  size_t a_offset,
  const void* zero,
  const void* params);
typedef xnn_live_igemm_ukernel* xnn_live_igemm_ukernel_fn;

// Makes a micro-kernel from live_igemm(rows, ...), which is to be inlined.
#define XNN_DEFINE_LIVE_IGEMM_UKERNEL(rows, name)                                                                      \
  XNN_INTERNAL xnn_live_igemm_ukernel name;                                                                            \
  void name(                                                                                                           \
    size_t nc, size_t kc, size_t num_taps, const void** a, const size_t* tap_offsets, const void* bias, const void* w, \
    size_t w_stride, void* c, size_t cm_stride, const uint32_t* c_rows, size_t a_offset, const void* zero,             \
    const void* params)                                                                                                \
  {                                                                                                                    \
    live_igemm(                                                                                                        \
      rows, nc, kc, num_taps, (void*) a, tap_offsets, bias, w, w_stride, c, cm_stride, c_rows, a_offset, zero,         \
      params);                                                                                                         \
  }

#define XNN_LIST_LIVE_IGEMM_UKERNEL(rows, name) name,

// Makes micro-kernels, and a table of them that has the i-th for i + 1 rows. ukernels(m) stands for m(rows, name) of
// each: their names are written once.
#define XNN_DEFINE_LIVE_IGEMM_UKERNELS(ukernels, table)                                                                \
  ukernels(XNN_DEFINE_LIVE_IGEMM_UKERNEL)                                                                              \
    const xnn_live_igemm_ukernel_fn table[] = {ukernels(XNN_LIST_LIVE_IGEMM_UKERNEL)};

XNN_INTERNAL extern const xnn_live_igemm_ukernel_fn xnn_f32_live_igemm_minmax_ukernel_table__fma3_broadcast[5];
XNN_INTERNAL extern const xnn_live_igemm_ukernel_fn xnn_f32_live_igemm_minmax_ukernel_table__aarch64_neonfma[6];
XNN_INTERNAL extern const xnn_live_igemm_ukernel_fn
  xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53[6];
XNN_INTERNAL extern const xnn_live_igemm_ukernel_fn xnn_f32_live_igemm_minmax_ukernel_table__avx512f_broadcast[7];
XNN_INTERNAL extern const xnn_live_igemm_ukernel_fn xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_table__avx512vnni[7];

// Sums of products of one row and the weights of one tap, NR of them, as the micro-kernel has them before they are
// scaled.
typedef void (*xnn_qs8_live_sum_ukernel_fn)(size_t kc, const int8_t* a, const int8_t* w, int32_t* sums);

XNN_INTERNAL void
xnn_qs8_qc8w_live_sum_ukernel_1x16c8__avx512vnni(size_t kc, const int8_t* a, const int8_t* w, int32_t* sums);

// Micro-kernels, and how the weights that they read are packed: in blocks of nr output channels, a block's bias first;
// then for each tap kr input channels of each output channel in turn.
struct xnn_live_igemm_config {
  // The i-th for i + 1 rows.
  const xnn_live_igemm_ukernel_fn* ukernels;
  uint32_t max_rows;
  // With fewer rows it takes as long as with these: the weights cannot be loaded faster.
  uint32_t busy_rows;
  // The loads of a tap's weights take as long as the products of so many halves of a row.
  uint32_t weight_halves;
  uint32_t nr;
  uint32_t kr;
  // For quantized weights; NULL for others.
  xnn_qs8_live_sum_ukernel_fn sum_ukernel;
  // A plan is followed if it costs at most this much of the operator's other micro-kernel.
  uint32_t max_percent;
};

// Where the weights of a tap begin in a block of packed weights, in bytes; channels_size is that of a pixel of the
// input.
static inline size_t
xnn_get_live_tap_offset(const struct xnn_live_igemm_config* config, size_t channels_size, size_t tap)
{
  // Products are summed in 4 bytes, whatever they are of.
  return config->nr * (4 + tap * round_up_po2(channels_size, config->kr));
}

// NULL if this machine has none for weights of convolutions of this type that are packed so.
XNN_INTERNAL const struct xnn_live_igemm_config*
xnn_get_live_igemm_config(enum xnn_operator_type type, uint32_t nr, uint32_t kr, uint32_t sr);

#ifdef __cplusplus
}  // extern "C"
#endif
