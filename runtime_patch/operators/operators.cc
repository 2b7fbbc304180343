#include "operators.h"

#include <array>
#include <cstddef>
#include <utility>

#include "kernel_types.h"
#include "mediapipe.h"
#include "quantization_check.h"
#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/kernels/builtin_op_kernels.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tileskip {
namespace {

namespace builtin = tflite::ops::builtin;

using Prepare = TfLiteStatus (*)(TfLiteContext*, TfLiteNode*);

constexpr size_t kOperators = tflite::BuiltinOperator_MAX + 1;
// No operator has more.
constexpr int kMaxVersion = 32;

// An operator's own function, the same for all versions of it.
std::array<Prepare, kOperators>& OwnPrepare() {
  static std::array<Prepare, kOperators> functions{};
  return functions;
}

template <size_t op>
TfLiteStatus CheckThenPrepare(TfLiteContext* context, TfLiteNode* node) {
  const auto code = static_cast<tflite::BuiltinOperator>(op);
  TF_LITE_ENSURE_STATUS(CheckQuantization(context, *node, code));
  TF_LITE_ENSURE_STATUS(CheckKernelTypes(context, *node, code));
  const Prepare own = OwnPrepare()[op];
  return own == nullptr ? kTfLiteOk : own(context, node);
}

template <size_t... ops>
std::array<Prepare, kOperators> AllCheckThenPrepare(
    std::index_sequence<ops...>) {
  return {&CheckThenPrepare<ops>...};
}

}  // namespace

Operators::Operators(bool xnnpack_by_default) {
  if (!xnnpack_by_default) {
    delegate_creators_.clear();
    opaque_delegate_creators_.clear();
  }
  // What came after TensorFlow Lite 2.14 and needs nothing but what the patched
  // kernels can do: CONV_2D 8, FULLY_CONNECTED 11 and TRANSPOSE_CONV 5 name the
  // type of a bias, or allow for weights with a scale for each channel (as
  // FULLY_CONNECTED 12, TRANSPOSE_CONV 5, EMBEDDING_LOOKUP 4) or int4 weights
  // (FULLY_CONNECTED 13, EMBEDDING_LOOKUP 4, DEQUANTIZE 6).
  AddBuiltin(tflite::BuiltinOperator_CONV_2D, builtin::Register_CONV_2D(), 1,
             8);
  AddBuiltin(tflite::BuiltinOperator_FULLY_CONNECTED,
             builtin::Register_FULLY_CONNECTED(), 1, 13);
  AddBuiltin(tflite::BuiltinOperator_TRANSPOSE_CONV,
             builtin::Register_TRANSPOSE_CONV(), 1, 5);
  AddBuiltin(tflite::BuiltinOperator_EMBEDDING_LOOKUP,
             builtin::Register_EMBEDDING_LOOKUP(), 1, 4);
  AddBuiltin(tflite::BuiltinOperator_DEQUANTIZE, builtin::Register_DEQUANTIZE(),
             1, 6);

  static const std::array<Prepare, kOperators> kCheckThenPrepare =
      AllCheckThenPrepare(std::make_index_sequence<kOperators>());
  for (size_t op = 0; op < kOperators; ++op) {
    const auto code = static_cast<tflite::BuiltinOperator>(op);
    for (int version = 1; version <= kMaxVersion; ++version) {
      const TfLiteRegistration* own = FindOp(code, version);
      if (own == nullptr || own->prepare == kCheckThenPrepare[op]) continue;
      OwnPrepare()[op] = own->prepare;
      TfLiteRegistration checked = *own;
      checked.prepare = kCheckThenPrepare[op];
      AddBuiltin(code, &checked, version);
    }
  }
  AddMediaPipeOperators(this);
}

}  // namespace tileskip
