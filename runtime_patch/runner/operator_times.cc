#include "operator_times.h"

#include <utility>

namespace tileskip {
namespace {

bool on = false;
// Operators run one after the other, on the thread that invokes the model.
std::vector<int64_t> times;

}  // namespace

void SwitchOperatorTimesOn() { on = true; }

bool OperatorTimesAreOn() { return on; }

void AddOperatorTime(size_t object_index, int64_t ns) {
  if (object_index == 0 || times.empty()) {
    times.push_back(ns);
  } else {
    times.back() += ns;
  }
}

std::vector<int64_t> TakeOperatorTimes() { return std::exchange(times, {}); }

}  // namespace tileskip
