// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

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

/// What became of one convolution operator of a Runtime.
struct xnn_conv_report {
  /// Type of the operator and of its micro-kernel, in the words of the profiler.
  const char* type;
  /// The micro-kernel that computes it.
  void (*ukernel)(void);
  /// Tile of the micro-kernel: output pixels, output channels.
  uint32_t mr;
  uint32_t nr;
  /// Output pixels of an image, and how many of them are computed.
  size_t pixels;
  size_t kept;
  /// Taps of the computed pixels, and how many of them are computed: the others are constants, see live-taps.h. A row
  /// of the kernel is one tap where taps are merged.
  size_t taps;
  size_t live_taps;
  /// Index among the operators that xnn_get_runtime_profiling_info lists.
  size_t op_index;
};

/// Report on the convolutions of a Runtime that has been reshaped.
///
/// @param runtime - a Runtime object.
/// @param capacity - number of elements that @a reports has room for.
/// @param reports - filled in the order of execution; may be NULL if @a capacity is 0.
/// @returns the number of convolutions in the Runtime.
size_t xnn_get_runtime_conv_report(xnn_runtime_t runtime, size_t capacity, struct xnn_conv_report* reports);

#ifdef __cplusplus
}  // extern "C"
#endif
