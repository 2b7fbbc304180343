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
#ifndef TENSORFLOW_LITE_DELEGATES_XNNPACK_GRAPH_PATTERN_H_
#define TENSORFLOW_LITE_DELEGATES_XNNPACK_GRAPH_PATTERN_H_

#include <unordered_map>

#include "tensorflow/lite/core/c/common.h"

namespace tflite {
namespace xnnpack {

// What is needed to find nodes that XNNPACK computes as one operator.

// A tensor's place in the graph.
struct TensorUse {
  // The node that makes it and that node's builtin code.
  int producer = -1;
  int producer_code = -1;
  // The last node that reads it.
  int consumer = -1;
  // How often it is read, by nodes and as an output of the graph.
  int uses = 0;
};

using TensorUses = std::unordered_map<int, TensorUse>;

// Fills in the uses of all tensors. False if a node cannot be read.
bool FindTensorUses(TfLiteContext* context,
                    const TfLiteIntArray& execution_plan, TensorUses* uses);

// True if the values are in the model's file, and dense.
bool IsConstant(const TfLiteTensor& tensor);

// Whether equal elements of two tensors mean the same: equal types and, where
// these are quantized, one scale and zero point.
bool HasSameQuantization(const TfLiteTensor& a, const TfLiteTensor& b);

}  // namespace xnnpack
}  // namespace tflite

#endif  // TENSORFLOW_LITE_DELEGATES_XNNPACK_GRAPH_PATTERN_H_
