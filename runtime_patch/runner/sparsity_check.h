// Whether a constant that is stored sparsely can be unpacked.

#ifndef TILESKIP_RUNNER_SPARSITY_CHECK_H_
#define TILESKIP_RUNNER_SPARSITY_CHECK_H_

#include <cstddef>
#include <string>

#include "tensorflow/lite/schema/schema_generated.h"

namespace tileskip {

// TensorFlow Lite unpacks such a tensor by the orders, sizes and indices that
// the file names, and looks at none of them: each could lead it out of its
// memory. What is wrong, or nothing; nothing, too, of a tensor that is not
// sparse.
//   tensor: one whose dimensions are not negative.
//   bytes: how many the file has of it.
std::string SparsityFault(const tflite::Tensor& tensor, size_t bytes);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_SPARSITY_CHECK_H_
