// tileskip-run: runs a TensorFlow Lite model on a board and measures it.
// The contract (options, exit codes, JSON) is in docs/reference/runner.md.

#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "crash.h"
#include "files.h"
#include "interrupt.h"
#include "json_writer.h"
#include "measure.h"
#include "options.h"
#include "plan.h"
#include "plan_report.h"
#include "report.h"
#include "status.h"
#include "version.h"

namespace tileskip {
namespace {

Status RunModel(const Options& options) {
  CatchInterrupts();
  ReportCrashes(options.model);
  if (options.plan) {
    Result<ModelPlan> plan = MakePlan(options);
    TILESKIP_RETURN_IF_ERROR(plan.status());
    if (options.json.empty()) return WriteText("-", PlanText(plan.value()));
    return WriteText(options.json, PlanJson(options, plan.value()));
  }
  Result<Figures> figures = Measure(options);
  TILESKIP_RETURN_IF_ERROR(figures.status());
  if (InterruptRequested()) return Interrupted();
  if (options.json.empty()) {
    return WriteText("-", TextReport(options, figures.value()));
  }
  return WriteText(options.json, JsonReport(options, figures.value()));
}

Status Run(const std::vector<std::string>& arguments) {
  Result<Options> parsed = ParseOptions(arguments);
  TILESKIP_RETURN_IF_ERROR(parsed.status());
  const Options& options = parsed.value();
  if (options.action == Action::kHelp) return WriteText("-", UsageText());
  if (options.action == Action::kVersion) {
    JsonWriter json;
    WriteVersions(&json);
    return WriteText("-", json.text() + "\n");
  }
  try {
    return RunModel(options);
  } catch (const std::bad_alloc&) {
    return OutOfMemory(options.model);
  }
}

int Main(const std::vector<std::string>& arguments) {
  const Status status = Run(arguments);
  if (status.ok()) return static_cast<int>(ExitCode::kOk);
  if (status.code() == ExitCode::kInterrupted) {
    std::fputs("tileskip-run: interrupted\n", stderr);
    return InterruptExitCode();
  }
  std::fprintf(stderr, "tileskip-run: error: %s\n", status.message().c_str());
  return static_cast<int>(status.code());
}

}  // namespace
}  // namespace tileskip

// NOLINTNEXTLINE(bugprone-exception-escape): what else is thrown is a fault
int main(int argc, char** argv) {
  return tileskip::Main(std::vector<std::string>(argv + 1, argv + argc));
}
