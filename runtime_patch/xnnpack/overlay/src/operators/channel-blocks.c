// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/channel-blocks.h"

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

void xnn_put_channels_first(struct compute_parameters* compute, size_t rows, size_t block_channels)
{
  const size_t channels = rows + 1;
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

// Replaces a task for tiles of pixels by one for blocks of channels, where weights are read more than once.
static void put_blocks_first(
  struct compute_parameters* compute,
  pthreadpool_task_2d_tile_2d_t task,
  pthreadpool_task_2d_tile_2d_t block_task,
  uint32_t nr,
  size_t w_stride,
  size_t input_size)
{
  if (
    compute->type != xnn_parallelization_type_2d_tile_2d || compute->task_2d_tile_2d != task ||
    compute->range[0] <= compute->tile[0]) {
    return;
  }
  const size_t block_channels = xnn_get_block_channels(compute->range[1], nr, w_stride, input_size);
  if (block_channels != 0) {
    compute->task_2d_tile_2d = block_task;
    xnn_put_channels_first(compute, /*rows=*/0, block_channels);
  }
}

void xnn_block_dense_gemm(xnn_operator_t convolution_op)
{
  struct compute_parameters* compute = &convolution_op->compute[0];
  struct gemm_context* context = &convolution_op->context.gemm.gemm.gemm;
  // Where blocks come first, the tile of pixels is no longer where upstream has it.
  context->mr = compute->tile[0];
  put_blocks_first(
    compute, (pthreadpool_task_2d_tile_2d_t) xnn_compute_gemm, (pthreadpool_task_2d_tile_2d_t) compute_gemm_block,
    convolution_op->ukernel.gemm.nr, context->w_stride, compute->range[0] * context->a_stride);
}

void xnn_block_dense_igemm(xnn_operator_t convolution_op)
{
  const struct igemm_context* context = &convolution_op->context.igemm.igemm;
  // The indirection buffer may be made first, in each run.
  for (size_t i = 0; i < 2; i++) {
    put_blocks_first(
      &convolution_op->compute[i], (pthreadpool_task_2d_tile_2d_t) xnn_compute_igemm,
      (pthreadpool_task_2d_tile_2d_t) compute_igemm_block, convolution_op->ukernel.igemm.nr, context->w_stride,
      context->ba_stride);
  }
}
