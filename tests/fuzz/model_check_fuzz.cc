// libFuzzer's entry: what the runner does with a file before TensorFlow Lite
// builds a graph of it. Its checks must neither read past the file's end nor
// take long, whatever it holds; and what they let pass has numbers in range.

#include <cstdarg>
#include <cstddef>
#include <cstdint>

#include "flatbuffers/flatbuffers.h"
#include "model_check.h"
#include "tensorflow/lite/core/api/error_reporter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

class Silent : public tflite::ErrorReporter {
 public:
  int Report(const char*, va_list) override { return 0; }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  flatbuffers::Verifier verifier(data, size);
  if (!tflite::VerifyModelBuffer(verifier)) return 0;
  Silent reporter;
  tileskip::ModelCheck check;
  check.Verify(reinterpret_cast<const char*>(data), static_cast<int>(size),
               &reporter);
  return 0;
}
