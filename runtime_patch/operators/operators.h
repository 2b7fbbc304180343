// The operators of every program here: TensorFlow Lite's own, and what is
// mended or added.

#ifndef TILESKIP_OPERATORS_OPERATORS_H_
#define TILESKIP_OPERATORS_OPERATORS_H_

#include "tensorflow/lite/core/kernels/register.h"

namespace tileskip {

// All builtin operators, those of MediaPipe that XNNPACK has, and more versions
// of the operators whose kernels are patched (../tensorflow/kernels). Each
// looks at how its inputs are quantized, and of which types they are, before it
// is prepared (quantization_check.h, kernel_types.h).
class Operators : public tflite::ops::builtin::BuiltinOpResolver {
 public:
  // With `xnnpack_by_default` an interpreter applies the delegate by itself.
  explicit Operators(bool xnnpack_by_default);
};

}  // namespace tileskip

#endif  // TILESKIP_OPERATORS_OPERATORS_H_
