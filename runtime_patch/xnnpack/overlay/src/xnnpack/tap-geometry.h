// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack/common.h"
#include "xnnpack/masked-convolution.h"
#include "xnnpack/merged-taps.h"
#include "xnnpack/operator.h"

// Where the taps of a convolution read: in the input as it is, or in the padded copy of it if the taps of each row of
// the kernel are merged.
struct xnn_tap_geometry {
  // Taps in a row of the kernel, and in all of it.
  size_t kernel_width;
  size_t kernel_size;
  size_t input_width;
  size_t padding_left;
};

static inline struct xnn_tap_geometry xnn_get_tap_geometry(const struct xnn_operator* op)
{
  const size_t kernel_width = op->masked.has_merged_taps ? 1 : op->kernel_width;
  const bool padded = xnn_needs_padded_copy(op);
  return (struct xnn_tap_geometry){
    .kernel_width = kernel_width,
    .kernel_size = op->kernel_height * kernel_width,
    .input_width = padded ? xnn_merged_input_width(op) : op->input_width,
    .padding_left = padded ? 0 : op->padding_left,
  };
}

// A place in the input; wraps around below zero.
struct xnn_tap_place {
  size_t y;
  size_t x;
};

// Where the first tap of an output pixel is.
static inline struct xnn_tap_place xnn_get_first_tap(
  const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, size_t output_y, size_t output_x)
{
  return (struct xnn_tap_place){
    .y = output_y * op->stride_height - op->padding_top,
    .x = output_x * op->stride_width - geometry->padding_left,
  };
}

// Whether all taps, of which this is the first, read pixels of the input.
static inline bool
xnn_are_taps_inside(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, struct xnn_tap_place first)
{
  return first.y < op->input_height && first.x < geometry->input_width &&
         (size_t) (op->kernel_height - 1) * op->dilation_height < op->input_height - first.y &&
         (geometry->kernel_width - 1) * op->dilation_width < geometry->input_width - first.x;
}

// What the indirection buffer has for a pixel of the input.
static inline const void* xnn_get_pixel_input(const struct xnn_operator* op, size_t pixel, size_t input_pixel_stride)
{
  return (const void*) ((uintptr_t) op->input + xnn_masked_input_row(op, pixel) * input_pixel_stride);
}

// What it has for a tap, which may read padding.
static inline const void* xnn_get_tap_input(
  const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, size_t y, size_t x, size_t input_pixel_stride)
{
  if (y >= op->input_height || x >= geometry->input_width) {
    return op->zero_buffer;
  }
  return xnn_get_pixel_input(op, y * geometry->input_width + x, input_pixel_stride);
}
