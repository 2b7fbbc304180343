// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pthreadpool.h"
#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/log.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator-utils.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/tap-geometry.h"

// Computes one row of output, run by run of kept pixels. The multipass buffer is NULL for a unipass micro-kernel.
static void compute_masked_dwconv_row(
  const struct dwconv_context* context, size_t batch_index, size_t output_y, void* multipass_buffer)
{
  const struct xnn_pixel_mask* mask = context->masked.mask;
  const size_t row_pixel = output_y * mask->width;
  const uint32_t* kept = mask->kept + mask->row_start[output_y];
  const uint32_t* kept_end = mask->kept + mask->row_start[output_y + 1];
  const size_t pixel_stride = (context->groups << context->masked.log2_output_size) + context->output_increment;
  const size_t size = context->groups << context->masked.log2_output_size;
  const size_t input_offset = context->input_offset + batch_index * context->input_batch_stride;
  const uintptr_t indirect_row = (uintptr_t) context->indirect_input + output_y * context->indirect_input_height_stride;
  void* output =
    (void*) ((uintptr_t) context->output + batch_index * context->output_batch_stride + output_y * context->output_height_stride);

  size_t filled = 0;
  while (kept != kept_end) {
    const size_t start = *kept - row_pixel;
    size_t end = start;
    do {
      kept++;
      end++;
    } while (kept != kept_end && *kept - row_pixel == end);

    xnn_fill_pixels(output, pixel_stride, context->masked.fill, size, filled, start);
    const void** indirect_input = (const void**) (indirect_row + start * context->masked.indirect_pixel_stride);
    void* run_output = (void*) ((uintptr_t) output + start * pixel_stride);
    if (multipass_buffer == NULL) {
      context->unipass_ukernel(
        context->groups, end - start, indirect_input, context->packed_weights, run_output,
        context->indirect_input_width_stride, context->output_increment, input_offset, context->zero, &context->params);
    }
    else {
      context->multipass_ukernel(
        context->groups, end - start, indirect_input, context->packed_weights, run_output,
        context->indirect_input_width_stride, context->output_increment, input_offset, context->zero,
        context->kernel_size, multipass_buffer, &context->params);
    }
    filled = end;
  }
  xnn_fill_pixels(output, pixel_stride, context->masked.fill, size, filled, mask->width);
}

static void compute_masked_dwconv_unipass(
  const struct dwconv_context context[restrict XNN_MIN_ELEMENTS(1)], size_t batch_index, size_t output_y)
{
  compute_masked_dwconv_row(context, batch_index, output_y, NULL);
}

static void compute_masked_dwconv_multipass(
  const struct dwconv_context context[restrict XNN_MIN_ELEMENTS(1)], size_t batch_index, size_t output_y)
{
  compute_masked_dwconv_row(
    context, batch_index, output_y,
    (void*) ((uintptr_t) context->multipass_buffer + (batch_index * context->output_height + output_y) * context->buffer_size));
}

static void compute_masked_dwconv_multipass_with_thread(
  const struct dwconv_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t thread_index,
  size_t batch_index,
  size_t output_y)
{
  compute_masked_dwconv_row(
    context, batch_index, output_y,
    (void*) ((uintptr_t) context->multipass_buffer + thread_index * context->buffer_size));
}

// Computes a part of the kept pixels of a compact image, and its fill row with the first part.
static void compute_compact_dwconv(
  const struct dwconv_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t thread_index,
  size_t batch_index,
  size_t part)
{
  const struct xnn_pixel_mask* mask = context->masked.mask;
  const size_t pixel_stride = (context->groups << context->masked.log2_output_size) + context->output_increment;
  void* output = (void*) ((uintptr_t) context->output + batch_index * context->output_batch_stride);
  if (part == 0) {
    xnn_fill_pixels(
      output, pixel_stride, context->masked.fill, context->groups << context->masked.log2_output_size, mask->num_kept,
      mask->num_kept + 1);
  }
  const size_t start = part * context->masked.part_size;
  if (start >= mask->num_kept) {
    return;
  }
  const size_t num_pixels = min(context->masked.part_size, mask->num_kept - start);
  const size_t input_offset = context->input_offset + batch_index * context->input_batch_stride;
  const void** indirect_input =
    (const void**) ((uintptr_t) context->indirect_input + start * context->masked.indirect_pixel_stride);
  output = (void*) ((uintptr_t) output + start * pixel_stride);
  if (context->buffer_size == 0) {
    context->unipass_ukernel(
      context->groups, num_pixels, indirect_input, context->packed_weights, output,
      context->indirect_input_width_stride, context->output_increment, input_offset, context->zero, &context->params);
  }
  else {
    context->multipass_ukernel(
      context->groups, num_pixels, indirect_input, context->packed_weights, output,
      context->indirect_input_width_stride, context->output_increment, input_offset, context->zero,
      context->kernel_size, (void*) ((uintptr_t) context->multipass_buffer + thread_index * context->buffer_size),
      &context->params);
  }
}

// Counterpart of xnn_indirection_init_dwconv2d with a list of its own for each kept pixel.
static void init_compact_dwconv_indirection(const struct xnn_operator* op, size_t input_pixel_stride)
{
  const struct xnn_pixel_mask* mask = op->masked.pixels.mask;
  const struct xnn_tap_geometry geometry = xnn_get_tap_geometry(op);
  const struct xnn_tap_inputs inputs = xnn_get_tap_inputs(op, &geometry, input_pixel_stride);
  const size_t kernel_height = op->kernel_height;
  const size_t kernel_width = op->kernel_width;
  const size_t dilation_height = op->dilation_height;
  const size_t dilation_width = op->dilation_width;
  const void** entry = op->indirection_buffer;
  for (size_t row = 0; row < mask->num_kept; row++) {
    const struct xnn_tap_place first =
      xnn_get_first_tap(op, &geometry, mask->kept[row] / mask->width, mask->kept[row] % mask->width);
    const bool is_inside = xnn_are_taps_inside(op, &geometry, first);
    for (size_t kernel_x = 0; kernel_x < kernel_width; kernel_x++) {
      const size_t x = first.x + kernel_x * dilation_width;
      for (size_t kernel_y = 0; kernel_y < kernel_height; kernel_y++) {
        const size_t y = first.y + kernel_y * dilation_height;
        *entry++ =
          is_inside ? xnn_get_pixel_input(inputs, y * geometry.input_width + x) : xnn_get_tap_input(inputs, y, x);
      }
    }
  }
  // The micro-kernel reads as many entries as it has taps; the weights of those beyond the kernel are zero.
  for (size_t i = (size_t) op->kernel_height * op->kernel_width; i < op->ukernel.dwconv.tile_size; i++) {
    *entry++ = (const void*) op->input;
  }
}

// reshape_dwconv has written pointers to the pixels of a dense image: replace them by those to rows of the compact one.
static void compact_dwconv_indirection(const struct xnn_operator* op, size_t num_entries, size_t input_pixel_stride)
{
  const struct xnn_tap_geometry geometry = xnn_get_tap_geometry(op);
  const struct xnn_tap_inputs inputs = xnn_get_tap_inputs(op, &geometry, input_pixel_stride);
  const size_t input_size = op->input_height * op->input_width * input_pixel_stride;
  const void** indirection_buffer = op->indirection_buffer;
  for (size_t i = 0; i < num_entries; i++) {
    const size_t offset = (uintptr_t) indirection_buffer[i] - inputs.input;
    if (offset < input_size) {
      indirection_buffer[i] = xnn_get_pixel_input(inputs, offset / input_pixel_stride);
    }
  }
}

static enum xnn_status reshape_compact_dwconv(
  xnn_operator_t convolution_op,
  uint32_t log2_input_element_size,
  size_t* workspace_size,
  size_t* workspace_alignment,
  size_t num_threads)
{
  const struct xnn_pixel_mask* mask = convolution_op->masked.pixels.mask;
  struct dwconv_context* context = &convolution_op->context.dwconv.dwconv;
  const size_t kernel_size = (size_t) convolution_op->kernel_height * convolution_op->kernel_width;
  const size_t tile_size = convolution_op->ukernel.dwconv.tile_size;
  if (convolution_op->masked.init_indirection) {
    const size_t size = sizeof(void*) * (mask->num_kept * kernel_size + max(tile_size, kernel_size) - kernel_size);
    const void** indirection_buffer =
      (const void**) xnn_reallocate_memory((void*) convolution_op->indirection_buffer, max(size, sizeof(void*)));
    if (indirection_buffer == NULL) {
      xnn_log_error(
        "failed to allocate %zu bytes for %s operator indirection buffer", size,
        xnn_operator_type_to_string(convolution_op->type));
      return xnn_status_out_of_memory;
    }
    convolution_op->indirection_buffer = indirection_buffer;
    // A dummy input, as in reshape_dwconv: setup computes the offset of the real one from it.
    convolution_op->input = (void*) ((uintptr_t) convolution_op->zero_buffer + XNN_ALLOCATION_ALIGNMENT);
    convolution_op->last_input = convolution_op->input;
    convolution_op->last_input_height = convolution_op->input_height;
    convolution_op->last_input_width = convolution_op->input_width;
    init_compact_dwconv_indirection(convolution_op, convolution_op->input_pixel_stride << log2_input_element_size);
  }

  const bool is_unipass = convolution_op->ukernel.dwconv.last_tile == 0;
  const size_t extra_input_advanced = is_unipass ? 0 : tile_size - convolution_op->ukernel.dwconv.last_tile;
  context->indirect_input = convolution_op->indirection_buffer;
  context->masked.indirect_pixel_stride = kernel_size * sizeof(void*);
  context->indirect_input_width_stride = (intptr_t) ((kernel_size - extra_input_advanced) * sizeof(void*));

  const size_t target_parts_per_thread = 5;
  const size_t num_parts = num_threads > 1 ? min(max(mask->num_kept, 1), num_threads * target_parts_per_thread) : 1;
  context->masked.part_size = divide_round_up(max(mask->num_kept, 1), num_parts);
  struct compute_parameters* compute = &convolution_op->compute[0];
  compute->type = xnn_parallelization_type_2d_with_thread;
  compute->task_2d_with_thread = (pthreadpool_task_2d_with_thread_t) compute_compact_dwconv;
  compute->range[0] = convolution_op->batch_size;
  compute->range[1] = num_parts;
  *workspace_size = is_unipass ? 0 : num_threads * context->buffer_size;
  *workspace_alignment = is_unipass ? 1 : XNN_ALLOCATION_ALIGNMENT;
  return xnn_status_success;
}

enum xnn_status xnn_reshape_masked_dwconv(
  xnn_operator_t convolution_op,
  uint32_t log2_input_element_size,
  uint32_t log2_output_element_size,
  size_t* workspace_size,
  size_t* workspace_alignment,
  size_t num_threads)
{
  if (!xnn_has_pixels(convolution_op)) {
    return xnn_status_success;
  }
  struct dwconv_context* context = &convolution_op->context.dwconv.dwconv;
  const size_t step_width = convolution_op->dilation_width == 1
                              ? min(convolution_op->stride_width, convolution_op->kernel_width)
                              : convolution_op->kernel_width;
  context->masked.mask = convolution_op->masked.pixels.mask;
  context->masked.fill = convolution_op->masked.pixels.fill;
  context->masked.indirect_pixel_stride = convolution_op->kernel_height * step_width * sizeof(void*);
  context->masked.log2_output_size = log2_output_element_size;
  const size_t input_pixel_stride = convolution_op->input_pixel_stride << log2_input_element_size;
  context->input_batch_stride = xnn_masked_input_rows(convolution_op) * input_pixel_stride;
  context->output_batch_stride = xnn_masked_output_rows(convolution_op) * convolution_op->output_pixel_stride
                                 << log2_output_element_size;

  if (convolution_op->masked.pixels.compact_output) {
    return reshape_compact_dwconv(
      convolution_op, log2_input_element_size, workspace_size, workspace_alignment, num_threads);
  }
  if (convolution_op->masked.init_indirection && convolution_op->masked.pixels.input != NULL) {
    // The last pixel reads entries for all taps of the micro-kernel, which may have more than the kernel.
    const size_t kernel_size = (size_t) convolution_op->kernel_height * convolution_op->kernel_width;
    const size_t num_extra_taps = max(convolution_op->ukernel.dwconv.tile_size, kernel_size) - kernel_size;
    compact_dwconv_indirection(
      convolution_op,
      convolution_op->output_height * context->indirect_input_height_stride / sizeof(void*) + num_extra_taps,
      input_pixel_stride);
  }
  if (convolution_op->masked.pixels.mask == NULL) {
    return xnn_status_success;
  }

  struct compute_parameters* compute =
    &convolution_op->compute[convolution_op->flags & XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER ? 1 : 0];
  if (convolution_op->ukernel.dwconv.last_tile == 0) {
    compute->task_2d = (pthreadpool_task_2d_t) compute_masked_dwconv_unipass;
  }
  else if (compute->type == xnn_parallelization_type_2d) {
    compute->task_2d = (pthreadpool_task_2d_t) compute_masked_dwconv_multipass;
  }
  else {
    assert(compute->type == xnn_parallelization_type_2d_with_thread);
    compute->task_2d_with_thread = (pthreadpool_task_2d_with_thread_t) compute_masked_dwconv_multipass_with_thread;
  }
  return xnn_status_success;
}
