#include "model_check.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flatbuffers/flatbuffers.h"
#include "sparsity_check.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/schema/schema_utils.h"

namespace tileskip {
namespace {

using Indices = flatbuffers::Vector<int32_t>;

// What is wrong, or nothing.
using Fault = std::string;

Fault CheckIndices(const Indices* indices, size_t count, bool may_be_absent,
                   const std::string& where) {
  if (indices == nullptr) return Fault();
  for (const int32_t index : *indices) {
    if (index == -1 && may_be_absent) continue;
    if (index < 0 || static_cast<size_t>(index) >= count) {
      return where + " names tensor " + std::to_string(index) + " of " +
             std::to_string(count);
    }
  }
  return Fault();
}

// How many bytes the file has of a tensor; none of one that is computed. As
// TensorFlow Lite looks for them: buffer 0 is none, and an offset counts only
// where there is no vector.
size_t DataBytes(const tflite::Model& model, const tflite::Tensor& tensor) {
  if (tensor.buffer() == 0) return 0;
  const tflite::Buffer* buffer = model.buffers()->Get(tensor.buffer());
  if (buffer->data() != nullptr) return buffer->data()->size();
  return buffer->offset() > 1 ? buffer->size() : 0;
}

Fault CheckBuffers(const tflite::Model& model, size_t length) {
  for (const tflite::Buffer* buffer : *model.buffers()) {
    if (buffer == nullptr) return "a buffer is missing";
    if (buffer->offset() > 1 && (buffer->offset() > length ||
                                 buffer->size() > length - buffer->offset())) {
      return "a buffer lies past the end of the file";
    }
  }
  return Fault();
}

Fault CheckTensors(const tflite::Model& model, const tflite::SubGraph& graph) {
  for (const tflite::Tensor* tensor : *graph.tensors()) {
    if (tensor->buffer() >= model.buffers()->size()) {
      return "a tensor names a buffer that does not exist";
    }
    if (tensor->shape() == nullptr) continue;
    uint64_t elements = 1;
    for (const int32_t dimension : *tensor->shape()) {
      if (dimension < 0) return "a tensor has a negative dimension";
      elements *= static_cast<uint64_t>(dimension);
      if (elements > INT32_MAX) return "a tensor is too large";
    }
    if (Fault fault = SparsityFault(*tensor, DataBytes(model, *tensor));
        !fault.empty()) {
      return fault;
    }
  }
  return Fault();
}

// Steps and windows are multiplied with each other and with sizes: what no
// network has would overflow there.
constexpr int32_t kLargestStep = 1 << 14;

bool IsStep(int32_t value) { return value >= 1 && value <= kLargestStep; }

template <typename Options>
bool HasSteps(const Options* options) {
  return IsStep(options->stride_h()) && IsStep(options->stride_w());
}

template <typename Options>
bool HasDilatedSteps(const Options* options) {
  return HasSteps(options) && IsStep(options->dilation_h_factor()) &&
         IsStep(options->dilation_w_factor());
}

Fault CheckOptions(const tflite::Operator& op, const std::string& where) {
  bool sound = true;
  if (const auto* conv = op.builtin_options_as_Conv2DOptions()) {
    sound = HasDilatedSteps(conv);
  } else if (const auto* each =
                 op.builtin_options_as_DepthwiseConv2DOptions()) {
    sound = HasDilatedSteps(each);
  } else if (const auto* conv3d = op.builtin_options_as_Conv3DOptions()) {
    sound = HasDilatedSteps(conv3d) && IsStep(conv3d->stride_d()) &&
            IsStep(conv3d->dilation_d_factor());
  } else if (const auto* back = op.builtin_options_as_TransposeConvOptions()) {
    sound = HasSteps(back);
  } else if (const auto* pool = op.builtin_options_as_Pool2DOptions()) {
    sound = HasSteps(pool) && IsStep(pool->filter_height()) &&
            IsStep(pool->filter_width());
  }
  return sound ? Fault()
               : where +
                     " has a stride, dilation or window that is "
                     "out of range";
}

// The one kernel that computes on sparse weights takes one kind of them, and
// does not look at most of what says which it is: a matrix row by row, each
// with the columns of its values or of blocks of them. Of weights that have no
// SparsityFault.
bool IsRowSparse(const tflite::SparsityParameters& sparsity) {
  const auto* levels = sparsity.dim_metadata();
  const auto* order = sparsity.traversal_order();
  const auto* blocks = sparsity.block_map();
  const size_t block_levels = blocks == nullptr ? 0 : blocks->size();
  if (levels->size() != 2 + block_levels || block_levels > 1 ||
      (block_levels == 1 && blocks->Get(0) != 1)) {
    return false;
  }
  for (size_t i = 0; i < order->size(); ++i) {
    if (order->Get(i) != static_cast<int32_t>(i)) return false;
  }
  return levels->Get(0)->format() == tflite::DimensionType_DENSE &&
         levels->Get(1)->format() == tflite::DimensionType_SPARSE_CSR;
}

Fault CheckSparseWeights(const tflite::Model& model,
                         const tflite::SubGraph& graph,
                         const tflite::Operator& op, const std::string& where) {
  const auto* code = model.operator_codes()->Get(op.opcode_index());
  // CheckQuantization names other inputs and operators that are given such.
  if (op.inputs() == nullptr || op.inputs()->size() < 2 ||
      op.inputs()->Get(1) < 0 ||
      tflite::GetBuiltinCode(code) != tflite::BuiltinOperator_FULLY_CONNECTED) {
    return Fault();
  }
  const auto* weights = graph.tensors()->Get(op.inputs()->Get(1));
  if (weights->sparsity() == nullptr || IsRowSparse(*weights->sparsity())) {
    return Fault();
  }
  return where + " reads a sparse tensor of a kind that it does not take";
}

// What holds values when a graph begins, or after some of its operators.
using Filled = std::vector<bool>;

Filled FilledByFile(const tflite::Model& model, const tflite::SubGraph& graph) {
  Filled filled;
  for (const tflite::Tensor* tensor : *graph.tensors()) {
    filled.push_back(tensor->is_variable() || DataBytes(model, *tensor) > 0);
  }
  return filled;
}

// Whoever runs a graph or an operator writes to these: constants lie in memory
// that cannot be written to.
Fault CheckWritten(const tflite::Model& model, const tflite::SubGraph& graph,
                   const Indices* written, const std::string& where) {
  if (written == nullptr) return Fault();
  for (const int32_t index : *written) {
    if (DataBytes(model, *graph.tensors()->Get(index)) > 0) {
      return where + " is tensor " + std::to_string(index) +
             ", which is a constant";
    }
  }
  return Fault();
}

// The first of these that holds nothing. None is an absent one, or an empty
// tensor that carries only a shape.
std::optional<int32_t> FirstUnfilled(const tflite::SubGraph& graph,
                                     const Indices* read,
                                     const Filled& filled) {
  if (read == nullptr) return std::nullopt;
  for (const int32_t index : *read) {
    if (index < 0 || filled[index]) continue;
    const auto* shape = graph.tensors()->Get(index)->shape();
    bool empty = false;
    for (size_t d = 0; shape != nullptr && d < shape->size(); ++d) {
      empty = empty || shape->Get(d) == 0;
    }
    if (!empty) return index;
  }
  return std::nullopt;
}

void Fill(const Indices* written, Filled* filled) {
  if (written == nullptr) return;
  for (const int32_t index : *written) (*filled)[index] = true;
}

Fault CheckOperators(const tflite::Model& model, const tflite::SubGraph& graph,
                     Filled* filled) {
  if (graph.operators() == nullptr) return Fault();
  const size_t count = graph.tensors()->size();
  int number = 0;
  for (const tflite::Operator* op : *graph.operators()) {
    const std::string where = "operator " + std::to_string(number++);
    if (op->opcode_index() >= model.operator_codes()->size()) {
      return where + " is of a kind that the file does not name";
    }
    for (const Indices* list : {op->inputs(), op->intermediates()}) {
      if (Fault fault = CheckIndices(list, count, true, where);
          !fault.empty()) {
        return fault;
      }
    }
    if (Fault fault = CheckIndices(op->outputs(), count, false, where);
        !fault.empty()) {
      return fault;
    }
    for (Fault fault :
         {CheckOptions(*op, where),
          CheckSparseWeights(model, graph, *op, where),
          CheckWritten(model, graph, op->outputs(), "an output of " + where)}) {
      if (!fault.empty()) return fault;
    }
    if (const auto unfilled = FirstUnfilled(graph, op->inputs(), *filled)) {
      return where + " reads tensor " + std::to_string(*unfilled) +
             " before anything fills it";
    }
    Fill(op->outputs(), filled);
  }
  return Fault();
}

Fault CheckGraph(const tflite::Model& model, const tflite::SubGraph* graph) {
  if (graph == nullptr || graph->tensors() == nullptr) {
    return "a graph without tensors";
  }
  const size_t count = graph->tensors()->size();
  Fault fault = CheckTensors(model, *graph);
  if (fault.empty()) {
    fault = CheckIndices(graph->inputs(), count, false, "an input");
  }
  if (fault.empty()) {
    fault = CheckIndices(graph->outputs(), count, false, "an output");
  }
  if (fault.empty()) {
    fault = CheckWritten(model, *graph, graph->inputs(), "an input");
  }
  if (!fault.empty()) return fault;
  Filled filled = FilledByFile(model, *graph);
  Fill(graph->inputs(), &filled);
  fault = CheckOperators(model, *graph, &filled);
  if (!fault.empty()) return fault;
  if (const auto unfilled = FirstUnfilled(*graph, graph->outputs(), filled)) {
    return "an output is tensor " + std::to_string(*unfilled) +
           ", which nothing fills";
  }
  return Fault();
}

Fault CheckModel(const tflite::Model& model, size_t length) {
  if (model.buffers() == nullptr || model.subgraphs() == nullptr ||
      model.subgraphs()->size() == 0 || model.operator_codes() == nullptr) {
    return "it holds no graph";
  }
  Fault fault = CheckBuffers(model, length);
  for (size_t i = 0; fault.empty() && i < model.subgraphs()->size(); ++i) {
    fault = CheckGraph(model, model.subgraphs()->Get(i));
  }
  if (model.metadata() != nullptr) {
    for (const tflite::Metadata* entry : *model.metadata()) {
      if (fault.empty() && entry->buffer() >= model.buffers()->size()) {
        fault = "its metadata names a buffer that does not exist";
      }
    }
  }
  return fault;
}

}  // namespace

bool ModelCheck::Verify(const char* data, int length,
                        tflite::ErrorReporter* reporter) {
  const Fault fault =
      CheckModel(*tflite::GetModel(data), static_cast<size_t>(length));
  if (fault.empty()) return true;
  reporter->Report("%s", fault.c_str());
  return false;
}

}  // namespace tileskip
