#include "tensors.h"

#include <cstring>

namespace tileskip {
namespace {

uint64_t SplitMix64(uint64_t* state) {
  uint64_t z = (*state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// The element type's size in bytes; 0 for types that are not plain.
size_t ElementSize(TfLiteType type) {
  switch (type) {
    case kTfLiteBool:
    case kTfLiteInt8:
    case kTfLiteUInt8:
      return 1;
    case kTfLiteFloat16:
    case kTfLiteInt16:
    case kTfLiteUInt16:
      return 2;
    case kTfLiteFloat32:
    case kTfLiteInt32:
    case kTfLiteUInt32:
      return 4;
    case kTfLiteFloat64:
    case kTfLiteInt64:
    case kTfLiteUInt64:
    case kTfLiteComplex64:
      return 8;
    case kTfLiteComplex128:
      return 16;
    default:
      return 0;
  }
}

// The 24 top bits of a draw as a number in [-1, 1), exact in float.
float SignedUnit(uint64_t draw) {
  return static_cast<float>(draw >> 40) * 0x1p-23f - 1.0f;
}

}  // namespace

std::string DtypeName(TfLiteType type) {
  std::string name = TfLiteTypeGetName(type);
  for (char& character : name) {
    if (character >= 'A' && character <= 'Z') {
      character = static_cast<char>(character - 'A' + 'a');
    }
  }
  return name;
}

bool IsPlain(const TfLiteTensor& tensor) {
  return ElementSize(tensor.type) != 0;
}

std::vector<int> Shape(const TfLiteTensor& tensor) {
  if (tensor.dims == nullptr) return {};
  return std::vector<int>(tensor.dims->data,
                          tensor.dims->data + tensor.dims->size);
}

std::string ShapeText(const TfLiteTensor& tensor) {
  std::string text = "[";
  for (const int size : Shape(tensor)) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

std::string DescribeTensor(const char* role, size_t index,
                           const TfLiteTensor& tensor) {
  return std::string(role) + " " + std::to_string(index) + " ('" +
         (tensor.name == nullptr ? "" : tensor.name) + "')";
}

void FillRandom(uint64_t seed, TfLiteTensor* tensor) {
  uint64_t state = seed;
  const size_t size = ElementSize(tensor->type);
  char* target = tensor->data.raw;
  for (size_t i = 0; i < tensor->bytes / size; ++i, target += size) {
    const uint64_t draw = SplitMix64(&state);
    switch (tensor->type) {
      case kTfLiteFloat32: {
        const float value = SignedUnit(draw);
        std::memcpy(target, &value, size);
        break;
      }
      case kTfLiteFloat64: {
        const double value = SignedUnit(draw);
        std::memcpy(target, &value, size);
        break;
      }
      case kTfLiteFloat16: {
        // Sign and mantissa from the draw, the exponent of [0.5, 1).
        const uint16_t value = static_cast<uint16_t>((draw & 0x83FF) | 0x3800);
        std::memcpy(target, &value, size);
        break;
      }
      case kTfLiteComplex64: {
        const float value[2] = {SignedUnit(draw), 0};
        std::memcpy(target, value, size);
        break;
      }
      case kTfLiteComplex128: {
        const double value[2] = {SignedUnit(draw), 0};
        std::memcpy(target, value, size);
        break;
      }
      case kTfLiteInt8:
      case kTfLiteUInt8:
        *target = static_cast<char>(draw);
        break;
      default:
        std::memset(target, 0, size);
        *target = static_cast<char>(draw & 1);
    }
  }
}

}  // namespace tileskip
