#include "perf_counter.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace tileskip {
namespace {

// What to add to the system's own words about why the counter did not open.
std::string Advice(int error) {
  switch (error) {
    case EACCES:
    case EPERM: {
      int level = 0;
      std::ifstream file("/proc/sys/kernel/perf_event_paranoid");
      if (file >> level && level > 2) {
        return " (kernel.perf_event_paranoid is " + std::to_string(level) +
               ", it must be 2 or lower)";
      }
      return "";
    }
    case ENOENT:
    case EOPNOTSUPP:
    case ENODEV:
      return " (this machine shows no instruction counter)";
    default:
      return "";
  }
}

}  // namespace

InstructionCounter::InstructionCounter() {
  perf_event_attr attributes;
  std::memset(&attributes, 0, sizeof(attributes));
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.inherit = 1;
  attributes.read_format =
      PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  const long fd = syscall(SYS_perf_event_open, &attributes, /*pid=*/0,
                          /*cpu=*/-1, /*group=*/-1, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    reason_ =
        std::string("perf_event_open: ") + std::strerror(error) + Advice(error);
    return;
  }
  fd_ = static_cast<int>(fd);
}

InstructionCounter::~InstructionCounter() {
  if (fd_ >= 0) close(fd_);
}

void InstructionCounter::Close(std::string reason) {
  close(fd_);
  fd_ = -1;
  reason_ = std::move(reason);
}

std::optional<uint64_t> InstructionCounter::Read() {
  if (fd_ < 0) return std::nullopt;
  struct {
    uint64_t value;
    uint64_t time_enabled;
    uint64_t time_running;
  } reading;
  const ssize_t got = read(fd_, &reading, sizeof(reading));
  if (got != static_cast<ssize_t>(sizeof(reading))) {
    Close(std::string("the counter cannot be read: ") +
          (got < 0 ? std::strerror(errno) : "short read"));
    return std::nullopt;
  }
  // A shared counter sees a part of the run only; scaling it up is a guess.
  if (reading.time_running < reading.time_enabled) {
    Close("another program uses the CPU's counters at the same time");
    return std::nullopt;
  }
  if (reading.value == 0) {
    Close("the counter stays at zero (a virtual machine without one?)");
    return std::nullopt;
  }
  return reading.value;
}

}  // namespace tileskip
