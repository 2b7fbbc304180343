#include "machine_code.h"

#include <string.h>

const struct machine* MachineCalled(const char* target) {
  static const struct machine* const all[] = {&kAarch64, &kX8664};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); ++i) {
    if (strcmp(all[i]->target, target) == 0) return all[i];
  }
  return NULL;
}
