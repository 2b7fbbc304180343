#include "op_profiler.h"

#include <algorithm>
#include <utility>

#include "clock.h"
#include "marks.h"
#include "operator_times.h"

namespace tileskip {
namespace {

// Handles; TensorFlow Lite hands back what BeginEvent gave.
constexpr uint32_t kIgnored = 0;
constexpr uint32_t kOperator = 1;

}  // namespace

uint32_t OpProfiler::BeginEvent(const char* tag, EventType type, int64_t node,
                                int64_t) {
  if (type != EventType::OPERATOR_INVOKE_EVENT) return kIgnored;
  if (depth_++ == 0) {
    ops_.push_back({tag, /*delegated=*/false, 0, static_cast<int>(node)});
    began_ns_ = NowNs();
    Mark(MarkKind::kOperatorBegin);
  }
  return kOperator;
}

void OpProfiler::EndEvent(uint32_t handle) {
  if (handle != kOperator) return;
  if (--depth_ == 0) {
    Mark(MarkKind::kOperatorEnd);
    ops_.back().us = static_cast<double>(NowNs() - began_ns_) / 1000;
  }
}

void OpProfiler::AddEvent(const char* tag, EventType type, uint64_t metric,
                          int64_t, int64_t) {
  if (type != EventType::DELEGATE_PROFILED_OPERATOR_INVOKE_EVENT ||
      depth_ != 0) {
    return;
  }
  ops_.push_back({tag, /*delegated=*/true, static_cast<double>(metric), 0});
}

std::vector<OpTime> OpProfiler::Take() {
  const std::vector<int64_t> times = TakeOperatorTimes();
  std::vector<OpTime> ops = std::exchange(ops_, {});
  const auto delegated =
      std::count_if(ops.begin(), ops.end(),
                    [](const OpTime& each) { return each.delegated; });
  if (static_cast<size_t>(delegated) != times.size()) return ops;
  auto time = times.begin();
  for (OpTime& op : ops) {
    if (op.delegated) op.us = static_cast<double>(*time++) / 1000;
  }
  return ops;
}

}  // namespace tileskip
