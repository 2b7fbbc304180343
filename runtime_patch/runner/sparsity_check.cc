#include "sparsity_check.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace tileskip {
namespace {

using Numbers = std::vector<int64_t>;

constexpr int64_t kMost = INT32_MAX;

template <typename Vector>
Numbers ToNumbers(const Vector* vector) {
  if (vector == nullptr || vector->values() == nullptr) return {};
  return Numbers(vector->values()->begin(), vector->values()->end());
}

Numbers Segments(const tflite::DimensionMetadata& level) {
  switch (level.array_segments_type()) {
    case tflite::SparseIndexVector_Int32Vector:
      return ToNumbers(level.array_segments_as_Int32Vector());
    case tflite::SparseIndexVector_Uint16Vector:
      return ToNumbers(level.array_segments_as_Uint16Vector());
    case tflite::SparseIndexVector_Uint8Vector:
      return ToNumbers(level.array_segments_as_Uint8Vector());
    default:
      return {};
  }
}

Numbers Indices(const tflite::DimensionMetadata& level) {
  switch (level.array_indices_type()) {
    case tflite::SparseIndexVector_Int32Vector:
      return ToNumbers(level.array_indices_as_Int32Vector());
    case tflite::SparseIndexVector_Uint16Vector:
      return ToNumbers(level.array_indices_as_Uint16Vector());
    case tflite::SparseIndexVector_Uint8Vector:
      return ToNumbers(level.array_indices_as_Uint8Vector());
    default:
      return {};
  }
}

int64_t ElementSize(tflite::TensorType type) {
  switch (type) {
    case tflite::TensorType_FLOAT32:
    case tflite::TensorType_INT32:
    case tflite::TensorType_UINT32:
      return 4;
    case tflite::TensorType_FLOAT64:
    case tflite::TensorType_INT64:
    case tflite::TensorType_UINT64:
      return 8;
    case tflite::TensorType_FLOAT16:
    case tflite::TensorType_INT16:
    case tflite::TensorType_UINT16:
      return 2;
    default:
      return 1;
  }
}

// The original dimensions come first, then the dimensions within a block, each
// once; nothing if it is another order.
std::optional<Numbers> Order(const tflite::SparsityParameters& sparsity,
                             int64_t rank, int64_t levels) {
  const auto* order = sparsity.traversal_order();
  if (order == nullptr || order->size() != static_cast<size_t>(levels)) {
    return std::nullopt;
  }
  std::vector<bool> seen(levels, false);
  for (int64_t i = 0; i < levels; ++i) {
    const int64_t dimension = order->Get(i);
    const bool original = dimension < rank;
    if (dimension < 0 || dimension >= levels || original != (i < rank) ||
        seen[dimension]) {
      return std::nullopt;
    }
    seen[dimension] = true;
  }
  return Numbers(order->begin(), order->end());
}

// How long each dimension is in blocks, and then each block; nothing if blocks
// do not fit.
std::optional<Numbers> Sizes(const tflite::Tensor& tensor,
                             const Numbers& order) {
  const tflite::SparsityParameters& sparsity = *tensor.sparsity();
  Numbers sizes(tensor.shape()->begin(), tensor.shape()->end());
  const int64_t rank = static_cast<int64_t>(sizes.size());
  int64_t last = -1;
  for (size_t b = 0; b + rank < order.size(); ++b) {
    const int64_t blocked = sparsity.block_map()->Get(b);
    const auto* level = sparsity.dim_metadata()->Get(order[rank + b]);
    if (blocked <= last || blocked >= rank || level->dense_size() < 1 ||
        sizes[blocked] % level->dense_size() != 0) {
      return std::nullopt;
    }
    last = blocked;
    sizes[blocked] /= level->dense_size();
    sizes.push_back(level->dense_size());
  }
  return sizes;
}

// How many nodes a compressed level has below `above`; nothing if its numbers
// lead anywhere else.
std::optional<int64_t> Compressed(const tflite::DimensionMetadata& level,
                                  int64_t above, int64_t size) {
  const Numbers segments = Segments(level), indices = Indices(level);
  if (static_cast<int64_t>(segments.size()) != above + 1 ||
      segments.front() != 0 ||
      segments.back() != static_cast<int64_t>(indices.size())) {
    return std::nullopt;
  }
  for (size_t i = 1; i < segments.size(); ++i) {
    if (segments[i] < segments[i - 1]) return std::nullopt;
  }
  for (const int64_t index : indices) {
    if (index < 0 || index >= size) return std::nullopt;
  }
  return static_cast<int64_t>(indices.size());
}

}  // namespace

std::string SparsityFault(const tflite::Tensor& tensor, size_t bytes) {
  const tflite::SparsityParameters* sparsity = tensor.sparsity();
  if (sparsity == nullptr) return std::string();
  std::string fault = "a sparse tensor has faulty indices";
  const auto* blocks = sparsity->block_map();
  const auto* metadata = sparsity->dim_metadata();
  if (tensor.shape() == nullptr || metadata == nullptr) return fault;
  const int64_t rank = tensor.shape()->size();
  const int64_t levels = rank + (blocks == nullptr ? 0 : blocks->size());
  if (rank == 0 || metadata->size() != static_cast<size_t>(levels)) {
    return fault;
  }
  const std::optional<Numbers> order = Order(*sparsity, rank, levels);
  if (!order) return fault;
  const std::optional<Numbers> sizes = Sizes(tensor, *order);
  if (!sizes) return fault;
  int64_t nodes = 1;
  for (int64_t i = 0; i < levels; ++i) {
    const tflite::DimensionMetadata& level = *metadata->Get(i);
    const int64_t size = (*sizes)[(*order)[i]];
    if (level.format() == tflite::DimensionType_DENSE) {
      if (level.dense_size() != size) return fault;
      nodes *= size;
      if (nodes > kMost) return "a sparse tensor is too large";
    } else {
      // Only blocks that are dense are known.
      const std::optional<int64_t> below =
          i < rank ? Compressed(level, nodes, size) : std::nullopt;
      if (!below) return fault;
      nodes = *below;
    }
  }
  if (nodes * ElementSize(tensor.type()) > static_cast<int64_t>(bytes)) {
    return "a sparse tensor has fewer values than indices";
  }
  return std::string();
}

}  // namespace tileskip
