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

#ifdef __cplusplus
extern "C" {
#endif

// Which pixels of an image are kept. It also describes a compact tensor [N, 1, num_kept + 1, C]: the kept pixels of
// each image in ascending order, then one fill row that stands for every skipped pixel.
//
// Immutable; shared by nodes and operators. The count of references is not atomic: a Subgraph, the Runtimes made from
// it and their Operators are created and deleted by one thread at a time, as XNNPACK's workspaces are.
struct xnn_pixel_mask {
  size_t num_references;
  size_t height;
  size_t width;
  size_t num_kept;
  // Row-major indices of the kept pixels, ascending; then height * width.
  uint32_t* kept;
  // For each row of the image and one past the last: where its pixels begin in kept.
  uint32_t* row_start;
  // For each pixel its row in a compact tensor: the index in kept, or num_kept if skipped.
  uint32_t* rank;
};

// Makes a mask from one byte a pixel, 0 or 1; every other value is refused. The caller has one reference.
XNN_INTERNAL enum xnn_status
xnn_create_pixel_mask(size_t height, size_t width, const uint8_t* pixels, struct xnn_pixel_mask** mask_out);

// Whether a mask is the one that would be made from these bytes.
XNN_INTERNAL bool
xnn_pixel_mask_equals(const struct xnn_pixel_mask* mask, size_t height, size_t width, const uint8_t* pixels);

// Both accept NULL.
XNN_INTERNAL struct xnn_pixel_mask* xnn_retain_pixel_mask(struct xnn_pixel_mask* mask);
XNN_INTERNAL void xnn_release_pixel_mask(struct xnn_pixel_mask* mask);

// What is masked about a convolution, or about an operator on compact tensors; of a dense one all is zero. Owns a
// reference to each mask, and the fill.
struct xnn_convolution_pixels {
  // Kept output pixels; NULL if all are.
  struct xnn_pixel_mask* mask;
  // Value of the skipped output pixels, an element an output channel in the type of the output. NULL without a mask.
  void* fill;
  // Layout of the input tensor; NULL if it holds all pixels, or if pixels are treated alike wherever they are.
  struct xnn_pixel_mask* input;
  // The fill row of that layout holds the same in every image and every run.
  bool has_fixed_input_fill;
  // The output tensor is compact, with the layout of the mask.
  bool compact_output;
  // Of an operator that runs on the rows of compact tensors as on the pixels of any image: their layout. NULL if it
  // does not.
  struct xnn_pixel_mask* rows;
  // It was given a mask that keeps all pixels.
  bool is_full;
  // Why the output of a masked convolution is dense; NULL if it is compact.
  const char* why_dense;
};

XNN_INTERNAL void xnn_release_convolution_pixels(struct xnn_convolution_pixels* pixels);

#ifdef __cplusplus
}  // extern "C"
#endif
