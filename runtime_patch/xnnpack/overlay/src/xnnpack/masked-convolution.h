// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Tells the creation of a convolution operator that it is going to be masked: it must then take a path that reads
// pixels through an indirection buffer, also where GEMM or VMULCADDC would do.
#define XNN_FLAG_MASKED_CONVOLUTION 0x80000000

// Tells the creation of a convolution operator that its input is going to be compact.
#define XNN_FLAG_COMPACT_INPUT 0x40000000

// Tells the convolution operator of a node which pixels it computes and how its tensors are laid out, between its
// creation and its first reshaping; does nothing where the node is not a convolution, or dense. The fill of the node is
// in the type of the output, but for F16, where it is in FP32.
//
// A masked operator that was created without XNN_FLAG_MASKED_CONVOLUTION and took the GEMM path expects its input and
// its output to be compact, both with the layout of the mask.
XNN_INTERNAL enum xnn_status xnn_set_pixels_of_node(const struct xnn_node* node, xnn_operator_t convolution_op);

// Applies a clamp node that was fused into a convolution to its fill, if it has one.
XNN_INTERNAL void
xnn_clamp_convolution_fill(struct xnn_node* node, const struct xnn_value* output_value, const struct xnn_node* clamp);

XNN_INTERNAL void xnn_release_pixels_of_nodes(xnn_subgraph_t subgraph);

// Whether weights for IGEMM are packed as those for GEMM: a masked convolution of one tap would be a GEMM without its
// mask. Not quantized ones, which upstream reads past their end: AVX-VNNI's packing loads 8 of them at a time.
static inline bool xnn_is_packed_as_gemm(size_t kernel_size, uint32_t flags, uint32_t log2_filter_element_size)
{
  return kernel_size == 1 && (flags & XNN_FLAG_MASKED_CONVOLUTION) != 0 &&
         log2_filter_element_size == XNN_LOG2_SIZEOF_FLOAT;
}

// Whether the convolution is masked or reads a compact tensor.
static inline bool xnn_has_pixels(const struct xnn_operator* convolution_op)
{
  return convolution_op->masked.pixels.mask != NULL || convolution_op->masked.pixels.input != NULL;
}

// Whether the IGEMM path reads pixels as only xnn_reshape_gather_igemm can lay them out.
static inline bool xnn_gathers_pixels(const struct xnn_operator* convolution_op)
{
  return xnn_has_pixels(convolution_op) || convolution_op->masked.can_merge_taps;
}

// Number of pixels in an image of the output tensor.
static inline size_t xnn_masked_output_rows(const struct xnn_operator* op)
{
  return op->masked.pixels.compact_output ? op->masked.pixels.mask->num_kept + 1 : op->output_height * op->output_width;
}

// Number of pixels in an image of the input tensor.
static inline size_t xnn_masked_input_rows(const struct xnn_operator* op)
{
  return op->masked.pixels.input != NULL ? op->masked.pixels.input->num_kept + 1 : op->input_height * op->input_width;
}

// Row of the input tensor that holds a pixel.
static inline size_t xnn_masked_input_row(const struct xnn_operator* op, size_t pixel)
{
  return op->masked.pixels.input != NULL ? op->masked.pixels.input->rank[pixel] : pixel;
}

// Writes the fill to pixels [start, end) of an image; size is that of the fill in bytes.
static inline void
xnn_fill_pixels(void* output, size_t pixel_stride, const void* fill, size_t size, size_t start, size_t end)
{
  for (size_t pixel = start; pixel < end; pixel++) {
    memcpy((void*) ((uintptr_t) output + pixel * pixel_stride), fill, size);
  }
}

// Replaces the size of a compact input, 1 x (kept + 1), by that of the image, and checks both.
XNN_INTERNAL enum xnn_status
xnn_reshape_compact_input(const struct xnn_operator* convolution_op, size_t* input_height, size_t* input_width);

// Checks the output size that follows from the input's, and gives that of the tensor if it is compact.
XNN_INTERNAL enum xnn_status xnn_reshape_compact_output(
  const struct xnn_operator* convolution_op, size_t* output_height_out, size_t* output_width_out);

// The number of rows of a tile: that of the matrix is that of the kept pixels, so the tile that wastes least of them
// may be another one than upstream's.
XNN_INTERNAL uint32_t xnn_choose_igemm_mr(const struct xnn_operator* op, size_t num_rows);

// Counterpart of reshape_igemm in operators/convolution-nhwc.c for a mask (the matrix has one row a kept pixel), for a
// compact input, and for merged taps.
XNN_INTERNAL enum xnn_status xnn_reshape_gather_igemm(
  xnn_operator_t convolution_op,
  uint32_t log2_input_element_size,
  uint32_t log2_filter_element_size,
  uint32_t extra_weights_elements_size,
  uint32_t log2_output_element_size,
  size_t* workspace_size,
  size_t* workspace_alignment,
  size_t num_threads);

// Go before and after reshape_gemm. It is masked only if both tensors are compact: then it sees the kept rows, and the
// fill row is added. A dense one gets its blocks of channels.
XNN_INTERNAL void xnn_begin_reshape_gemm(xnn_operator_t convolution_op);
XNN_INTERNAL void
xnn_end_reshape_gemm(xnn_operator_t convolution_op, size_t batch_size, uint32_t log2_output_element_size);

// Follows reshape_dwconv: with a dense output rows are computed run by run of kept pixels, with a compact one pixel by
// pixel.
XNN_INTERNAL enum xnn_status xnn_reshape_masked_dwconv(
  xnn_operator_t convolution_op,
  uint32_t log2_input_element_size,
  uint32_t log2_output_element_size,
  size_t* workspace_size,
  size_t* workspace_alignment,
  size_t num_threads);

// Follows the setup of any path.
XNN_INTERNAL void xnn_setup_masked_convolution(xnn_operator_t convolution_op);

#ifdef __cplusplus
}  // extern "C"
#endif
