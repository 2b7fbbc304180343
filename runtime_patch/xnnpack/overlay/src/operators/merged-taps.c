// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/merged-taps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pthreadpool.h"
#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/config-types.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator.h"

bool xnn_can_merge_taps(
  const struct xnn_gemm_config* gemm_config,
  enum xnn_operator_type operator_type,
  uint32_t flags,
  uint32_t kernel_width,
  uint32_t dilation_width,
  uint32_t groups,
  size_t group_input_channels,
  size_t input_channel_stride)
{
  // Depthwise weights are laid out in another order. A transient indirection buffer is the caller's wish to save the
  // memory of a lasting one, which merged taps have.
  if (flags & (XNN_FLAG_DEPTHWISE_CONVOLUTION | XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER)) {
    return false;
  }
  // With more channels than these the micro-kernel's loop over channels is long enough by itself.
  const size_t max_input_channels = 4;
  if (
    kernel_width == 1 || dilation_width != 1 || groups != 1 || group_input_channels > max_input_channels ||
    input_channel_stride != group_input_channels) {
    return false;
  }
  switch (operator_type) {
    case xnn_operator_type_convolution_nhwc_f32:
      return gemm_config->log2_kr == 0 && gemm_config->log2_sr == 0;
    case xnn_operator_type_convolution_nhwc_qc8:
    case xnn_operator_type_convolution_nhwc_qs8:
    case xnn_operator_type_convolution_nhwc_qu8:
      // Several input channels are packed together, with zeros behind the last ones: what is packed for merged taps
      // cannot be used for single ones, which a compact input has.
      return !(flags & XNN_FLAG_COMPACT_INPUT);
    default:
      return false;
  }
}

size_t xnn_merged_input_width(const struct xnn_operator* convolution_op)
{
  return max(
    (convolution_op->output_width - 1) * convolution_op->stride_width + convolution_op->kernel_width,
    convolution_op->padding_left + convolution_op->input_width);
}

bool xnn_needs_padded_copy(const struct xnn_operator* convolution_op)
{
  return convolution_op->masked.has_merged_taps &&
         xnn_merged_input_width(convolution_op) != convolution_op->input_width;
}

static void compute_pad_rows(const struct pad_rows_context context[restrict XNN_MIN_ELEMENTS(1)], size_t row)
{
  char* output = (char*) context->output + row * context->output_stride;
  memset(output, context->padding, context->pad_before);
  memcpy(
    output + context->pad_before, (const char*) context->input + row * context->input_stride, context->input_stride);
  const size_t end = context->pad_before + context->input_stride;
  memset(output + end, context->padding, context->output_stride - end);
}

size_t xnn_reshape_padded_copy(
  xnn_operator_t convolution_op, uint32_t log2_input_element_size, size_t* workspace_size, size_t* workspace_alignment)
{
  const size_t pixel_stride = convolution_op->input_pixel_stride << log2_input_element_size;
  const size_t output_stride = xnn_merged_input_width(convolution_op) * pixel_stride;
  const size_t image_size = convolution_op->input_height * output_stride;
  *workspace_size = convolution_op->batch_size * image_size + XNN_EXTRA_BYTES;
  *workspace_alignment = XNN_ALLOCATION_ALIGNMENT;
  convolution_op->masked.pad_rows = (struct pad_rows_context){
    .input_stride = convolution_op->input_width * pixel_stride,
    .output_stride = output_stride,
    .pad_before = convolution_op->padding_left * pixel_stride,
    .padding = *(const uint8_t*) convolution_op->zero_buffer,
  };
  convolution_op->compute[0].type = xnn_parallelization_type_1d;
  convolution_op->compute[0].context_offset =
    offsetof(struct xnn_operator, masked.pad_rows) - offsetof(struct xnn_operator, context);
  convolution_op->compute[0].task_1d = (pthreadpool_task_1d_t) compute_pad_rows;
  convolution_op->compute[0].range[0] = convolution_op->batch_size * convolution_op->input_height;
  return image_size;
}

void xnn_setup_merged_taps(xnn_operator_t convolution_op, void* workspace)
{
  if (xnn_needs_padded_copy(convolution_op)) {
    convolution_op->masked.pad_rows.input = convolution_op->input;
    convolution_op->masked.pad_rows.output = workspace;
    convolution_op->context.igemm.igemm.a_offset =
      (size_t) ((uintptr_t) workspace - (uintptr_t) convolution_op->last_input);
  }
}
