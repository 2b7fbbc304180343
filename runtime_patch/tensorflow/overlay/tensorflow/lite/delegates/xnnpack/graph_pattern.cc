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
#include "tensorflow/lite/delegates/xnnpack/graph_pattern.h"

#include "tensorflow/lite/core/c/common.h"

namespace tflite {
namespace xnnpack {

bool FindTensorUses(TfLiteContext* context,
                    const TfLiteIntArray& execution_plan, TensorUses* uses) {
  // What leaves a partition of all nodes is an output of the graph.
  TfLiteDelegateParams* partitions = nullptr;
  int num_partitions = 0;
  if (context->PreviewDelegatePartitioning(context, &execution_plan,
                                           &partitions,
                                           &num_partitions) != kTfLiteOk) {
    return false;
  }
  for (int i = 0; i < num_partitions; ++i) {
    const TfLiteIntArray& outputs = *partitions[i].output_tensors;
    for (int k = 0; k < outputs.size; ++k) ++(*uses)[outputs.data[k]].uses;
  }
  for (int i = 0; i < execution_plan.size; ++i) {
    const int node_index = execution_plan.data[i];
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, node_index, &node,
                                        &registration) != kTfLiteOk) {
      return false;
    }
    for (int k = 0; k < node->inputs->size; ++k) {
      if (node->inputs->data[k] < 0) continue;
      TensorUse& use = (*uses)[node->inputs->data[k]];
      use.consumer = node_index;
      ++use.uses;
    }
    for (int k = 0; k < node->outputs->size; ++k) {
      if (node->outputs->data[k] < 0) continue;
      TensorUse& use = (*uses)[node->outputs->data[k]];
      use.producer = node_index;
      use.producer_code = registration->builtin_code;
    }
  }
  return true;
}

bool IsConstant(const TfLiteTensor& tensor) {
  return tensor.allocation_type == kTfLiteMmapRo &&
         tensor.data.raw_const != nullptr && tensor.sparsity == nullptr;
}

bool HasSameQuantization(const TfLiteTensor& a, const TfLiteTensor& b) {
  if (a.type != b.type) return false;
  if (a.type == kTfLiteFloat32) return true;
  return a.quantization.type == kTfLiteAffineQuantization &&
         b.quantization.type == kTfLiteAffineQuantization &&
         a.params.scale == b.params.scale &&
         a.params.zero_point == b.params.zero_point;
}

}  // namespace xnnpack
}  // namespace tflite
