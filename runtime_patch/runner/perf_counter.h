// Counts the instructions that this process executes in user space.

#ifndef TILESKIP_RUNNER_PERF_COUNTER_H_
#define TILESKIP_RUNNER_PERF_COUNTER_H_

#include <cstdint>
#include <optional>
#include <string>

namespace tileskip {

// The CPU's instruction counter through perf_event_open. Threads that are
// started after construction are counted too; the kernel's work is not.
class InstructionCounter {
 public:
  InstructionCounter();
  ~InstructionCounter();
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;

  // Instructions since construction; nothing when the counter is not to be had.
  std::optional<uint64_t> Read();

  // Why Read() gives nothing; empty while it does.
  const std::string& reason() const { return reason_; }

 private:
  void Close(std::string reason);

  int fd_ = -1;
  std::string reason_;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_PERF_COUNTER_H_
