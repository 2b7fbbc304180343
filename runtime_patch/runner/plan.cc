#include "plan.h"

#include <map>
#include <memory>
#include <utility>

#include "tensorflow/lite/builtin_ops.h"
#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tileskip {
namespace {

bool IsLayer(int builtin_code) {
  switch (builtin_code) {
    case kTfLiteBuiltinBatchMatmul:
    case kTfLiteBuiltinConv2d:
    case kTfLiteBuiltinDepthwiseConv2d:
    case kTfLiteBuiltinFullyConnected:
    case kTfLiteBuiltinTransposeConv:
      return true;
    default:
      return false;
  }
}

class Planner {
 public:
  explicit Planner(const Session& session)
      : session_(session), interpreter_(session.interpreter()) {
    if (session.delegate() != nullptr) {
      refused_ = RefusedMasks(*session.delegate());
    }
  }

  Result<ModelPlan> Plan() {
    ModelPlan model;
    const std::optional<SymbolTable> symbols = KernelNames(&model.notes);
    std::vector<PlannedOperator>& operators = model.operators.emplace();
    for (const int index : interpreter_.execution_plan()) {
      const auto& [node, registration] =
          *interpreter_.node_and_registration(index);
      if (node.delegate == nullptr) {
        operators.push_back(OfKernel(index, registration));
      } else if (ReshapePartition(node)) {
        AddPartition(node, &operators, &model.notes);
      } else {
        return ModelError("XNNPACK cannot prepare the model");
      }
    }
    for (PlannedOperator& each : operators) {
      if (symbols) each.ukernel = symbols->NameOf(each.plan.ukernel);
      if (!each.node) continue;
      if (const auto it = refused_.find(*each.node); it != refused_.end()) {
        each.plan.why_all_pixels = it->second;
      }
    }
    return model;
  }

 private:
  PlannedOperator OfKernel(int index,
                           const TfLiteRegistration& registration) const {
    PlannedOperator planned;
    planned.node = index;
    planned.why_not_delegated = session_.WhyLeft(index);
    const auto code =
        static_cast<tflite::BuiltinOperator>(registration.builtin_code);
    const bool is_custom = registration.custom_name != nullptr &&
                           code == tflite::BuiltinOperator_CUSTOM;
    planned.plan.type = is_custom ? registration.custom_name
                                  : tflite::EnumNameBuiltinOperator(code);
    planned.plan.is_layer = IsLayer(registration.builtin_code);
    planned.plan.path = kKernelPath;
    return planned;
  }

  // XNNPACK makes its operators in the order of the nodes, and leaves none out
  // that has multiply-accumulates: that tells whose they are.
  void AddPartition(const TfLiteNode& partition,
                    std::vector<PlannedOperator>* operators,
                    std::vector<std::string>* notes) {
    const auto* parameters =
        static_cast<const TfLiteDelegateParams*>(partition.builtin_data);
    const TfLiteIntArray& replaced = *parameters->nodes_to_replace;
    std::vector<int> layers;
    for (int i = 0; i < replaced.size; ++i) {
      const int node = replaced.data[i];
      if (IsLayer(
              interpreter_.node_and_registration(node)->second.builtin_code)) {
        layers.push_back(node);
      }
    }
    std::vector<OperatorPlan> plans = PlanOfPartition(partition);
    size_t count = 0;
    for (const OperatorPlan& plan : plans) count += plan.is_layer ? 1 : 0;
    const bool is_known = count == layers.size();
    if (!is_known) {
      notes->push_back(
          "node: XNNPACK has other layers than the part of the graph that it "
          "runs");
    }
    size_t next = 0;
    for (OperatorPlan& plan : plans) {
      PlannedOperator& planned = operators->emplace_back();
      planned.delegated = true;
      if (plan.is_layer && is_known) planned.node = layers[next++];
      planned.plan = std::move(plan);
    }
  }

  const Session& session_;
  const tflite::Interpreter& interpreter_;
  std::map<int, std::string> refused_;
};

}  // namespace

Result<ModelPlan> MakePlan(const Options& options) {
  Result<std::unique_ptr<Session>> created = Session::Create(
      {options.model, options.threads, options.delegate, nullptr});
  TILESKIP_RETURN_IF_ERROR(created.status());
  const Session& session = *created.value();
  ModelPlan model;
  if (IsPatched()) {
    Result<ModelPlan> planned = Planner(session).Plan();
    if (!planned.ok()) {
      return ModelError(options.model + ": " + planned.status().message());
    }
    model = std::move(planned.value());
  } else {
    model.notes.push_back("plan: only the patched runtime tells it");
  }
  model.model_bytes = session.model_bytes();
  model.delegation = session.delegation();
  model.notes.insert(model.notes.begin(), session.notes().begin(),
                     session.notes().end());
  return model;
}

}  // namespace tileskip
