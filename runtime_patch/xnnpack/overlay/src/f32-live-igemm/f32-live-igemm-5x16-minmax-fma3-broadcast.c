// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/microparams.h"

// Inlined with a constant number of rows, so that all loops over them are unrolled and tiles have no row for nothing.
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

  float* pc[5];
  _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
  {
    pc[m] = (float*) ((uintptr_t) c + c_rows[m] * cm_stride);
  }
  const __m256 vmin = _mm256_set1_ps(params->scalar.min);
  const __m256 vmax = _mm256_set1_ps(params->scalar.max);

  do {
    __m256 vacc[5][2];
    _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = _mm256_loadu_ps(bias);
      vacc[m][1] = _mm256_loadu_ps(bias + 8);
    }
    bias += 16;

    const float** tap_a = a;
    for (size_t tap = 0; tap < num_taps; tap++) {
      const float* restrict w = (const float*) ((uintptr_t) packed_w + tap_offsets[tap]);
      const float* restrict pa[5];
      _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
      {
        pa[m] = tap_a[m];
        if XNN_UNPREDICTABLE(pa[m] != zero) {
          pa[m] = (const float*) ((uintptr_t) pa[m] + a_offset);
        }
      }
      tap_a += rows;

      for (size_t k = 0; k < kc; k += sizeof(float)) {
        const __m256 vb0 = _mm256_loadu_ps(w);
        const __m256 vb1 = _mm256_loadu_ps(w + 8);
        w += 16;
        _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
        {
          const __m256 va = _mm256_set1_ps(*(const float*) ((uintptr_t) pa[m] + k));
          vacc[m][0] = _mm256_fmadd_ps(va, vb0, vacc[m][0]);
          vacc[m][1] = _mm256_fmadd_ps(va, vb1, vacc[m][1]);
        }
      }
    }
    packed_w = (const float*) ((uintptr_t) packed_w + w_stride);

    _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = _mm256_max_ps(vmin, _mm256_min_ps(vmax, vacc[m][0]));
      vacc[m][1] = _mm256_max_ps(vmin, _mm256_min_ps(vmax, vacc[m][1]));
    }
    if XNN_LIKELY(nc >= 16) {
      _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
      {
        _mm256_storeu_ps(pc[m], vacc[m][0]);
        _mm256_storeu_ps(pc[m] + 8, vacc[m][1]);
        pc[m] += 16;
      }
      nc -= 16;
    }
    else {
      _Pragma("GCC unroll 5") for (size_t m = 0; m < rows; m++)
      {
        __m256 vout = vacc[m][0];
        float* out = pc[m];
        if (nc & 8) {
          _mm256_storeu_ps(out, vout);
          out += 8;
          vout = vacc[m][1];
        }
        __m128 vquad = _mm256_castps256_ps128(vout);
        if (nc & 4) {
          _mm_storeu_ps(out, vquad);
          out += 4;
          vquad = _mm256_extractf128_ps(vout, 1);
        }
        if (nc & 2) {
          _mm_storel_pi((__m64*) out, vquad);
          out += 2;
          vquad = _mm_movehl_ps(vquad, vquad);
        }
        if (nc & 1) {
          _mm_store_ss(out, vquad);
        }
      }
      nc = 0;
    }
  } while (nc != 0);
}

// clang-format off
#define UKERNELS(ukernel) \
  ukernel(1, xnn_f32_live_igemm_minmax_ukernel_1x16__fma3_broadcast) \
  ukernel(2, xnn_f32_live_igemm_minmax_ukernel_2x16__fma3_broadcast) \
  ukernel(3, xnn_f32_live_igemm_minmax_ukernel_3x16__fma3_broadcast) \
  ukernel(4, xnn_f32_live_igemm_minmax_ukernel_4x16__fma3_broadcast) \
  ukernel(5, xnn_f32_live_igemm_minmax_ukernel_5x16__fma3_broadcast)
// clang-format on

XNN_DEFINE_LIVE_IGEMM_UKERNELS(UKERNELS, xnn_f32_live_igemm_minmax_ukernel_table__fma3_broadcast)
