/* Copyright 2026 The Tileskip Authors. All Rights Reserved.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
==============================================================================*/
#include "tensorflow/lite/delegates/xnnpack/padded_max_pooling.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "tensorflow/lite/builtin_ops.h"
#include "tensorflow/lite/core/c/builtin_op_data.h"
#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/delegates/xnnpack/graph_pattern.h"

namespace tflite {
namespace xnnpack {
namespace {

// Before and after each of the dimensions N, H, W, C.
using Paddings = std::array<int64_t, 8>;

// Reads a constant [4, 2] tensor.
bool ReadPaddings(const TfLiteTensor& tensor, Paddings* paddings) {
  if (!IsConstant(tensor) || tensor.dims->size != 2 ||
      tensor.dims->data[0] != 4 || tensor.dims->data[1] != 2) {
    return false;
  }
  switch (tensor.type) {
    case kTfLiteInt32:
      std::copy_n(tensor.data.i32, paddings->size(), paddings->begin());
      return true;
    case kTfLiteInt64:
      std::copy_n(tensor.data.i64, paddings->size(), paddings->begin());
      return true;
    default:
      return false;
  }
}

// True for one constant element that is not above any other of its type; of
// the infinite ones only -inf is below the lowest finite number.
bool IsLowest(const TfLiteTensor& tensor) {
  if (!IsConstant(tensor)) return false;
  for (int i = 0; i < tensor.dims->size; ++i) {
    if (tensor.dims->data[i] != 1) return false;
  }
  switch (tensor.type) {
    case kTfLiteFloat32:
      return *tensor.data.f <= std::numeric_limits<float>::lowest();
    case kTfLiteInt8:
      return *tensor.data.int8 == std::numeric_limits<int8_t>::lowest();
    case kTfLiteUInt8:
      return *tensor.data.uint8 == std::numeric_limits<uint8_t>::lowest();
    default:
      return false;
  }
}

// Whether every window has a pixel of the image in it. XNNPACK needs that: it
// reads the nearest pixel of the image in place of a padded one.
bool FitsWindow(int64_t before, int64_t size, int64_t after, int64_t window) {
  return size > 0 && before >= 0 && before < window && after >= 0 &&
         after < window && before + size + after >= window;
}

// Fills in all but the nodes. False if the pair is not one pooling.
bool MatchPair(const TfLiteContext& context, const TfLiteNode& pad,
               const TfLiteNode& pool, PaddedMaxPooling* match) {
  if (pad.inputs->size != 3 || pad.outputs->size != 1 ||
      pool.inputs->size != 1 || pool.outputs->size != 1) {
    return false;
  }
  for (int k = 0; k < pad.inputs->size; ++k) {
    if (pad.inputs->data[k] < 0) return false;
  }
  match->pad_input = pad.inputs->data[0];
  match->pad_output = pad.outputs->data[0];
  match->pool_output = pool.outputs->data[0];

  const TfLiteTensor& input = context.tensors[match->pad_input];
  const TfLiteTensor& padded = context.tensors[match->pad_output];
  const TfLiteTensor& value = context.tensors[pad.inputs->data[2]];
  if (input.allocation_type == kTfLiteMmapRo ||
      input.allocation_type == kTfLiteDynamic || input.dims->size != 4 ||
      padded.allocation_type == kTfLiteDynamic || padded.dims->size != 4 ||
      !HasSameQuantization(input, padded) ||
      !HasSameQuantization(value, padded) || !IsLowest(value)) {
    return false;
  }

  const auto* params = static_cast<const TfLitePoolParams*>(pool.builtin_data);
  Paddings paddings;
  if (params == nullptr || params->padding != kTfLitePaddingValid ||
      (params->filter_height == 1 && params->filter_width == 1) ||
      !ReadPaddings(context.tensors[pad.inputs->data[1]], &paddings)) {
    return false;
  }
  if (paddings[0] != 0 || paddings[1] != 0 || paddings[6] != 0 ||
      paddings[7] != 0 ||
      !FitsWindow(paddings[2], input.dims->data[1], paddings[3],
                  params->filter_height) ||
      !FitsWindow(paddings[4], input.dims->data[2], paddings[5],
                  params->filter_width)) {
    return false;
  }
  match->padding_top = static_cast<uint32_t>(paddings[2]);
  match->padding_bottom = static_cast<uint32_t>(paddings[3]);
  match->padding_left = static_cast<uint32_t>(paddings[4]);
  match->padding_right = static_cast<uint32_t>(paddings[5]);
  return true;
}

}  // namespace

void PaddedMaxPoolings::Find(TfLiteContext* context,
                             const TfLiteIntArray& execution_plan) {
  Clear();
  TensorUses uses;
  if (!FindTensorUses(context, execution_plan, &uses)) return;
  for (int i = 0; i < execution_plan.size; ++i) {
    TfLiteNode* pool = nullptr;
    TfLiteRegistration* registration = nullptr;
    PaddedMaxPooling match;
    match.pool_node = execution_plan.data[i];
    if (context->GetNodeAndRegistration(context, match.pool_node, &pool,
                                        &registration) != kTfLiteOk) {
      Clear();
      return;
    }
    if (registration->builtin_code != kTfLiteBuiltinMaxPool2d ||
        pool->inputs->size != 1) {
      continue;
    }
    const TensorUse& use = uses[pool->inputs->data[0]];
    if (use.producer_code != kTfLiteBuiltinPadv2 || use.uses != 1) continue;
    match.pad_node = use.producer;
    TfLiteNode* pad = nullptr;
    if (context->GetNodeAndRegistration(context, match.pad_node, &pad,
                                        &registration) == kTfLiteOk &&
        MatchPair(*context, *pad, *pool, &match)) {
      pool_of_[match.pad_node] = match.pool_node;
      by_pool_.emplace(match.pool_node, match);
    }
  }
}

void PaddedMaxPoolings::Erase(int pad_node) {
  const auto it = pool_of_.find(pad_node);
  if (it == pool_of_.end()) return;
  by_pool_.erase(it->second);
  pool_of_.erase(it);
}

const PaddedMaxPooling* PaddedMaxPoolings::ByPad(int node_index) const {
  const auto it = pool_of_.find(node_index);
  return it == pool_of_.end() ? nullptr : ByPool(it->second);
}

const PaddedMaxPooling* PaddedMaxPoolings::ByPool(int node_index) const {
  const auto it = by_pool_.find(node_index);
  return it == by_pool_.end() ? nullptr : &it->second;
}

}  // namespace xnnpack
}  // namespace tflite
