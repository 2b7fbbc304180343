#include "measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <utility>

#include "clock.h"
#include "copies.h"
#include "examples.h"
#include "marks.h"
#include "op_profiler.h"
#include "operator_plan.h"
#include "operator_times.h"
#include "statistics.h"
#include "tensors.h"

namespace tileskip {

const char kRemainder[] = "other";

namespace {

double Microseconds(int64_t ns) { return static_cast<double>(ns) / 1000; }

TensorFacts Facts(const TfLiteTensor& tensor) {
  return {tensor.name == nullptr ? "" : tensor.name, DtypeName(tensor.type),
          Shape(tensor)};
}

// The most memory that this program has held at once. getrusage counts the
// program that started it too (the figure survives exec), so it comes second.
std::optional<uint64_t> PeakRssKib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    uint64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib;
  }
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  return static_cast<uint64_t>(usage.ru_maxrss);
}

// The time and the instructions of one call.
struct Lap {
  double us = 0;
  std::optional<uint64_t> instructions;
};

// Calls `work`, which gives a Status, between two readings of both clocks.
template <typename Work>
Status Time(InstructionCounter* counter, const Work& work, Lap* lap) {
  const std::optional<uint64_t> count_before = counter->Read();
  const auto now = count_before ? KernelNowNs : NowNs;
  const int64_t began = now();
  TILESKIP_RETURN_IF_ERROR(work());
  const int64_t ended = now();
  const std::optional<uint64_t> count_after = counter->Read();
  lap->us = Microseconds(ended - began);
  if (count_before && count_after) {
    lap->instructions = *count_after - *count_before;
  }
  return Status();
}

// Runs every example once, the first one timed, and writes the outputs.
Status RunExamples(const Options& options, const ExampleSource& source,
                   Session* session, Figures* figures) {
  std::optional<OutputFiles> outputs;
  if (!options.output_dir.empty()) {
    Result<OutputFiles> created =
        OutputFiles::Create(options.output_dir, session->output_count());
    TILESKIP_RETURN_IF_ERROR(created.status());
    outputs = std::move(created.value());
  }
  for (size_t i = 0; i < source.count(); ++i) {
    if (i > 0) TILESKIP_RETURN_IF_ERROR(session->ResetState());
    TILESKIP_RETURN_IF_ERROR(source.Fill(i, session));
    const int64_t began = NowNs();
    TILESKIP_RETURN_IF_ERROR(session->Invoke());
    if (i == 0) figures->first_run_us = Microseconds(NowNs() - began);
    if (outputs) TILESKIP_RETURN_IF_ERROR(outputs->Append(*session));
  }
  return outputs ? outputs->Commit() : Status();
}

// After this many runs in a row a model takes as long as when it is alone; with
// weights of 14 MB one or two were seen to be too few.
constexpr int kRunsOfATurn = 5;

// All runs of a turn but the last one, which is timed.
Status BeginTurn(Session* session) {
  for (int run = 1; run < kRunsOfATurn; ++run) {
    TILESKIP_RETURN_IF_ERROR(session->Invoke());
  }
  return Status();
}

// The models of --versus, ready to run on the same inputs, or on generated
// ones.
Result<std::vector<std::unique_ptr<Session>>> OpenVersus(const Options& options,
                                                         Figures* figures) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (const std::string& model : options.versus) {
    Result<std::unique_ptr<Session>> created =
        Session::Create({model, options.threads, options.delegate, nullptr});
    TILESKIP_RETURN_IF_ERROR(created.status());
    sessions.push_back(std::move(created.value()));
    Session* session = sessions.back().get();
    Result<ExampleSource> source = ExampleSource::Open(options.inputs, session);
    TILESKIP_RETURN_IF_ERROR(source.status());
    TILESKIP_RETURN_IF_ERROR(source.value().Fill(0, session));
    VersusFigures& other = figures->versus.emplace_back();
    other.model = model;
    other.delegation = session->delegation();
  }
  return sessions;
}

// Runs of the model and those of --versus take turns, so that whatever slows
// the machine for a while slows all of them. Then others have had the caches
// since a model's last turn, which none of them meets when it is run alone:
// only the last run of a turn is timed.
Status RunTimed(const Options& options, InstructionCounter* counter,
                Session* session, Figures* figures) {
  if (options.runs == 0) return Status();
  Result<std::vector<std::unique_ptr<Session>>> versus =
      OpenVersus(options, figures);
  TILESKIP_RETURN_IF_ERROR(versus.status());
  const bool has_turns = !versus.value().empty();
  const auto invoke = [&] { return session->Invoke(); };
  for (int i = 0; i < options.warmup; ++i) {
    TILESKIP_RETURN_IF_ERROR(invoke());
    for (const auto& other : versus.value()) {
      TILESKIP_RETURN_IF_ERROR(other->Invoke());
    }
  }
  figures->samples_us.reserve(static_cast<size_t>(options.runs));
  for (int i = 0; i < options.runs; ++i) {
    if (has_turns) TILESKIP_RETURN_IF_ERROR(BeginTurn(session));
    Lap lap;
    TILESKIP_RETURN_IF_ERROR(Time(counter, invoke, &lap));
    figures->samples_us.push_back(lap.us);
    if (figures->instructions && lap.instructions) {
      figures->instructions->per_run.push_back(*lap.instructions);
    }
    for (size_t k = 0; k < versus.value().size(); ++k) {
      TILESKIP_RETURN_IF_ERROR(BeginTurn(versus.value()[k].get()));
      const int64_t began = NowNs();
      TILESKIP_RETURN_IF_ERROR(versus.value()[k]->Invoke());
      figures->versus[k].samples_us.push_back(Microseconds(NowNs() - began));
    }
  }
  return Status();
}

// Adds to each convolution that XNNPACK ran what it tells of it.
void AddConvolutions(const std::vector<const TfLiteNode*>& partitions,
                     std::vector<OpFigures>* ops,
                     std::vector<std::string>* notes) {
  const std::optional<SymbolTable> symbols = KernelNames(notes);
  auto op = ops->begin();
  for (const TfLiteNode* partition : partitions) {
    // XNNPACK's operators of one partition follow one another.
    op = std::find_if(op, ops->end(),
                      [](const OpFigures& each) { return each.delegated; });
    for (const OperatorPlan& plan : PlanOfPartition(*partition)) {
      if (op == ops->end()) return;
      OpFigures& figures = *op++;
      figures.path = plan.path;
      figures.compact_input = plan.compact_input;
      figures.compact_output = plan.compact_output;
      if (plan.macs != 0) figures.macs_computed = plan.macs_computed;
      if (plan.pixels == 0) continue;
      if (symbols) figures.ukernel = symbols->NameOf(plan.ukernel);
      figures.mr = plan.mr;
      figures.nr = plan.nr;
      figures.pixels = plan.pixels;
      figures.kept = plan.kept;
      if (plan.taps != 0) {
        figures.dead_tap_share =
            static_cast<double>(plan.taps - plan.live_taps) /
            static_cast<double>(plan.taps);
      }
    }
  }
}

Status MarkedInvoke(Session* session) {
  Mark(MarkKind::kRunBegin);
  TILESKIP_RETURN_IF_ERROR(session->Invoke());
  Mark(MarkKind::kRunEnd);
  return Status();
}

// `session` was made with `profiler`, and its inputs are filled.
Status RunPerOp(const Options& options, OpProfiler* profiler, Session* session,
                Figures* figures) {
  if (!options.marks) SwitchOperatorTimesOn();
  TILESKIP_RETURN_IF_ERROR(MarkedInvoke(session));

  PerOpFigures per_op;
  for (const OpTime& op : profiler->Take()) {
    OpFigures& figure = per_op.ops.emplace_back();
    figure.type = op.type;
    figure.delegated = op.delegated;
    if (!op.delegated) {
      if (IsPatched()) figure.path = kKernelPath;
      figure.why_not_delegated = session->WhyLeft(op.node);
    }
  }
  if (IsPatched()) {
    AddConvolutions(session->PartitionNodes(), &per_op.ops, &figures->notes);
  } else {
    figures->notes.push_back(
        "ops: only the patched runtime tells micro-kernels and kept pixels");
  }

  const size_t count = per_op.ops.size();
  per_op.ops.emplace_back().type = kRemainder;
  // One row an operator, the last one the remainder of each run.
  std::vector<std::vector<double>> samples(count + 1);
  for (int i = 0; options.runs > 0 && i < options.warmup; ++i) {
    TILESKIP_RETURN_IF_ERROR(MarkedInvoke(session));
  }
  std::optional<Copies> copies;  // marks tell of runs alone, as they are
  if (!options.marks) copies.emplace(session);
  std::vector<double> copied_in;
  std::vector<double> copied_out;
  for (int i = 0; i < options.runs; ++i) {
    profiler->Take();
    const int64_t filling = NowNs();
    if (copies) copies->In();
    const int64_t began = NowNs();
    TILESKIP_RETURN_IF_ERROR(MarkedInvoke(session));
    const int64_t ended = NowNs();
    if (copies) copies->Out();
    copied_out.push_back(Microseconds(NowNs() - ended));
    copied_in.push_back(Microseconds(began - filling));
    double remainder = Microseconds(ended - began);
    const std::vector<OpTime> ops = profiler->Take();
    if (ops.size() != count) {
      figures->notes.push_back("ops: the operators differ from run to run");
      return Status();
    }
    for (size_t op = 0; op < count; ++op) {
      samples[op].push_back(ops[op].us);
      remainder -= ops[op].us;
    }
    samples[count].push_back(std::max(0.0, remainder));
  }

  per_op.runs = samples[count].size();
  if (per_op.runs > 0) {
    double total = 0;
    for (size_t op = 0; op <= count; ++op) {
      const double median = Median(samples[op]);
      per_op.ops[op].median_us = median;
      total += median;
    }
    per_op.total_us = total;
    if (copies) {
      per_op.input_copy_us = Median(copied_in);
      per_op.output_copy_us = Median(copied_out);
    }
    for (OpFigures& op : per_op.ops) {
      if (total > 0 && op.median_us) op.share = *op.median_us / total;
    }
  }
  figures->per_op = std::move(per_op);
  return Status();
}

}  // namespace

Result<Figures> Measure(const Options& options) {
  Figures figures;
  // Before any thread is started: only later ones are counted.
  InstructionCounter counter;
  if (options.marks) SwitchMarksOn();
  OpProfiler profiler;
  std::unique_ptr<Session> session;
  const auto load = [&]() -> Status {
    Result<std::unique_ptr<Session>> created =
        Session::Create({options.model, options.threads, options.delegate,
                         options.marks ? &profiler : nullptr});
    if (created.ok()) session = std::move(created.value());
    return created.status();
  };
  Lap init;
  TILESKIP_RETURN_IF_ERROR(Time(&counter, load, &init));
  Mark(MarkKind::kReady);
  figures.init_us = init.us;
  figures.load_us = Microseconds(session->load_ns());
  if (init.instructions) {
    figures.instructions.emplace().init = *init.instructions;
  }
  figures.notes = session->notes();
  figures.model_bytes = session->model_bytes();
  figures.delegation = session->delegation();
  for (size_t i = 0; i < session->input_count(); ++i) {
    figures.inputs.push_back(Facts(*session->input(i)));
  }
  for (size_t i = 0; i < session->output_count(); ++i) {
    figures.outputs.push_back(Facts(*session->output(i)));
  }

  Result<ExampleSource> source =
      ExampleSource::Open(options.inputs, session.get());
  TILESKIP_RETURN_IF_ERROR(source.status());
  figures.examples = source.value().count();
  figures.seed = source.value().seed();
  if (options.marks) {
    TILESKIP_RETURN_IF_ERROR(source.value().Fill(0, session.get()));
    TILESKIP_RETURN_IF_ERROR(
        RunPerOp(options, &profiler, session.get(), &figures));
    figures.instructions.reset();
    figures.notes.push_back("timing: --marks times nothing");
    return figures;
  }
  TILESKIP_RETURN_IF_ERROR(
      RunExamples(options, source.value(), session.get(), &figures));
  if (figures.examples > 1) {
    TILESKIP_RETURN_IF_ERROR(source.value().Fill(0, session.get()));
  }
  TILESKIP_RETURN_IF_ERROR(
      RunTimed(options, &counter, session.get(), &figures));
  if (!counter.reason().empty()) {
    figures.instructions.reset();
    figures.notes.push_back("instructions: " + counter.reason());
  }
  figures.peak_rss_kib = PeakRssKib();
  if (!figures.peak_rss_kib) {
    figures.notes.push_back("peak_rss_kib: the system does not tell");
  }

  if (options.per_op) {
    session.reset();  // two at once may be more than a small board holds
    // A session of its own, because XNNPACK's profiling slows it.
    Result<std::unique_ptr<Session>> profiled = Session::Create(
        {options.model, options.threads, options.delegate, &profiler});
    TILESKIP_RETURN_IF_ERROR(profiled.status());
    session = std::move(profiled.value());
    TILESKIP_RETURN_IF_ERROR(source.value().Fill(0, session.get()));
    TILESKIP_RETURN_IF_ERROR(
        RunPerOp(options, &profiler, session.get(), &figures));
  } else {
    figures.notes.push_back("ops: not asked for (--per-op)");
  }
  return figures;
}

}  // namespace tileskip
