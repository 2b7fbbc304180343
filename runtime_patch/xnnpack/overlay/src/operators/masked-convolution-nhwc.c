// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pthreadpool.h"
#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/channel-blocks.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/config.h"
#include "xnnpack/fp16.h"
#include "xnnpack/live-taps.h"
#include "xnnpack/log.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/merged-taps.h"
#include "xnnpack/microkernel-type.h"
#include "xnnpack/node-type.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator-utils.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"
#include "xnnpack/tap-geometry.h"

// Whether the operator of a node has to be told of pixels.
static bool is_masked_convolution(const struct xnn_node* node)
{
  return (node->type == xnn_node_type_convolution_2d || node->type == xnn_node_type_depthwise_convolution_2d) &&
         (node->pixels.mask != NULL || node->pixels.input != NULL);
}

static uint32_t log2_output_element_size(enum xnn_operator_type type)
{
  switch (type) {
    case xnn_operator_type_convolution_nhwc_f16:
      return XNN_LOG2_SIZEOF_HALF;
    case xnn_operator_type_convolution_nhwc_f32:
      return XNN_LOG2_SIZEOF_FLOAT;
    case xnn_operator_type_convolution_nhwc_qc8:
    case xnn_operator_type_convolution_nhwc_qs8:
    case xnn_operator_type_convolution_nhwc_qu8:
      return XNN_LOG2_SIZEOF_INT8_T;
    default:
      return UINT32_MAX;
  }
}

enum xnn_status xnn_set_pixels_of_node(const struct xnn_node* node, xnn_operator_t convolution_op)
{
  const struct xnn_convolution_pixels* pixels = &node->pixels;
  if (convolution_op == NULL) {
    return xnn_status_success;
  }
  convolution_op->masked.pixels.is_full = pixels->is_full;
  convolution_op->masked.pixels.why_dense = pixels->why_dense;
  convolution_op->masked.pixels.rows = xnn_retain_pixel_mask(pixels->rows);
  if (!is_masked_convolution(node)) {
    return xnn_status_success;
  }
  const uint32_t log2_element_size = log2_output_element_size(convolution_op->type);
  if (log2_element_size == UINT32_MAX) {
    xnn_log_error(
      "failed to mask %s operator: unsupported operator type", xnn_operator_type_to_string(convolution_op->type));
    return xnn_status_unsupported_parameter;
  }
  if (pixels->mask != NULL) {
    const size_t channels = convolution_op->groups * convolution_op->group_output_channels;
    void* fill = xnn_allocate_memory(channels << log2_element_size);
    if (fill == NULL) {
      xnn_log_error("failed to allocate %zu bytes for the fill of a masked convolution", channels << log2_element_size);
      return xnn_status_out_of_memory;
    }
    if (convolution_op->type == xnn_operator_type_convolution_nhwc_f16) {
      for (size_t c = 0; c < channels; c++) {
        ((uint16_t*) fill)[c] = fp16_ieee_from_fp32_value(((const float*) pixels->fill)[c]);
      }
    }
    else {
      memcpy(fill, pixels->fill, channels << log2_element_size);
    }
    convolution_op->masked.pixels.fill = fill;
  }
  convolution_op->masked.pixels.mask = xnn_retain_pixel_mask(pixels->mask);
  convolution_op->masked.pixels.input = xnn_retain_pixel_mask(pixels->input);
  convolution_op->masked.pixels.has_fixed_input_fill = pixels->has_fixed_input_fill;
  convolution_op->masked.pixels.compact_output = pixels->compact_output;
  return xnn_status_success;
}

void xnn_release_masked_operator(struct xnn_masked_operator* masked)
{
  xnn_release_convolution_pixels(&masked->pixels);
  xnn_release_live_taps(masked->live_taps);
}

enum xnn_status
xnn_reshape_compact_input(const struct xnn_operator* convolution_op, size_t* input_height, size_t* input_width)
{
  const bool is_gemm = convolution_op->ukernel.type == xnn_microkernel_type_gemm;
  const struct xnn_pixel_mask* layout =
    is_gemm ? convolution_op->masked.pixels.mask : convolution_op->masked.pixels.input;
  if (layout == NULL) {
    return xnn_status_success;
  }
  if (*input_height != 1 || *input_width != layout->num_kept + 1) {
    xnn_log_error(
      "failed to reshape %s operator with %zux%zu input: a compact one of %zu rows is expected",
      xnn_operator_type_to_string(convolution_op->type), *input_height, *input_width, layout->num_kept + 1);
    return xnn_status_invalid_parameter;
  }
  if (!is_gemm) {
    *input_height = layout->height;
    *input_width = layout->width;
  }
  return xnn_status_success;
}

enum xnn_status xnn_reshape_compact_output(
  const struct xnn_operator* convolution_op, size_t* output_height_out, size_t* output_width_out)
{
  const struct xnn_pixel_mask* mask = convolution_op->masked.pixels.mask;
  if (mask == NULL || convolution_op->ukernel.type == xnn_microkernel_type_gemm) {
    return xnn_status_success;
  }
  if (convolution_op->output_height != mask->height || convolution_op->output_width != mask->width) {
    xnn_log_error(
      "failed to reshape %s operator with %zux%zu output: its mask is for %zux%zu",
      xnn_operator_type_to_string(convolution_op->type), convolution_op->output_height, convolution_op->output_width,
      mask->height, mask->width);
    return xnn_status_invalid_parameter;
  }
  if (convolution_op->masked.pixels.compact_output) {
    if (output_height_out != NULL) {
      *output_height_out = 1;
    }
    if (output_width_out != NULL) {
      *output_width_out = mask->num_kept + 1;
    }
  }
  return xnn_status_success;
}

static void compute_fill_rows(const struct fill_rows_context context[restrict XNN_MIN_ELEMENTS(1)], size_t batch_index)
{
  xnn_fill_pixels(
    (void*) ((uintptr_t) context->output + batch_index * context->batch_stride), context->row_stride, context->fill,
    context->size, context->start, context->end);
}

// Makes writing the fill to rows [start, end) of each image the next computation of the operator.
static void reshape_fill_rows(
  xnn_operator_t op,
  struct compute_parameters* compute,
  size_t batch_size,
  uint32_t log2_output_element_size,
  size_t start,
  size_t end)
{
  const size_t row_stride = op->output_pixel_stride << log2_output_element_size;
  op->masked.fill_rows = (struct fill_rows_context){
    .fill = op->masked.pixels.fill,
    .size = op->groups * op->group_output_channels << log2_output_element_size,
    .row_stride = row_stride,
    .batch_stride = xnn_masked_output_rows(op) * row_stride,
    .start = start,
    .end = end,
  };
  compute->type = xnn_parallelization_type_1d;
  compute->context_offset = offsetof(struct xnn_operator, masked.fill_rows) - offsetof(struct xnn_operator, context);
  compute->task_1d = (pthreadpool_task_1d_t) compute_fill_rows;
  compute->range[0] = batch_size;
}

static void
compute_fill_skipped(const struct fill_rows_context context[restrict XNN_MIN_ELEMENTS(1)], size_t batch_index, size_t y)
{
  const struct xnn_pixel_mask* mask = context->mask;
  void* output = (void*) ((uintptr_t) context->output + batch_index * context->batch_stride);
  const size_t end = (y + 1) * mask->width;
  for (size_t pixel = y * mask->width; pixel < end; pixel++) {
    if (mask->rank[pixel] == mask->num_kept) {
      xnn_fill_pixels(output, context->row_stride, context->fill, context->size, pixel, pixel + 1);
    }
  }
}

// Makes writing the fill to the skipped pixels of each dense image the next computation of the operator.
static void reshape_fill_skipped(
  xnn_operator_t op, struct compute_parameters* compute, size_t batch_size, uint32_t log2_output_element_size)
{
  reshape_fill_rows(op, compute, batch_size, log2_output_element_size, 0, 0);
  op->masked.fill_rows.mask = op->masked.pixels.mask;
  compute->type = xnn_parallelization_type_2d;
  compute->task_2d = (pthreadpool_task_2d_t) compute_fill_skipped;
  compute->range[1] = op->masked.pixels.mask->height;
}

void xnn_setup_masked_convolution(xnn_operator_t convolution_op)
{
  convolution_op->masked.fill_rows.output = convolution_op->output;
}

static void compute_masked_igemm(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  uint32_t uarch_index,
  size_t batch_index,
  size_t group_index,
  size_t mr_block_start,
  size_t nr_block_start,
  size_t mr_block_size,
  size_t nr_block_size)
{
  const struct xnn_pixel_mask* mask = context->masked.mask;
  const uint32_t* kept = mask->kept + mr_block_start;
  const size_t cm_stride = context->cm_stride;
  const size_t first = kept[0];
  void* output = (void*) ((uintptr_t) context->c + batch_index * context->bc_stride + group_index * context->gc_stride +
    (nr_block_start << context->log2_csize));

  // The micro-kernel writes consecutive pixels. Pixels first, ..., first + mr_block_size - 1 are either this tile's or
  // skipped, because the last one of this tile is not before them: no other tile is overwritten.
  context->ukernel.function[uarch_index](
    mr_block_size, nr_block_size, context->kc, context->ks_scaled,
    (const void**) ((uintptr_t) context->indirect_a + mr_block_start * context->ks * sizeof(void*)),
    (const void*) ((uintptr_t) context->packed_w + nr_block_start * context->w_stride + group_index * context->gw_stride),
    (void*) ((uintptr_t) output + first * cm_stride), cm_stride, context->cn_stride,
    context->a_offset + batch_index * context->ba_stride + group_index * context->ga_stride, context->zero,
    &context->params);

  // Move the rows to where they belong, the last one first, and fill the gaps that this leaves behind it. A row that
  // has not been moved yet is never behind the one that is.
  const size_t size = nr_block_size << context->log2_csize;
  const void* fill =
    (const void*) ((uintptr_t) context->masked.fill + group_index * context->gc_stride + (nr_block_start << context->log2_csize));
  size_t end = kept[mr_block_size];
  for (size_t i = mr_block_size; i-- != 0;) {
    const size_t pixel = kept[i];
    if (pixel != first + i) {
      memcpy(
        (void*) ((uintptr_t) output + pixel * cm_stride), (const void*) ((uintptr_t) output + (first + i) * cm_stride),
        size);
    }
    xnn_fill_pixels(output, cm_stride, fill, size, pixel + 1, end);
    end = pixel;
  }
  if (mr_block_start == 0) {
    xnn_fill_pixels(output, cm_stride, fill, size, 0, first);
  }
}

static void compute_masked_igemm_default(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t batch_index,
  size_t group_index,
  size_t mr_block_start,
  size_t nr_block_start,
  size_t mr_block_size,
  size_t nr_block_size)
{
  compute_masked_igemm(
    context, XNN_UARCH_DEFAULT, batch_index, group_index, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

// Leaves the last rows to micro-kernels for just as many. Few rows take as long as busy_rows: then the last two tiles
// are made equal.
static void cut_tail(const struct xnn_live_igemm_config* config, size_t num_rows, struct gemm_context* context)
{
  const size_t mr = context->mr;
  const size_t num_last = num_rows % mr;
  if (config == NULL || num_last == 0 || config->max_rows < mr) {
    return;
  }
  const bool is_equal = num_last < config->busy_rows && num_rows > mr;
  const size_t tail_size = is_equal ? mr + num_last : num_last;
  context->masked.tail_ukernels = config->ukernels;
  context->masked.tail_start = num_rows - tail_size;
  context->masked.tail_rows = is_equal ? divide_round_up(tail_size, 2) : tail_size;
}

static void compute_masked_gemm(
  const struct gemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t mr_block_start,
  size_t nr_block_start,
  size_t mr_block_size,
  size_t nr_block_size)
{
  if (context->masked.tail_ukernels == NULL || mr_block_start < context->masked.tail_start) {
    xnn_compute_gemm(context, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
    return;
  }
  const size_t block_end = mr_block_start + mr_block_size;
  mr_block_start = context->masked.tail_start +
                   (mr_block_start - context->masked.tail_start) / context->mr * context->masked.tail_rows;
  mr_block_size = min(context->masked.tail_rows, block_end - mr_block_start);
  const void* a[XNN_MAX_MR];
  uint32_t rows[XNN_MAX_MR];
  for (size_t m = 0; m < mr_block_size; m++) {
    a[m] = (const void*) ((uintptr_t) context->a + (mr_block_start + m) * context->a_stride);
    rows[m] = (uint32_t) (mr_block_start + m);
  }
  // The bias is in front of the weights of the only tap.
  const size_t tap_offset = context->masked.nr * 4;
  for (size_t start = nr_block_start; start < nr_block_start + nr_block_size; start += context->masked.nr) {
    const void* w = (const void*) ((uintptr_t) context->packed_w + start * context->w_stride);
    context->masked.tail_ukernels[mr_block_size - 1](
      min(context->masked.nr, nr_block_start + nr_block_size - start), context->k_scaled, 1, a, &tap_offset, /*bias=*/w,
      w, context->masked.nr * context->w_stride, (void*) ((uintptr_t) context->c + (start << context->log2_csize)),
      context->cm_stride, rows, 0, NULL, &context->params);
  }
}

static void compute_masked_gemm_block(
  const struct gemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t nr_block_start,
  size_t mr_block_start,
  size_t nr_block_size,
  size_t mr_block_size)
{
  compute_masked_gemm(context, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

static void compute_igemm_block(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t batch_index,
  size_t group_index,
  size_t nr_block_start,
  size_t mr_block_start,
  size_t nr_block_size,
  size_t mr_block_size)
{
  xnn_compute_grouped_batch_igemm(
    context, batch_index, group_index, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

static void compute_masked_igemm_block(
  const struct igemm_context context[restrict XNN_MIN_ELEMENTS(1)],
  size_t batch_index,
  size_t group_index,
  size_t nr_block_start,
  size_t mr_block_start,
  size_t nr_block_size,
  size_t mr_block_size)
{
  compute_masked_igemm(
    context, XNN_UARCH_DEFAULT, batch_index, group_index, mr_block_start, nr_block_start, mr_block_size, nr_block_size);
}

// Counterpart of xnn_indirection_init_conv2d for the rows of the matrix: the kept pixels, or all. With merged taps
// there is one entry for each row of the kernel.
static void init_indirection(const struct xnn_operator* op, size_t num_rows, size_t mr, size_t input_pixel_stride)
{
  const struct xnn_tap_geometry geometry = xnn_get_tap_geometry(op);
  const struct xnn_tap_inputs inputs = xnn_get_tap_inputs(op, &geometry, input_pixel_stride);
  const struct xnn_pixel_mask* mask = op->masked.pixels.mask;
  const size_t kernel_height = op->kernel_height;
  const size_t dilation_height = op->dilation_height;
  const size_t dilation_width = op->dilation_width;
  const void** indirection_buffer = op->indirection_buffer;

  // Rows of the matrix come in the order of their pixels.
  size_t output_y = 0;
  size_t next_line = op->output_width;
  for (size_t tile_start = 0; tile_start < num_rows; tile_start += mr) {
    for (size_t tile_offset = 0; tile_offset < mr; tile_offset++) {
      const size_t row = min(tile_start + tile_offset, num_rows - 1);
      const size_t pixel = mask != NULL ? mask->kept[row] : row;
      for (; pixel >= next_line; next_line += op->output_width) {
        output_y++;
      }
      const size_t output_x = pixel + op->output_width - next_line;
      const struct xnn_tap_place first = xnn_get_first_tap(op, &geometry, output_y, output_x);
      const bool is_inside = xnn_are_taps_inside(op, &geometry, first);
      const void** entry = indirection_buffer + tile_offset;
      for (size_t kernel_y = 0; kernel_y < kernel_height; kernel_y++) {
        const size_t y = first.y + kernel_y * dilation_height;
        for (size_t kernel_x = 0; kernel_x < geometry.kernel_width; kernel_x++) {
          const size_t x = first.x + kernel_x * dilation_width;
          *entry =
            is_inside ? xnn_get_pixel_input(inputs, y * geometry.input_width + x) : xnn_get_tap_input(inputs, y, x);
          entry += mr;
        }
      }
    }
    indirection_buffer += mr * geometry.kernel_size;
  }
}

uint32_t xnn_choose_igemm_mr(const struct xnn_operator* op, size_t num_rows)
{
  // Upstream's heuristic takes what it reads as if it wrote it.
  struct xnn_ukernel_igemm* ukernel = (struct xnn_ukernel_igemm*) &op->ukernel.igemm;
#if XNN_ENABLE_GEMM_M_SPECIALIZATION
  if (num_rows != 0) {
    return xnn_get_heuristic_mr_igemm(num_rows, ukernel->mr, ukernel->nr, ukernel->igemm_cases);
  }
#else
  if (num_rows == 1 && ukernel->igemm_cases[0].function[XNN_UARCH_DEFAULT] != NULL) {
    return 1;
  }
#endif
  return ukernel->mr;
}

// Makes the indirection buffer for a new size of the input, for tiles of live taps or for all taps.
static enum xnn_status
reshape_indirection(xnn_operator_t convolution_op, size_t num_rows, uint32_t mr, uint32_t log2_input_element_size)
{
  if (
    convolution_op->input_height == convolution_op->last_input_height &&
    convolution_op->input_width == convolution_op->last_input_width) {
    return xnn_status_success;
  }
  // A dummy input, as in reshape_igemm: setup computes the offset of the real one from it.
  convolution_op->input = (void*) ((uintptr_t) convolution_op->zero_buffer + XNN_ALLOCATION_ALIGNMENT);
  convolution_op->last_input = convolution_op->input;
  const enum xnn_status status = xnn_reshape_live_taps(convolution_op, mr, log2_input_element_size);
  if (status != xnn_status_success) {
    return status;
  }
  if (convolution_op->masked.live_taps == NULL) {
    const size_t kernel_size = xnn_get_tap_geometry(convolution_op).kernel_size;
    const size_t indirection_buffer_size = sizeof(void*) * kernel_size * round_up(num_rows, mr);
    const void** indirection_buffer =
      (const void**) xnn_reallocate_memory((void*) convolution_op->indirection_buffer, indirection_buffer_size);
    if (indirection_buffer == NULL) {
      xnn_log_error(
        "failed to allocate %zu bytes for %s operator indirection buffer", indirection_buffer_size,
        xnn_operator_type_to_string(convolution_op->type));
      return xnn_status_out_of_memory;
    }
    convolution_op->indirection_buffer = indirection_buffer;
    init_indirection(convolution_op, num_rows, mr, convolution_op->input_pixel_stride << log2_input_element_size);
  }
  convolution_op->last_input_height = convolution_op->input_height;
  convolution_op->last_input_width = convolution_op->input_width;
  return xnn_status_success;
}

// Divides the rows of the matrix, each with all taps, among threads.
static void compute_all_taps(
  xnn_operator_t convolution_op, struct compute_parameters* compute, size_t num_rows, uint32_t mr, size_t num_threads)
{
  const struct igemm_context* context = &convolution_op->context.igemm.igemm;
  const size_t batch_size = convolution_op->batch_size;
  const size_t groups = convolution_op->groups;
  const size_t group_output_channels = convolution_op->group_output_channels;
  const uint32_t nr = convolution_op->ukernel.igemm.nr;
  size_t nc = group_output_channels;
  if (num_threads > 1) {
    const size_t num_other_tiles = groups * batch_size * divide_round_up(num_rows, mr);
    const size_t target_tiles_per_thread = 5;
    const size_t max_nc =
      divide_round_up(group_output_channels * num_other_tiles, num_threads * target_tiles_per_thread);
    if (max_nc < nc) {
      nc = min(nc, divide_round_up(nc, max_nc * nr) * nr);
    }
  }
  // Rows of a compact output follow each other as the micro-kernel writes them.
  const bool scatter = context->masked.mask != NULL && !convolution_op->masked.pixels.compact_output;
  compute->type = xnn_parallelization_type_4d_tile_2d;
  compute->task_4d_tile_2d =
    (pthreadpool_task_4d_tile_2d_t) (scatter ? compute_masked_igemm_default : xnn_compute_grouped_batch_igemm);
#if XNN_MAX_UARCH_TYPES > 1
  if (xnn_is_hmp_igemm_ukernel(convolution_op->ukernel.igemm.igemm_cases[mr - 1])) {
    compute->type = xnn_parallelization_type_4d_tile_2d_with_uarch;
    compute->task_4d_tile_2d_with_id =
      (pthreadpool_task_4d_tile_2d_with_id_t) (scatter ? compute_masked_igemm : xnn_compute_hmp_grouped_batch_igemm);
  }
#endif
  compute->range[0] = batch_size;
  compute->range[1] = groups;
  compute->range[2] = num_rows;
  compute->range[3] = group_output_channels;
  compute->tile[0] = mr;
  compute->tile[1] = nc;
  if (xnn_has_pixels(convolution_op)) {
    xnn_put_channel_blocks_first(
      compute, (xnn_channel_blocks_task) (scatter ? compute_masked_igemm_block : compute_igemm_block), nr,
      context->w_stride, context->ba_stride);
  }
}

enum xnn_status xnn_reshape_gather_igemm(
  xnn_operator_t convolution_op,
  uint32_t log2_input_element_size,
  uint32_t log2_filter_element_size,
  uint32_t extra_weights_elements_size,
  uint32_t log2_output_element_size,
  size_t* workspace_size,
  size_t* workspace_alignment,
  size_t num_threads)
{
  const struct xnn_pixel_mask* mask = convolution_op->masked.pixels.mask;
  const size_t output_size = convolution_op->output_height * convolution_op->output_width;
  const size_t num_kept = mask != NULL ? mask->num_kept : output_size;
  const struct xnn_ukernel_igemm* ukernel = &convolution_op->ukernel.igemm;
  const uint32_t mr = xnn_choose_igemm_mr(convolution_op, num_kept);

  // FP32 micro-kernels of one row may add products in another order where there are more channels. Their packed weights
  // are the same either way.
  convolution_op->masked.has_merged_taps = convolution_op->masked.can_merge_taps &&
                                           convolution_op->masked.pixels.input == NULL &&
                                           (mr != 1 || convolution_op->type != xnn_operator_type_convolution_nhwc_f32);
  const size_t kernel_size = xnn_get_tap_geometry(convolution_op).kernel_size;
  const size_t group_input_channels =
    convolution_op->group_input_channels * convolution_op->kernel_height * convolution_op->kernel_width / kernel_size;

  *workspace_size = 0;
  *workspace_alignment = 1;
  // What an earlier reshaping computed, and this one does not, must not run.
  memset(convolution_op->compute, 0, sizeof(convolution_op->compute));
  // The buffer is smaller than the dense one and its contents outlive a run, so it is never transient.
  convolution_op->flags &= ~XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER;
  if (num_kept != 0) {
    const enum xnn_status status = reshape_indirection(convolution_op, num_kept, mr, log2_input_element_size);
    if (status != xnn_status_success) {
      return status;
    }
  }

  struct compute_parameters* compute = &convolution_op->compute[0];
  size_t input_image_stride = xnn_masked_input_rows(convolution_op) * convolution_op->input_pixel_stride
                              << log2_input_element_size;
  if (num_kept != 0 && xnn_needs_padded_copy(convolution_op)) {
    input_image_stride =
      xnn_reshape_padded_copy(convolution_op, log2_input_element_size, workspace_size, workspace_alignment);
    compute++;
  }

  const size_t w_stride =
    extra_weights_elements_size +
    (round_up_po2(group_input_channels, (size_t) ukernel->kr * ukernel->sr) * kernel_size << log2_filter_element_size);
  const size_t output_pixel_stride = convolution_op->output_pixel_stride << log2_output_element_size;
  convolution_op->context.igemm.igemm = (struct igemm_context){
    .ks = kernel_size,
    .ks_scaled = kernel_size * mr * sizeof(void*),
    .kc = group_input_channels << log2_input_element_size,
    .w_stride = w_stride,
    .indirect_a = convolution_op->indirection_buffer,
    .zero = convolution_op->zero_buffer,
    .packed_w = packed_weights(convolution_op),
    .cm_stride = output_pixel_stride,
    .cn_stride = ukernel->nr << log2_output_element_size,
    .ga_stride = group_input_channels << log2_input_element_size,
    .gw_stride = w_stride * round_up(convolution_op->group_output_channels, ukernel->nr),
    .gc_stride = convolution_op->group_output_channels << log2_output_element_size,
    .ba_stride = input_image_stride,
    .bc_stride = xnn_masked_output_rows(convolution_op) * output_pixel_stride,
    .log2_csize = log2_output_element_size,
    .ukernel = ukernel->igemm_cases[mr - 1],
    .masked = {.mask = mask, .fill = convolution_op->masked.pixels.fill},
  };
  memcpy(
    &convolution_op->context.igemm.igemm.params, &convolution_op->params,
    sizeof(convolution_op->context.igemm.igemm.params));
  convolution_op->state = xnn_run_state_needs_setup;

  compute->context_offset = offsetof(struct xnn_operator, context.igemm.igemm) - offsetof(struct xnn_operator, context);
  const size_t batch_size = convolution_op->batch_size;
  if (num_kept == 0) {
    reshape_fill_rows(
      convolution_op, compute, batch_size, log2_output_element_size, 0, xnn_masked_output_rows(convolution_op));
    return xnn_status_success;
  }
  const bool is_live = convolution_op->masked.live_taps != NULL;
  if (is_live) {
    const size_t index = (size_t) (compute - convolution_op->compute);
    compute = &convolution_op->compute[xnn_compute_live_taps(convolution_op, index, num_threads)];
  }
  else {
    compute_all_taps(convolution_op, compute, num_kept, mr, num_threads);
    compute++;
  }
  if (convolution_op->masked.pixels.compact_output) {
    reshape_fill_rows(convolution_op, compute, batch_size, log2_output_element_size, num_kept, num_kept + 1);
  }
  else if (is_live && mask != NULL) {
    // Micro-kernels of live taps write rows where they belong; others leave the fill to compute_masked_igemm.
    reshape_fill_skipped(convolution_op, compute, batch_size, log2_output_element_size);
  }
  return xnn_status_success;
}

void xnn_begin_reshape_gemm(xnn_operator_t convolution_op)
{
  if (convolution_op->masked.pixels.mask == NULL) {
    return;
  }
  // The images follow each other without a gap: all rows but the last one, which is a fill row. Fill rows between two
  // images are computed, and overwritten.
  const size_t num_rows = convolution_op->batch_size * convolution_op->output_width - 1;
  convolution_op->batch_size = 1;
  convolution_op->output_width = max(num_rows, 1);
}

void xnn_end_reshape_gemm(xnn_operator_t convolution_op, size_t batch_size, uint32_t log2_output_element_size)
{
  if (convolution_op->masked.pixels.mask == NULL) {
    xnn_block_dense_gemm(convolution_op);
    return;
  }
  const size_t num_kept = convolution_op->masked.pixels.mask->num_kept;
  struct compute_parameters* compute = &convolution_op->compute[0];
  if (compute->type == xnn_parallelization_type_2d_tile_2d) {
    struct gemm_context* context = &convolution_op->context.gemm.gemm.gemm;
    const size_t num_rows = compute->range[0];
    const size_t mr = compute->tile[0];
    const uint32_t nr = convolution_op->ukernel.gemm.nr;
    context->mr = mr;
    context->masked.nr = nr;
    compute->task_2d_tile_2d = (pthreadpool_task_2d_tile_2d_t) compute_masked_gemm;
    cut_tail(
      xnn_get_live_igemm_config(
        convolution_op->type, nr, convolution_op->ukernel.gemm.kr, convolution_op->ukernel.gemm.sr),
      num_rows, context);
    xnn_put_channel_blocks_first(
      compute, (xnn_channel_blocks_task) compute_masked_gemm_block, nr, context->w_stride,
      num_rows * context->a_stride);
  }
  convolution_op->batch_size = batch_size;
  convolution_op->output_width = num_kept + 1;
  reshape_fill_rows(
    convolution_op, &convolution_op->compute[num_kept == 0 ? 0 : 1], batch_size, log2_output_element_size, num_kept,
    num_kept + 1);
}
