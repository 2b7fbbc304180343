// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/config-types.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

// Two-sided skipping. A tap of a masked convolution is dead where it reads padding, or a skipped pixel of its compact
// input: the fill row, whose products are the same for every image. Rows of the matrix are sorted by their dead taps
// and cut into tiles; taps that are dead in all rows of a tile, each in the same way, are not computed. What the fill
// row contributes through them goes into a bias, one for each class of tiles.

// Taps of a kernel are bits of an uint32_t.
#define XNN_MAX_LIVE_TAPS 32

// Tile of rows whose live taps are the same.
struct xnn_live_tile {
  // The first of its rows.
  uint32_t row;
  uint32_t num_rows;
  // The first of its pointers in the indirection buffer: num_rows for each live tap.
  uint32_t pointer;
  uint32_t class_index;
};

struct xnn_live_class {
  // Dead taps that read the fill row, a bit each.
  uint32_t fill_taps;
  // Those that read padding.
  uint32_t padding_taps;
  // The first of its live taps in tap_offsets, and their number.
  uint32_t tap;
  uint32_t num_taps;
};

struct xnn_live_taps {
  const struct xnn_live_igemm_config* config;
  size_t num_tiles;
  size_t num_classes;
  // In the indirection buffer: one for each tap of each row that is computed.
  size_t num_pointers;
  struct xnn_live_tile* tiles;
  struct xnn_live_class* classes;
  // Byte offsets of live taps in a block of packed weights.
  size_t* tap_offsets;
  // Rows of the output in the order of tiles.
  uint32_t* rows;
  // For each class the biases of all output channels, in the type that the micro-kernel sums in, of 4 bytes; and for
  // each block of NR output channels whether they have been computed.
  void* bias;
  uint8_t* has_bias;
  // Of the compact input, as the indirection buffer has it; NULL if there is none.
  const void* fill_row;
};

// Replaces the plan of a convolution operator that takes the gather path, or leaves it without one where that would
// save too little. mr is the tile of the micro-kernel that is used otherwise. The indirection buffer is then one for
// the plan.
XNN_INTERNAL enum xnn_status
xnn_reshape_live_taps(xnn_operator_t convolution_op, uint32_t mr, uint32_t log2_input_element_size);

// Makes the plan's tiles computations of the operator, from compute_index on; its igemm context has been filled in.
// Returns the index of the next computation.
XNN_INTERNAL size_t xnn_compute_live_taps(xnn_operator_t convolution_op, size_t compute_index, size_t num_threads);

XNN_INTERNAL void xnn_release_live_taps(struct xnn_live_taps* live);

#ifdef __cplusplus
}  // extern "C"
#endif
