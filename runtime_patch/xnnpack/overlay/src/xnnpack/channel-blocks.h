// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

// Blocks of output channels: each is computed for all pixels before the next one is. Upstream takes tiles of pixels in
// turn, each with all channels, which reads the weights again for each tile. Where they do not stay in a cache that is
// slow. What is larger, the weights or the input, is read once here. Sums are added up in the same order either way.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

// Number of channels of a block, a multiple of nr, or 0 if tiles of pixels come in turn. w_stride is the size of the
// packed weights of a channel in bytes, input_size that of an image.
XNN_INTERNAL size_t xnn_get_block_channels(size_t output_channels, uint32_t nr, size_t w_stride, size_t input_size);

// A task of 2d_tile_2d or 4d_tile_2d that takes channels before pixels, where the one that it replaces takes pixels
// before channels.
typedef void (*xnn_channel_blocks_task)(void);

// Replaces the task of a GEMM or IGEMM, which takes tiles of pixels in turn, where it would read the weights more than
// once. Leaves tasks of other types as they are, those that know the core that they run on among them.
XNN_INTERNAL void xnn_put_channel_blocks_first(
  struct compute_parameters* compute, xnn_channel_blocks_task task, uint32_t nr, size_t w_stride, size_t input_size);

// Follow reshape_gemm and reshape_igemm of a dense convolution with one group and one image.
XNN_INTERNAL void xnn_block_dense_gemm(xnn_operator_t convolution_op);
XNN_INTERNAL void xnn_block_dense_igemm(xnn_operator_t convolution_op);

#ifdef __cplusplus
}  // extern "C"
#endif
