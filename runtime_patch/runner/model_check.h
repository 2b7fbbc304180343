// Refuses a damaged model before TensorFlow Lite trusts what stands in it.

#ifndef TILESKIP_RUNNER_MODEL_CHECK_H_
#define TILESKIP_RUNNER_MODEL_CHECK_H_

#include "tensorflow/lite/core/api/error_reporter.h"
#include "tensorflow/lite/core/api/verifier.h"

namespace tileskip {

// Checks what the flatbuffers verifier cannot know: that every index inside a
// model points at something, that nothing reads a tensor that nothing has
// filled, and that nothing writes to a constant. To be used after that
// verifier, on the same bytes.
//
// TensorFlow Lite's own tflite::Verify is not used: it also refuses sound files
// (packed int4 weights, empty buffers of tensors that are computed).
class ModelCheck : public tflite::TfLiteVerifier {
 public:
  // Reports the first fault to `reporter` and returns whether there is none.
  bool Verify(const char* data, int length,
              tflite::ErrorReporter* reporter) override;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_MODEL_CHECK_H_
