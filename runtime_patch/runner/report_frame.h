// How every JSON report of the runner begins and ends.

#ifndef TILESKIP_RUNNER_REPORT_FRAME_H_
#define TILESKIP_RUNNER_REPORT_FRAME_H_

#include <cstddef>
#include <string>
#include <vector>

#include "json_writer.h"
#include "options.h"
#include "session.h"

namespace tileskip {

// Opens the report's object: schema, versions, the model, threads, and what
// XNNPACK took over.
void BeginReport(const Options& options, size_t model_bytes,
                 const Delegation& delegation, JsonWriter* json);

// Writes the notes, and closes the report's object.
void EndReport(const std::vector<std::string>& notes, JsonWriter* json);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_REPORT_FRAME_H_
