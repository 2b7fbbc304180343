#include "quantization_check.h"

namespace tileskip {
namespace {

using tflite::BuiltinOperator;

// How many scales a tensor has; 0 of one that is not quantized.
int Scales(const TfLiteTensor& tensor) {
  if (tensor.quantization.type != kTfLiteAffineQuantization) return 0;
  const auto* affine =
      static_cast<const TfLiteAffineQuantization*>(tensor.quantization.params);
  return affine == nullptr || affine->scale == nullptr ? 0
                                                       : affine->scale->size;
}

bool IsInteger(const TfLiteTensor& tensor) {
  return tensor.type == kTfLiteInt4 || tensor.type == kTfLiteInt8 ||
         tensor.type == kTfLiteUInt8 || tensor.type == kTfLiteInt16;
}

// Whether a kernel reads all scales of its input number i (or refuses them).
bool ReadsManyScales(BuiltinOperator op, int i) {
  switch (op) {
    case tflite::BuiltinOperator_CONV_2D:
    case tflite::BuiltinOperator_DEPTHWISE_CONV_2D:
    case tflite::BuiltinOperator_FULLY_CONNECTED:
    case tflite::BuiltinOperator_TRANSPOSE_CONV:
    case tflite::BuiltinOperator_BATCH_MATMUL:
    case tflite::BuiltinOperator_EMBEDDING_LOOKUP:
      return i == 1;
    case tflite::BuiltinOperator_DEQUANTIZE:
      return i == 0;
    default:
      return false;
  }
}

// Whether a kernel reads its input number i where that holds only the values
// that are not 0 (or refuses it).
bool ReadsSparse(BuiltinOperator op, int i) {
  switch (op) {
    case tflite::BuiltinOperator_FULLY_CONNECTED:
      return i == 1;
    case tflite::BuiltinOperator_DENSIFY:
      return i == 0;
    default:
      return false;
  }
}

// Whether an operator only copies elements, whatever they stand for.
bool CopiesElements(BuiltinOperator op) {
  switch (op) {
    case tflite::BuiltinOperator_CALL_ONCE:
    case tflite::BuiltinOperator_DENSIFY:
    case tflite::BuiltinOperator_EXPAND_DIMS:
    case tflite::BuiltinOperator_IF:
    case tflite::BuiltinOperator_RANK:
    case tflite::BuiltinOperator_RESHAPE:
    case tflite::BuiltinOperator_SHAPE:
    case tflite::BuiltinOperator_SQUEEZE:
    case tflite::BuiltinOperator_TRANSPOSE:
    case tflite::BuiltinOperator_WHILE:
      return true;
    default:
      return false;
  }
}

// Whether an operator has kernels of float inputs and quantized weights.
bool TakesQuantizedWeights(BuiltinOperator op) {
  switch (op) {
    case tflite::BuiltinOperator_BATCH_MATMUL:
    case tflite::BuiltinOperator_BIDIRECTIONAL_SEQUENCE_LSTM:
    case tflite::BuiltinOperator_BIDIRECTIONAL_SEQUENCE_RNN:
    case tflite::BuiltinOperator_CONV_2D:
    case tflite::BuiltinOperator_DEPTHWISE_CONV_2D:
    case tflite::BuiltinOperator_EMBEDDING_LOOKUP:
    case tflite::BuiltinOperator_FULLY_CONNECTED:
    case tflite::BuiltinOperator_LSTM:
    case tflite::BuiltinOperator_RNN:
    case tflite::BuiltinOperator_SVDF:
    case tflite::BuiltinOperator_TRANSPOSE_CONV:
    case tflite::BuiltinOperator_UNIDIRECTIONAL_SEQUENCE_LSTM:
    case tflite::BuiltinOperator_UNIDIRECTIONAL_SEQUENCE_RNN:
      return true;
    default:
      return false;
  }
}

bool HasFloatOutput(const TfLiteContext& context, const TfLiteNode& node) {
  return node.outputs->size > 0 &&
         context.tensors[node.outputs->data[0]].type == kTfLiteFloat32;
}

}  // namespace

TfLiteStatus CheckQuantization(TfLiteContext* context, const TfLiteNode& node,
                               BuiltinOperator op) {
  const char* name = tflite::EnumNameBuiltinOperator(op);
  const bool weights_alone =
      TakesQuantizedWeights(op) && HasFloatOutput(*context, node);
  for (int i = 0; i < node.inputs->size; ++i) {
    const int index = node.inputs->data[i];
    if (index < 0) continue;
    const TfLiteTensor& tensor = context->tensors[index];
    if (tensor.sparsity != nullptr && !ReadsSparse(op, i)) {
      TF_LITE_KERNEL_LOG(context,
                         "%s: input %d is stored sparsely, which this operator "
                         "does not read",
                         name, i);
      return kTfLiteError;
    }
    if (!IsInteger(tensor)) continue;
    const int scales = Scales(tensor);
    if (scales > 1 && !ReadsManyScales(op, i) && !CopiesElements(op)) {
      TF_LITE_KERNEL_LOG(context,
                         "%s: input %d has %d scales, one a channel; this "
                         "operator's kernel reads a single one",
                         name, i, scales);
      return kTfLiteError;
    }
    if (weights_alone && scales == 0) {
      TF_LITE_KERNEL_LOG(context,
                         "%s: input %d is of type %s and has no scales that "
                         "can be read (is it quantized by block?)",
                         name, i, TfLiteTypeGetName(tensor.type));
      return kTfLiteError;
    }
  }
  return kTfLiteOk;
}

}  // namespace tileskip
