// Prints, a line a type, what XNNPACK takes on this core: the type, NR, and
// every MR that there is a convolution micro-kernel for, the one that it starts
// from last.

#include <cstdio>

#include "xnnpack.h"
#include "xnnpack/config.h"

namespace {

void Print(const char* type, const xnn_gemm_config* config) {
  if (config == nullptr) return;
  std::printf("%s %d", type, config->nr);
  for (int mr = 1; mr <= config->mr; ++mr) {
    const bool igemm =
        config->minmax.igemm[mr - 1].function[XNN_UARCH_DEFAULT] != nullptr;
    const bool gemm =
        config->minmax.gemm[mr - 1].function[XNN_UARCH_DEFAULT] != nullptr;
    if (igemm != gemm) std::printf(" (of %d only one)", mr);
    if (igemm && gemm) std::printf(" %d", mr);
  }
  std::printf("\n");
}

}  // namespace

int main() {
  if (xnn_initialize(nullptr) != xnn_status_success) return 1;
  Print("float32", xnn_init_f32_gemm_config());
  Print("int8", xnn_init_qs8_qc8w_gemm_config());
  Print("uint8", xnn_init_qu8_gemm_config());
  Print("float16", xnn_init_f16_gemm_config());
  return 0;
}
