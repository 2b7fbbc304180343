#include <string.h>

#include "machine_code.h"

static const uint32_t kYield = 0xd503203f;

static uint32_t Bits(uint32_t code, uint32_t high, uint32_t low) {
  return code >> low & ((UINT32_C(2) << (high - low)) - 1);
}

static enum ending EndingOf(uint32_t code) {
  if ((code & 0xff000010) == 0x54000000) return kConditional;  // B.cond
  // CBZ, CBNZ (011010), TBZ, TBNZ (011011).
  if (Bits(code, 30, 26) == 0x0d) return kConditional;
  if (Bits(code, 31, 26) == 0x25) return kCall;  // BL
  if ((code & 0xfe000000) == 0xd6000000) {       // to a register's address
    switch (Bits(code, 24, 21) & 7) {  // bit 24: with a signed pointer
      case 0:
        return kIndirect;
      case 1:
        return kIndirectCall;
      case 2:
        return kReturn;
      default:
        return kGoesOn;
    }
  }
  return kGoesOn;
}

enum access { kNothing = 0, kLoad = 1, kStore = 2, kBoth = 3 };

// "Load/store register", with all kinds of addresses; and atomic operations.
static enum access OfRegister(uint32_t code) {
  const uint32_t size = Bits(code, 31, 30), opc = Bits(code, 23, 22);
  const bool vector = Bits(code, 26, 26);
  if (Bits(code, 24, 24) == 0 && Bits(code, 21, 21) == 1) {
    // LDADD and the like; else 10: an offset in a register, x1: LDRAA, LDRAB.
    if (Bits(code, 11, 10) == 0) {
      const bool only_loads = Bits(code, 15, 12) == 0xc;  // LDAPR
      return only_loads ? kLoad : kBoth;
    }
    if (Bits(code, 10, 10) == 1) return kLoad;
  }
  if (vector) return (opc & 1) != 0 ? kLoad : kStore;
  if (opc == 0) return kStore;
  return size == 3 && opc == 2 ? kNothing : kLoad;  // PRFM
}

static enum access OfExclusive(uint32_t code) {
  const bool loads = Bits(code, 22, 22);
  // CAS, and CASP where the size of an exclusive pair is none.
  const bool pair = Bits(code, 21, 21);
  if (pair && (Bits(code, 23, 23) == 1 || Bits(code, 31, 31) == 0)) {
    return kBoth;
  }
  return loads ? kLoad : kStore;
}

static enum access AccessOf(uint32_t code) {
  // op0 of the manual's first table: x1x0.
  if (Bits(code, 27, 27) != 1 || Bits(code, 25, 25) != 0) return kNothing;
  const bool vector = Bits(code, 26, 26);
  switch (Bits(code, 29, 28)) {
    case 0:
      if (vector) return Bits(code, 22, 22) ? kLoad : kStore;  // LD1 to ST4
      return OfExclusive(code);
    case 1:
      if (Bits(code, 24, 24) == 0) {  // of an address beside the code
        return !vector && Bits(code, 31, 30) == 3 ? kNothing : kLoad;
      }
      if (Bits(code, 21, 21) == 1) return kNothing;     // tags of memory
      return Bits(code, 23, 22) == 0 ? kStore : kLoad;  // LDAPUR, STLUR
    case 2:
      return Bits(code, 22, 22) ? kLoad : kStore;  // pairs
    default:
      return OfRegister(code);
  }
}

static struct instruction Read(const uint8_t* code, size_t size) {
  uint32_t word = 0;
  memcpy(&word, code, size < sizeof(word) ? size : sizeof(word));
  const enum access access = AccessOf(word);
  return (struct instruction){
      .loads = (access & kLoad) != 0,
      .stores = (access & kStore) != 0,
      .yields = word == kYield,
      .ending = EndingOf(word),
  };
}

const struct machine kAarch64 = {
    .target = "aarch64",
    .clock_getres = 114,
    .longest = 4,
    .tells_accesses = true,
    .read = Read,
};
