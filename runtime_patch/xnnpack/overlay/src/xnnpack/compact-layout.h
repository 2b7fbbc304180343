// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "xnnpack.h"
#include "xnnpack/common.h"

#ifdef __cplusplus
extern "C" {
#endif

// Chooses the Values of an optimized Subgraph that are compact: [N, 1, kept + 1, C] in place of [N, H, W, C], the kept
// pixels of a mask and one fill row. Changes their shapes, tells convolutions how their tensors are laid out, and
// inserts a Node that expands a compact Value before the first Node that needs all of its pixels.
//
// What can work on a compact Value:
// - a convolution reads it through its indirection buffer, and writes one if it is masked;
// - an operator that treats all pixels alike (element-wise, 1x1 convolution, concatenation of channels) runs on its
//   rows as on those of any image, if all of its inputs have the same layout.
//
// The arena never gets larger: if it did, nothing is expanded; if it still did, every Value stays dense.
//
// @param flags - those of xnn_create_runtime_v4; with XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER every Value stays dense.
XNN_INTERNAL enum xnn_status xnn_subgraph_compact_layouts(xnn_subgraph_t subgraph, uint32_t flags);

// Of runtime.c, where memory is planned.
struct xnn_value_allocation_tracker;
XNN_INTERNAL void
optimize_tensor_allocation_for_in_place_operations(struct xnn_value_allocation_tracker* tracker, xnn_runtime_t runtime);

#ifdef __cplusplus
}  // extern "C"
#endif
