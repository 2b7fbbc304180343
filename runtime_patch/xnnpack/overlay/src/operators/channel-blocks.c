// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/channel-blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pthreadpool.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/math.h"
#include "xnnpack/operator.h"

size_t xnn_get_block_channels(size_t output_channels, uint32_t nr, size_t w_stride, size_t input_size)
{
  // Half of a small core's second-level cache; pixels have the other half.
  const size_t max_block_size = (size_t) 256 * 1024;
  const size_t weights_size = output_channels * w_stride;
  if (weights_size <= max_block_size || weights_size <= input_size) {
    return 0;
  }
  return max(max_block_size / w_stride / nr * nr, nr);
}

void xnn_put_channel_blocks_first(
  struct compute_parameters* compute, xnn_channel_blocks_task task, uint32_t nr, size_t w_stride, size_t input_size)
{
  const bool has_groups = compute->type == xnn_parallelization_type_4d_tile_2d;
  if (!has_groups && compute->type != xnn_parallelization_type_2d_tile_2d) {
    return;
  }
  const size_t rows = has_groups ? 2 : 0;
  const size_t channels = rows + 1;
  // A single tile of pixels reads weights once anyhow.
  const size_t block_channels = compute->range[rows] <= compute->tile[0]
                                  ? 0
                                  : xnn_get_block_channels(compute->range[channels], nr, w_stride, input_size);
  if (block_channels == 0) {
    return;
  }
  if (has_groups) {
    compute->task_4d_tile_2d = (pthreadpool_task_4d_tile_2d_t) task;
  }
  else {
    compute->task_2d_tile_2d = (pthreadpool_task_2d_tile_2d_t) task;
  }
  const size_t num_rows = compute->range[rows];
  const size_t mr = compute->tile[0];
  compute->range[rows] = compute->range[channels];
  compute->tile[0] = min(block_channels, compute->tile[1]);
  compute->range[channels] = num_rows;
  compute->tile[1] = mr;
}

static void compute_gemm_block(
  const struct gemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t nr_block_start,
  size_t mr_block_start,
  size_t nr_block_size,
  size_t mr_block_size)
{
  xnn_compute_gemm(context, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

static void compute_igemm_block(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t nr_block_start,
  size_t mr_block_start,
  size_t nr_block_size,
  size_t mr_block_size)
{
  xnn_compute_igemm(context, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

void xnn_block_dense_gemm(xnn_operator_t convolution_op)
{
  struct compute_parameters* compute = &convolution_op->compute[0];
  struct gemm_context* context = &convolution_op->context.gemm.gemm.gemm;
  // Where blocks come first, the tile of pixels is no longer where upstream has it.
  context->mr = compute->tile[0];
  if (compute->task_2d_tile_2d == (pthreadpool_task_2d_tile_2d_t) xnn_compute_gemm) {
    xnn_put_channel_blocks_first(
      compute, (xnn_channel_blocks_task) compute_gemm_block, convolution_op->ukernel.gemm.nr, context->w_stride,
      compute->range[0] * context->a_stride);
  }
}

void xnn_block_dense_igemm(xnn_operator_t convolution_op)
{
  const struct igemm_context* context = &convolution_op->context.igemm.igemm;
  // The indirection buffer may be made first, in each run.
  for (size_t i = 0; i < 2; i++) {
    struct compute_parameters* compute = &convolution_op->compute[i];
    if (compute->task_2d_tile_2d == (pthreadpool_task_2d_tile_2d_t) xnn_compute_igemm) {
      xnn_put_channel_blocks_first(
        compute, (xnn_channel_blocks_task) compute_igemm_block, convolution_op->ukernel.igemm.nr, context->w_stride,
        context->ba_stride);
    }
  }
}
