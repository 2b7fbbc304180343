// What a trace has to know of an AArch64 instruction: whether it loads or
// stores, and how a block ends with it. After the Arm Architecture Reference
// Manual (DDI 0487), chapter C4, "A64 instruction set encoding".

#ifndef TILESKIP_QEMU_PLUGIN_AARCH64_CODE_H_
#define TILESKIP_QEMU_PLUGIN_AARCH64_CODE_H_

#include <stdbool.h>
#include <stdint.h>

enum ending {
  kGoesOn,       // no branch, or one that is always taken, to one place
  kConditional,  // B.cond, CBZ, CBNZ, TBZ, TBNZ
  kCall,         // BL
  kIndirect,     // BR
  kIndirectCall,
  kReturn,
};

enum ending EndingOf(uint32_t code);

// Whether it accesses memory at an address that QEMU tells. PRFM does not; DC
// ZVA writes, but QEMU tells no address. What does both (an exchange) is both.
bool Loads(uint32_t code);
bool Stores(uint32_t code);

#endif  // TILESKIP_QEMU_PLUGIN_AARCH64_CODE_H_
