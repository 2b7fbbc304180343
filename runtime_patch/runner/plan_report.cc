#include "plan_report.h"

#include <cstdint>

#include "json_writer.h"
#include "report_frame.h"

namespace tileskip {
namespace {

// `value`, or null where `is_known` does not hold.
void Count(bool is_known, uint64_t value, JsonWriter* json) {
  is_known ? json->Uint(value) : json->Null();
}

void Text(const std::string& text, JsonWriter* json) {
  text.empty() ? json->Null() : json->String(text);
}

const char* Layout(bool is_compact) { return is_compact ? "compact" : "dense"; }

void WriteOperator(size_t index, const PlannedOperator& each,
                   JsonWriter* json) {
  const OperatorPlan& plan = each.plan;
  const bool has_tile = plan.mr != 0;
  const bool has_pixels = plan.pixels != 0;
  json->BeginObject();
  json->Key("index").Uint(index);
  json->Key("type").String(plan.type);
  json->Key("node");
  Count(each.node.has_value(), static_cast<uint64_t>(each.node.value_or(0)),
        json);
  json->Key("delegated").Bool(each.delegated);
  json->Key("why_not_delegated");
  Text(each.why_not_delegated, json);
  json->Key("path").String(plan.path);
  json->Key("ukernel");
  Text(each.ukernel.value_or(""), json);
  json->Key("mr");
  Count(has_tile, plan.mr, json);
  json->Key("nr");
  Count(has_tile, plan.nr, json);
  json->Key("pixels");
  Count(has_pixels, plan.pixels, json);
  json->Key("kept");
  Count(has_pixels, plan.kept, json);
  json->Key("rows");
  Count(has_tile, plan.rows, json);
  json->Key("dense_rows");
  Count(has_tile, plan.dense_rows, json);
  json->Key("taps");
  Count(has_pixels, plan.taps, json);
  json->Key("live_taps");
  Count(has_pixels, plan.live_taps, json);
  json->Key("macs");
  Count(has_tile, plan.macs, json);
  json->Key("macs_computed");
  Count(has_tile, plan.macs_computed, json);
  json->Key("reads").String(Layout(plan.compact_input));
  json->Key("writes").String(Layout(plan.compact_output));
  json->Key("why_all_pixels");
  Text(plan.why_all_pixels, json);
  json->Key("why_all_taps");
  Text(plan.why_all_taps, json);
  json->Key("why_dense");
  Text(plan.why_dense, json);
  json->EndObject();
}

void AppendReason(const char* what, const std::string& reason,
                  std::string* text) {
  if (!reason.empty()) *text += std::string("\n    ") + what + ": " + reason;
}

}  // namespace

std::string PlanJson(const Options& options, const ModelPlan& plan) {
  JsonWriter json;
  BeginReport(options, plan.model_bytes, plan.delegation, &json);
  json.Key("plan");
  if (plan.operators) {
    json.BeginArray();
    size_t index = 0;
    for (const PlannedOperator& each : *plan.operators) {
      WriteOperator(index++, each, &json);
    }
    json.EndArray();
  } else {
    json.Null();
  }
  EndReport(plan.notes, &json);
  return json.text() + "\n";
}

std::string PlanText(const ModelPlan& plan) {
  std::string text;
  for (const PlannedOperator& each :
       plan.operators.value_or(std::vector<PlannedOperator>())) {
    const OperatorPlan& told = each.plan;
    text += told.path + "  " + told.type;
    if (told.pixels != 0) {
      text += "  " + std::to_string(told.kept) + " of " +
              std::to_string(told.pixels) + " pixels, " +
              std::to_string(told.rows) + " rows, " +
              std::to_string(told.live_taps) + " of " +
              std::to_string(told.taps) + " taps, " +
              std::to_string(told.macs_computed) + " of " +
              std::to_string(told.macs) + " MACs";
    }
    if (told.compact_input) text += ", reads compact";
    if (told.compact_output) text += ", writes compact";
    if (each.ukernel) text += "  " + *each.ukernel;
    AppendReason("not by XNNPACK", each.why_not_delegated, &text);
    AppendReason("all pixels", told.why_all_pixels, &text);
    AppendReason("all taps", told.why_all_taps, &text);
    AppendReason("dense output", told.why_dense, &text);
    text += '\n';
  }
  for (const std::string& note : plan.notes) text += "note: " + note + "\n";
  return text;
}

}  // namespace tileskip
