// The operators of TfLiteInterpreterCreate: every builtin one, with the XNNPACK
// delegate applied by default. The function of this name in TensorFlow Lite's
// own archive, which is not linked beside this one, leaves the delegate out.
#include <memory>

#include "tensorflow/lite/core/create_op_resolver.h"
#include "tensorflow/lite/core/kernels/register.h"

namespace tflite {

std::unique_ptr<MutableOpResolver> CreateOpResolver() {
  return std::make_unique<ops::builtin::BuiltinOpResolver>();
}

}  // namespace tflite
