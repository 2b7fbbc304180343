// What a tensor is called, how it looks, and how it is filled with test data.

#ifndef TILESKIP_RUNNER_TENSORS_H_
#define TILESKIP_RUNNER_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/lite/core/c/common.h"

namespace tileskip {

// The name of a type, as numpy writes it where numpy has it.
std::string DtypeName(TfLiteType type);

// Whether the tensor's data is a fixed number of bytes an element.
bool IsPlain(const TfLiteTensor& tensor);

std::vector<int> Shape(const TfLiteTensor& tensor);

// "[1, 28, 28, 1]".
std::string ShapeText(const TfLiteTensor& tensor);

// "input 0 ('image')".
std::string DescribeTensor(const char* role, size_t index,
                           const TfLiteTensor& tensor);

// Fills the tensor from SplitMix64 started at `seed`, one draw an element:
// floats lie in [-1, 1), int8 and uint8 take all their values, wider integers
// and bools are 0 or 1 (they tend to be indices).
void FillRandom(uint64_t seed, TfLiteTensor* tensor);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_TENSORS_H_
