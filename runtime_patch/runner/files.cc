#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace tileskip {
namespace {

// Writes all of `data`; gives errno of the failure, 0 on success.
int WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

}  // namespace

InputFile::InputFile(std::string path, int fd, uint64_t size)
    : path_(std::move(path)), fd_(fd), size_(size) {}

InputFile::~InputFile() { close(fd_); }

Result<std::unique_ptr<InputFile>> InputFile::Open(const std::string& path) {
  // O_NONBLOCK: a named pipe is refused below and not waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return FileError(path + ": cannot be opened: " + std::strerror(errno));
  }
  struct stat facts;
  if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    close(fd);
    return FileError(path + ": is not a regular file");
  }
  return std::unique_ptr<InputFile>(
      new InputFile(path, fd, static_cast<uint64_t>(facts.st_size)));
}

Status InputFile::ReadAt(uint64_t offset, void* target, size_t size) const {
  char* next = static_cast<char*>(target);
  while (size > 0) {
    const ssize_t got = pread(fd_, next, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return FileError(path_ + ": cannot be read: " + std::strerror(errno));
    }
    if (got == 0) return FileError(path_ + ": became shorter while in use");
    next += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return Status();
}

OutputFile::OutputFile(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
  if (!committed_ && !temporary_.empty()) unlink(temporary_.c_str());
}

Result<std::unique_ptr<OutputFile>> OutputFile::Create(
    const std::string& path) {
  struct stat facts;
  const bool in_place =
      stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode);
  std::string temporary;
  int flags = O_WRONLY | O_CLOEXEC;
  if (!in_place) {
    temporary = path + ".part-" + std::to_string(static_cast<long>(getpid()));
    flags |= O_CREAT | O_TRUNC | O_NOFOLLOW;
  }
  const int fd = open((in_place ? path : temporary).c_str(), flags, 0666);
  if (fd < 0) {
    return FileError(path + ": cannot be written: " + std::strerror(errno));
  }
  return std::unique_ptr<OutputFile>(new OutputFile(path, temporary, fd));
}

Status OutputFile::Failure(int error) const {
  return FileError(path_ + ": cannot be written: " + std::strerror(error));
}

Status OutputFile::Append(const void* data, size_t size) {
  const int error = WriteAll(fd_, static_cast<const char*>(data), size);
  return error == 0 ? Status() : Failure(error);
}

Status OutputFile::Finish() {
  // EINVAL: a device or a file system that has nothing to synchronise.
  if (fsync(fd_) != 0 && errno != EINVAL) return Failure(errno);
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0 && errno != EINTR) return Failure(errno);
  return Status();
}

Status OutputFile::Commit() {
  if (!temporary_.empty() && rename(temporary_.c_str(), path_.c_str()) != 0) {
    return Failure(errno);
  }
  committed_ = true;
  return Status();
}

Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return FileError(path + ": cannot be made: " + error.message());
  }
  if (!std::filesystem::is_directory(path, error)) {
    return FileError(path + ": is not a directory");
  }
  return Status();
}

Status WriteText(const std::string& path, std::string_view text) {
  if (path == "-") {
    const int error = WriteAll(STDOUT_FILENO, text.data(), text.size());
    if (error != 0) {
      return FileError(std::string("standard output: cannot be written: ") +
                       std::strerror(error));
    }
    return Status();
  }
  Result<std::unique_ptr<OutputFile>> file = OutputFile::Create(path);
  TILESKIP_RETURN_IF_ERROR(file.status());
  TILESKIP_RETURN_IF_ERROR(file.value()->Append(text.data(), text.size()));
  TILESKIP_RETURN_IF_ERROR(file.value()->Finish());
  return file.value()->Commit();
}

}  // namespace tileskip
