#include "operator_plan.h"

#include <utility>

#if !TILESKIP_STOCK
#include "tensorflow/lite/delegates/xnnpack/masked_convolution.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"
#include "xnnpack-masked.h"
#include "xnnpack.h"
#endif

namespace tileskip {

#if TILESKIP_STOCK

bool IsPatched() { return false; }

std::vector<OperatorPlan> PlanOfPartition(const TfLiteNode&) { return {}; }

bool ReshapePartition(const TfLiteNode&) { return true; }

std::map<int, std::string> RefusedMasks(const TfLiteDelegate&) { return {}; }

#else

namespace {

std::string Text(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

bool IsPatched() { return true; }

std::vector<OperatorPlan> PlanOfPartition(const TfLiteNode& node) {
  const xnn_runtime_t runtime = TfLiteXNNPackNodeRuntime(&node);
  if (runtime == nullptr) return {};
  std::vector<xnn_operator_plan> told(
      xnn_get_runtime_plan(runtime, 0, nullptr));
  xnn_get_runtime_plan(runtime, told.size(), told.data());
  std::vector<OperatorPlan> plans;
  for (const xnn_operator_plan& each : told) {
    OperatorPlan& plan = plans.emplace_back();
    plan.type = each.type;
    if (each.ukernel_type != nullptr) {
      plan.type += std::string(" ") + each.ukernel_type;
    }
    plan.is_layer = each.is_layer;
    plan.path = each.path;
    plan.ukernel = reinterpret_cast<const void*>(each.ukernel);
    plan.mr = each.mr;
    plan.nr = each.nr;
    plan.pixels = each.pixels;
    plan.kept = each.kept;
    plan.rows = each.rows;
    plan.dense_rows = each.dense_rows;
    plan.taps = each.taps;
    plan.live_taps = each.live_taps;
    plan.macs = each.macs;
    plan.macs_computed = each.macs_computed;
    plan.compact_input = each.compact_input;
    plan.compact_output = each.compact_output;
    plan.why_all_pixels = Text(each.why_all_pixels);
    plan.why_all_taps = Text(each.why_all_taps);
    plan.why_dense = Text(each.why_dense);
  }
  return plans;
}

bool ReshapePartition(const TfLiteNode& node) {
  const xnn_runtime_t runtime = TfLiteXNNPackNodeRuntime(&node);
  return runtime != nullptr &&
         xnn_reshape_runtime(runtime) == xnn_status_success;
}

std::map<int, std::string> RefusedMasks(const TfLiteDelegate& delegate) {
  std::map<int, std::string> reasons;
  for (const tflite::xnnpack::UnmaskedConvolution& each :
       TfLiteXNNPackDelegateMasks(&delegate).unmasked()) {
    const bool is_masked = each.convolution_node >= 0;
    reasons.emplace(is_masked ? each.convolution_node : each.select_node,
                    each.reason);
  }
  return reasons;
}

#endif

std::optional<SymbolTable> KernelNames(std::vector<std::string>* notes) {
  Result<SymbolTable> symbols = SymbolTable::OfThisProgram();
  if (!symbols.ok()) {
    notes->push_back("ukernel: " + symbols.status().message());
    return std::nullopt;
  }
  if (symbols.value().empty()) {
    notes->push_back("ukernel: the program was stripped of its names");
  }
  return std::move(symbols.value());
}

}  // namespace tileskip
