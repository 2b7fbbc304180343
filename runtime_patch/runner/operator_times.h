// How long each operator takes that XNNPACK runs, in nanoseconds. XNNPACK's own
// profile has whole microseconds, rounded down.

#ifndef TILESKIP_RUNNER_OPERATOR_TIMES_H_
#define TILESKIP_RUNNER_OPERATOR_TIMES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tileskip {

// Switches the times on, for the whole program; they are off when it starts.
void SwitchOperatorTimesOn();
bool OperatorTimesAreOn();

// Adds the time of one of an operator's objects; the first one is a new
// operator.
void AddOperatorTime(size_t object_index, int64_t ns);

// The operators since the last call, in the order in which they ran.
std::vector<int64_t> TakeOperatorTimes();

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_OPERATOR_TIMES_H_
