// The last resort against a model that makes the runtime itself crash.

#ifndef TILESKIP_RUNNER_CRASH_H_
#define TILESKIP_RUNNER_CRASH_H_

#include <string>

namespace tileskip {

// From now on a fatal fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) ends the
// process with ExitCode::kModel and a message that names `model`.
//
// What the checks of model_check.h cannot see still reaches kernels: XNNPACK
// aborts on some graphs, and a file may be cut short while it is mapped.
void ReportCrashes(const std::string& model);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_CRASH_H_
