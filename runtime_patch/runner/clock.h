// The clock of every time that is reported.

#ifndef TILESKIP_RUNNER_CLOCK_H_
#define TILESKIP_RUNNER_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace tileskip {

// CLOCK_MONOTONIC in nanoseconds.
inline int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_CLOCK_H_
