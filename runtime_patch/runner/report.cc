#include "report.h"

#include <cmath>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <type_traits>
#include <vector>

#include "json_writer.h"
#include "report_frame.h"
#include "statistics.h"

namespace tileskip {
namespace {

// Counts are integers of several sizes, and of others on a 32-bit board.
template <typename T>
void Number(const std::optional<T>& value, JsonWriter* json) {
  if (!value) {
    json->Null();
  } else if constexpr (std::is_integral_v<T>) {
    json->Uint(*value);
  } else {
    json->Double(*value);
  }
}

std::optional<double> MedianCount(const std::vector<uint64_t>& counts) {
  if (counts.empty()) return std::nullopt;
  return Median(std::vector<double>(counts.begin(), counts.end()));
}

// Microseconds to the nanosecond, which is what the clock gives.
void Time(const std::optional<double>& us, JsonWriter* json) {
  us ? json->Double(std::round(*us * 1000) / 1000) : json->Null();
}

void WriteTensors(const std::vector<TensorFacts>& tensors, JsonWriter* json) {
  json->BeginArray();
  for (const TensorFacts& tensor : tensors) {
    json->BeginObject();
    json->Key("name").String(tensor.name);
    json->Key("dtype").String(tensor.dtype);
    json->Key("shape").BeginArray();
    for (const int size : tensor.shape) json->Int(size);
    json->EndArray();
    json->EndObject();
  }
  json->EndArray();
}

void WriteTiming(const Options& options, const std::vector<double>& samples,
                 JsonWriter* json) {
  if (samples.empty()) {
    json->Null();
    return;
  }
  const Summary summary = Summarize(samples);
  json->BeginObject();
  json->Key("runs").Uint(samples.size());
  json->Key("warmup").Int(options.warmup);
  json->Key("min_us");
  Time(summary.min, json);
  json->Key("median_us");
  Time(summary.median, json);
  json->Key("mean_us");
  Time(summary.mean, json);
  json->Key("p95_us");
  Time(summary.p95, json);
  json->Key("max_us");
  Time(summary.max, json);
  json->Key("mad_us");
  Time(summary.mad, json);
  json->Key("samples_us").BeginArray();
  for (const double sample : samples) Time(sample, json);
  json->EndArray();
  json->EndObject();
}

void WriteInstructions(const std::optional<InstructionFigures>& instructions,
                       JsonWriter* json) {
  if (!instructions) {
    json->Null();
    return;
  }
  json->BeginObject();
  json->Key("per_run").BeginArray();
  for (const uint64_t count : instructions->per_run) json->Uint(count);
  json->EndArray();
  json->Key("median");
  Number(MedianCount(instructions->per_run), json);
  json->Key("init").Uint(instructions->init);
  json->EndObject();
}

// A layout, or null where the path is not known either.
void Layout(const std::string& path, bool is_compact, JsonWriter* json) {
  path.empty() ? json->Null() : json->String(is_compact ? "compact" : "dense");
}

void WriteOps(const std::optional<PerOpFigures>& per_op, JsonWriter* json) {
  json->Key("per_op");
  if (!per_op) {
    json->Null();
    json->Key("ops").Null();
    return;
  }
  json->BeginObject();
  json->Key("runs").Uint(per_op->runs);
  json->Key("total_us");
  Time(per_op->total_us, json);
  json->Key("input_copy_us");
  Time(per_op->input_copy_us, json);
  json->Key("output_copy_us");
  Time(per_op->output_copy_us, json);
  json->EndObject();
  json->Key("ops").BeginArray();
  size_t index = 0;
  for (const OpFigures& op : per_op->ops) {
    json->BeginObject();
    json->Key("index").Uint(index++);
    json->Key("type").String(op.type);
    json->Key("delegated").Bool(op.delegated);
    json->Key("why_not_delegated");
    op.why_not_delegated.empty() ? json->Null()
                                 : json->String(op.why_not_delegated);
    json->Key("path");
    op.path.empty() ? json->Null() : json->String(op.path);
    json->Key("reads");
    Layout(op.path, op.compact_input, json);
    json->Key("writes");
    Layout(op.path, op.compact_output, json);
    json->Key("median_us");
    Time(op.median_us, json);
    json->Key("share");
    Number(op.share, json);
    json->Key("ukernel");
    op.ukernel ? json->String(*op.ukernel) : json->Null();
    json->Key("mr");
    Number(op.mr, json);
    json->Key("nr");
    Number(op.nr, json);
    json->Key("pixels");
    Number(op.pixels, json);
    json->Key("kept");
    Number(op.kept, json);
    json->Key("skipped_share");
    std::optional<double> skipped;
    if (op.pixels && op.kept && *op.pixels > 0) {
      skipped = static_cast<double>(*op.pixels - *op.kept) /
                static_cast<double>(*op.pixels);
    }
    Number(skipped, json);
    json->Key("dead_tap_share");
    Number(op.dead_tap_share, json);
    json->Key("macs_computed");
    Number(op.macs_computed, json);
    json->EndObject();
  }
  json->EndArray();
}

void WriteVersus(const Options& options,
                 const std::vector<VersusFigures>& versus, JsonWriter* json) {
  json->Key("versus").BeginArray();
  for (const VersusFigures& other : versus) {
    json->BeginObject();
    json->Key("path").String(other.model);
    json->Key("partitions").Uint(other.delegation.partitions);
    json->Key("timing");
    WriteTiming(options, other.samples_us, json);
    json->EndObject();
  }
  json->EndArray();
}

// A line of printf, appended.
__attribute__((format(printf, 2, 3))) void Print(std::string* text,
                                                 const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  *text += line;
}

}  // namespace

std::string JsonReport(const Options& options, const Figures& figures) {
  JsonWriter json;
  BeginReport(options, figures.model_bytes, figures.delegation, &json);
  json.Key("inputs");
  WriteTensors(figures.inputs, &json);
  json.Key("outputs");
  WriteTensors(figures.outputs, &json);
  json.Key("examples").Uint(figures.examples);
  json.Key("seed");
  Number(figures.seed, &json);
  json.Key("init_us");
  Time(figures.init_us, &json);
  json.Key("load_us");
  Time(figures.load_us, &json);
  json.Key("first_run_us");
  Time(figures.first_run_us, &json);
  json.Key("timing");
  WriteTiming(options, figures.samples_us, &json);
  json.Key("peak_rss_kib");
  Number(figures.peak_rss_kib, &json);
  json.Key("instructions");
  WriteInstructions(figures.instructions, &json);
  WriteOps(figures.per_op, &json);
  if (!figures.versus.empty()) WriteVersus(options, figures.versus, &json);
  EndReport(figures.notes, &json);
  return json.text() + "\n";
}

std::string TextReport(const Options& options, const Figures& figures) {
  std::string text;
  text += "model: " + options.model + "\n";
  Print(&text,
        "XNNPACK runs %zu of %zu operators (partitions: %zu, threads: %d)\n",
        figures.delegation.nodes_delegated, figures.delegation.nodes,
        figures.delegation.partitions, options.threads);
  Print(&text, "init %.1f us (load %.1f), first run %.1f us\n", figures.init_us,
        figures.load_us, figures.first_run_us);
  if (!figures.samples_us.empty()) {
    const Summary summary = Summarize(figures.samples_us);
    Print(&text,
          "%zu runs: median %.1f us, MAD %.1f, min %.1f, mean %.1f, p95 %.1f, "
          "max %.1f\n",
          figures.samples_us.size(), summary.median, summary.mad, summary.min,
          summary.mean, summary.p95, summary.max);
  }
  for (const VersusFigures& other : figures.versus) {
    text += "versus " + other.model + ": ";
    Print(&text, "median %.1f us\n", Median(other.samples_us));
  }
  if (figures.instructions) {
    if (const auto median = MedianCount(figures.instructions->per_run)) {
      Print(&text, "instructions per run: %.0f\n", *median);
    }
  }
  if (figures.peak_rss_kib) {
    Print(&text, "peak memory: %zu KiB\n",
          static_cast<size_t>(*figures.peak_rss_kib));
  }
  if (figures.per_op) {
    for (const OpFigures& op : figures.per_op->ops) {
      Print(&text, "%10.1f us %5.1f%%  %s", op.median_us.value_or(0),
            100 * op.share.value_or(0), op.type.c_str());
      if (op.kept && op.pixels) {
        Print(&text, "  %zu of %zu pixels", *op.kept, *op.pixels);
      }
      if (const double share = op.dead_tap_share.value_or(0); share > 0) {
        Print(&text, ", %.1f%% of their taps dead", 100 * share);
      }
      if (op.ukernel) text += "  " + *op.ukernel;
      if (!op.why_not_delegated.empty()) {
        text += "  (not by XNNPACK: " + op.why_not_delegated + ")";
      }
      text += '\n';
    }
    Print(&text, "copies: input %.1f us, output %.1f us\n",
          figures.per_op->input_copy_us.value_or(0),
          figures.per_op->output_copy_us.value_or(0));
  }
  for (const std::string& note : figures.notes) text += "note: " + note + "\n";
  return text;
}

}  // namespace tileskip
