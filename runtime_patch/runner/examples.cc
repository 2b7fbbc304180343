#include "examples.h"

#include <utility>

#include "tensors.h"

namespace tileskip {
namespace {

constexpr uint64_t kSeed = 1;

}  // namespace

Result<ExampleSource> ExampleSource::Open(const std::vector<std::string>& paths,
                                          Session* session) {
  ExampleSource source;
  if (paths.empty()) return source;
  const size_t inputs = session->input_count();
  if (paths.size() != inputs) {
    return FileError("the model has " + std::to_string(inputs) +
                     " inputs, --input was given " +
                     std::to_string(paths.size()) + " times");
  }
  for (size_t i = 0; i < inputs; ++i) {
    Result<std::unique_ptr<InputFile>> file = InputFile::Open(paths[i]);
    TILESKIP_RETURN_IF_ERROR(file.status());
    const TfLiteTensor& tensor = *session->input(i);
    const uint64_t size = file.value()->size();
    if (size == 0 || size % tensor.bytes != 0) {
      return FileError(paths[i] + ": has " + std::to_string(size) + " bytes; " +
                       DescribeTensor("input", i, tensor) + ", " +
                       DtypeName(tensor.type) + " " + ShapeText(tensor) +
                       ", needs " + std::to_string(tensor.bytes) +
                       " or a multiple of that");
    }
    const size_t count = size / tensor.bytes;
    if (i > 0 && count != source.count_) {
      return FileError(paths[i] + ": holds " + std::to_string(count) +
                       " inputs, " + paths[0] + " holds " +
                       std::to_string(source.count_));
    }
    source.count_ = count;
    source.files_.push_back(std::move(file.value()));
  }
  return source;
}

std::optional<uint64_t> ExampleSource::seed() const {
  return files_.empty() ? std::optional<uint64_t>(kSeed) : std::nullopt;
}

Status ExampleSource::Fill(size_t i, Session* session) const {
  for (size_t input = 0; input < session->input_count(); ++input) {
    TfLiteTensor* tensor = session->input(input);
    if (files_.empty()) {
      FillRandom(kSeed + input, tensor);
    } else {
      TILESKIP_RETURN_IF_ERROR(files_[input]->ReadAt(
          uint64_t{i} * tensor->bytes, tensor->data.raw, tensor->bytes));
    }
  }
  return Status();
}

Result<OutputFiles> OutputFiles::Create(const std::string& directory,
                                        size_t output_count) {
  OutputFiles outputs;
  TILESKIP_RETURN_IF_ERROR(MakeDirectories(directory));
  for (size_t i = 0; i < output_count; ++i) {
    Result<std::unique_ptr<OutputFile>> file =
        OutputFile::Create(directory + "/output" + std::to_string(i) + ".bin");
    TILESKIP_RETURN_IF_ERROR(file.status());
    outputs.files_.push_back(std::move(file.value()));
  }
  return outputs;
}

Status OutputFiles::Append(const Session& session) {
  for (size_t i = 0; i < files_.size(); ++i) {
    const TfLiteTensor& tensor = *session.output(i);
    TILESKIP_RETURN_IF_ERROR(files_[i]->Append(tensor.data.raw, tensor.bytes));
  }
  return Status();
}

Status OutputFiles::Commit() {
  for (const auto& file : files_) TILESKIP_RETURN_IF_ERROR(file->Finish());
  for (const auto& file : files_) TILESKIP_RETURN_IF_ERROR(file->Commit());
  return Status();
}

}  // namespace tileskip
