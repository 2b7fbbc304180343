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
#include "tensorflow/lite/delegates/xnnpack/masked_convolution.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tensorflow/lite/builtin_ops.h"
#include "tensorflow/lite/core/c/builtin_op_data.h"
#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/delegates/xnnpack/graph_pattern.h"

namespace tflite {
namespace xnnpack {
namespace {

using Shape4D = std::array<int, 4>;  // N, H, W, C

// The shape as it takes part in broadcasting. False if it has more than four
// dimensions.
bool GetShape4D(const TfLiteTensor& tensor, Shape4D* shape) {
  if (tensor.dims == nullptr || tensor.dims->size > 4) return false;
  shape->fill(1);
  std::copy_n(tensor.dims->data, tensor.dims->size,
              shape->end() - tensor.dims->size);
  return true;
}

// Reads a constant [1, height or 1, width or 1, 1] tensor of zeros and ones.
bool ReadMask(const TfLiteTensor& tensor, size_t height, size_t width,
              std::vector<uint8_t>* mask) {
  Shape4D shape;
  if (!IsConstant(tensor) || !GetShape4D(tensor, &shape)) return false;
  if (shape[0] != 1 || shape[3] != 1) return false;
  const bool fits_rows = shape[1] == 1 || shape[1] == static_cast<int>(height);
  const bool fits_columns =
      shape[2] == 1 || shape[2] == static_cast<int>(width);
  if (!fits_rows || !fits_columns) return false;

  const size_t row_stride = shape[1] == 1 ? 0 : shape[2];
  const size_t column_stride = shape[2] == 1 ? 0 : 1;
  mask->resize(height * width);
  if (tensor.type == kTfLiteBool && tensor.bytes == height * width) {
    // A mask of every pixel, as all networks of ours have: one simple loop.
    std::transform(tensor.data.uint8, tensor.data.uint8 + mask->size(),
                   mask->begin(), [](uint8_t byte) { return byte != 0; });
    return true;
  }
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      const size_t i = y * row_stride + x * column_stride;
      if (tensor.type == kTfLiteBool) {
        // Of a file's bytes any that is not 0 is true; a bool must not be read.
        (*mask)[y * width + x] = tensor.data.uint8[i] != 0 ? 1 : 0;
      } else {
        const float value = tensor.data.f[i];
        if (value != 0.0f && value != 1.0f) return false;
        (*mask)[y * width + x] = value != 0.0f ? 1 : 0;
      }
    }
  }
  return true;
}

// Size of an element of the types that can be masked, 0 of any other.
size_t ElementSize(TfLiteType type) {
  switch (type) {
    case kTfLiteFloat32:
      return sizeof(float);
    case kTfLiteInt8:
    case kTfLiteUInt8:
      return sizeof(int8_t);
    default:
      return 0;
  }
}

// Reads a constant [1, 1, 1, channels or 1] tensor of the given type.
bool ReadFill(const TfLiteTensor& tensor, TfLiteType type, size_t channels,
              std::vector<uint8_t>* fill) {
  Shape4D shape;
  if (!IsConstant(tensor) || tensor.type != type ||
      !GetShape4D(tensor, &shape)) {
    return false;
  }
  if (shape[0] != 1 || shape[1] != 1 || shape[2] != 1) return false;
  const bool is_scalar = shape[3] == 1;
  if (!is_scalar && shape[3] != static_cast<int>(channels)) return false;
  const size_t size = ElementSize(type);
  const uint8_t* data = tensor.data.uint8;
  for (size_t c = 0; c < channels; ++c) {
    const uint8_t* element = data + (is_scalar ? 0 : c * size);
    fill->insert(fill->end(), element, element + size);
  }
  return true;
}

// The node that makes a tensor, -1 if that is no convolution.
int ConvolutionOf(const TensorUses& uses, int tensor) {
  const auto it = uses.find(tensor);
  if (it == uses.end()) return -1;
  const TensorUse& use = it->second;
  return use.producer_code == kTfLiteBuiltinConv2d ||
                 use.producer_code == kTfLiteBuiltinDepthwiseConv2d
             ? use.producer
             : -1;
}

// What MatchNode says of a node that masks nothing.
constexpr char kNoMask[] = "";

// Whether a convolution whose output this is may be masked: null, or why not.
const char* WhyNotMaskable(const TfLiteContext& context, const TensorUses& uses,
                           int tensor) {
  if (uses.at(tensor).uses != 1) {
    return "the convolution's output is read elsewhere, too";
  }
  if (ElementSize(context.tensors[tensor].type) == 0) {
    return "only float32, int8 and uint8 are skipped";
  }
  if (context.tensors[tensor].allocation_type == kTfLiteDynamic ||
      context.tensors[tensor].dims->size != 4) {
    return "the convolution's output has no fixed shape of four dimensions";
  }
  return nullptr;
}

// The operands of a node that masks.
struct Operands {
  int mask;
  // -1 for zeros.
  int fill;
  bool inverted;
};

// Reads which operand is the convolution and which are mask and fill; fills in
// the convolution and the outputs. Returns null, or why it is no match.
const char* MatchOperands(const TfLiteContext& context, const TensorUses& uses,
                          const TfLiteNode& node,
                          const TfLiteRegistration& registration,
                          Operands* operands, MaskedConvolution* match) {
  const int* inputs = node.inputs->data;
  if (node.outputs->size != 1) return kNoMask;
  match->select_output = node.outputs->data[0];
  match->convolution_node = -1;
  if (registration.builtin_code == kTfLiteBuiltinSelectV2 &&
      node.inputs->size == 3) {
    operands->inverted = ConvolutionOf(uses, inputs[1]) < 0;
    match->convolution_output = inputs[operands->inverted ? 2 : 1];
    operands->mask = inputs[0];
    operands->fill = inputs[operands->inverted ? 1 : 2];
    if (!IsConstant(context.tensors[operands->mask]) ||
        context.tensors[operands->mask].type != kTfLiteBool) {
      return kNoMask;
    }
  } else if (registration.builtin_code == kTfLiteBuiltinMul &&
             node.inputs->size == 2) {
    const bool swapped = ConvolutionOf(uses, inputs[0]) < 0;
    match->convolution_output = inputs[swapped ? 1 : 0];
    *operands = {inputs[swapped ? 0 : 1], -1, false};
    if (!IsConstant(context.tensors[operands->mask])) return kNoMask;
  } else {
    return kNoMask;
  }
  match->convolution_node = ConvolutionOf(uses, match->convolution_output);
  if (match->convolution_node < 0) {
    return operands->fill < 0 ? kNoMask
                              : "what is masked is no convolution's output";
  }
  return nullptr;
}

// Fills in all but select_node. Returns null if the node masks a convolution;
// otherwise why not, or kNoMask if nothing looks like it. The convolution node
// is then filled in, -1 if there is none.
const char* MatchNode(const TfLiteContext& context, const TensorUses& uses,
                      const TfLiteNode& node,
                      const TfLiteRegistration& registration,
                      MaskedConvolution* match) {
  Operands operands;
  if (const char* reason =
          MatchOperands(context, uses, node, registration, &operands, match)) {
    return reason;
  }
  if (operands.fill < 0) {
    const auto* params = static_cast<const TfLiteMulParams*>(node.builtin_data);
    if (params == nullptr || params->activation != kTfLiteActNone) {
      return "the mask's MUL fuses an activation";
    }
    if (context.tensors[operands.mask].type != kTfLiteFloat32) {
      return "a factor masks in float32 alone";
    }
  }
  if (const char* reason =
          WhyNotMaskable(context, uses, match->convolution_output)) {
    return reason;
  }
  const TfLiteTensor& output = context.tensors[match->convolution_output];
  const TfLiteTensor& select_output = context.tensors[match->select_output];
  if (!TfLiteIntArrayEqual(output.dims, select_output.dims)) {
    return "the masked output has another shape than the convolution's";
  }
  if (!HasSameQuantization(output, select_output)) {
    return "the convolution and the masked output differ in scale or zero "
           "point";
  }
  match->height = output.dims->data[1];
  match->width = output.dims->data[2];
  const size_t channels = output.dims->data[3];
  if (!ReadMask(context.tensors[operands.mask], match->height, match->width,
                &match->mask)) {
    return operands.fill < 0
               ? "the factor is no plane of zeros and ones"
               : "the mask is no plane of the convolution's output";
  }
  if (operands.fill < 0) {
    if (output.type != kTfLiteFloat32) return "a factor masks in float32 alone";
    // All zero bytes are the number 0.
    match->fill.assign(channels * sizeof(float), 0);
  } else if (!HasSameQuantization(output, context.tensors[operands.fill])) {
    return "the convolution and the fill differ in scale or zero point";
  } else if (!ReadFill(context.tensors[operands.fill], output.type, channels,
                       &match->fill)) {
    return "the fill is no constant of a value a channel";
  }
  if (operands.inverted) {
    for (uint8_t& kept : match->mask) kept = 1 - kept;
  }
  return nullptr;
}

}  // namespace

void MaskedConvolutions::Find(TfLiteContext* context,
                              const TfLiteIntArray& execution_plan) {
  Clear();
  TensorUses uses;
  if (!FindTensorUses(context, execution_plan, &uses)) return;
  for (int i = 0; i < execution_plan.size; ++i) {
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, execution_plan.data[i], &node,
                                        &registration) != kTfLiteOk) {
      Clear();
      return;
    }
    MaskedConvolution match;
    match.select_node = execution_plan.data[i];
    const char* reason =
        MatchNode(*context, uses, *node, *registration, &match);
    if (reason == nullptr) {
      select_of_[match.convolution_node] = match.select_node;
      by_select_.emplace(match.select_node, std::move(match));
    } else if (reason != kNoMask) {
      unmasked_.push_back({match.convolution_node, match.select_node, reason});
    }
  }
}

void MaskedConvolutions::Erase(int select_node) {
  const auto it = by_select_.find(select_node);
  if (it == by_select_.end()) return;
  const int convolution_node = it->second.convolution_node;
  unmasked_.push_back({convolution_node, select_node,
                       "XNNPACK does not compute the convolution"});
  select_of_.erase(convolution_node);
  by_select_.erase(it);
}

const MaskedConvolution* MaskedConvolutions::BySelect(int node_index) const {
  const auto it = by_select_.find(node_index);
  return it == by_select_.end() ? nullptr : &it->second;
}

const MaskedConvolution* MaskedConvolutions::ByConvolution(
    int node_index) const {
  const auto it = select_of_.find(node_index);
  return it == select_of_.end() ? nullptr : BySelect(it->second);
}

}  // namespace xnnpack
}  // namespace tflite
