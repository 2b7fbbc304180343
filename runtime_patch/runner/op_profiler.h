// Collects how long each operator of a run takes.

#ifndef TILESKIP_RUNNER_OP_PROFILER_H_
#define TILESKIP_RUNNER_OP_PROFILER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/lite/core/api/profiler.h"

namespace tileskip {

struct OpTime {
  std::string type;
  // Whether XNNPACK ran it. XNNPACK's own times, whole microseconds rounded
  // down, stand in where operator_times.h has others than it tells of.
  bool delegated = false;
  double us = 0;
  // Of the graph, where TensorFlow Lite runs it itself.
  int node = 0;
};

// TensorFlow Lite tells a profiler of each operator that it runs itself by a
// pair of Begin and End, and the XNNPACK delegate adds one event for each of
// its own operators after a partition has run. What an operator such as WHILE
// runs inside belongs to that operator.
class OpProfiler : public tflite::Profiler {
 public:
  uint32_t BeginEvent(const char* tag, EventType type, int64_t node,
                      int64_t graph) override;
  void EndEvent(uint32_t handle) override;
  void AddEvent(const char* tag, EventType type, uint64_t metric, int64_t node,
                int64_t graph) override;

  // The operators since the last call, in the order in which they ran.
  std::vector<OpTime> Take();

 private:
  std::vector<OpTime> ops_;
  int depth_ = 0;
  int64_t began_ns_ = 0;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_OP_PROFILER_H_
