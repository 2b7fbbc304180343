// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/microparams.h"
#include <arm_neon.h>

// Products of four channels of the input, one lane after the other.
#define LIVE_IGEMM_LANE(lane)                                                                                          \
  do {                                                                                                                 \
    const float32x4_t vb0 = vld1q_f32(w + (size_t) 8 * (lane));                                                        \
    const float32x4_t vb1 = vld1q_f32(w + (size_t) 8 * (lane) + 4);                                                    \
    _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)                                                          \
    {                                                                                                                  \
      vacc[m][0] = vfmaq_laneq_f32(vacc[m][0], vb0, va[m], (lane));                                                    \
      vacc[m][1] = vfmaq_laneq_f32(vacc[m][1], vb1, va[m], (lane));                                                    \
    }                                                                                                                  \
  } while (0)

// The last nc columns of a row, fewer than 8.
static XNN_INLINE void store_columns(float* out, size_t nc, float32x4_t vout, float32x4_t vnext)
{
  if (nc & 4) {
    vst1q_f32(out, vout);
    out += 4;
    vout = vnext;
  }
  float32x2_t vpair = vget_low_f32(vout);
  if (nc & 2) {
    vst1_f32(out, vpair);
    out += 2;
    vpair = vget_high_f32(vout);
  }
  if (nc & 1) {
    vst1_lane_f32(out, vpair, 0);
  }
}

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

  float* pc[6];
  _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
  {
    pc[m] = (float*) ((uintptr_t) c + c_rows[m] * cm_stride);
  }
  const float32x4_t vmin = vld1q_dup_f32(&params->scalar.min);
  const float32x4_t vmax = vld1q_dup_f32(&params->scalar.max);

  do {
    float32x4_t vacc[6][2];
    _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = vld1q_f32(bias);
      vacc[m][1] = vld1q_f32(bias + 4);
    }
    bias += 8;

    const float** tap_a = a;
    for (size_t tap = 0; tap < num_taps; tap++) {
      const float* restrict w = (const float*) ((uintptr_t) packed_w + tap_offsets[tap]);
      const float* restrict pa[6];
      _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
      {
        pa[m] = tap_a[m];
        if XNN_UNPREDICTABLE(pa[m] != zero) {
          pa[m] = (const float*) ((uintptr_t) pa[m] + a_offset);
        }
      }
      tap_a += rows;

      size_t k = kc;
      for (; k >= 4 * sizeof(float); k -= 4 * sizeof(float)) {
        float32x4_t va[6];
        _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
        {
          va[m] = vld1q_f32(pa[m]);
          pa[m] += 4;
        }
        LIVE_IGEMM_LANE(0);
        LIVE_IGEMM_LANE(1);
        LIVE_IGEMM_LANE(2);
        LIVE_IGEMM_LANE(3);
        w += 32;
      }
      for (; k != 0; k -= sizeof(float)) {
        const float32x4_t vb0 = vld1q_f32(w);
        const float32x4_t vb1 = vld1q_f32(w + 4);
        w += 8;
        _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
        {
          const float32x4_t va = vld1q_dup_f32(pa[m]);
          pa[m] += 1;
          vacc[m][0] = vfmaq_f32(vacc[m][0], va, vb0);
          vacc[m][1] = vfmaq_f32(vacc[m][1], va, vb1);
        }
      }
    }
    packed_w = (const float*) ((uintptr_t) packed_w + w_stride);

    _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
    {
      vacc[m][0] = vmaxq_f32(vminq_f32(vacc[m][0], vmax), vmin);
      vacc[m][1] = vmaxq_f32(vminq_f32(vacc[m][1], vmax), vmin);
    }
    if XNN_LIKELY(nc >= 8) {
      _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
      {
        vst1q_f32(pc[m], vacc[m][0]);
        vst1q_f32(pc[m] + 4, vacc[m][1]);
        pc[m] += 8;
      }
      nc -= 8;
    }
    else {
      _Pragma("GCC unroll 6") for (size_t m = 0; m < rows; m++)
      {
        store_columns(pc[m], nc, vacc[m][0], vacc[m][1]);
      }
      nc = 0;
    }
  } while (nc != 0);
}

// clang-format off
#define UKERNELS(ukernel) \
  ukernel(1, xnn_f32_live_igemm_minmax_ukernel_1x8__aarch64_neonfma) \
  ukernel(2, xnn_f32_live_igemm_minmax_ukernel_2x8__aarch64_neonfma) \
  ukernel(3, xnn_f32_live_igemm_minmax_ukernel_3x8__aarch64_neonfma) \
  ukernel(4, xnn_f32_live_igemm_minmax_ukernel_4x8__aarch64_neonfma) \
  ukernel(5, xnn_f32_live_igemm_minmax_ukernel_5x8__aarch64_neonfma) \
  ukernel(6, xnn_f32_live_igemm_minmax_ukernel_6x8__aarch64_neonfma)
// clang-format on

XNN_DEFINE_LIVE_IGEMM_UKERNELS(UKERNELS, xnn_f32_live_igemm_minmax_ukernel_table__aarch64_neonfma)
