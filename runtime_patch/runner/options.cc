#include "options.h"

#include <charconv>
#include <cstddef>
#include <optional>
#include <system_error>

namespace tileskip {
namespace {

constexpr int kMaxRuns = 1000000;
constexpr int kMaxThreads = 64;

// Sets `*target` from `text`, a decimal number in [low, high].
Status ParseNumber(const std::string& option, const std::string& text, int low,
                   int high, int* target) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < low || value > high) {
    return UsageError(option + " needs a number from " + std::to_string(low) +
                      " to " + std::to_string(high) + ", not '" + text + "'");
  }
  *target = value;
  return Status();
}

}  // namespace

const char* UsageText() {
  return "usage: tileskip-run --model FILE [options]\n"
         "\n"
         "Runs a TensorFlow Lite model and measures it.\n"
         "\n"
         "  --model FILE      the model (.tflite)\n"
         "  --input FILE      raw little-endian data, once an input tensor, "
         "in\n"
         "                    the model's order; a file of k times the "
         "tensor's\n"
         "                    size holds k inputs; without it: generated data\n"
         "  --output-dir DIR  write DIR/output<i>.bin\n"
         "  --runs N          timed runs (20); 0 times nothing\n"
         "  --warmup W        runs before the timed ones (3)\n"
         "  --threads T       threads (1)\n"
         "  --no-delegate     TensorFlow Lite's own kernels, not XNNPACK\n"
         "  --per-op          time every operator, in runs of their own\n"
         "  --marks           make only runs per operator, with marks that a\n"
         "                    counter outside of the program can see\n"
         "  --plan            run nothing; tell how each operator is "
         "computed,\n"
         "                    and why something is not skipped\n"
         "  --versus FILE     another model, whose runs take turns with those "
         "of\n"
         "                    the first; may be repeated\n"
         "  --json FILE|-     write every figure as JSON\n"
         "  --version         print versions as one line of JSON\n"
         "  --help            print this\n";
}

Result<Options> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    std::optional<std::string> attached;
    if (const size_t equals = name.find('=');
        name.rfind("--", 0) == 0 && equals != std::string::npos) {
      attached = name.substr(equals + 1);
      name.resize(equals);
    }

    if (name == "--no-delegate" || name == "--per-op" || name == "--marks" ||
        name == "--plan" || name == "--version" || name == "--help" ||
        name == "-h") {
      if (attached) return UsageError(name + " takes no value");
      if (name == "--version") {
        options.action = Action::kVersion;
        return options;
      }
      if (name == "--help" || name == "-h") {
        options.action = Action::kHelp;
        return options;
      }
      if (name == "--per-op") options.per_op = true;
      if (name == "--marks") options.per_op = options.marks = true;
      if (name == "--plan") options.plan = true;
      if (name == "--no-delegate") options.delegate = false;
      continue;
    }

    const bool is_number =
        name == "--runs" || name == "--warmup" || name == "--threads";
    if (!is_number && name != "--model" && name != "--input" &&
        name != "--output-dir" && name != "--json" && name != "--versus") {
      return UsageError("unknown argument '" + arguments[i] +
                        "'; --help lists the options");
    }
    std::string value;
    if (attached) {
      value = *attached;
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return UsageError(name + " needs a value");
    }

    if (name == "--runs") {
      TILESKIP_RETURN_IF_ERROR(
          ParseNumber(name, value, 0, kMaxRuns, &options.runs));
    } else if (name == "--warmup") {
      TILESKIP_RETURN_IF_ERROR(
          ParseNumber(name, value, 0, kMaxRuns, &options.warmup));
    } else if (name == "--threads") {
      TILESKIP_RETURN_IF_ERROR(
          ParseNumber(name, value, 1, kMaxThreads, &options.threads));
    } else if (value.empty()) {
      return UsageError(name + " needs a value");
    } else if (name == "--model") {
      options.model = value;
    } else if (name == "--input") {
      options.inputs.push_back(value);
    } else if (name == "--output-dir") {
      options.output_dir = value;
    } else if (name == "--versus") {
      options.versus.push_back(value);
    } else {
      options.json = value;
    }
  }
  if (options.model.empty()) {
    return UsageError("--model is missing; --help lists the options");
  }
  if (options.plan &&
      (options.per_op || !options.inputs.empty() ||
       !options.output_dir.empty() || !options.versus.empty())) {
    return UsageError(
        "--plan runs nothing; leave --input, --output-dir, --per-op, --marks "
        "and --versus away");
  }
  if (options.marks && !options.output_dir.empty()) {
    return UsageError("--marks writes no outputs; leave --output-dir away");
  }
  if (options.marks && !options.versus.empty()) {
    return UsageError("--marks runs one model; leave --versus away");
  }
  return options;
}

}  // namespace tileskip
