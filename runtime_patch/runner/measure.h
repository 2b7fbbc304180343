// The runs themselves: on the inputs that were given, timed, and per operator.

#ifndef TILESKIP_RUNNER_MEASURE_H_
#define TILESKIP_RUNNER_MEASURE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "perf_counter.h"
#include "session.h"
#include "status.h"

namespace tileskip {

struct TensorFacts {
  std::string name;
  std::string dtype;
  std::vector<int> shape;
};

struct InstructionFigures {
  std::vector<uint64_t> per_run;
  uint64_t init = 0;
};

struct OpFigures {
  std::string type;
  // Whether XNNPACK runs the operator.
  bool delegated = false;
  // Why it does not, in its words, where they are known.
  std::string why_not_delegated;
  // In the patched build: which way it is computed, and the layouts of its
  // first input and of its output; see OperatorPlan.
  std::string path;
  bool compact_input = false;
  bool compact_output = false;
  std::optional<double> median_us;
  // The part of PerOpFigures::total_us.
  std::optional<double> share;
  // Convolutions in the patched build only.
  std::optional<std::string> ukernel;
  std::optional<size_t> mr;
  std::optional<size_t> nr;
  std::optional<size_t> pixels;
  std::optional<size_t> kept;
  // The part of the kept pixels' taps that is not computed.
  std::optional<double> dead_tap_share;
  // Multiply-accumulates, with those of rows that nobody wants; of matrices,
  // too.
  std::optional<uint64_t> macs_computed;
};

struct PerOpFigures {
  size_t runs = 0;
  // The sum of all medians.
  std::optional<double> total_us;
  // What copying takes in these runs: to the input tensors before an inference,
  // from the output tensors after it. Neither is part of `total_us`.
  std::optional<double> input_copy_us;
  std::optional<double> output_copy_us;
  // The last one is the remainder: of each run, what no operator accounts for.
  std::vector<OpFigures> ops;
};

// One more model, timed in turn with the first.
struct VersusFigures {
  std::string model;
  Delegation delegation;
  std::vector<double> samples_us;
};

// Everything that the JSON reports; docs/reference/runner.md says what each
// figure is.
struct Figures {
  size_t model_bytes = 0;
  Delegation delegation;
  std::vector<TensorFacts> inputs;
  std::vector<TensorFacts> outputs;
  // How many inputs the files held, and what generated ones were seeded with.
  size_t examples = 1;
  std::optional<uint64_t> seed;
  double init_us = 0;
  // The part of `init_us` until the file was read and checked.
  double load_us = 0;
  double first_run_us = 0;
  std::vector<double> samples_us;
  std::optional<uint64_t> peak_rss_kib;
  std::optional<InstructionFigures> instructions;
  std::optional<PerOpFigures> per_op;
  std::vector<VersusFigures> versus;
  std::vector<std::string> notes;
};

// Loads the model, runs it on every input, writes the outputs, and times it.
Result<Figures> Measure(const Options& options);

// The name of the last entry of PerOpFigures::ops.
extern const char kRemainder[];

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_MEASURE_H_
