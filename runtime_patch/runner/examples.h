// The inputs of a session, from files or generated, and its output files.

#ifndef TILESKIP_RUNNER_EXAMPLES_H_
#define TILESKIP_RUNNER_EXAMPLES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "files.h"
#include "session.h"
#include "status.h"

namespace tileskip {

// Where the input tensors get their data from: k examples.
class ExampleSource {
 public:
  // `paths`: a file for each of the model's inputs, or none at all. Fails with
  // ExitCode::kFile if a file is missing or its size is no multiple of its
  // tensor's, or if the files hold different numbers of examples.
  static Result<ExampleSource> Open(const std::vector<std::string>& paths,
                                    Session* session);

  // How many examples there are; 1 when they are generated.
  size_t count() const { return count_; }
  // What the generated example is seeded with; nothing when files are read.
  std::optional<uint64_t> seed() const;

  // Copies example `i` into the session's input tensors.
  Status Fill(size_t i, Session* session) const;

 private:
  std::vector<std::unique_ptr<InputFile>> files_;
  size_t count_ = 1;
};

// `DIR/output<i>.bin`, one an output tensor, all of them or none.
class OutputFiles {
 public:
  static Result<OutputFiles> Create(const std::string& directory,
                                    size_t output_count);

  // Adds what the session's output tensors hold now.
  Status Append(const Session& session);
  // Gives all files their names.
  Status Commit();

 private:
  std::vector<std::unique_ptr<OutputFile>> files_;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_EXAMPLES_H_
