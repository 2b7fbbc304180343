#include "copies.h"

#include <cstddef>
#include <cstring>

namespace tileskip {

Copies::Copies(Session* session) : session_(session) {
  for (size_t i = 0; i < session->input_count(); ++i) {
    const TfLiteTensor& tensor = *session->input(i);
    inputs_.emplace_back(tensor.data.raw, tensor.data.raw + tensor.bytes);
  }
  for (size_t i = 0; i < session->output_count(); ++i) {
    outputs_.emplace_back(session->output(i)->bytes);
  }
}

void Copies::In() {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    std::memcpy(session_->input(i)->data.raw, inputs_[i].data(),
                inputs_[i].size());
  }
}

void Copies::Out() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    std::memcpy(outputs_[i].data(), session_->output(i)->data.raw,
                outputs_[i].size());
  }
}

}  // namespace tileskip
