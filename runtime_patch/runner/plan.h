// How a model would be computed, without running it.

#ifndef TILESKIP_RUNNER_PLAN_H_
#define TILESKIP_RUNNER_PLAN_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "operator_plan.h"
#include "options.h"
#include "session.h"
#include "status.h"

namespace tileskip {

struct PlannedOperator {
  OperatorPlan plan;
  bool delegated = false;
  // The node of the graph that it computes, of those with multiply-accumulates
  // and of those that XNNPACK leaves alone.
  std::optional<int> node;
  // Why XNNPACK leaves it alone, in its words, where they are known.
  std::string why_not_delegated;
  std::optional<std::string> ukernel;
};

struct ModelPlan {
  size_t model_bytes = 0;
  Delegation delegation;
  // In the order of execution. Nothing in a stock build.
  std::optional<std::vector<PlannedOperator>> operators;
  std::vector<std::string> notes;
};

// Loads and prepares the model as for a run, and asks XNNPACK what it is going
// to do.
Result<ModelPlan> MakePlan(const Options& options);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_PLAN_H_
