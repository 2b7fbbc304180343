// Found before ruy's own platform.h when compiling for armv7: Debian's libruy
// for armhf is compiled without NEON, and templates of its headers that are
// compiled with NEON would call kernels that it does not have.
#ifndef TILESKIP_RUY_ARMV7_PLATFORM_H_
#define TILESKIP_RUY_ARMV7_PLATFORM_H_

#include_next "ruy/platform.h"

#undef RUY_PLATFORM_NEON
#define RUY_PLATFORM_NEON 0

#endif  // TILESKIP_RUY_ARMV7_PLATFORM_H_
