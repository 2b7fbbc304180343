// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Mask the 2D [Depthwise] Convolution Node that produces a Value: skipped output pixels are never computed, every
/// image of the batch has the fill there.
///
/// The Node must have an FP32, QINT8 or QUINT8 output. A Clamp Node that is later fused into the convolution applies to
/// the fill too; the convolution's own output_min and output_max do not.
///
/// @param subgraph - a Subgraph object that holds the Convolution Node.
/// @param output_id - Value ID of the convolution's output.
/// @param mask_height - number of rows of the mask; must be the output height whenever the Subgraph is reshaped.
/// @param mask_width - number of columns of the mask; must be the output width.
/// @param mask - mask_height * mask_width bytes: 1 for a kept pixel, 0 for a skipped one.
/// @param channels - number of output channels.
/// @param fill - value of the skipped pixels in each output channel, in the datatype of the output (quantized: with its
///               scale and zero point).
enum xnn_status xnn_mask_convolution_2d(
  xnn_subgraph_t subgraph,
  uint32_t output_id,
  size_t mask_height,
  size_t mask_width,
  const uint8_t* mask,
  size_t channels,
  const void* fill);

/// How a Runtime computes one of its operators. Strings are constants.
struct xnn_operator_plan {
  /// XNNPACK's name for the operator.
  const char* type;
  /// That of its kind of micro-kernel, as the profiler appends it; NULL if it has none.
  const char* ukernel_type;
  /// Whether the operator is one with multiply-accumulates: a [depthwise] convolution, a deconvolution, a fully
  /// connected one, a multiplication of matrices.
  bool is_layer;
  /// Which way it is computed:
  /// - "fill": its mask keeps no pixel, which leaves nothing to compute;
  /// - "live-taps", "masked-igemm", "masked-gemm", "masked-dwconv": a convolution of kept pixels, the first without
  /// taps
  ///   that are constants;
  /// - "gathered-igemm", "gathered-dwconv": a convolution of all pixels, read from a compact tensor;
  /// - "igemm", "gemm", "dwconv", "vmulcaddc": a dense convolution, or a matrix;
  /// - "expand": makes a dense tensor of a compact one;
  /// - "operator": all else.
  const char* path;
  /// The micro-kernel that computes it, where path is one of a convolution or of a matrix; NULL otherwise.
  void (*ukernel)(void);
  /// Tile of the micro-kernel: output pixels, output channels.
  uint32_t mr;
  uint32_t nr;
  /// Of a convolution: output pixels of an image, and how many of them are computed. All that follows is 0 for others,
  /// but rows and multiply-accumulates of a fully connected operator.
  size_t pixels;
  size_t kept;
  /// Rows of the matrix that are computed for all images of the batch, with those of a tile that nobody wants.
  size_t rows;
  /// How many that would be if nothing were masked.
  size_t dense_rows;
  /// Taps of the computed pixels, and how many of them are computed: the others are constants, see live-taps.h. A row
  /// of the kernel is one tap where taps are merged.
  size_t taps;
  size_t live_taps;
  /// Multiply-accumulates for all images of the batch, as if nothing were masked; and those of the computed rows.
  uint64_t macs;
  uint64_t macs_computed;
  /// Whether the first input and the output are compact.
  bool compact_input;
  bool compact_output;
  /// Why all pixels are computed though there is a mask, why all taps of the kept ones are, and why the output is dense
  /// though it is masked; NULL where that is not so.
  const char* why_all_pixels;
  const char* why_all_taps;
  const char* why_dense;
};

/// Tell how a Runtime that has been reshaped computes its operators.
///
/// @param runtime - a Runtime object.
/// @param capacity - number of elements that @a plans has room for.
/// @param plans - filled in the order of execution, an element for each operator that xnn_get_runtime_profiling_info
///                lists; may be NULL if @a capacity is 0.
/// @returns the number of operators in the Runtime.
size_t xnn_get_runtime_plan(xnn_runtime_t runtime, size_t capacity, struct xnn_operator_plan* plans);

#ifdef __cplusplus
}  // extern "C"
#endif
