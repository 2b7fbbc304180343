#include "machine_code.h"

static bool IsPrefix(uint8_t byte) {
  switch (byte) {
    case 0x26:  // segments, and hints of older cores
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:  // sizes
    case 0x67:
    case 0xf0:  // LOCK, REPNE, REP; BND
    case 0xf2:
    case 0xf3:
      return true;
    default:
      return false;
  }
}

// The ending of an instruction whose opcode stands at `code`.
static enum ending EndingOf(const uint8_t* code, size_t size) {
  const uint8_t next = size > 1 ? code[1] : 0;
  switch (code[0]) {
    case 0x0f:
      return (next & 0xf0) == 0x80 ? kConditional : kGoesOn;  // Jcc, far
    case 0xe0:  // LOOPNE, LOOPE, LOOP, JRCXZ
    case 0xe1:
    case 0xe2:
    case 0xe3:
      return kConditional;
    case 0xe8:
      return kCall;
    case 0xc2:
    case 0xc3:
      return kReturn;
    case 0xff:
      switch (next >> 3 & 7) {  // the opcode's extension, in ModRM
        case 2:
          return kIndirectCall;
        case 4:
          return kIndirect;
        default:
          return kGoesOn;
      }
    default:
      return (code[0] & 0xf0) == 0x70 ? kConditional : kGoesOn;  // Jcc, short
  }
}

static struct instruction Read(const uint8_t* code, size_t size) {
  bool repeats = false;
  size_t at = 0;
  for (; at < size && IsPrefix(code[at]); ++at) repeats |= code[at] == 0xf3;
  if (at < size && (code[at] & 0xf0) == 0x40) ++at;  // REX
  if (at == size) return (struct instruction){.ending = kGoesOn};
  return (struct instruction){
      .yields = repeats && code[at] == 0x90,  // PAUSE
      .ending = EndingOf(code + at, size - at),
  };
}

const struct machine kX8664 = {
    .target = "x86_64",
    .clock_getres = 229,
    .longest = 15,
    .tells_accesses = false,
    .read = Read,
};
