// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/pixel-mask.h"

#ifdef __cplusplus
extern "C" {
#endif

// What an operator and its computations know of masks. Upstream's structures have one of these each, as the member
// masked; all zero where nothing is masked.

struct xnn_live_taps;

// Of a gemm_context: micro-kernels for the last rows of a masked convolution, and their NR; NULL if they are computed
// like the others. From tail_start on, which is where a tile starts, tiles are of at most tail_rows.
struct xnn_masked_gemm {
  const xnn_live_igemm_ukernel_fn* tail_ukernels;
  size_t nr;
  size_t tail_start;
  size_t tail_rows;
};

// Of an igemm_context.
struct xnn_masked_igemm {
  // Output mask; NULL if dense.
  const struct xnn_pixel_mask* mask;
  const void* fill;
  // Tiles of live taps; NULL if all taps are computed, and then those that follow it are not set.
  struct xnn_live_taps* live;
  size_t output_channels;
  size_t padded_channels;
  size_t block_channels;
};

// Of a dwconv_context.
struct xnn_masked_dwconv {
  // Output mask; NULL if dense, and then those that follow it are not set.
  const struct xnn_pixel_mask* mask;
  const void* fill;
  size_t indirect_pixel_stride;
  // Kept pixels in each part of a compact output.
  size_t part_size;
  uint32_t log2_output_size;
};

// Rows of an image, copied with padding on both sides; sizes in bytes.
struct pad_rows_context {
  const void* input;
  void* output;
  size_t input_stride;
  size_t output_stride;
  size_t pad_before;
  // Zero, or the zero point.
  uint8_t padding;
};

// Rows [start, end) of each image of a tensor, filled with a constant; sizes in bytes.
struct fill_rows_context {
  void* output;
  const void* fill;
  size_t size;
  size_t row_stride;
  size_t batch_stride;
  size_t start;
  size_t end;
  // If the skipped pixels of a dense image are filled in place of those rows.
  const struct xnn_pixel_mask* mask;
};

// A dense image made from the rows of a compact one; sizes in bytes.
struct expand_context {
  const struct xnn_pixel_mask* mask;
  const void* input;
  void* output;
  size_t row_size;
};

struct xnn_masked_operator {
  struct xnn_convolution_pixels pixels;
  // Its tiles if it computes live taps alone.
  struct xnn_live_taps* live_taps;
  // Why it computes all taps, if it could have computed live ones.
  const char* why_all_taps;
  // The taps of each row of the kernel may be merged into one; and whether they are, known when reshaped.
  bool can_merge_taps;
  bool has_merged_taps;
  // Reshaping a depthwise convolution writes the indirection buffer anew.
  bool init_indirection;
  // Contexts of computations that upstream's operators do not have.
  struct pad_rows_context pad_rows;
  struct fill_rows_context fill_rows;
  struct expand_context expand;
};

XNN_INTERNAL void xnn_release_masked_operator(struct xnn_masked_operator* masked);

#ifdef __cplusplus
}  // extern "C"
#endif
