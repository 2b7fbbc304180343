// The command line of the runner.

#ifndef TILESKIP_RUNNER_OPTIONS_H_
#define TILESKIP_RUNNER_OPTIONS_H_

#include <string>
#include <vector>

#include "status.h"

namespace tileskip {

enum class Action { kRun, kVersion, kHelp };

struct Options {
  Action action = Action::kRun;
  std::string model;
  // One file an input tensor, in the model's order; empty: generated inputs.
  std::vector<std::string> inputs;
  // Empty: outputs are not written.
  std::string output_dir;
  int runs = 20;
  int warmup = 3;
  int threads = 1;
  bool delegate = true;
  bool per_op = false;
  // Only runs in which operators are told apart by marks (marks.h).
  bool marks = false;
  // Nothing runs: how each operator would is told.
  bool plan = false;
  // More models, timed in turn with `model`.
  std::vector<std::string> versus;
  // A path, "-" for standard output, or empty for a summary in words.
  std::string json;
};

// Reads `arguments` (without the program's name). Values follow their option
// after a space or "=". Fails with ExitCode::kUsage.
Result<Options> ParseOptions(const std::vector<std::string>& arguments);

// What `--help` prints.
const char* UsageText();

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_OPTIONS_H_
