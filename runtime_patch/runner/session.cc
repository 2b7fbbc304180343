#include "session.h"

#include <sys/stat.h>

#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "clock.h"
#include "interrupt.h"
#include "model_check.h"
#include "operators.h"
#include "tensorflow/lite/core/interpreter_builder.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"
#include "tensorflow/lite/logger.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensors.h"

namespace tileskip {
namespace {

// A fault deep in a graph is told again at every level above it.
constexpr size_t kMaxMessages = 3;
// What ends the reasons for leaving a node; its number follows.
constexpr char kLeaves[] = "XNNPACK leaves node #";
// The verifier of flatbuffers reads no further, and TensorFlow Lite takes what
// is larger without it.
constexpr int64_t kLargestFile = INT32_MAX;

// "unsupported type INT32 in tensor #4" of the same with "in node #2" behind
// it: who reads it knows the node.
std::string WithoutNode(const std::string& reason, const std::string& number) {
  for (const char* name : {" in node #", " node #", " node ", " operator #"}) {
    const std::string reference = name + number;
    const size_t begin = reason.find(reference);
    if (begin == std::string::npos) continue;
    const size_t end = begin + reference.size();
    if (end < reason.size() && std::isdigit(reason[end])) continue;
    return reason.substr(0, begin) + reason.substr(end);
  }
  return reason;
}

Status CheckFile(const std::string& path) {
  struct stat facts;
  if (stat(path.c_str(), &facts) != 0) {
    return ModelError(path + ": cannot be opened: " + std::strerror(errno));
  }
  if (!S_ISREG(facts.st_mode)) return ModelError(path + ": is no file");
  if (facts.st_size == 0) return ModelError(path + ": is empty");
  if (facts.st_size > kLargestFile) {
    return ModelError(path + ": has 2 GiB or more, which is not supported");
  }
  return Status();
}

}  // namespace

int Session::Messages::Report(const char* format, va_list arguments) {
  char text[512];
  const int length = std::vsnprintf(text, sizeof(text), format, arguments);
  std::string line(text);
  for (char& character : line) {
    if (character == '\n' || character == '\r') character = ' ';
  }
  line.erase(line.find_last_not_of(' ') + 1);
  // A check in TensorFlow Lite begins with the path of its source; what stands
  // before this is the machine that compiled it.
  const size_t source = line.find("tensorflow/lite/");
  if (source != std::string::npos && source < line.find(' ')) {
    line.erase(0, source);
  }
  if (line.rfind(kLeaves, 0) == 0) {
    const std::string number = line.substr(sizeof(kLeaves) - 1);
    // The main graph comes first, and none of its nodes comes twice.
    left_.emplace(static_cast<int>(std::strtol(number.c_str(), nullptr, 10)),
                  lines_.empty() ? "" : WithoutNode(lines_.front(), number));
    lines_.clear();
  } else if (!line.empty() && lines_.size() < kMaxMessages) {
    lines_.push_back(line);
  }
  return length;
}

std::string Session::Messages::Take(const std::string& otherwise) {
  if (lines_.empty()) return otherwise;
  std::string joined;
  for (const std::string& line : lines_) {
    joined += (joined.empty() ? "" : "; ") + line;
  }
  lines_.clear();
  return joined;
}

Result<std::unique_ptr<Session>> Session::Create(
    const SessionOptions& options) {
  std::unique_ptr<Session> session(new Session());
  TILESKIP_RETURN_IF_ERROR(session->Load(options));
  return session;
}

Status Session::Failure(const std::string& what) {
  return ModelError(path_ + ": " + messages_.Take(what));
}

Status Session::Load(const SessionOptions& options) {
  tflite::LoggerOptions::SetMinimumLogSeverity(tflite::TFLITE_LOG_SILENT);
  path_ = options.model;
  // Instructions are counted meanwhile: clock.h.
  const int64_t began = KernelNowNs();
  TILESKIP_RETURN_IF_ERROR(CheckFile(path_));
  ModelCheck check;
  errno = 0;
  model_ = tflite::FlatBufferModel::VerifyAndBuildFromFile(path_.c_str(),
                                                           &check, &messages_);
  if (model_ == nullptr && errno == ENOMEM) return OutOfMemory(path_);  // mmap
  if (model_ == nullptr) {
    return ModelError(path_ + ": is damaged or no TensorFlow Lite model: " +
                      messages_.Take("no reason given"));
  }
  load_ns_ = KernelNowNs() - began;

  TILESKIP_RETURN_IF_ERROR(BuildInterpreter(options));
  if (options.delegate) TILESKIP_RETURN_IF_ERROR(ApplyDelegate(options));
  if (interpreter_->AllocateTensors() != kTfLiteOk) {
    return Failure("its tensors cannot be allocated");
  }
  return CheckInputsAndOutputs();
}

Status Session::BuildInterpreter(const SessionOptions& options) {
  const Operators operators(/*xnnpack_by_default=*/false);
  tflite::InterpreterBuilder builder(*model_, operators);
  builder.SetNumThreads(options.threads);
  if (builder(&interpreter_) != kTfLiteOk || interpreter_ == nullptr) {
    return Failure("the graph cannot be built");
  }
  if (options.profiler != nullptr) {
    interpreter_->SetProfiler(options.profiler);
  }
  interpreter_->SetCancellationFunction(
      nullptr, [](void*) { return InterruptRequested(); });
  delegation_.nodes = interpreter_->execution_plan().size();
  return Status();
}

Status Session::ApplyDelegate(const SessionOptions& options) {
  TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
  xnnpack.num_threads = options.threads;
  xnnpack.flags |=
      TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
  delegate_ = {TfLiteXNNPackDelegateCreate(&xnnpack),
               TfLiteXNNPackDelegateDelete};
  if (delegate_ == nullptr) {
    return Failure("XNNPACK cannot be started (is memory short?)");
  }
  const TfLiteStatus status =
      interpreter_->ModifyGraphWithDelegate(delegate_.get());
  if (status == kTfLiteApplicationError) {
    notes_.push_back(
        "delegate: not used, some shapes are known only while running");
    messages_.Take("");
  } else if (status != kTfLiteOk) {
    // The file may be sound all the same: TensorFlow Lite's own kernels say so.
    why_refused_ = messages_.Take("no reason given");
    notes_.push_back("delegate: not used, XNNPACK refuses the model: " +
                     why_refused_);
    interpreter_.reset();
    TILESKIP_RETURN_IF_ERROR(BuildInterpreter(options));
    return Status();
  }
  for (const TfLiteNode* node : PartitionNodes()) {
    ++delegation_.partitions;
    const auto* parameters =
        static_cast<const TfLiteDelegateParams*>(node->builtin_data);
    delegation_.nodes_delegated +=
        static_cast<size_t>(parameters->nodes_to_replace->size);
  }
  if (notes_.empty()) {
    why_refused_ = messages_.Take("");
    if (!why_refused_.empty()) {
      notes_.push_back("delegate: not used, XNNPACK refuses the model: " +
                       why_refused_);
    } else if (const std::string others = OperatorsLeft(); !others.empty()) {
      notes_.push_back("delegate: TensorFlow Lite's own kernels run " + others);
    }
  }
  return Status();
}

std::string Session::WhyLeft(int node) const {
  const auto it = messages_.left().find(node);
  return it == messages_.left().end() ? why_refused_ : it->second;
}

std::string Session::OperatorsLeft() const {
  std::map<std::string, int> counts;
  for (const int index : interpreter_->execution_plan()) {
    const auto& [node, registration] =
        *interpreter_->node_and_registration(index);
    if (node.delegate != nullptr) continue;
    const auto code =
        static_cast<tflite::BuiltinOperator>(registration.builtin_code);
    const bool is_custom = registration.custom_name != nullptr &&
                           code == tflite::BuiltinOperator_CUSTOM;
    ++counts[is_custom ? registration.custom_name
                       : tflite::EnumNameBuiltinOperator(code)];
  }
  std::string text;
  for (const auto& [name, count] : counts) {
    text += (text.empty() ? "" : ", ") +
            (count > 1 ? std::to_string(count) + " " : std::string()) + name;
  }
  return text;
}

Status Session::CheckInputsAndOutputs() {
  for (size_t i = 0; i < input_count(); ++i) {
    const TfLiteTensor& tensor = *input(i);
    const std::string name = DescribeTensor("input", i, tensor);
    if (!IsPlain(tensor)) {
      return ModelError(path_ + ": " + name + " has type " +
                        DtypeName(tensor.type) + ", which is not supported");
    }
    if (tensor.bytes == 0 || tensor.data.raw == nullptr) {
      return ModelError(path_ + ": " + name +
                        " has no elements: convert the model with fixed "
                        "shapes");
    }
    const TfLiteIntArray* signature = tensor.dims_signature;
    for (int d = 0; signature != nullptr && d < signature->size; ++d) {
      if (signature->data[d] < 0) {
        notes_.push_back(name + " has a dynamic shape; run as " +
                         ShapeText(tensor));
        break;
      }
    }
  }
  for (size_t i = 0; i < output_count(); ++i) {
    const TfLiteTensor& tensor = *output(i);
    const std::string name = DescribeTensor("output", i, tensor);
    if (!IsPlain(tensor)) {
      return ModelError(path_ + ": " + name + " has type " +
                        DtypeName(tensor.type) + ", which is not supported");
    }
    if (tensor.allocation_type == kTfLiteDynamic) {
      return ModelError(path_ + ": " + name +
                        " has a shape that is known only while running: "
                        "convert the model with fixed shapes");
    }
  }
  return Status();
}

Status Session::Invoke() {
  const TfLiteStatus status = interpreter_->Invoke();
  if (InterruptRequested()) return Interrupted();
  if (status != kTfLiteOk) return Failure("it failed while running");
  return Status();
}

Status Session::ResetState() {
  if (interpreter_->ResetVariableTensors() != kTfLiteOk) {
    return Failure("its state cannot be reset");
  }
  return Status();
}

std::vector<const TfLiteNode*> Session::PartitionNodes() const {
  std::vector<const TfLiteNode*> nodes;
  for (const int index : interpreter_->execution_plan()) {
    const TfLiteNode& node = interpreter_->node_and_registration(index)->first;
    if (node.delegate != nullptr) nodes.push_back(&node);
  }
  return nodes;
}

}  // namespace tileskip
