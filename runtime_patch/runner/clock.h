// The clock of every time that is reported.

#ifndef TILESKIP_RUNNER_CLOCK_H_
#define TILESKIP_RUNNER_CLOCK_H_

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

namespace tileskip {

// CLOCK_MONOTONIC in nanoseconds.
inline int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

// The same, asked of the kernel. What the C library does in this program for an
// answer takes some instructions more in the moments after a full second, until
// the kernel has noted it; where user instructions are counted that shows.
inline int64_t KernelNowNs() {
  struct {
    long seconds;
    long nanoseconds;
  } now;  // the system call's own timespec, also where the C library's is wider
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return int64_t{1000000000} * now.seconds + now.nanoseconds;
}

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_CLOCK_H_
