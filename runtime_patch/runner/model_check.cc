#include "model_check.h"

#include <cstddef>
#include <cstdint>
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

// How many bytes the file has of a tensor; none of one that is computed.
size_t DataBytes(const tflite::Model& model, const tflite::Tensor& tensor) {
  const tflite::Buffer* buffer = model.buffers()->Get(tensor.buffer());
  if (buffer->offset() > 1) return buffer->size();
  return buffer->data() == nullptr ? 0 : buffer->data()->size();
}

bool HasData(const tflite::Model& model, const tflite::Tensor& tensor) {
  return DataBytes(model, tensor) > 0 ||
         model.buffers()->Get(tensor.buffer())->offset() > 1;
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
// looks for what it has before it looks which it is.
bool IsRowSparse(const tflite::SparsityParameters& sparsity) {
  const auto* levels = sparsity.dim_metadata();
  return levels != nullptr && levels->size() >= 2 &&
         levels->Get(0)->format() == tflite::DimensionType_DENSE &&
         levels->Get(1)->format() == tflite::DimensionType_SPARSE_CSR;
}

Fault CheckSparseInputs(const tflite::Model& model,
                        const tflite::SubGraph& graph,
                        const tflite::Operator& op, const std::string& where) {
  const auto* code = model.operator_codes()->Get(op.opcode_index());
  // CheckQuantization names the other operators that are given such weights.
  if (op.inputs() == nullptr ||
      tflite::GetBuiltinCode(code) != tflite::BuiltinOperator_FULLY_CONNECTED) {
    return Fault();
  }
  for (const int32_t index : *op.inputs()) {
    if (index < 0) continue;
    const auto* sparsity = graph.tensors()->Get(index)->sparsity();
    if (sparsity != nullptr && !IsRowSparse(*sparsity)) {
      return where + " reads a sparse tensor of a kind that it does not take";
    }
  }
  return Fault();
}

Fault CheckOperators(const tflite::Model& model,
                     const tflite::SubGraph& graph) {
  const size_t count = graph.tensors()->size();
  std::vector<bool> filled(count, false);
  for (size_t i = 0; i < count; ++i) {
    const tflite::Tensor& tensor = *graph.tensors()->Get(i);
    filled[i] = tensor.is_variable() || HasData(model, tensor);
  }
  if (graph.inputs() != nullptr) {
    for (const int32_t index : *graph.inputs()) filled[index] = true;
  }
  if (graph.operators() == nullptr) return Fault();
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
    for (Fault fault : {CheckOptions(*op, where),
                        CheckSparseInputs(model, graph, *op, where)}) {
      if (!fault.empty()) return fault;
    }
    if (op->inputs() != nullptr) {
      for (const int32_t index : *op->inputs()) {
        // Absent, or an empty tensor that carries only a shape.
        if (index < 0 || filled[index]) continue;
        const auto* shape = graph.tensors()->Get(index)->shape();
        bool empty = false;
        for (size_t d = 0; shape != nullptr && d < shape->size(); ++d) {
          empty = empty || shape->Get(d) == 0;
        }
        if (!empty) {
          return where + " reads tensor " + std::to_string(index) +
                 " before anything fills it";
        }
      }
    }
    if (op->outputs() != nullptr) {
      for (const int32_t index : *op->outputs()) filled[index] = true;
    }
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
  if (fault.empty()) fault = CheckOperators(model, *graph);
  return fault;
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
