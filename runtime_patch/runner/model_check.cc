#include "model_check.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "flatbuffers/flatbuffers.h"
#include "tensorflow/lite/schema/schema_generated.h"

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

bool HasData(const tflite::Model& model, const tflite::Tensor& tensor) {
  const tflite::Buffer* buffer = model.buffers()->Get(tensor.buffer());
  return buffer->offset() > 1 ||
         (buffer->data() != nullptr && buffer->data()->size() > 0);
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
