// How the runner reports that something failed: an exit code and one sentence.

#ifndef TILESKIP_RUNNER_STATUS_H_
#define TILESKIP_RUNNER_STATUS_H_

#include <string>
#include <utility>
#include <variant>

namespace tileskip {

// What the process ends with; part of the runner's contract
// (docs/reference/runner.md).
enum class ExitCode : int {
  kOk = 0,
  kUsage = 2,
  kModel = 3,
  kFile = 4,
  kInterrupted = 130,
};

// Success, or an exit code with a message of one line.
class Status {
 public:
  Status() = default;
  Status(ExitCode code, std::string message)
      : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == ExitCode::kOk; }
  ExitCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  ExitCode code_ = ExitCode::kOk;
  std::string message_;
};

inline Status UsageError(std::string message) {
  return Status(ExitCode::kUsage, std::move(message));
}
inline Status ModelError(std::string message) {
  return Status(ExitCode::kModel, std::move(message));
}
inline Status OutOfMemory(const std::string& model) {
  return ModelError(model + ": needs more memory than there is");
}
inline Status FileError(std::string message) {
  return Status(ExitCode::kFile, std::move(message));
}
inline Status Interrupted() {
  return Status(ExitCode::kInterrupted, "interrupted");
}

// A value, or the reason why there is none.
template <typename T>
class Result {
 public:
  Result(T&& value) : state_(std::move(value)) {}         // NOLINT
  Result(Status failure) : state_(std::move(failure)) {}  // NOLINT

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace tileskip

#define TILESKIP_RETURN_IF_ERROR(expression)           \
  do {                                                 \
    ::tileskip::Status tileskip_status = (expression); \
    if (!tileskip_status.ok()) return tileskip_status; \
  } while (false)

#endif  // TILESKIP_RUNNER_STATUS_H_
