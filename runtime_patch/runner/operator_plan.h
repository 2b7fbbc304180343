// What the patched XNNPACK tells of how it computes its operators.

#ifndef TILESKIP_RUNNER_OPERATOR_PLAN_H_
#define TILESKIP_RUNNER_OPERATOR_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "status.h"
#include "symbol_table.h"
#include "tensorflow/lite/core/c/common.h"

namespace tileskip {

// Whether this program is linked with the patched XNNPACK.
bool IsPatched();

// The path of what TensorFlow Lite's own kernels compute.
inline constexpr char kKernelPath[] = "tflite";

// An operator of XNNPACK's: struct xnn_operator_plan (xnnpack-masked.h), which
// says what each figure is. Texts that are not to be had are empty.
struct OperatorPlan {
  // As the profiler names it.
  std::string type;
  bool is_layer = false;
  std::string path;
  const void* ukernel = nullptr;
  size_t mr = 0;
  size_t nr = 0;
  // 0 where it is no convolution.
  size_t pixels = 0;
  size_t kept = 0;
  size_t rows = 0;
  size_t dense_rows = 0;
  size_t taps = 0;
  size_t live_taps = 0;
  uint64_t macs = 0;
  uint64_t macs_computed = 0;
  bool compact_input = false;
  bool compact_output = false;
  std::string why_all_pixels;
  std::string why_all_taps;
  std::string why_dense;
};

// The operators that stand for one node of the graph, in the order in which
// they run. The node must have been prepared, by ReshapePartition or by a run.
// Empty in a stock build.
std::vector<OperatorPlan> PlanOfPartition(const TfLiteNode& node);

// Lets XNNPACK decide how it computes a node, which it would do in the first
// run. False if it cannot.
bool ReshapePartition(const TfLiteNode& node);

// By node of a convolution, or of what would mask one if that is none: why the
// delegate has left a mask alone.
std::map<int, std::string> RefusedMasks(const TfLiteDelegate& delegate);

// The symbols to name micro-kernels by; where there are none, `notes` is told.
std::optional<SymbolTable> KernelNames(std::vector<std::string>* notes);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_OPERATOR_PLAN_H_
