// A library that needs each function of glibc_compat.c: what they return is
// compared with what is known. Returns 0, or the number of the first fault.
#include <sys/stat.h>
#include <time.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

// Noinline, so that the unwinder has frames to find.
__attribute__((noinline)) void Throw(const std::string& what) {
  throw std::runtime_error(what);
}

bool CatchesWhatWasThrown() {
  try {
    Throw("thrown");
  } catch (const std::runtime_error& error) {
    return std::string(error.what()) == "thrown";
  }
  return false;
}

bool CatchesInAThread() {
  auto caught = std::make_shared<bool>(false);
  std::thread([caught] { *caught = CatchesWhatWasThrown(); }).join();
  return *caught;
}

bool SeesTheSizeOfAFile(const char* path) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return false;
  std::fseek(file, 0, SEEK_END);
  const long size = std::ftell(file);
  struct stat by_path, by_descriptor, of_link;
  struct stat64 wide;
  const bool found = stat(path, &by_path) == 0 && lstat(path, &of_link) == 0 &&
                     fstat(fileno(file), &by_descriptor) == 0 &&
                     fstat64(fileno(file), &wide) == 0;
  std::fclose(file);
  return found && by_path.st_size == size && by_descriptor.st_size == size &&
         of_link.st_size == size && wide.st_size == size &&
         stat("/no/such/file", &by_path) != 0;
}

bool DrawsDifferentNumbers() {
  std::random_device device;
  const uint64_t first = uint64_t{device()} << 32 | device();
  return first != (uint64_t{device()} << 32 | device());
}

#if defined(__arm__)
struct Timespec64 {
  int64_t seconds;
  int32_t nanoseconds;
  int32_t padding;
};
extern "C" int __clock_gettime64(clockid_t, Timespec64*);

bool TellsTheTime() {
  Timespec64 wide = {};
  return __clock_gettime64(CLOCK_REALTIME, &wide) == 0 &&
         wide.seconds - time(nullptr) <= 1 && wide.seconds >= time(nullptr) - 1;
}
#else
bool TellsTheTime() { return true; }
#endif

}  // namespace

extern "C" int check(const char* path) {
  if (!CatchesWhatWasThrown()) return 1;
  if (!CatchesInAThread()) return 2;
  if (!SeesTheSizeOfAFile(path)) return 3;
  if (!DrawsDifferentNumbers()) return 4;
  if (!TellsTheTime()) return 5;
  const double one = std::string(path).empty() ? 2 : 1;
  return std::fabs(std::exp(one) - 2.718281828459045) < 1e-15 ? 0 : 6;
}
