// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/compact-layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xnnpack.h"
#include "xnnpack/allocation-type.h"
#include "xnnpack/allocator.h"
#include "xnnpack/config-types.h"
#include "xnnpack/config.h"
#include "xnnpack/expand-pixels.h"
#include "xnnpack/live-taps.h"
#include "xnnpack/log.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/memory-planner.h"
#include "xnnpack/node-type.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"

// layouts[i] is that of Value i, NULL if dense. The masks are those of the nodes, one object for all that are equal.
struct layouts {
  xnn_subgraph_t subgraph;
  struct xnn_pixel_mask** of_value;
  // Whether the fill row of a compact Value is the same in every image and every run.
  bool* has_fixed_fill;
};

static bool is_convolution(const struct xnn_node* node)
{
  return node->type == xnn_node_type_convolution_2d || node->type == xnn_node_type_depthwise_convolution_2d;
}

// Whether each output pixel depends on the input pixel at the same place alone.
static bool is_pointwise_convolution(const struct xnn_node* node)
{
  if (node->type == xnn_node_type_convolution_2d) {
    return node->params.convolution_2d.kernel_height == 1 && node->params.convolution_2d.kernel_width == 1 &&
           node->params.convolution_2d.subsampling_height == 1 && node->params.convolution_2d.subsampling_width == 1 &&
           node->params.convolution_2d.input_padding_top == 0 &&
           node->params.convolution_2d.input_padding_bottom == 0 &&
           node->params.convolution_2d.input_padding_left == 0 && node->params.convolution_2d.input_padding_right == 0;
  }
  return node->params.depthwise_convolution_2d.kernel_height == 1 &&
         node->params.depthwise_convolution_2d.kernel_width == 1 &&
         node->params.depthwise_convolution_2d.subsampling_height == 1 &&
         node->params.depthwise_convolution_2d.subsampling_width == 1 &&
         node->params.depthwise_convolution_2d.input_padding_top == 0 &&
         node->params.depthwise_convolution_2d.input_padding_bottom == 0 &&
         node->params.depthwise_convolution_2d.input_padding_left == 0 &&
         node->params.depthwise_convolution_2d.input_padding_right == 0;
}

// Whether a convolution takes the GEMM path where its tensors are compact.
static bool is_gemm(const struct xnn_node* node)
{
  return node->type == xnn_node_type_convolution_2d && is_pointwise_convolution(node) &&
         !(node->params.convolution_2d.group_input_channels == 1 &&
           node->params.convolution_2d.group_output_channels == 1);
}

static bool can_be_compact(const struct xnn_value* value)
{
  if (
    value->shape.num_dims != 4 || value->layout != xnn_layout_type_nhwc ||
    value->allocation_type != xnn_allocation_type_workspace || !xnn_value_is_internal(value)) {
    return false;
  }
  switch (value->datatype) {
    case xnn_datatype_fp16:
    case xnn_datatype_fp32:
    case xnn_datatype_qint8:
    case xnn_datatype_quint8:
      return true;
    default:
      return false;
  }
}

// Whether a Value is broadcast over the pixels of an image.
static bool is_same_for_all_pixels(const struct xnn_value* value)
{
  const size_t num_dims = value->shape.num_dims;
  if (num_dims > 4) {
    return false;
  }
  for (size_t i = 2; i <= 3 && i <= num_dims; i++) {
    if (value->shape.dim[num_dims - i] != 1) {
      return false;
    }
  }
  return true;
}

// Whether a Value is broadcast over the images of a batch.
static bool is_same_for_all_images(const struct xnn_value* value)
{
  return value->shape.num_dims < 4 || value->shape.dim[0] == 1;
}

// The layout that all image inputs of an element-wise node or a concatenation have in common, or NULL.
static struct xnn_pixel_mask* common_layout(const struct layouts* layouts, const struct xnn_node* node, bool broadcast)
{
  struct xnn_pixel_mask* common = NULL;
  for (uint32_t i = 0; i < node->num_inputs; i++) {
    struct xnn_pixel_mask* layout = layouts->of_value[node->inputs[i]];
    if (layout == NULL) {
      if (!broadcast || !is_same_for_all_pixels(&layouts->subgraph->values[node->inputs[i]])) {
        return NULL;
      }
    }
    else if (common == NULL) {
      common = layout;
    }
    else if (common != layout) {
      return NULL;
    }
  }
  return common;
}

// The layout that the output of a node can have with the present layouts of its inputs.
static struct xnn_pixel_mask* output_layout(const struct layouts* layouts, const struct xnn_node* node)
{
  if (node->num_outputs != 1 || !can_be_compact(&layouts->subgraph->values[node->outputs[0]])) {
    return NULL;
  }
  switch (node->type) {
    case xnn_node_type_convolution_2d:
    case xnn_node_type_depthwise_convolution_2d:
      if (node->pixels.mask != NULL) {
        return node->pixels.mask;
      }
      return is_pointwise_convolution(node) ? layouts->of_value[node->inputs[0]] : NULL;
    case xnn_node_type_unary_elementwise:
    case xnn_node_type_convert:
      return common_layout(layouts, node, /*broadcast=*/false);
    case xnn_node_type_binary_elementwise:
      return common_layout(layouts, node, /*broadcast=*/true);
    case xnn_node_type_concatenate2:
    case xnn_node_type_concatenate3:
    case xnn_node_type_concatenate4:
    case xnn_node_type_concatenate5:
      if (node->params.concatenate.axis != 3 && node->params.concatenate.axis != -1) {
        return NULL;
      }
      return common_layout(layouts, node, /*broadcast=*/false);
    default:
      return NULL;
  }
}

// Whether a node can read its input in its layout.
static bool reads_compact(const struct layouts* layouts, const struct xnn_node* node, uint32_t input)
{
  if (is_convolution(node)) {
    return input == 0 && layouts->subgraph->values[node->inputs[0]].datatype != xnn_datatype_qdint8;
  }
  return layouts->of_value[node->outputs[0]] != NULL && output_layout(layouts, node) != NULL;
}

// Whether a convolution may skip the taps that read skipped pixels: it finds them only if its input is compact.
static bool may_skip_taps(const struct layouts* layouts, const struct xnn_node* node)
{
  if (node->type != xnn_node_type_convolution_2d || node->params.convolution_2d.groups != 1) {
    return false;
  }
  enum xnn_operator_type type;
  const struct xnn_gemm_config* gemm_config;
  if (layouts->subgraph->values[node->outputs[0]].datatype == xnn_datatype_fp32) {
    type = xnn_operator_type_convolution_nhwc_f32;
    gemm_config = xnn_init_f32_gemm_config();
  }
  else if (layouts->subgraph->values[node->inputs[1]].datatype == xnn_datatype_qcint8) {
    type = xnn_operator_type_convolution_nhwc_qc8;
    gemm_config = xnn_init_qs8_qc8w_gemm_config();
  }
  else {
    return false;
  }
  const uint32_t kernel_size = node->params.convolution_2d.kernel_height * node->params.convolution_2d.kernel_width;
  return kernel_size > 1 && kernel_size <= XNN_MAX_LIVE_TAPS && gemm_config != NULL &&
         xnn_get_live_igemm_config(type, gemm_config->nr, 1 << gemm_config->log2_kr, 1 << gemm_config->log2_sr) != NULL;
}

// Whether a node gains from reading rows: it runs on them, and would otherwise run on all pixels or gather them.
static bool gains_from_compact(const struct layouts* layouts, const struct xnn_node* node)
{
  if (is_convolution(node)) {
    const struct xnn_pixel_mask* layout = layouts->of_value[node->inputs[0]];
    return (is_gemm(node) && layouts->of_value[node->outputs[0]] == layout) || may_skip_taps(layouts, node);
  }
  return true;
}

// Nodes come in the order in which they run: those that read what a node writes are behind it.
static void count_consumers(
  const struct layouts* layouts, uint32_t producer, uint32_t value_id, uint32_t* num_expanding, bool* gains)
{
  *num_expanding = 0;
  *gains = false;
  for (uint32_t n = producer + 1; n < layouts->subgraph->num_nodes; n++) {
    const struct xnn_node* node = &layouts->subgraph->nodes[n];
    for (uint32_t i = 0; i < node->num_inputs; i++) {
      if (node->type == xnn_node_type_invalid || node->inputs[i] != value_id) {
        continue;
      }
      if (!reads_compact(layouts, node, i)) {
        *num_expanding += 1;
      }
      else if (gains_from_compact(layouts, node)) {
        *gains = true;
      }
    }
  }
}

static void choose_layouts(const struct layouts* layouts, bool may_expand)
{
  xnn_subgraph_t subgraph = layouts->subgraph;
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    const struct xnn_node* node = &subgraph->nodes[n];
    if (node->type != xnn_node_type_invalid && node->num_outputs == 1) {
      layouts->of_value[node->outputs[0]] = output_layout(layouts, node);
    }
  }
  // A value that stays dense makes the operators that it goes through need dense inputs, in turn: until nothing
  // changes.
  bool changed = true;
  while (changed) {
    changed = false;
    for (uint32_t n = subgraph->num_nodes; n-- != 0;) {
      const struct xnn_node* node = &subgraph->nodes[n];
      if (node->num_outputs != 1 || layouts->of_value[node->outputs[0]] == NULL) {
        continue;
      }
      if (output_layout(layouts, node) != layouts->of_value[node->outputs[0]]) {
        // One of its inputs has become dense.
        layouts->of_value[node->outputs[0]] = NULL;
        changed = true;
        continue;
      }
      uint32_t num_expanding;
      bool gains;
      count_consumers(layouts, n, node->outputs[0], &num_expanding, &gains);
      // A masked convolution can as well write its rows where they belong in a dense image: cheaper than to expand
      // them, if nobody gains from the compact form, and itself neither: GEMM packs its weights faster than IGEMM,
      // besides.
      const bool can_scatter = is_convolution(node) && node->pixels.mask != NULL &&
                               !(is_gemm(node) && layouts->of_value[node->inputs[0]] == node->pixels.mask);
      if (num_expanding != 0 && (!may_expand || (can_scatter && !gains))) {
        layouts->of_value[node->outputs[0]] = NULL;
        changed = true;
      }
    }
  }
}

// Finds the compact Values whose fill row is the same in every image and every run: that of a masked convolution, and
// what is computed from such rows and from constants.
static void find_fixed_fills(const struct layouts* layouts)
{
  const xnn_subgraph_t subgraph = layouts->subgraph;
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    const struct xnn_node* node = &subgraph->nodes[n];
    if (node->num_outputs != 1 || layouts->of_value[node->outputs[0]] == NULL) {
      continue;
    }
    bool is_fixed = true;
    for (uint32_t i = 0; i < node->num_inputs && node->pixels.mask == NULL; i++) {
      const struct xnn_value* input = &subgraph->values[node->inputs[i]];
      if (layouts->of_value[node->inputs[i]] != NULL) {
        is_fixed = is_fixed && layouts->has_fixed_fill[node->inputs[i]];
      }
      else {
        // The filter and the bias of a convolution have no images.
        is_fixed = is_fixed && xnn_value_is_static(input) && (is_convolution(node) || is_same_for_all_images(input));
      }
    }
    layouts->has_fixed_fill[node->outputs[0]] = is_fixed;
  }
}

// Tells the convolutions what was chosen, and gives compact values their shape.
static void apply_layouts(const struct layouts* layouts)
{
  xnn_subgraph_t subgraph = layouts->subgraph;
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    struct xnn_node* node = &subgraph->nodes[n];
    if (node->type == xnn_node_type_invalid || node->num_outputs != 1) {
      continue;
    }
    struct xnn_pixel_mask* output = layouts->of_value[node->outputs[0]];
    if (node->pixels.mask == NULL && output != NULL) {
      node->pixels.rows = xnn_retain_pixel_mask(output);
      continue;
    }
    if (!is_convolution(node)) {
      continue;
    }
    struct xnn_pixel_mask* input = layouts->of_value[node->inputs[0]];
    node->pixels.compact_output = node->pixels.mask != NULL && output != NULL;
    if (node->pixels.mask != NULL && output == NULL) {
      node->pixels.why_dense = can_be_compact(&subgraph->values[node->outputs[0]])
                                 ? "an operator behind it needs all pixels"
                                 : "other kernels read its output";
    }
    if (input == NULL) {
      continue;
    }
    if (is_gemm(node) && node->pixels.compact_output && input == output) {
      node->flags &= ~XNN_FLAG_MASKED_CONVOLUTION;
      continue;
    }
    node->pixels.input = xnn_retain_pixel_mask(input);
    node->pixels.has_fixed_input_fill = layouts->has_fixed_fill[node->inputs[0]];
    node->flags |= XNN_FLAG_MASKED_CONVOLUTION | XNN_FLAG_COMPACT_INPUT;
  }
  for (uint32_t i = 0; i < subgraph->num_values; i++) {
    struct xnn_value* value = &subgraph->values[i];
    if (layouts->of_value[i] != NULL) {
      value->shape.dim[1] = 1;
      value->shape.dim[2] = layouts->of_value[i]->num_kept + 1;
      value->size = xnn_tensor_get_size(value);
    }
  }
}

// Inserts a node before node position that expands the value, and lets the nodes that need the dense form read that.
static enum xnn_status expand_value(struct layouts* layouts, uint32_t value_id, uint32_t position)
{
  xnn_subgraph_t subgraph = layouts->subgraph;
  struct xnn_pixel_mask* layout = layouts->of_value[value_id];
  struct xnn_value* dense_value = xnn_subgraph_new_internal_value(subgraph);
  if (dense_value == NULL || xnn_subgraph_add_nodes(subgraph, 1) != xnn_status_success) {
    return xnn_status_out_of_memory;
  }
  // Both calls may have moved the arrays.
  const uint32_t dense_id = subgraph->num_values - 1;
  dense_value = &subgraph->values[dense_id];
  xnn_value_copy(dense_value, &subgraph->values[value_id]);
  dense_value->id = dense_id;
  dense_value->shape.dim[1] = layout->height;
  dense_value->shape.dim[2] = layout->width;
  dense_value->size = xnn_tensor_get_size(dense_value);

  for (uint32_t n = position; n < subgraph->num_nodes; n++) {
    struct xnn_node* node = &subgraph->nodes[n];
    for (uint32_t i = 0; i < node->num_inputs; i++) {
      if (node->type != xnn_node_type_invalid && node->inputs[i] == value_id && !reads_compact(layouts, node, i)) {
        node->inputs[i] = dense_id;
      }
    }
  }
  memmove(
    &subgraph->nodes[position + 1], &subgraph->nodes[position],
    (subgraph->num_nodes - 1 - position) * sizeof(struct xnn_node));
  memset(&subgraph->nodes[position], 0, sizeof(struct xnn_node));
  for (uint32_t n = position; n < subgraph->num_nodes; n++) {
    subgraph->nodes[n].id = n;
  }
  xnn_init_expand_pixels_node(&subgraph->nodes[position], layout, value_id, dense_id);
  return xnn_status_success;
}

static enum xnn_status expand_values(struct layouts* layouts)
{
  xnn_subgraph_t subgraph = layouts->subgraph;
  // Values that are made on the way are dense, and beyond the end of the array.
  const uint32_t num_values = subgraph->num_values;
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    for (uint32_t i = 0; i < subgraph->nodes[n].num_inputs; i++) {
      const struct xnn_node* node = &subgraph->nodes[n];
      const uint32_t value_id = node->inputs[i];
      if (
        node->type == xnn_node_type_invalid || node->type == xnn_node_type_expand_pixels || value_id >= num_values ||
        layouts->of_value[value_id] == NULL || reads_compact(layouts, node, i)) {
        continue;
      }
      const enum xnn_status status = expand_value(layouts, value_id, n);
      if (status != xnn_status_success) {
        return status;
      }
      n++;
    }
  }
  return xnn_status_success;
}

// Size in bytes of the memory arena that the Values of a Subgraph would be given now, without what operators need
// beside.
static enum xnn_status plan_arena(xnn_subgraph_t subgraph, size_t* arena_size_out)
{
  xnn_subgraph_analyze_consumers_and_producers(subgraph);
  struct xnn_runtime runtime = {
    .values = subgraph->values,
    .num_values = subgraph->num_values,
    .num_ops = subgraph->num_nodes,
    .opdata = xnn_allocate_zero_memory(sizeof(struct xnn_operator_data) * subgraph->num_nodes),
  };
  if (runtime.opdata == NULL) {
    xnn_log_error(
      "failed to allocate %zu bytes for opdata descriptors",
      sizeof(struct xnn_operator_data) * (size_t) subgraph->num_nodes);
    return xnn_status_out_of_memory;
  }
  for (size_t i = 0; i < subgraph->num_nodes; i++) {
    const struct xnn_node* node = &subgraph->nodes[i];
    runtime.opdata[i].type = node->type;
    runtime.opdata[i].id = node->id;
    runtime.opdata[i].num_inputs = node->num_inputs;
    runtime.opdata[i].num_outputs = node->num_outputs;
    memcpy(runtime.opdata[i].inputs, node->inputs, sizeof(node->inputs));
    memcpy(runtime.opdata[i].outputs, node->outputs, sizeof(node->outputs));
  }
  struct xnn_value_allocation_tracker tracker;
  xnn_init_value_allocation_tracker(&tracker, &runtime);
  for (uint32_t i = 0; i < runtime.num_values; i++) {
    const struct xnn_value* value = &runtime.values[i];
    if (xnn_value_is_valid(value) && value->allocation_type == xnn_allocation_type_workspace) {
      xnn_add_value_allocation_tracker(&tracker, i, xnn_tensor_get_rounded_size(value));
    }
  }
  optimize_tensor_allocation_for_in_place_operations(&tracker, &runtime);
  xnn_plan_value_allocation_tracker(&tracker);
  *arena_size_out = tracker.mem_arena_size;
  xnn_release_value_allocation_tracker(&tracker);
  xnn_release_memory(runtime.opdata);
  return xnn_status_success;
}

// Lays the subgraph out; leaves it as it was if its arena would be larger than dense_size.
static enum xnn_status try_layouts(xnn_subgraph_t subgraph, bool may_expand, size_t dense_size, bool* fits)
{
  const uint32_t num_nodes = subgraph->num_nodes;
  const uint32_t num_values = subgraph->num_values;
  const size_t nodes_size = num_nodes * sizeof(struct xnn_node);
  const size_t values_size = num_values * sizeof(struct xnn_value);
  struct xnn_node* nodes = xnn_allocate_memory(nodes_size);
  struct xnn_value* values = xnn_allocate_memory(values_size);
  // An expanding node adds a value; there is at most one for each that is there.
  struct layouts layouts = {
    .subgraph = subgraph,
    .of_value = xnn_allocate_zero_memory((size_t) 2 * num_values * sizeof(struct xnn_pixel_mask*)),
    .has_fixed_fill = xnn_allocate_zero_memory(num_values * sizeof(bool)),
  };
  enum xnn_status status = xnn_status_out_of_memory;
  if (nodes == NULL || values == NULL || layouts.of_value == NULL || layouts.has_fixed_fill == NULL) {
    xnn_log_error("failed to allocate memory for the layouts of %" PRIu32 " values", num_values);
    goto done;
  }
  memcpy(nodes, subgraph->nodes, nodes_size);
  memcpy(values, subgraph->values, values_size);

  choose_layouts(&layouts, may_expand);
  find_fixed_fills(&layouts);
  apply_layouts(&layouts);
  status = expand_values(&layouts);
  if (status != xnn_status_success) {
    goto done;
  }
  size_t size;
  status = plan_arena(subgraph, &size);
  *fits = size <= dense_size;
  if (status == xnn_status_success && !*fits) {
    xnn_log_debug("compact layouts would take an arena of %zu bytes, dense ones %zu", size, dense_size);
    for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
      xnn_release_pixel_mask(subgraph->nodes[n].pixels.input);
      xnn_release_pixel_mask(subgraph->nodes[n].pixels.rows);
    }
    memset(subgraph->nodes, 0, subgraph->num_nodes * sizeof(struct xnn_node));
    memset(subgraph->values, 0, subgraph->num_values * sizeof(struct xnn_value));
    memcpy(subgraph->nodes, nodes, nodes_size);
    memcpy(subgraph->values, values, values_size);
    subgraph->num_nodes = num_nodes;
    subgraph->num_values = num_values;
  }

done:
  xnn_release_memory(nodes);
  xnn_release_memory(values);
  xnn_release_memory(layouts.of_value);
  xnn_release_memory(layouts.has_fixed_fill);
  return status;
}

// Tells masked convolutions why all of their outputs are dense.
static void leave_dense(xnn_subgraph_t subgraph, const char* reason)
{
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    if (subgraph->nodes[n].pixels.mask != NULL) {
      subgraph->nodes[n].pixels.why_dense = reason;
    }
  }
}

enum xnn_status xnn_subgraph_compact_layouts(xnn_subgraph_t subgraph, uint32_t flags)
{
  bool any_mask = false;
  for (uint32_t n = 0; n < subgraph->num_nodes; n++) {
    any_mask |= subgraph->nodes[n].pixels.mask != NULL;
  }
  if (!any_mask) {
    return xnn_status_success;
  }
  if ((flags & XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER) != 0) {
    leave_dense(subgraph, "indirection buffers are transient");
    return xnn_status_success;
  }

  size_t dense_size;
  enum xnn_status status = plan_arena(subgraph, &dense_size);
  if (status != xnn_status_success) {
    return status;
  }
  for (int may_expand = 1; may_expand >= 0; may_expand--) {
    bool fits = false;
    status = try_layouts(subgraph, may_expand != 0, dense_size, &fits);
    if (status != xnn_status_success) {
      xnn_log_error("failed to lay out masked subgraph");
      return status;
    }
    if (fits) {
      return status;
    }
  }
  leave_dense(subgraph, "compact tensors would need more memory");
  return xnn_status_success;
}
