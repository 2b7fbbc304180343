#include "kernel_types.h"

#include <cstdint>

namespace tileskip {
namespace {

using tflite::BuiltinOperator;

constexpr uint32_t Bit(TfLiteType type) { return uint32_t{1} << type; }

constexpr uint32_t kBool = Bit(kTfLiteBool);
constexpr uint32_t kFloat16 = Bit(kTfLiteFloat16);
constexpr uint32_t kFloat32 = Bit(kTfLiteFloat32);
constexpr uint32_t kFloat64 = Bit(kTfLiteFloat64);
constexpr uint32_t kInt8 = Bit(kTfLiteInt8);
constexpr uint32_t kInt16 = Bit(kTfLiteInt16);
constexpr uint32_t kInt32 = Bit(kTfLiteInt32);
constexpr uint32_t kInt64 = Bit(kTfLiteInt64);
constexpr uint32_t kUint8 = Bit(kTfLiteUInt8);
constexpr uint32_t kUint32 = Bit(kTfLiteUInt32);
// Nothing is said of other types.
constexpr uint32_t kJudged = kBool | kFloat16 | kFloat32 | kFloat64 | kInt8 |
                             kInt16 | kInt32 | kInt64 | kUint8 | kUint32;

bool Has(uint32_t types, TfLiteType type) {
  return type < 32 && (types & Bit(type)) != 0;
}

// As in toolchain/tflite_file/kernel_types.py.
const char* Name(TfLiteType type) {
  switch (type) {
    case kTfLiteBool:
      return "bool";
    case kTfLiteFloat16:
      return "float16";
    case kTfLiteFloat32:
      return "float32";
    case kTfLiteFloat64:
      return "float64";
    case kTfLiteInt8:
      return "int8";
    case kTfLiteInt16:
      return "int16";
    case kTfLiteInt32:
      return "int32";
    case kTfLiteInt64:
      return "int64";
    case kTfLiteUInt8:
      return "uint8";
    case kTfLiteUInt32:
      return "uint32";
    default:
      return TfLiteTypeGetName(type);
  }
}

// The types that an operator has kernels for.
// NOLINTNEXTLINE(readability-function-size): a table, an operator a line
uint32_t Kernels(BuiltinOperator op) {
  switch (op) {
    case tflite::BuiltinOperator_LOGICAL_AND:
    case tflite::BuiltinOperator_LOGICAL_NOT:
    case tflite::BuiltinOperator_LOGICAL_OR:
    case tflite::BuiltinOperator_REDUCE_ALL:
    case tflite::BuiltinOperator_REDUCE_ANY:
      return kBool;
    case tflite::BuiltinOperator_CEIL:
    case tflite::BuiltinOperator_CONV_3D:
    case tflite::BuiltinOperator_CONV_3D_TRANSPOSE:
    case tflite::BuiltinOperator_COS:
    case tflite::BuiltinOperator_FLOOR:
    case tflite::BuiltinOperator_L2_POOL_2D:
    case tflite::BuiltinOperator_LOCAL_RESPONSE_NORMALIZATION:
    case tflite::BuiltinOperator_LOG:
    case tflite::BuiltinOperator_ROUND:
    case tflite::BuiltinOperator_SIN:
    case tflite::BuiltinOperator_SQRT:
    case tflite::BuiltinOperator_SQUARE:
      return kFloat32;
    case tflite::BuiltinOperator_ATAN2:
      return kFloat32 | kFloat64;
    case tflite::BuiltinOperator_ADD_N:
    case tflite::BuiltinOperator_POW:
    case tflite::BuiltinOperator_UNSORTED_SEGMENT_MAX:
    case tflite::BuiltinOperator_UNSORTED_SEGMENT_MIN:
    case tflite::BuiltinOperator_UNSORTED_SEGMENT_PROD:
    case tflite::BuiltinOperator_UNSORTED_SEGMENT_SUM:
      return kFloat32 | kInt32;
    case tflite::BuiltinOperator_ELU:
    case tflite::BuiltinOperator_RSQRT:
      return kFloat32 | kInt8;
    case tflite::BuiltinOperator_SIGN:
      return kFloat32 | kFloat64 | kInt32;
    case tflite::BuiltinOperator_CUMSUM:
    case tflite::BuiltinOperator_NEG:
    case tflite::BuiltinOperator_ZEROS_LIKE:
      return kFloat32 | kInt32 | kInt64;
    case tflite::BuiltinOperator_BATCH_MATMUL:
    case tflite::BuiltinOperator_EXP:
      return kFloat32 | kInt8 | kInt16;
    case tflite::BuiltinOperator_SQUARED_DIFFERENCE:
      return kFloat32 | kInt8 | kInt32;
    case tflite::BuiltinOperator_EMBEDDING_LOOKUP:
    case tflite::BuiltinOperator_GELU:
    case tflite::BuiltinOperator_HARD_SWISH:
    case tflite::BuiltinOperator_L2_NORMALIZATION:
    case tflite::BuiltinOperator_LOG_SOFTMAX:
    case tflite::BuiltinOperator_PRELU:
    case tflite::BuiltinOperator_RELU_0_TO_1:
    case tflite::BuiltinOperator_RELU_N1_TO_1:
      return kFloat32 | kInt8 | kUint8;
    case tflite::BuiltinOperator_DIV:
      return kFloat32 | kUint8 | kInt32;
    case tflite::BuiltinOperator_DEQUANTIZE:
      return kFloat16 | kInt8 | kUint8 | kInt16;
    case tflite::BuiltinOperator_ABS:
    case tflite::BuiltinOperator_FLOOR_DIV:
      return kFloat32 | kInt8 | kInt16 | kInt32;
    case tflite::BuiltinOperator_AVERAGE_POOL_2D:
    case tflite::BuiltinOperator_CONV_2D:
    case tflite::BuiltinOperator_DEPTHWISE_CONV_2D:
    case tflite::BuiltinOperator_FULLY_CONNECTED:
    case tflite::BuiltinOperator_LEAKY_RELU:
    case tflite::BuiltinOperator_LOGISTIC:
    case tflite::BuiltinOperator_MAX_POOL_2D:
    case tflite::BuiltinOperator_RELU:
    case tflite::BuiltinOperator_RELU6:
    case tflite::BuiltinOperator_RESIZE_BILINEAR:
    case tflite::BuiltinOperator_RESIZE_NEAREST_NEIGHBOR:
    case tflite::BuiltinOperator_SOFTMAX:
    case tflite::BuiltinOperator_TANH:
    case tflite::BuiltinOperator_TRANSPOSE_CONV:
      return kFloat32 | kInt8 | kUint8 | kInt16;
    case tflite::BuiltinOperator_FLOOR_MOD:
      return kFloat32 | kInt8 | kInt16 | kInt32 | kInt64;
    case tflite::BuiltinOperator_DYNAMIC_UPDATE_SLICE:
      return kFloat32 | kInt8 | kInt32 | kInt64 | kBool;
    case tflite::BuiltinOperator_QUANTIZE:
    case tflite::BuiltinOperator_SPLIT:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32;
    case tflite::BuiltinOperator_ARG_MAX:
    case tflite::BuiltinOperator_ARG_MIN:
      return kFloat32 | kInt8 | kUint8 | kInt32 | kBool;
    case tflite::BuiltinOperator_DEPTH_TO_SPACE:
    case tflite::BuiltinOperator_GREATER:
    case tflite::BuiltinOperator_LESS_EQUAL:
    case tflite::BuiltinOperator_SPACE_TO_DEPTH:
      return kFloat32 | kInt8 | kUint8 | kInt32 | kInt64;
    case tflite::BuiltinOperator_REVERSE_SEQUENCE:
      return kFloat32 | kUint8 | kInt16 | kInt32 | kInt64;
    case tflite::BuiltinOperator_BITWISE_XOR:
    case tflite::BuiltinOperator_RIGHT_SHIFT:
      return kInt8 | kUint8 | kInt16 | kInt32 | kUint32;
    case tflite::BuiltinOperator_UNPACK:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32 | kBool;
    case tflite::BuiltinOperator_ADD:
    case tflite::BuiltinOperator_BATCH_TO_SPACE_ND:
    case tflite::BuiltinOperator_GATHER_ND:
    case tflite::BuiltinOperator_GREATER_EQUAL:
    case tflite::BuiltinOperator_LESS:
    case tflite::BuiltinOperator_MAXIMUM:
    case tflite::BuiltinOperator_MEAN:
    case tflite::BuiltinOperator_MINIMUM:
    case tflite::BuiltinOperator_MIRROR_PAD:
    case tflite::BuiltinOperator_PAD:
    case tflite::BuiltinOperator_PADV2:
    case tflite::BuiltinOperator_REDUCE_MAX:
    case tflite::BuiltinOperator_REDUCE_MIN:
    case tflite::BuiltinOperator_REDUCE_PROD:
    case tflite::BuiltinOperator_SPACE_TO_BATCH_ND:
    case tflite::BuiltinOperator_SPLIT_V:
    case tflite::BuiltinOperator_SUB:
    case tflite::BuiltinOperator_SUM:
    case tflite::BuiltinOperator_TOPK_V2:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32 | kInt64;
    case tflite::BuiltinOperator_NOT_EQUAL:
    case tflite::BuiltinOperator_ONE_HOT:
    case tflite::BuiltinOperator_SCATTER_ND:
    case tflite::BuiltinOperator_TILE:
      return kFloat32 | kInt8 | kUint8 | kInt32 | kInt64 | kBool;
    case tflite::BuiltinOperator_FILL:
      return kFloat32 | kFloat16 | kInt8 | kInt16 | kInt32 | kInt64 | kBool;
    case tflite::BuiltinOperator_EQUAL:
    case tflite::BuiltinOperator_GATHER:
    case tflite::BuiltinOperator_REVERSE_V2:
    case tflite::BuiltinOperator_TRANSPOSE:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32 | kInt64 | kBool;
    case tflite::BuiltinOperator_MATRIX_DIAG:
    case tflite::BuiltinOperator_MATRIX_SET_DIAG:
    case tflite::BuiltinOperator_MUL:
    case tflite::BuiltinOperator_PACK:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32 | kInt64 | kUint32;
    case tflite::BuiltinOperator_CONCATENATION:
    case tflite::BuiltinOperator_SELECT:
    case tflite::BuiltinOperator_SELECT_V2:
    case tflite::BuiltinOperator_SLICE:
    case tflite::BuiltinOperator_STRIDED_SLICE:
      return kFloat32 | kInt8 | kUint8 | kInt16 | kInt32 | kInt64 | kBool |
             kUint32;
    default:
      return ~uint32_t{0};
  }
}

// Which input's type chooses the kernel.
int DataInput(BuiltinOperator op) {
  switch (op) {
    case tflite::BuiltinOperator_EMBEDDING_LOOKUP:
    case tflite::BuiltinOperator_FILL:
    case tflite::BuiltinOperator_SCATTER_ND:
    case tflite::BuiltinOperator_SELECT:
    case tflite::BuiltinOperator_SELECT_V2:
    case tflite::BuiltinOperator_SPLIT:
      return 1;
    case tflite::BuiltinOperator_CONV_3D_TRANSPOSE:
    case tflite::BuiltinOperator_ONE_HOT:
    case tflite::BuiltinOperator_TRANSPOSE_CONV:
      return 2;
    default:
      return 0;
  }
}

// The types of weights, of a second factor or of a result that an operator has
// no kernel for together with that type of its data.
uint32_t NoPairs(BuiltinOperator op, TfLiteType data) {
  switch (op) {
    case tflite::BuiltinOperator_CONV_2D:
    case tflite::BuiltinOperator_FULLY_CONNECTED:
      if (Has(kFloat32, data)) return kFloat16 | kInt16;
      if (Has(kInt8, data)) return kFloat32 | kUint8 | kInt16;
      if (Has(kUint8, data)) return kInt8 | kInt16;
      if (Has(kInt16, data)) return kUint8 | kInt16;
      return 0;
    case tflite::BuiltinOperator_DEPTHWISE_CONV_2D:
    case tflite::BuiltinOperator_TRANSPOSE_CONV:
      if (Has(kFloat32, data)) return kFloat16 | kUint8 | kInt16;
      if (Has(kInt8, data)) return kFloat32 | kUint8 | kInt16;
      if (Has(kUint8, data)) return kInt8 | kInt16;
      if (Has(kInt16, data)) return kUint8 | kInt16;
      return 0;
    case tflite::BuiltinOperator_CONV_3D:
    case tflite::BuiltinOperator_CONV_3D_TRANSPOSE:
      if (Has(kFloat32, data)) return kFloat16 | kInt8 | kUint8 | kInt16;
      return 0;
    case tflite::BuiltinOperator_BATCH_MATMUL:
      if (Has(kFloat32 | kInt8, data)) return kUint8 | kInt16;
      if (Has(kInt16, data)) return kInt8 | kUint8;
      return 0;
    case tflite::BuiltinOperator_QUANTIZE:
      if (Has(kFloat32, data)) return kFloat32 | kFloat16;
      if (Has(kInt8 | kUint8, data)) return kFloat32 | kFloat16 | kInt16;
      if (Has(kInt16 | kInt32, data)) return kFloat32 | kFloat16 | kUint8;
      return 0;
    default:
      return 0;
  }
}

// The types for which an input of an operator has to have the output's scale.
uint32_t OneScale(BuiltinOperator op) {
  switch (op) {
    case tflite::BuiltinOperator_PADV2:
    case tflite::BuiltinOperator_REDUCE_MAX:
    case tflite::BuiltinOperator_REDUCE_MIN:
      return kInt8 | kUint8 | kInt16;
    case tflite::BuiltinOperator_SUM:
      return kInt16;
    default:
      return 0;
  }
}

// A tensor of a list, or nothing where it is absent.
const TfLiteTensor* At(const TfLiteContext& context, const TfLiteIntArray& list,
                       int position) {
  if (position >= list.size || list.data[position] < 0) return nullptr;
  return &context.tensors[list.data[position]];
}

}  // namespace

TfLiteStatus CheckKernelTypes(TfLiteContext* context, const TfLiteNode& node,
                              BuiltinOperator op) {
  const char* name = tflite::EnumNameBuiltinOperator(op);
  const TfLiteTensor* data = At(*context, *node.inputs, DataInput(op));
  if (data == nullptr || !Has(kJudged, data->type)) return kTfLiteOk;
  const char* type = Name(data->type);
  if (!Has(Kernels(op), data->type)) {
    TF_LITE_KERNEL_LOG(context,
                       "%s: TensorFlow Lite 2.14.1 has no kernel of it for %s",
                       name, type);
    return kTfLiteError;
  }
  const bool converts = op == tflite::BuiltinOperator_QUANTIZE;
  const TfLiteTensor* other =
      converts ? At(*context, *node.outputs, 0) : At(*context, *node.inputs, 1);
  if (other != nullptr && Has(NoPairs(op, data->type), other->type)) {
    const bool product = op == tflite::BuiltinOperator_BATCH_MATMUL;
    TF_LITE_KERNEL_LOG(
        context, "%s: TensorFlow Lite 2.14.1 has no kernel of it %s %s %s %s",
        name, converts ? "from" : "for", type,
        converts ? "to" : (product ? "by" : "with weights of"),
        Name(other->type));
    return kTfLiteError;
  }
  const bool pads = op == tflite::BuiltinOperator_PADV2;
  const TfLiteTensor* source = At(*context, *node.inputs, pads ? 2 : 0);
  const TfLiteTensor* result = At(*context, *node.outputs, 0);
  if (Has(OneScale(op), data->type) && source != nullptr && result != nullptr &&
      (source->params.scale != result->params.scale ||
       source->params.zero_point != result->params.zero_point)) {
    TF_LITE_KERNEL_LOG(context,
                       "%s: TensorFlow Lite 2.14.1 has no kernel of it for %s "
                       "with an output of another scale",
                       name, type);
    return kTfLiteError;
  }
  return kTfLiteOk;
}

}  // namespace tileskip
