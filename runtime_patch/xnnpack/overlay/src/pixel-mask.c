// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/pixel-mask.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xnnpack.h"
#include "xnnpack/allocator.h"
#include "xnnpack/log.h"
#include "xnnpack/math.h"

enum xnn_status
xnn_create_pixel_mask(size_t height, size_t width, const uint8_t* pixels, struct xnn_pixel_mask** mask_out)
{
  // The arrays have two entries a pixel and one a row at most, and two more. No size below wraps around.
  const size_t max_entries = (SIZE_MAX - sizeof(struct xnn_pixel_mask)) / sizeof(uint32_t);
  const size_t max_pixels = min((max_entries - 2) / 3, UINT32_MAX - 1);
  if (height == 0 || width == 0 || height > max_pixels / width) {
    xnn_log_error("failed to create pixel mask of %zux%zu pixels", height, width);
    return xnn_status_invalid_parameter;
  }
  const size_t num_pixels = height * width;
  size_t num_kept = 0;
  for (size_t i = 0; i < num_pixels; i++) {
    if (pixels[i] > 1) {
      xnn_log_error("failed to create pixel mask: value %u at pixel %zu, must be 0 or 1", pixels[i], i);
      return xnn_status_invalid_parameter;
    }
    num_kept += pixels[i];
  }

  // The arrays follow the structure in its block of memory.
  const size_t size = sizeof(struct xnn_pixel_mask) + (num_kept + 1 + height + 1 + num_pixels) * sizeof(uint32_t);
  struct xnn_pixel_mask* mask = xnn_allocate_memory(size);
  if (mask == NULL) {
    xnn_log_error("failed to allocate %zu bytes for pixel mask", size);
    return xnn_status_out_of_memory;
  }
  mask->num_references = 1;
  mask->height = height;
  mask->width = width;
  mask->num_kept = num_kept;
  mask->kept = (uint32_t*) (mask + 1);
  mask->row_start = mask->kept + num_kept + 1;
  mask->rank = mask->row_start + height + 1;

  uint32_t row = 0;
  for (size_t y = 0; y < height; y++) {
    mask->row_start[y] = row;
    for (size_t x = 0; x < width; x++) {
      // Whether a pixel is kept is hard to predict: no branch depends on it. There is one more place than kept pixels.
      const size_t pixel = y * width + x;
      mask->kept[row] = (uint32_t) pixel;
      mask->rank[pixel] = pixels[pixel] != 0 ? row : (uint32_t) num_kept;
      row += pixels[pixel];
    }
  }
  mask->row_start[height] = row;
  mask->kept[num_kept] = (uint32_t) num_pixels;

  *mask_out = mask;
  return xnn_status_success;
}

bool xnn_pixel_mask_equals(const struct xnn_pixel_mask* mask, size_t height, size_t width, const uint8_t* pixels)
{
  if (mask->height != height || mask->width != width) {
    return false;
  }
  for (size_t y = 0; y < height; y++) {
    uint32_t differences = 0;
    for (size_t i = y * width; i < (y + 1) * width; i++) {
      differences |= (uint32_t) (mask->rank[i] != mask->num_kept) ^ pixels[i];
    }
    if (differences != 0) {
      return false;
    }
  }
  return true;
}

struct xnn_pixel_mask* xnn_retain_pixel_mask(struct xnn_pixel_mask* mask)
{
  if (mask != NULL) {
    mask->num_references++;
  }
  return mask;
}

void xnn_release_pixel_mask(struct xnn_pixel_mask* mask)
{
  if (mask != NULL) {
    assert(mask->num_references != 0);
    if (--mask->num_references == 0) {
      xnn_release_memory(mask);
    }
  }
}

void xnn_release_convolution_pixels(struct xnn_convolution_pixels* pixels)
{
  xnn_release_pixel_mask(pixels->mask);
  xnn_release_pixel_mask(pixels->input);
  xnn_release_pixel_mask(pixels->rows);
  xnn_release_memory(pixels->fill);
  memset(pixels, 0, sizeof(*pixels));
}
