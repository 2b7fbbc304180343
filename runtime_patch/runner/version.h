// Which versions of everything this program was made from.

#ifndef TILESKIP_RUNNER_VERSION_H_
#define TILESKIP_RUNNER_VERSION_H_

#include "json_writer.h"

namespace tileskip {

// Writes the object that stands under "runner" in the JSON and that
// `--version` prints.
void WriteVersions(JsonWriter* json);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_VERSION_H_
