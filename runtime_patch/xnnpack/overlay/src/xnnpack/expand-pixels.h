// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stddef.h>

#include "xnnpack.h"
#include "xnnpack/common.h"
#include "xnnpack/pixel-mask.h"
#include "xnnpack/subgraph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Makes a Node that copies a compact Value into a dense one. The Node has a reference to the layout.
XNN_INTERNAL void xnn_init_expand_pixels_node(
  struct xnn_node* node, struct xnn_pixel_mask* layout, uint32_t input_id, uint32_t output_id);

#ifdef __cplusplus
}  // extern "C"
#endif
