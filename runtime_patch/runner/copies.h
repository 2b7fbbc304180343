// What an application does before and after each inference: it copies data into
// the input tensors, and results out of the output tensors.

#ifndef TILESKIP_RUNNER_COPIES_H_
#define TILESKIP_RUNNER_COPIES_H_

#include <vector>

#include "session.h"

namespace tileskip {

class Copies {
 public:
  // Keeps what the input tensors hold now; `session` must outlive this.
  explicit Copies(Session* session);

  // Copies that into the input tensors, which do not change by it.
  void In();
  // Copies what the output tensors hold.
  void Out();

 private:
  Session* session_;
  std::vector<std::vector<char>> inputs_;
  std::vector<std::vector<char>> outputs_;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_COPIES_H_
