#include "version.h"

#include "operator_plan.h"
#include "tensorflow/lite/version.h"

// Given by runtime_patch/CMakeLists.txt.
#if !defined(TILESKIP_VERSION) || !defined(TILESKIP_XNNPACK_COMMIT)
#error "TILESKIP_VERSION and TILESKIP_XNNPACK_COMMIT must be defined"
#endif

#if defined(__clang__)
#define TILESKIP_COMPILER __VERSION__
#else
#define TILESKIP_COMPILER "GCC " __VERSION__
#endif

namespace tileskip {

void WriteVersions(JsonWriter* json) {
  json->BeginObject();
  json->Key("version").String(TILESKIP_VERSION);
  json->Key("patched").Bool(IsPatched());
  json->Key("tflite").String(TFLITE_VERSION_STRING);
  json->Key("xnnpack").String(TILESKIP_XNNPACK_COMMIT);
  json->Key("compiler").String(TILESKIP_COMPILER);
  json->EndObject();
}

}  // namespace tileskip
