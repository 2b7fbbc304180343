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
#ifndef TENSORFLOW_LITE_DELEGATES_XNNPACK_PADDED_MAX_POOLING_H_
#define TENSORFLOW_LITE_DELEGATES_XNNPACK_PADDED_MAX_POOLING_H_

#include <cstdint>
#include <unordered_map>

#include "tensorflow/lite/core/c/common.h"

namespace tflite {
namespace xnnpack {

// A PADV2 node that pads an image with the lowest value, and a MAX_POOL_2D node
// that is its only consumer. XNNPACK's pooling pads by itself: it leaves padded
// pixels out of the maximum, in which the lowest value does not count either.
struct PaddedMaxPooling {
  int pad_node;
  int pool_node;
  // Tensors.
  int pad_input;
  int pad_output;
  int pool_output;
  uint32_t padding_top = 0;
  uint32_t padding_right = 0;
  uint32_t padding_bottom = 0;
  uint32_t padding_left = 0;
};

// The padded max poolings of a graph.
class PaddedMaxPoolings {
 public:
  // Forgets all that was found and finds those of the execution plan.
  void Find(TfLiteContext* context, const TfLiteIntArray& execution_plan);

  void Clear() {
    by_pool_.clear();
    pool_of_.clear();
  }

  // Forgets the padded max pooling of a PADV2 node.
  void Erase(int pad_node);

  // The padded max pooling that a node belongs to, as the one or as the other,
  // or null.
  const PaddedMaxPooling* ByPad(int node_index) const;
  const PaddedMaxPooling* ByPool(int node_index) const;

 private:
  std::unordered_map<int, PaddedMaxPooling> by_pool_;
  // MAX_POOL_2D node of a PADV2 node.
  std::unordered_map<int, int> pool_of_;
};

}  // namespace xnnpack
}  // namespace tflite

#endif  // TENSORFLOW_LITE_DELEGATES_XNNPACK_PADDED_MAX_POOLING_H_
