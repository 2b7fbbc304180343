// The operators of TfLiteInterpreterCreate: every one that there is here, with
// the XNNPACK delegate applied by default. The function of this name in
// TensorFlow Lite's own archive, which is not linked beside this one, leaves
// the delegate out.
#include <memory>

#include "operators.h"
#include "tensorflow/lite/core/create_op_resolver.h"

namespace tflite {

std::unique_ptr<MutableOpResolver> CreateOpResolver() {
  return std::make_unique<tileskip::Operators>(/*xnnpack_by_default=*/true);
}

}  // namespace tflite
