// A model that is loaded and ready to run.

#ifndef TILESKIP_RUNNER_SESSION_H_
#define TILESKIP_RUNNER_SESSION_H_

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "status.h"
#include "tensorflow/lite/core/api/error_reporter.h"
#include "tensorflow/lite/core/api/profiler.h"
#include "tensorflow/lite/core/interpreter.h"
#include "tensorflow/lite/core/model_builder.h"

namespace tileskip {

struct SessionOptions {
  std::string model;
  int threads = 1;
  bool delegate = true;
  // Told of every operator that runs, if given; must outlive the session.
  tflite::Profiler* profiler = nullptr;
};

// How much of the graph XNNPACK has taken.
struct Delegation {
  size_t nodes = 0;
  size_t nodes_delegated = 0;
  size_t partitions = 0;
};

// Model, delegate and interpreter, with tensors allocated. Whatever TensorFlow
// Lite says on failure becomes part of the Status, on one line.
class Session {
 public:
  // Fails with ExitCode::kModel: no such file, damaged, an operator that is not
  // supported, an input or output that is no plain tensor.
  static Result<std::unique_ptr<Session>> Create(const SessionOptions& options);

  // Runs the model once on what its input tensors hold.
  Status Invoke();

  size_t input_count() const { return interpreter_->inputs().size(); }
  size_t output_count() const { return interpreter_->outputs().size(); }
  TfLiteTensor* input(size_t i) { return interpreter_->input_tensor(i); }
  const TfLiteTensor* output(size_t i) const {
    return interpreter_->output_tensor(i);
  }

  // Sets what the model remembers between runs back to its start.
  Status ResetState();

  const Delegation& delegation() const { return delegation_; }
  // The nodes that stand for a partition, in the order in which they run.
  std::vector<const TfLiteNode*> PartitionNodes() const;
  // What runs, in order: nodes of the graph and those for partitions of it.
  const tflite::Interpreter& interpreter() const { return *interpreter_; }
  // XNNPACK's, null where it was not asked for.
  const TfLiteDelegate* delegate() const { return delegate_.get(); }
  // Why XNNPACK leaves a node of the graph alone, in its words; empty if it
  // takes it, was not asked, or does not say.
  std::string WhyLeft(int node) const;
  size_t model_bytes() const { return model_->allocation()->bytes(); }
  // What reading and checking the file took.
  int64_t load_ns() const { return load_ns_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  // Keeps what TensorFlow Lite reports instead of printing it.
  class Messages : public tflite::ErrorReporter {
   public:
    int Report(const char* format, va_list arguments) override;
    // Everything since the last call, on one line; `otherwise` if nothing.
    std::string Take(const std::string& otherwise);
    // The nodes that XNNPACK said it leaves alone, and why.
    const std::map<int, std::string>& left() const { return left_; }

   private:
    std::vector<std::string> lines_;
    std::map<int, std::string> left_;
  };

  Session() = default;
  Status Load(const SessionOptions& options);
  Status BuildInterpreter(const SessionOptions& options);
  // Lets XNNPACK take its part; what it refuses is left to TensorFlow Lite's
  // kernels, with a note.
  Status ApplyDelegate(const SessionOptions& options);
  // The operators that no partition runs, as text; empty if there are none.
  std::string OperatorsLeft() const;
  Status CheckInputsAndOutputs();
  Status Failure(const std::string& what);

  std::string path_;
  // Declared in the order in which each needs the one before it.
  Messages messages_;
  std::unique_ptr<tflite::FlatBufferModel> model_;
  std::unique_ptr<TfLiteDelegate, void (*)(TfLiteDelegate*)> delegate_{
      nullptr, [](TfLiteDelegate*) {}};
  std::unique_ptr<tflite::Interpreter> interpreter_;
  int64_t load_ns_ = 0;
  Delegation delegation_;
  // Why XNNPACK refuses the graph as a whole, where it does.
  std::string why_refused_;
  std::vector<std::string> notes_;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_SESSION_H_
