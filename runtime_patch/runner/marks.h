// Marks in the stream of instructions, for a counter outside of the program.
//
// A mark is a system call that does nothing: clock_getres of a clock that does
// not exist. An emulator's plugin sees it (../qemu_plugin), and so knows which
// instructions belong to which operator; a kernel refuses it.

#ifndef TILESKIP_RUNNER_MARKS_H_
#define TILESKIP_RUNNER_MARKS_H_

#include <cstdint>

namespace tileskip {

// The clock that does not exist: "tile" in ASCII.
constexpr int32_t kMarkClock = 0x74696c65;

// The second argument of the call. ../qemu_plugin/count_instructions.c and
// toolchain/dev/bench/counts.py know these numbers.
enum class MarkKind : long {
  kRunBegin = 1,
  kRunEnd = 2,
  kOperatorBegin = 3,
  // Another part of the operator that ended last.
  kPartBegin = 4,
  kOperatorEnd = 5,
  // The model is loaded and could run.
  kReady = 6,
};

// Switches marks on, for the whole program; they are off when it starts.
void SwitchMarksOn();
bool MarksAreOn();

// Makes a mark if they are on.
void Mark(MarkKind kind);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_MARKS_H_
