// The figures as JSON, and in a few words.

#ifndef TILESKIP_RUNNER_REPORT_H_
#define TILESKIP_RUNNER_REPORT_H_

#include <string>

#include "measure.h"
#include "options.h"

namespace tileskip {

// One JSON object on one line; docs/reference/runner.md describes it and
// toolchain/profile/runner_output.py reads it.
std::string JsonReport(const Options& options, const Figures& figures);

// The main figures for someone at a terminal.
std::string TextReport(const Options& options, const Figures& figures);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_REPORT_H_
