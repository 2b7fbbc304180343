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
#ifndef TENSORFLOW_LITE_DELEGATES_XNNPACK_MASKED_CONVOLUTION_H_
#define TENSORFLOW_LITE_DELEGATES_XNNPACK_MASKED_CONVOLUTION_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tensorflow/lite/core/c/common.h"

namespace tflite {
namespace xnnpack {

// A convolution whose output is overwritten by constants at fixed pixels, by
// a SELECT_V2 node that is the only consumer of the convolution:
//   SELECT_V2(mask, convolution, fill) or SELECT_V2(!mask, fill, convolution)
// or by a MUL node with a constant mask of zeros and ones (the fill is 0).
struct MaskedConvolution {
  int convolution_node;
  int select_node;
  // Output tensors of the two nodes, of equal shape [N, height, width, C].
  int convolution_output;
  int select_output;
  size_t height;
  size_t width;
  // height * width values, 1 for a pixel that is the convolution's.
  std::vector<uint8_t> mask;
  // C values in the type of the output.
  std::vector<uint8_t> fill;
};

// A node that masks a convolution, or looks as if it did, and is left as it is.
struct UnmaskedConvolution {
  // -1 where what is masked is no convolution's output.
  int convolution_node;
  int select_node;
  // A constant.
  const char* reason;
};

// The masked convolutions of a graph.
class MaskedConvolutions {
 public:
  // Forgets all that was found and finds those of the execution plan.
  void Find(TfLiteContext* context, const TfLiteIntArray& execution_plan);

  void Clear() {
    by_select_.clear();
    select_of_.clear();
    unmasked_.clear();
  }

  // Forgets the masked convolution of a SELECT_V2 node, for XNNPACK does not
  // compute the convolution.
  void Erase(int select_node);

  // The masked convolution that a SELECT_V2 (or MUL) node belongs to, or null.
  const MaskedConvolution* BySelect(int node_index) const;

  // The masked convolution of a [DEPTHWISE_]CONV_2D node, or null.
  const MaskedConvolution* ByConvolution(int node_index) const;

  bool empty() const { return by_select_.empty(); }

  // What was left as it is, in the order of the graph.
  const std::vector<UnmaskedConvolution>& unmasked() const { return unmasked_; }

 private:
  std::unordered_map<int, MaskedConvolution> by_select_;
  // Select node of a convolution node.
  std::unordered_map<int, int> select_of_;
  std::vector<UnmaskedConvolution> unmasked_;
};

}  // namespace xnnpack
}  // namespace tflite

// The masked convolutions of the graph that a delegate of XNNPACK's was last
// applied to; they live as long as it, or until it is applied again.
const tflite::xnnpack::MaskedConvolutions& TfLiteXNNPackDelegateMasks(
    const TfLiteDelegate* delegate);

#endif  // TENSORFLOW_LITE_DELEGATES_XNNPACK_MASKED_CONVOLUTION_H_
