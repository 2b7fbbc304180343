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

// What the entries of an indirection buffer are made of. By value: a store of an entry could change what is behind op,
// for all that the compiler knows, so a loop would load it anew for each.
struct xnn_tap_inputs {
  uintptr_t input;
  const void* padding;
  // Rows of a compact input by pixel; NULL if it has all pixels.
  const uint32_t* rank;
  size_t input_height;
  size_t input_width;
  size_t pixel_stride;
};

static inline struct xnn_tap_inputs
xnn_get_tap_inputs(const struct xnn_operator* op, const struct xnn_tap_geometry* geometry, size_t input_pixel_stride)
{
  return (struct xnn_tap_inputs){
    .input = (uintptr_t) op->input,
    .padding = op->zero_buffer,
    .rank = op->masked.pixels.input != NULL ? op->masked.pixels.input->rank : NULL,
    .input_height = op->input_height,
    .input_width = geometry->input_width,
    .pixel_stride = input_pixel_stride,
  };
}

// The entry for a pixel of the input.
static inline const void* xnn_get_pixel_input(struct xnn_tap_inputs inputs, size_t pixel)
{
  return (const void*) (inputs.input + (inputs.rank != NULL ? inputs.rank[pixel] : pixel) * inputs.pixel_stride);
}

// The entry for a tap, which may read padding.
static inline const void* xnn_get_tap_input(struct xnn_tap_inputs inputs, size_t y, size_t x)
{
  if (y >= inputs.input_height || x >= inputs.input_width) {
    return inputs.padding;
  }
  return xnn_get_pixel_input(inputs, y * inputs.input_width + x);
}
