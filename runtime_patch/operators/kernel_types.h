// Whether TensorFlow Lite has a kernel of an operator for the types at hand.

#ifndef TILESKIP_OPERATORS_KERNEL_TYPES_H_
#define TILESKIP_OPERATORS_KERNEL_TYPES_H_

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tileskip {

// Refuses, with the operator's name and the type, what TensorFlow Lite would
// refuse in other words while it prepares or runs a model, or leave undone
// without a word (SIGN, MATRIX_DIAG, PADV2 with a value of another scale).
//
// toolchain/tflite_file/kernel_types.py tells the same of a file, from the same
// tables.
TfLiteStatus CheckKernelTypes(TfLiteContext* context, const TfLiteNode& node,
                              tflite::BuiltinOperator op);

}  // namespace tileskip

#endif  // TILESKIP_OPERATORS_KERNEL_TYPES_H_
