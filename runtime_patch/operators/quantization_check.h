// Whether an operator's kernel knows the way in which its inputs are stored.

#ifndef TILESKIP_OPERATORS_QUANTIZATION_CHECK_H_
#define TILESKIP_OPERATORS_QUANTIZATION_CHECK_H_

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tileskip {

// Refuses, with the operator's name, what TensorFlow Lite's kernels would
// compute as something else without a word: several scales where the kernel
// takes `params.scale`, which is then 0; weights whose scales it has not read
// (quantized by block); values that are stored sparsely.
//
// toolchain/tflite_file/support.py tells the same of a file.
TfLiteStatus CheckQuantization(TfLiteContext* context, const TfLiteNode& node,
                               tflite::BuiltinOperator op);

}  // namespace tileskip

#endif  // TILESKIP_OPERATORS_QUANTIZATION_CHECK_H_
