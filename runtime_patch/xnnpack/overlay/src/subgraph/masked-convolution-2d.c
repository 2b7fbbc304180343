// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xnnpack-masked.h"
#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/common.h"
#include "xnnpack/datatype.h"
#include "xnnpack/log.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/node-type.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/requantization.h"
#include "xnnpack/subgraph.h"

enum xnn_status xnn_mask_convolution_2d(
  xnn_subgraph_t subgraph,
  uint32_t output_id,
  size_t mask_height,
  size_t mask_width,
  const uint8_t* mask,
  size_t channels,
  const void* fill)
{
  struct xnn_node* node = NULL;
  for (uint32_t i = 0; i < subgraph->num_nodes; i++) {
    if (subgraph->nodes[i].num_outputs == 1 && subgraph->nodes[i].outputs[0] == output_id) {
      node = &subgraph->nodes[i];
    }
  }
  if (node == NULL) {
    xnn_log_error("failed to mask convolution: no node has output ID #%" PRIu32, output_id);
    return xnn_status_invalid_parameter;
  }

  size_t output_channels = 0;
  switch (node->type) {
    case xnn_node_type_convolution_2d:
      output_channels = node->params.convolution_2d.groups * node->params.convolution_2d.group_output_channels;
      break;
    case xnn_node_type_depthwise_convolution_2d:
      output_channels =
        node->params.depthwise_convolution_2d.input_channels * node->params.depthwise_convolution_2d.depth_multiplier;
      break;
    default:
      xnn_log_error(
        "failed to mask %s node #%" PRIu32 ": not a convolution", xnn_node_type_to_string(node->type), node->id);
      return xnn_status_invalid_parameter;
  }
  if (channels != output_channels) {
    xnn_log_error(
      "failed to mask %s node #%" PRIu32 " with %zu output channels: the fill has %zu",
      xnn_node_type_to_string(node->type), node->id, output_channels, channels);
    return xnn_status_invalid_parameter;
  }
  const enum xnn_datatype datatype = subgraph->values[output_id].datatype;
  if (
    subgraph->values[node->inputs[0]].datatype != datatype ||
    (datatype != xnn_datatype_fp32 && datatype != xnn_datatype_qint8 && datatype != xnn_datatype_quint8)) {
    xnn_log_error(
      "failed to mask %s node #%" PRIu32 ": input and output must both be FP32, QINT8 or QUINT8",
      xnn_node_type_to_string(node->type), node->id);
    return xnn_status_unsupported_parameter;
  }
  if (node->pixels.mask != NULL) {
    xnn_log_error(
      "failed to mask %s node #%" PRIu32 ": it has a mask already", xnn_node_type_to_string(node->type), node->id);
    return xnn_status_invalid_state;
  }

  // One object for all masks that are equal, so that layouts are equal if their addresses are. Most often it is that of
  // the nearest masked node before.
  struct xnn_pixel_mask* pixel_mask = NULL;
  for (uint32_t i = subgraph->num_nodes; i-- != 0 && pixel_mask == NULL;) {
    struct xnn_pixel_mask* other = subgraph->nodes[i].pixels.mask;
    if (other != NULL && xnn_pixel_mask_equals(other, mask_height, mask_width, mask)) {
      pixel_mask = xnn_retain_pixel_mask(other);
    }
  }
  if (pixel_mask == NULL) {
    const enum xnn_status status = xnn_create_pixel_mask(mask_height, mask_width, mask, &pixel_mask);
    if (status != xnn_status_success) {
      return status;
    }
  }
  if (pixel_mask->num_kept == mask_height * mask_width) {
    // Nothing is skipped: stay with the dense operator.
    xnn_release_pixel_mask(pixel_mask);
    node->pixels.is_full = true;
    return xnn_status_success;
  }
  const size_t fill_size = channels * xnn_datatype_size_bytes(datatype);
  void* fill_copy = xnn_allocate_memory(fill_size);
  if (fill_copy == NULL) {
    xnn_log_error("failed to allocate %zu bytes for the fill of a masked convolution", fill_size);
    xnn_release_pixel_mask(pixel_mask);
    return xnn_status_out_of_memory;
  }
  memcpy(fill_copy, fill, fill_size);
  node->pixels.mask = pixel_mask;
  node->pixels.fill = fill_copy;
  node->flags |= XNN_FLAG_MASKED_CONVOLUTION;
  return xnn_status_success;
}

void xnn_clamp_convolution_fill(
  struct xnn_node* node, const struct xnn_value* output_value, const struct xnn_node* clamp)
{
  if (node->pixels.mask == NULL) {
    return;
  }
  const float output_min = clamp->activation.output_min;
  const float output_max = clamp->activation.output_max;
  const size_t channels = output_value->shape.dim[output_value->shape.num_dims - 1];
  const float scale = output_value->quantization.scale;
  const int32_t zero_point = output_value->quantization.zero_point;
  for (size_t c = 0; c < channels; c++) {
    switch (output_value->datatype) {
      case xnn_datatype_fp32: {
        float* fill = (float*) node->pixels.fill + c;
        *fill = math_min_f32(math_max_f32(*fill, output_min), output_max);
        break;
      }
      case xnn_datatype_qint8: {
        int8_t* fill = (int8_t*) node->pixels.fill + c;
        const int8_t low = xnn_qs8_quantize(output_min, scale, zero_point);
        const int8_t high = xnn_qs8_quantize(output_max, scale, zero_point);
        *fill = (int8_t) math_max_s32(math_min_s32(*fill, high), low);
        break;
      }
      case xnn_datatype_quint8: {
        uint8_t* fill = (uint8_t*) node->pixels.fill + c;
        const uint8_t low = xnn_qu8_quantize(output_min, scale, zero_point);
        const uint8_t high = xnn_qu8_quantize(output_max, scale, zero_point);
        *fill = (uint8_t) math_max_u32(math_min_u32(*fill, high), low);
        break;
      }
      default:
        XNN_UNREACHABLE;
    }
  }
}

void xnn_release_pixels_of_nodes(xnn_subgraph_t subgraph)
{
  for (uint32_t i = 0; i < subgraph->num_nodes; i++) {
    xnn_release_convolution_pixels(&subgraph->nodes[i].pixels);
  }
}
