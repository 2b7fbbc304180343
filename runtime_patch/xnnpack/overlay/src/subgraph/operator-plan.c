// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack-masked.h"
#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/live-taps.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/math.h"
#include "xnnpack/microkernel-type.h"
#include "xnnpack/node-type.h"
#include "xnnpack/operator-type.h"
#include "xnnpack/operator-utils.h"
#include "xnnpack/operator.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"
#include "xnnpack/tap-geometry.h"

static bool is_layer(enum xnn_node_type type)
{
  switch (type) {
    case xnn_node_type_batch_matrix_multiply:
    case xnn_node_type_convolution_2d:
    case xnn_node_type_deconvolution_2d:
    case xnn_node_type_depthwise_convolution_2d:
    case xnn_node_type_fully_connected:
      return true;
    default:
      return false;
  }
}

static bool is_convolution(enum xnn_operator_type type)
{
  switch (type) {
    case xnn_operator_type_convolution_nhwc_f16:
    case xnn_operator_type_convolution_nhwc_f32:
    case xnn_operator_type_convolution_nhwc_qc8:
    case xnn_operator_type_convolution_nhwc_qs8:
    case xnn_operator_type_convolution_nhwc_qu8:
      return true;
    default:
      return false;
  }
}

// What reshaping has chosen for a matrix whose rows follow each other.
static void plan_gemm(const struct xnn_operator* op, size_t num_rows, struct xnn_operator_plan* plan)
{
  const struct gemm_context* context = &op->context.gemm.gemm.gemm;
  // Upstream's convolutions leave the number of rows with the computation alone; that has it second if blocks of
  // channels come first, which is done by us.
  plan->mr = context->mr != 0 ? (uint32_t) context->mr : (uint32_t) op->compute[0].tile[0];
  plan->nr = op->ukernel.gemm.nr;
  plan->ukernel = (void (*)(void)) context->ukernel.function[XNN_UARCH_DEFAULT];
  plan->rows = context->masked.tail_ukernels != NULL ? num_rows : round_up(num_rows, plan->mr);
  plan->dense_rows = plan->rows;
}

// The rows that upstream would compute for all pixels.
static size_t dense_gemm_rows(const struct xnn_operator* op, size_t num_pixels)
{
  uint32_t mr = op->ukernel.gemm.mr;
#if XNN_ENABLE_GEMM_M_SPECIALIZATION
  mr = xnn_get_heuristic_mr_gemm(
    num_pixels, mr, op->ukernel.gemm.nr, (struct xnn_hmp_gemm_ukernel*) op->ukernel.gemm.gemm_cases);
#endif
  return round_up(num_pixels, mr);
}

static void plan_igemm(const struct xnn_operator* op, struct xnn_operator_plan* plan)
{
  const struct xnn_live_taps* live = op->masked.live_taps;
  plan->dense_rows = op->batch_size * round_up(plan->pixels, xnn_choose_igemm_mr(op, plan->pixels));
  if (live != NULL) {
    plan->path = "live-taps";
    plan->mr = live->config->max_rows;
    plan->nr = live->config->nr;
    plan->ukernel = (void (*)(void)) live->config->ukernels[plan->mr - 1];
    plan->rows = op->batch_size * plan->kept;
    plan->live_taps = live->num_pointers;
    return;
  }
  const struct igemm_context* context = &op->context.igemm.igemm;
  plan->path = op->masked.pixels.mask != NULL ? "masked-igemm" : xnn_has_pixels(op) ? "gathered-igemm" : "igemm";
  plan->mr = (uint32_t) (context->ks_scaled / (context->ks * sizeof(void*)));
  plan->nr = op->ukernel.igemm.nr;
  plan->ukernel = (void (*)(void)) context->ukernel.function[XNN_UARCH_DEFAULT];
  plan->rows = op->batch_size * round_up(plan->kept, plan->mr);
  plan->why_all_taps = xnn_has_pixels(op) ? op->masked.why_all_taps : NULL;
}

static void plan_convolution(const struct xnn_operator* op, struct xnn_operator_plan* plan)
{
  const struct xnn_convolution_pixels* pixels = &op->masked.pixels;
  const struct xnn_pixel_mask* mask = pixels->mask;
  // A fill row is an image's only one if it goes through the operator like a pixel.
  const struct xnn_pixel_mask* layout = mask != NULL ? mask : pixels->rows;
  plan->pixels = layout != NULL ? layout->height * layout->width : op->output_height * op->output_width;
  plan->kept = mask != NULL ? mask->num_kept : pixels->rows != NULL ? layout->num_kept + 1 : plan->pixels;
  plan->why_all_pixels = pixels->is_full ? "its mask keeps all pixels" : NULL;
  plan->why_dense = pixels->why_dense;

  const bool is_igemm = op->ukernel.type == xnn_microkernel_type_igemm;
  const size_t num_taps = (size_t) op->kernel_height * op->kernel_width;
  const size_t taps_per_pixel = is_igemm ? xnn_get_tap_geometry(op).kernel_size : num_taps;
  plan->taps = plan->kept * taps_per_pixel;
  plan->live_taps = plan->taps;
  plan->mr = 1;
  plan->nr = 1;
  plan->dense_rows = op->batch_size * plan->pixels;
  switch (op->ukernel.type) {
    case xnn_microkernel_type_gemm:
      plan->path = mask != NULL ? "masked-gemm" : "gemm";
      // Fill rows between two images are computed, and overwritten.
      plan_gemm(op, mask != NULL ? op->batch_size * (plan->kept + 1) - 1 : op->batch_size * plan->kept, plan);
      if (layout != NULL) {
        plan->dense_rows = dense_gemm_rows(op, op->batch_size * plan->pixels);
      }
      break;
    case xnn_microkernel_type_igemm:
      plan_igemm(op, plan);
      break;
    case xnn_microkernel_type_dwconv:
      plan->path = mask != NULL ? "masked-dwconv" : xnn_has_pixels(op) ? "gathered-dwconv" : "dwconv";
      plan->ukernel = (void (*)(void)) op->ukernel.dwconv.unipass_fn;
      plan->rows = op->batch_size * plan->kept;
      plan->why_all_taps = xnn_has_pixels(op) ? "the convolution is depthwise" : NULL;
      break;
    case xnn_microkernel_type_vmulcaddc:
      plan->path = "vmulcaddc";
      plan->mr = op->ukernel.vmulcaddc.mr;
      plan->ukernel = (void (*)(void)) op->ukernel.vmulcaddc.function;
      plan->rows = op->batch_size * plan->kept;
      break;
    default:
      break;
  }
  if (mask != NULL && mask->num_kept == 0) {
    plan->path = "fill";
    plan->rows = 0;
    plan->why_all_taps = NULL;
  }

  const uint64_t channels = (uint64_t) op->groups * op->group_input_channels * op->group_output_channels;
  plan->macs = (uint64_t) op->batch_size * plan->pixels * num_taps * channels;
  // A merged tap is a row of the kernel. Where rows have taps of their own, none is computed for nobody.
  plan->macs_computed = op->masked.live_taps != NULL
                          ? (uint64_t) op->batch_size * plan->live_taps * (num_taps / taps_per_pixel) * channels
                          : (uint64_t) plan->rows * num_taps * channels;
}

static void
plan_operator(const struct xnn_operator_data* opdata, const struct xnn_operator* op, struct xnn_operator_plan* plan)
{
  const struct xnn_convolution_pixels* pixels = &op->masked.pixels;
  plan->type = xnn_operator_type_to_string(op->type);
  plan->ukernel_type =
    op->ukernel.type != xnn_microkernel_type_default ? xnn_microkernel_type_to_string(op->ukernel.type) : NULL;
  plan->is_layer = is_layer(opdata->type);
  plan->path = "operator";
  plan->compact_output = pixels->compact_output || pixels->rows != NULL;
  // GEMM knows its mask alone: it is created for compact tensors on both sides.
  plan->compact_input = pixels->input != NULL || pixels->rows != NULL ||
                        (pixels->mask != NULL && op->ukernel.type == xnn_microkernel_type_gemm);
  if (is_convolution(op->type)) {
    plan_convolution(op, plan);
  }
  else if (opdata->type == xnn_node_type_expand_pixels) {
    plan->path = "expand";
  }
  else if (opdata->type == xnn_node_type_fully_connected && op->ukernel.type == xnn_microkernel_type_gemm) {
    const uint64_t channels = (uint64_t) op->group_input_channels * op->group_output_channels;
    plan->path = "gemm";
    plan_gemm(op, op->compute[0].range[0], plan);
    plan->macs = op->compute[0].range[0] * channels;
    plan->macs_computed = plan->rows * channels;
  }
}

size_t xnn_get_runtime_plan(xnn_runtime_t runtime, size_t capacity, struct xnn_operator_plan* plans)
{
  size_t count = 0;
  for (size_t i = 0; i < runtime->num_ops; i++) {
    const struct xnn_operator* op = runtime->opdata[i].operator_objects[0];
    if (op == NULL) {
      continue;
    }
    if (count < capacity) {
      plans[count] = (struct xnn_operator_plan){0};
      plan_operator(&runtime->opdata[i], op, &plans[count]);
    }
    count++;
  }
  return count;
}
