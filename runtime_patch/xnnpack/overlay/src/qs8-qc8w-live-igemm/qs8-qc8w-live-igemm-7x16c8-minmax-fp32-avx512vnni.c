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
#include "xnnpack/math.h"
#include "xnnpack/microparams.h"
#include "xnnpack/unaligned.h"

// The two sums of four products that each output channel has.
static XNN_INLINE __m512i add_pairs(__m512i vacc0, __m512i vacc1)
{
  const __m512i vidx = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i vsum0 = _mm512_add_epi32(vacc0, _mm512_srli_epi64(vacc0, 32));
  const __m512i vsum1 = _mm512_add_epi32(vacc1, _mm512_srli_epi64(vacc1, 32));
  return _mm512_permutex2var_epi32(vsum0, vidx, vsum1);
}

// Eight input channels for each output channel, as unsigned numbers.
static XNN_INLINE __m512i load_inputs(const int8_t* a, __m512i vsign_mask)
{
  return _mm512_xor_epi64(_mm512_set1_epi64((int64_t) unaligned_load_u64(a)), vsign_mask);
}

void xnn_qs8_qc8w_live_sum_ukernel_1x16c8__avx512vnni(
  size_t kc, const int8_t* restrict a, const int8_t* restrict w, int32_t* restrict sums)
{
  const __m512i vsign_mask = _mm512_set1_epi8((char) 0x80);
  __m512i vacc0 = _mm512_setzero_si512();
  __m512i vacc1 = _mm512_setzero_si512();
  for (size_t k = 0; k < round_up_po2(kc, 8); k += 8) {
    const __m512i va = load_inputs(a + k, vsign_mask);
    vacc0 = _mm512_dpbusd_epi32(vacc0, va, _mm512_loadu_si512(w));
    vacc1 = _mm512_dpbusd_epi32(vacc1, va, _mm512_loadu_si512(w + 64));
    w += 128;
  }
  _mm512_storeu_si512(sums, add_pairs(vacc0, vacc1));
}

// Where outputs lie.
struct output_range {
  __m512 max_less_zero_point;
  __m512i zero_point;
  __m128i min;
};

static XNN_INLINE struct output_range load_output_range(const union xnn_qs8_qc8w_conv_minmax_params* params)
{
  const struct output_range range = {
    .max_less_zero_point =
      _mm512_set1_ps((float) (params->fp32_scalar.output_max - params->fp32_scalar.output_zero_point)),
    .zero_point = _mm512_set1_epi32(params->fp32_scalar.output_zero_point),
    .min = _mm_set1_epi8((char) params->fp32_scalar.output_min),
  };
  return range;
}

// Sums as outputs: scaled, rounded and clamped.
static XNN_INLINE __m128i requantize(__m512i vsum, __m512 vscale, struct output_range range)
{
  const __m512 vscaled = _mm512_mul_ps(_mm512_cvtepi32_ps(vsum), vscale);
  const __m512i vrounded = _mm512_cvtps_epi32(_mm512_min_ps(vscaled, range.max_less_zero_point));
  return _mm_max_epi8(_mm512_cvtsepi32_epi8(_mm512_add_epi32(vrounded, range.zero_point)), range.min);
}

// Inlined with a constant number of rows, so that all loops over them are unrolled and tiles have no row for nothing.
// Few rows have too few accumulators to keep the multipliers busy: then each has a second one, for every other step.
// Scales are the last 16 elements of a block of weights.
static XNN_INLINE void live_igemm(
  const size_t rows,
  size_t nc,
  size_t kc,
  size_t num_taps,
  const int8_t** restrict a,
  const size_t* restrict tap_offsets,
  const int32_t* restrict bias,
  const int8_t* restrict packed_w,
  size_t w_stride,
  int8_t* restrict c,
  size_t cm_stride,
  const uint32_t* restrict c_rows,
  size_t a_offset,
  const int8_t* zero,
  const union xnn_qs8_qc8w_conv_minmax_params* restrict params)
{
  assert(nc != 0);
  assert(kc != 0);

  const bool has_pairs = rows <= 4;
  int8_t* pc[7];
  _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
  {
    pc[m] = c + c_rows[m] * cm_stride;
  }
  kc = round_up_po2(kc, 8);
  const __m512i vsign_mask = _mm512_set1_epi8((char) 0x80);
  const struct output_range range = load_output_range(params);

  do {
    __m512i vacc[7][2];
    __m512i vacc_odd[7][2];
    _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i*) bias));
      vacc[m][1] = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i*) (bias + 8)));
      vacc_odd[m][0] = _mm512_setzero_si512();
      vacc_odd[m][1] = _mm512_setzero_si512();
    }
    bias += 16;

    const int8_t** tap_a = a;
    for (size_t tap = 0; tap < num_taps; tap++) {
      const int8_t* restrict w = packed_w + tap_offsets[tap];
      const int8_t* restrict pa[7];
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        pa[m] = tap_a[m];
        if XNN_UNPREDICTABLE(pa[m] != zero) {
          pa[m] += a_offset;
        }
      }
      tap_a += rows;

      size_t k = 0;
      for (; has_pairs && k + 16 <= kc; k += 16) {
        const __m512i vb0 = _mm512_loadu_si512(w);
        const __m512i vb1 = _mm512_loadu_si512(w + 64);
        const __m512i vb_odd0 = _mm512_loadu_si512(w + 128);
        const __m512i vb_odd1 = _mm512_loadu_si512(w + 192);
        w += 256;
        _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
        {
          const __m512i va = load_inputs(pa[m] + k, vsign_mask);
          const __m512i va_odd = load_inputs(pa[m] + k + 8, vsign_mask);
          vacc[m][0] = _mm512_dpbusd_epi32(vacc[m][0], va, vb0);
          vacc[m][1] = _mm512_dpbusd_epi32(vacc[m][1], va, vb1);
          vacc_odd[m][0] = _mm512_dpbusd_epi32(vacc_odd[m][0], va_odd, vb_odd0);
          vacc_odd[m][1] = _mm512_dpbusd_epi32(vacc_odd[m][1], va_odd, vb_odd1);
        }
      }
      for (; k < kc; k += 8) {
        const __m512i vb0 = _mm512_loadu_si512(w);
        const __m512i vb1 = _mm512_loadu_si512(w + 64);
        w += 128;
        _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
        {
          const __m512i va = load_inputs(pa[m] + k, vsign_mask);
          vacc[m][0] = _mm512_dpbusd_epi32(vacc[m][0], va, vb0);
          vacc[m][1] = _mm512_dpbusd_epi32(vacc[m][1], va, vb1);
        }
      }
    }
    packed_w += w_stride;

    const __m512 vscale = _mm512_loadu_ps((const float*) (packed_w - 16 * sizeof(float)));
    __m128i vout[7];
    _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
    {
      if (has_pairs) {
        vacc[m][0] = _mm512_add_epi32(vacc[m][0], vacc_odd[m][0]);
        vacc[m][1] = _mm512_add_epi32(vacc[m][1], vacc_odd[m][1]);
      }
      vout[m] = requantize(add_pairs(vacc[m][0], vacc[m][1]), vscale, range);
    }
    if XNN_LIKELY(nc >= 16) {
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        _mm_storeu_si128((__m128i*) pc[m], vout[m]);
        pc[m] += 16;
      }
      nc -= 16;
    }
    else {
      const __mmask16 vmask = _cvtu32_mask16((UINT32_C(1) << nc) - UINT32_C(1));
      _Pragma("GCC unroll 7") for (size_t m = 0; m < rows; m++)
      {
        _mm_mask_storeu_epi8(pc[m], vmask, vout[m]);
      }
      nc = 0;
    }
  } while (nc != 0);
}

// clang-format off
#define UKERNELS(ukernel) \
  ukernel(1, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_1x16c8__avx512vnni) \
  ukernel(2, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_2x16c8__avx512vnni) \
  ukernel(3, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_3x16c8__avx512vnni) \
  ukernel(4, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_4x16c8__avx512vnni) \
  ukernel(5, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_5x16c8__avx512vnni) \
  ukernel(6, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_6x16c8__avx512vnni) \
  ukernel(7, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_7x16c8__avx512vnni)
// clang-format on

XNN_DEFINE_LIVE_IGEMM_UKERNELS(UKERNELS, xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_table__avx512vnni)
