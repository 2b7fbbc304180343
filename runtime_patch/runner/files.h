// Files that are read and written whole, and never left half written.

#ifndef TILESKIP_RUNNER_FILES_H_
#define TILESKIP_RUNNER_FILES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "status.h"

namespace tileskip {

// A regular file that is read at any offset.
class InputFile {
 public:
  // Fails with ExitCode::kFile if `path` is no readable regular file.
  static Result<std::unique_ptr<InputFile>> Open(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  // Fills `target` with the `size` bytes at `offset`.
  Status ReadAt(uint64_t offset, void* target, size_t size) const;

 private:
  InputFile(std::string path, int fd, uint64_t size);

  const std::string path_;
  const int fd_;
  const uint64_t size_;
};

// A file that appears under its name only once it is complete: it is written
// beside it under a temporary one, which the destructor removes. What is there
// already and is no regular file (a device, a pipe) is written to as it is.
class OutputFile {
 public:
  static Result<std::unique_ptr<OutputFile>> Create(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Append(const void* data, size_t size);
  // Brings everything to the disk, so that Commit cannot lack space.
  Status Finish();
  // Gives the file its name; only after Finish.
  Status Commit();

 private:
  OutputFile(std::string path, std::string temporary, int fd);
  Status Failure(int error) const;

  const std::string path_;
  const std::string temporary_;  // empty: written in place
  int fd_;
  bool committed_ = false;
};

// Makes `path` and what is missing above it.
Status MakeDirectories(const std::string& path);

// Writes `text` to `path` in one piece; "-" is standard output.
Status WriteText(const std::string& path, std::string_view text);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_FILES_H_
