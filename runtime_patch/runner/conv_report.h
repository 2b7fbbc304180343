// What the patched XNNPACK tells of its convolutions.

#ifndef TILESKIP_RUNNER_CONV_REPORT_H_
#define TILESKIP_RUNNER_CONV_REPORT_H_

#include <cstddef>
#include <vector>

#include "tensorflow/lite/core/c/common.h"

namespace tileskip {

// Whether this program is linked with the patched XNNPACK.
bool IsPatched();

struct ConvReport {
  // Counted over the operators that XNNPACK runs for the partition, in order.
  size_t op_index = 0;
  const void* ukernel = nullptr;
  size_t mr = 0;
  size_t nr = 0;
  // Output pixels of one image, and how many of them are computed.
  size_t pixels = 0;
  size_t kept = 0;
  // Taps of the computed pixels, and how many of them are computed.
  size_t taps = 0;
  size_t live_taps = 0;
};

// One partition of the graph, as XNNPACK has it.
struct PartitionReport {
  size_t operators = 0;
  std::vector<ConvReport> convolutions;
};

// The partitions behind `nodes`, which must have run once with profiling on.
// Empty in a stock build.
std::vector<PartitionReport> ReportPartitions(
    const std::vector<const TfLiteNode*>& nodes);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_CONV_REPORT_H_
