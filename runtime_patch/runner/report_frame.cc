#include "report_frame.h"

#include "version.h"

namespace tileskip {
namespace {

constexpr int kSchema = 1;

}  // namespace

void BeginReport(const Options& options, size_t model_bytes,
                 const Delegation& delegation, JsonWriter* json) {
  json->BeginObject();
  json->Key("schema").Int(kSchema);
  json->Key("runner");
  WriteVersions(json);
  json->Key("model").BeginObject();
  json->Key("path").String(options.model);
  json->Key("bytes").Uint(model_bytes);
  json->EndObject();
  json->Key("threads").Int(options.threads);
  json->Key("delegate").BeginObject();
  json->Key("used").Bool(delegation.partitions > 0);
  json->Key("partitions").Uint(delegation.partitions);
  json->Key("nodes").Uint(delegation.nodes);
  json->Key("nodes_delegated").Uint(delegation.nodes_delegated);
  json->EndObject();
}

void EndReport(const std::vector<std::string>& notes, JsonWriter* json) {
  json->Key("notes").BeginArray();
  for (const std::string& note : notes) json->String(note);
  json->EndArray();
  json->EndObject();
}

}  // namespace tileskip
