// A plan as JSON, and in a few words.

#ifndef TILESKIP_RUNNER_PLAN_REPORT_H_
#define TILESKIP_RUNNER_PLAN_REPORT_H_

#include <string>

#include "options.h"
#include "plan.h"

namespace tileskip {

// One JSON object on one line; docs/reference/runner.md describes it and
// toolchain/tflite_file/plan.py reads it.
std::string PlanJson(const Options& options, const ModelPlan& plan);

// A line an operator, for someone at a terminal.
std::string PlanText(const ModelPlan& plan);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_PLAN_REPORT_H_
