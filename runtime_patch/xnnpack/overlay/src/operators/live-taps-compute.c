// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pthreadpool.h"
#include "xnnpack.h"
#include "xnnpack/channel-blocks.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/live-taps.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/microparams.h"
#include "xnnpack/operator.h"

#define MAX_NR 32

// Sums of products or biases of a block of output channels, in the type that the micro-kernel sums in.
union sums {
  float f32[MAX_NR];
  int32_t s32[MAX_NR];
};

// Products of a pixel and the weights of a tap, for a block of output channels.
static void compute_products(
  const struct igemm_context* context, const void* packed_w, size_t tap, const void* pixel, union sums* products)
{
  const struct xnn_live_igemm_config* config = context->masked.live->config;
  const size_t nr = config->nr;
  const size_t tap_offset = xnn_get_live_tap_offset(config, context->kc, tap);
  if (context->log2_csize == XNN_LOG2_SIZEOF_FLOAT) {
    const union xnn_f32_minmax_params params = {.scalar = {.min = -INFINITY, .max = INFINITY}};
    const float no_bias[MAX_NR] = {0.0f};
    const uint32_t row = 0;
    config->ukernels[0](
      nr, context->kc, 1, &pixel, &tap_offset, no_bias, packed_w, 0, products->f32, 0, &row, 0, NULL, &params);
  }
  else {
    config->sum_ukernel(context->kc, pixel, (const int8_t*) packed_w + tap_offset, products->s32);
  }
}

// A constant number at a time, so that compilers add several at once.
static inline void add_sums(bool is_f32, size_t nr, union sums* restrict sums, const union sums* restrict products)
{
  assert(nr % 8 == 0);
  for (size_t start = 0; start < nr; start += 8) {
    if (is_f32) {
      for (size_t n = start; n < start + 8; n++) {
        sums->f32[n] += products->f32[n];
      }
    }
    else {
      for (size_t n = start; n < start + 8; n++) {
        sums->s32[n] += products->s32[n];
      }
    }
  }
}

// Dead taps of all classes whose products have to be computed.
struct dead_taps {
  uint32_t fill;
  // None in floating point, where products of padding are zeros; quantized padding is the zero point, which
  // micro-kernels multiply like any other input.
  uint32_t padding;
};

static struct dead_taps find_products(const struct xnn_live_taps* live, bool is_f32)
{
  struct dead_taps taps = {0, 0};
  for (size_t c = 0; c < live->num_classes; c++) {
    taps.fill |= live->classes[c].fill_taps;
    taps.padding |= is_f32 ? 0 : live->classes[c].padding_taps;
  }
  return taps;
}

// Computes the biases of a block of output channels, in the first run alone: the fill row is the same in each.
static void compute_live_bias(const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)], size_t block)
{
  struct xnn_live_taps* live = context->masked.live;
  if (live->has_bias[block]) {
    return;
  }
  const size_t nr = live->config->nr;
  const bool is_f32 = context->log2_csize == XNN_LOG2_SIZEOF_FLOAT;
  const struct dead_taps taps = find_products(live, is_f32);
  const void* packed_w = (const void*) ((uintptr_t) context->packed_w + block * nr * context->w_stride);
  union sums fill_products[XNN_MAX_LIVE_TAPS];
  union sums padding_products[XNN_MAX_LIVE_TAPS];
  for (size_t tap = 0; tap < context->ks; tap++) {
    if (taps.fill >> tap & 1) {
      compute_products(
        context, packed_w, tap, (const void*) ((uintptr_t) live->fill_row + context->a_offset), &fill_products[tap]);
    }
    if (taps.padding >> tap & 1) {
      compute_products(context, packed_w, tap, context->zero, &padding_products[tap]);
    }
  }
  for (size_t c = 0; c < live->num_classes; c++) {
    union sums sums;
    memcpy(&sums, packed_w, nr * 4);
    const uint32_t class_fill_taps = live->classes[c].fill_taps;
    const uint32_t class_padding_taps = live->classes[c].padding_taps & taps.padding;
    for (size_t tap = 0; tap < context->ks; tap++) {
      if (class_fill_taps >> tap & 1) {
        add_sums(is_f32, nr, &sums, &fill_products[tap]);
      }
      if (class_padding_taps >> tap & 1) {
        add_sums(is_f32, nr, &sums, &padding_products[tap]);
      }
    }
    memcpy((char*) live->bias + (c * context->masked.padded_channels + block * nr) * 4, &sums, nr * 4);
  }
  live->has_bias[block] = 1;
}

static inline void compute_tile(
  const struct igemm_context* context,
  size_t batch_index,
  const struct xnn_live_tile* tile,
  size_t nr_block_start,
  size_t nr_block_size)
{
  const struct xnn_live_taps* live = context->masked.live;
  const struct xnn_live_class* tile_class = &live->classes[tile->class_index];
  live->config->ukernels[tile->num_rows - 1](
    nr_block_size, context->kc, tile_class->num_taps, context->indirect_a + tile->pointer,
    live->tap_offsets + tile_class->tap,
    (const char*) live->bias + (tile->class_index * context->masked.padded_channels + nr_block_start) * 4,
    (const void*) ((uintptr_t) context->packed_w + nr_block_start * context->w_stride),
    live->config->nr * context->w_stride,
    (void*) ((uintptr_t) context->c + batch_index * context->bc_stride + (nr_block_start << context->log2_csize)),
    context->cm_stride, live->rows + tile->row, context->a_offset + batch_index * context->ba_stride, context->zero,
    &context->params);
}

// Tiles in turn, each for some channels.
static void compute_tile_of_channels(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t batch_index,
  size_t tile_index,
  size_t nr_block_start,
  size_t nr_block_size)
{
  compute_tile(context, batch_index, &context->masked.live->tiles[tile_index], nr_block_start, nr_block_size);
}

// Blocks of channels in turn, each for some tiles.
static void compute_tiles_of_block(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t batch_index,
  size_t block,
  size_t first_tile,
  size_t num_tiles)
{
  const size_t block_start = block * context->masked.block_channels;
  const size_t block_size = min(context->masked.block_channels, context->masked.output_channels - block_start);
  for (size_t t = first_tile; t < first_tile + num_tiles; t++) {
    compute_tile(context, batch_index, &context->masked.live->tiles[t], block_start, block_size);
  }
}

size_t xnn_compute_live_taps(xnn_operator_t convolution_op, size_t compute_index, size_t num_threads)
{
  struct xnn_live_taps* live = convolution_op->masked.live_taps;
  struct igemm_context* context = &convolution_op->context.igemm.igemm;
  const size_t output_channels = convolution_op->group_output_channels;
  const size_t num_blocks = divide_round_up(output_channels, live->config->nr);
  context->masked.live = live;
  context->masked.output_channels = output_channels;
  context->masked.padded_channels = num_blocks * live->config->nr;

  const size_t context_offset =
    offsetof(struct xnn_operator, context.igemm.igemm) - offsetof(struct xnn_operator, context);
  struct compute_parameters* compute = &convolution_op->compute[compute_index];
  const struct dead_taps taps = find_products(live, context->log2_csize == XNN_LOG2_SIZEOF_FLOAT);
  if ((taps.fill | taps.padding) != 0) {
    compute->context_offset = context_offset;
    compute->type = xnn_parallelization_type_1d;
    compute->task_1d = (pthreadpool_task_1d_t) compute_live_bias;
    compute->range[0] = num_blocks;
    compute++;
  }
  else {
    for (size_t block = 0; block < num_blocks; block++) {
      compute_live_bias(context, block);
    }
  }

  compute->context_offset = context_offset;
  compute->type = xnn_parallelization_type_3d_tile_1d;
  compute->range[0] = convolution_op->batch_size;
  const size_t target_tasks = num_threads > 1 ? num_threads * 5 : 1;
  context->masked.block_channels =
    xnn_get_block_channels(output_channels, live->config->nr, context->w_stride, context->ba_stride);
  if (context->masked.block_channels != 0) {
    const size_t num_channel_blocks = divide_round_up(output_channels, context->masked.block_channels);
    compute->task_3d_tile_1d = (pthreadpool_task_3d_tile_1d_t) compute_tiles_of_block;
    compute->range[1] = num_channel_blocks;
    compute->range[2] = live->num_tiles;
    const size_t num_others = convolution_op->batch_size * num_channel_blocks;
    compute->tile[0] = divide_round_up(live->num_tiles, divide_round_up(target_tasks, num_others));
  }
  else {
    compute->task_3d_tile_1d = (pthreadpool_task_3d_tile_1d_t) compute_tile_of_channels;
    compute->range[1] = live->num_tiles;
    compute->range[2] = output_channels;
    const size_t num_others = convolution_op->batch_size * live->num_tiles;
    compute->tile[0] = divide_round_up(num_blocks, divide_round_up(target_tasks, num_others)) * live->config->nr;
  }
  return (size_t) (compute + 1 - convolution_op->compute);
}
