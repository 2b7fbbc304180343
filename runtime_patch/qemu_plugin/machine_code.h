// What a trace has to know of a machine's instructions: whether they load or
// store, and how a block ends with one.

#ifndef TILESKIP_QEMU_PLUGIN_MACHINE_CODE_H_
#define TILESKIP_QEMU_PLUGIN_MACHINE_CODE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ending {
  kGoesOn,       // no branch, or one that is always taken, to one place
  kConditional,  // one of two ways
  kCall,
  kIndirect,  // to an address in a register or in memory
  kIndirectCall,
  kReturn,
};

struct instruction {
  // Whether it accesses memory at an address that QEMU tells; what does both
  // (an exchange) is both.
  bool loads, stores;
  bool yields;  // it tells the core that a thread waits
  enum ending ending;
};

struct machine {
  const char* target;    // what QEMU calls it
  int64_t clock_getres;  // the number of the system call
  size_t longest;        // bytes of an instruction
  bool tells_accesses;   // false: of no instruction it is said that it loads or
                         // stores
  struct instruction (*read)(const uint8_t* code, size_t size);
};

// After the Arm Architecture Reference Manual (DDI 0487), chapter C4, "A64
// instruction set encoding". PRFM makes no access; DC ZVA writes, but QEMU
// tells no address.
extern const struct machine kAarch64;

// After Intel's Software Developer's Manual, volume 2, appendix A, "Opcode
// map". What an instruction accesses is left to QEMU.
extern const struct machine kX8664;

// The machine that QEMU calls so; NULL: none of ours.
const struct machine* MachineCalled(const char* target);

#endif  // TILESKIP_QEMU_PLUGIN_MACHINE_CODE_H_
