// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/expand-pixels.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pthreadpool.h"
#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/common.h"
#include "xnnpack/compute.h"
#include "xnnpack/log.h"
#include "xnnpack/node-type.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"

// Copies one row of an image, run by run of kept pixels; every skipped pixel gets the fill row.
static void
compute_expand_row(const struct expand_context context[restrict XNN_MIN_ELEMENTS(1)], size_t batch_index, size_t y)
{
  const struct xnn_pixel_mask* mask = context->mask;
  const size_t row_size = context->row_size;
  const char* input = (const char*) context->input + batch_index * (mask->num_kept + 1) * row_size;
  const char* fill = input + mask->num_kept * row_size;
  char* output = (char*) context->output + (batch_index * mask->height + y) * mask->width * row_size;
  const uint32_t* rank = mask->rank + y * mask->width;
  size_t x = 0;
  while (x < mask->width) {
    if (rank[x] == mask->num_kept) {
      memcpy(output + x * row_size, fill, row_size);
      x++;
    }
    else {
      const size_t start = x;
      do {
        x++;
      } while (x < mask->width && rank[x] != mask->num_kept);
      memcpy(output + start * row_size, input + rank[start] * row_size, (x - start) * row_size);
    }
  }
}

static enum xnn_status create_expand_operator(
  const struct xnn_node* node,
  const struct xnn_value* values,
  size_t num_values,
  struct xnn_operator_data* opdata,
  struct xnn_code_cache* code_cache,
  xnn_weights_cache_t weights_cache)
{
  xnn_operator_t op = xnn_allocate_zero_simd_memory(sizeof(struct xnn_operator));
  if (op == NULL) {
    xnn_log_error(
      "failed to allocate %zu bytes for %s operator descriptor", sizeof(struct xnn_operator),
      xnn_operator_type_to_string(xnn_operator_type_expand_pixels_nhwc));
    return xnn_status_out_of_memory;
  }
  op->type = xnn_operator_type_expand_pixels_nhwc;
  op->masked.pixels.input = xnn_retain_pixel_mask(node->pixels.input);
  op->state = xnn_run_state_invalid;
  opdata->operator_objects[0] = op;
  return xnn_status_success;
}

static enum xnn_status reshape_expand_operator(
  struct xnn_operator_data* opdata, struct xnn_value* values, size_t num_values, pthreadpool_t threadpool)
{
  xnn_operator_t op = opdata->operator_objects[0];
  const struct xnn_pixel_mask* layout = op->masked.pixels.input;
  const struct xnn_value* input_value = &values[opdata->inputs[0]];
  struct xnn_value* output_value = &values[opdata->outputs[0]];
  if (
    input_value->shape.num_dims != 4 || input_value->shape.dim[1] != 1 ||
    input_value->shape.dim[2] != layout->num_kept + 1) {
    xnn_log_error(
      "failed to reshape %s operator: a compact input of %zu rows is expected", xnn_operator_type_to_string(op->type),
      layout->num_kept + 1);
    return xnn_status_invalid_parameter;
  }

  output_value->shape = input_value->shape;
  output_value->shape.dim[1] = layout->height;
  output_value->shape.dim[2] = layout->width;
  const size_t batch_size = input_value->shape.dim[0];
  op->state = xnn_run_state_skip;
  if (batch_size != 0) {
    op->masked.expand = (struct expand_context){
      .mask = layout,
      .row_size = xnn_tensor_get_size(input_value) / (batch_size * (layout->num_kept + 1)),
    };
    op->compute[0].type = xnn_parallelization_type_2d;
    op->compute[0].context_offset =
      offsetof(struct xnn_operator, masked.expand) - offsetof(struct xnn_operator, context);
    op->compute[0].task_2d = (pthreadpool_task_2d_t) compute_expand_row;
    op->compute[0].range[0] = batch_size;
    op->compute[0].range[1] = layout->height;
    op->state = xnn_run_state_needs_setup;
  }
  const size_t new_size = xnn_tensor_get_size(output_value);
  if (new_size > output_value->size) {
    output_value->size = new_size;
    return xnn_status_reallocation_required;
  }
  return xnn_status_success;
}

static enum xnn_status setup_expand_operator(
  const struct xnn_operator_data* opdata, const struct xnn_value* values, size_t num_values, pthreadpool_t threadpool)
{
  xnn_operator_t op = opdata->operator_objects[0];
  if (op->state != xnn_run_state_skip) {
    op->masked.expand.input = values[opdata->inputs[0]].data;
    op->masked.expand.output = values[opdata->outputs[0]].data;
    op->state = xnn_run_state_ready;
  }
  return xnn_status_success;
}

void xnn_init_expand_pixels_node(
  struct xnn_node* node, struct xnn_pixel_mask* layout, uint32_t input_id, uint32_t output_id)
{
  node->type = xnn_node_type_expand_pixels;
  node->num_inputs = 1;
  node->inputs[0] = input_id;
  node->num_outputs = 1;
  node->outputs[0] = output_id;
  node->pixels.input = xnn_retain_pixel_mask(layout);
  node->create = create_expand_operator;
  node->reshape = reshape_expand_operator;
  node->setup = setup_expand_operator;
}
