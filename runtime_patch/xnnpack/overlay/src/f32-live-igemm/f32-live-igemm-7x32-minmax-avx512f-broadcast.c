// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/microparams.h"

// Inlined with a constant number of rows, so that all loops over them are unrolled and tiles have no row for nothing.
// Few rows have too few accumulators to keep the multipliers busy: then each has a second one, for every other input
// channel.
static XNN_INLINE void live_igemm(
  const size_t rows,
  size_t nc,
  size_t kc,
  size_t num_taps,
  const float** restrict a,
  const size_t* restrict tap_offsets,
  const float* restrict bias,
  const float* restrict packed_w,
  size_t w_stride,
  float* restrict c,
  size_t cm_stride,
  const uint32_t* restrict c_rows,
  size_t a_offset,
  const float* zero,
  const union xnn_f32_minmax_params* restrict params)
{
  assert(nc != 0);
  assert(kc != 0);
  assert(kc % sizeof(float) == 0);

  const bool has_pairs = rows <= 3;
  float* pc[7];
  _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
  {
    pc[m] = (float*) ((uintptr_t) c + c_rows[m] * cm_stride);
  }
  const __m512 vmin = _mm512_set1_ps(params->scalar.min);
  const __m512 vmax = _mm512_set1_ps(params->scalar.max);

  do {
    __m512 vacc[7][2];
    __m512 vacc_odd[7][2];
    _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = _mm512_loadu_ps(bias);
      vacc[m][1] = _mm512_loadu_ps(bias + 16);
      vacc_odd[m][0] = _mm512_setzero_ps();
      vacc_odd[m][1] = _mm512_setzero_ps();
    }
    bias += 32;

    const float** tap_a = a;
    for (size_t tap = 0; tap < num_taps; tap++) {
      const float* restrict w = (const float*) ((uintptr_t) packed_w + tap_offsets[tap]);
      const float* restrict pa[7];
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        pa[m] = tap_a[m];
        if XNN_UNPREDICTABLE(pa[m] != zero) {
          pa[m] = (const float*) ((uintptr_t) pa[m] + a_offset);
        }
      }
      tap_a += rows;

      size_t k = 0;
      for (; has_pairs && k + 2 * sizeof(float) <= kc; k += 2 * sizeof(float)) {
        const __m512 vb0 = _mm512_loadu_ps(w);
        const __m512 vb1 = _mm512_loadu_ps(w + 16);
        const __m512 vb_odd0 = _mm512_loadu_ps(w + 32);
        const __m512 vb_odd1 = _mm512_loadu_ps(w + 48);
        w += 64;
        _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
        {
          const float* pk = (const float*) ((uintptr_t) pa[m] + k);
          vacc[m][0] = _mm512_fmadd_ps(_mm512_set1_ps(pk[0]), vb0, vacc[m][0]);
          vacc[m][1] = _mm512_fmadd_ps(_mm512_set1_ps(pk[0]), vb1, vacc[m][1]);
          vacc_odd[m][0] = _mm512_fmadd_ps(_mm512_set1_ps(pk[1]), vb_odd0, vacc_odd[m][0]);
          vacc_odd[m][1] = _mm512_fmadd_ps(_mm512_set1_ps(pk[1]), vb_odd1, vacc_odd[m][1]);
        }
      }
      for (; k < kc; k += sizeof(float)) {
        const __m512 vb0 = _mm512_loadu_ps(w);
        const __m512 vb1 = _mm512_loadu_ps(w + 16);
        w += 32;
        _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
        {
          const __m512 va = _mm512_set1_ps(*(const float*) ((uintptr_t) pa[m] + k));
          vacc[m][0] = _mm512_fmadd_ps(va, vb0, vacc[m][0]);
          vacc[m][1] = _mm512_fmadd_ps(va, vb1, vacc[m][1]);
        }
      }
    }
    packed_w = (const float*) ((uintptr_t) packed_w + w_stride);

    _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
    {
      if (has_pairs) {
        vacc[m][0] = _mm512_add_ps(vacc[m][0], vacc_odd[m][0]);
        vacc[m][1] = _mm512_add_ps(vacc[m][1], vacc_odd[m][1]);
      }
      vacc[m][0] = _mm512_max_ps(vmin, _mm512_min_ps(vmax, vacc[m][0]));
      vacc[m][1] = _mm512_max_ps(vmin, _mm512_min_ps(vmax, vacc[m][1]));
    }
    if XNN_LIKELY(nc >= 32) {
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        _mm512_storeu_ps(pc[m], vacc[m][0]);
        _mm512_storeu_ps(pc[m] + 16, vacc[m][1]);
        pc[m] += 32;
      }
      nc -= 32;
    }
    else {
      const uint32_t mask = (UINT32_C(1) << nc) - UINT32_C(1);
      const __mmask16 vmask0 = _cvtu32_mask16((uint32_t) (uint16_t) mask);
      const __mmask16 vmask1 = _cvtu32_mask16(mask >> 16);
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        _mm512_mask_storeu_ps(pc[m], vmask0, vacc[m][0]);
        _mm512_mask_storeu_ps(pc[m] + 16, vmask1, vacc[m][1]);
      }
      nc = 0;
    }
  } while (nc != 0);
}

// clang-format off
#define UKERNELS(ukernel) \
  ukernel(1, xnn_f32_live_igemm_minmax_ukernel_1x32__avx512f_broadcast) \
  ukernel(2, xnn_f32_live_igemm_minmax_ukernel_2x32__avx512f_broadcast) \
  ukernel(3, xnn_f32_live_igemm_minmax_ukernel_3x32__avx512f_broadcast) \
  ukernel(4, xnn_f32_live_igemm_minmax_ukernel_4x32__avx512f_broadcast) \
  ukernel(5, xnn_f32_live_igemm_minmax_ukernel_5x32__avx512f_broadcast) \
  ukernel(6, xnn_f32_live_igemm_minmax_ukernel_6x32__avx512f_broadcast) \
  ukernel(7, xnn_f32_live_igemm_minmax_ukernel_7x32__avx512f_broadcast)
// clang-format on

XNN_DEFINE_LIVE_IGEMM_UKERNELS(UKERNELS, xnn_f32_live_igemm_minmax_ukernel_table__avx512f_broadcast)
