// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/config-types.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

// Whether the taps of a kernel's row can be merged into one: in an image without gaps between pixels, the channels of
// neighbouring pixels are consecutive, and so are their weights. A micro-kernel that loops over 3 channels for each
// of 7 x 7 taps then loops over 21 for each of 7, in the same order.
XNN_INTERNAL bool xnn_can_merge_taps(
  const struct xnn_gemm_config* gemm_config,
  enum xnn_operator_type operator_type,
  uint32_t flags,
  uint32_t kernel_width,
  uint32_t dilation_width,
  uint32_t groups,
  size_t group_input_channels,
  size_t input_channel_stride);

// Number of columns of the input that merged taps read: the image with its padding, as far as taps reach.
XNN_INTERNAL size_t xnn_merged_input_width(const struct xnn_operator* convolution_op);

// Merged taps read across the left and right edge: then rows are copied with their padding first.
XNN_INTERNAL bool xnn_needs_padded_copy(const struct xnn_operator* convolution_op);

// Makes that copy the operator's first computation and tells how much workspace it takes; returns the size in bytes of
// a copied image.
XNN_INTERNAL size_t xnn_reshape_padded_copy(
  xnn_operator_t convolution_op, uint32_t log2_input_element_size, size_t* workspace_size, size_t* workspace_alignment);

// Follows setup_igemm: with merged taps and padding, the kernel reads a padded copy of the input.
XNN_INTERNAL void xnn_setup_merged_taps(xnn_operator_t convolution_op, void* workspace);

#ifdef __cplusplus
}  // extern "C"
#endif
