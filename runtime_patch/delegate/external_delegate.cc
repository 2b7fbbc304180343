// The XNNPACK delegate behind TFLite's external delegate interface.
//
// Options (strings): num_threads, 1 to 64, default 1. Any other option is an
// error, so that a misspelt one does not pass silently.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/delegates/external/external_delegate_interface.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"

namespace {

constexpr long kMaxThreads = 64;

// Parses a whole string as a number of threads; false if it is not one.
bool ParseThreads(const char* text, int32_t* threads) {
  if (text == nullptr || *text == '\0') return false;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || value < 1 || value > kMaxThreads) {
    return false;
  }
  *threads = static_cast<int32_t>(value);
  return true;
}

void Report(void (*report_error)(const char*), const std::string& message) {
  if (report_error != nullptr) report_error(message.c_str());
}

}  // namespace

extern "C" {

TFL_EXTERNAL_DELEGATE_EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* options_keys, const char* const* options_values,
    size_t num_options, void (*report_error)(const char*)) {
  TfLiteXNNPackDelegateOptions options = TfLiteXNNPackDelegateOptionsDefault();
  options.flags |=
      TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
  options.num_threads = 1;
  for (size_t i = 0; i < num_options; ++i) {
    const char* key = options_keys[i];
    const char* value = options_values[i];
    if (key == nullptr || std::strcmp(key, "num_threads") != 0) {
      Report(report_error, std::string("tileskip delegate: unknown option '") +
                               (key == nullptr ? "(null)" : key) +
                               "'; the only one is num_threads");
      return nullptr;
    }
    if (!ParseThreads(value, &options.num_threads)) {
      Report(report_error, std::string("tileskip delegate: num_threads is '") +
                               (value == nullptr ? "(null)" : value) +
                               "', not a number from 1 to 64");
      return nullptr;
    }
  }
  TfLiteDelegate* delegate = TfLiteXNNPackDelegateCreate(&options);
  if (delegate == nullptr) {
    Report(report_error, "tileskip delegate: XNNPACK could not be initialised");
  }
  return delegate;
}

TFL_EXTERNAL_DELEGATE_EXPORT void tflite_plugin_destroy_delegate(
    TfLiteDelegate* delegate) {
  TfLiteXNNPackDelegateDelete(delegate);
}

}  // extern "C"
