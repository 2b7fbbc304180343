// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

// Calls micro-kernels of live taps directly, on memory that shows what they should not touch, and computes what they
// should write.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "xnnpack/hardware-config.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/math.h"
#include "xnnpack/microfnptr.h"
#include "xnnpack/microparams.h"
#include <sys/mman.h>

using HasIsa = bool (*)(const struct xnn_hardware_config*);

struct LiveIgemmKernel {
  std::string name;
  xnn_live_igemm_ukernel_fn function;
  size_t rows, nr, kr;
  bool is_quantized;
  HasIsa has_isa;
  // An IGEMM of dense_mr rows that adds products in the same order; NULL if there is none.
  xnn_igemm_ukernel_fn dense;
  size_t dense_mr;
};

// What a micro-kernel is to compute.
struct LiveIgemmTile {
  size_t nc, kc;
  size_t kernel_size = 3;
  // Taps that are computed, a bit each.
  uint32_t live = 0b101;
  // Elements from where pointers point to the image.
  size_t a_offset = 5;
  // One of so many pointers is to padding, which has no offset; none if 0.
  size_t padding_every = 4;
  // Elements between rows of the output, and between blocks of weights.
  size_t c_gap = 3;
  size_t w_gap = 0;

  bool IsLive(size_t tap) const { return live >> tap & 1; }
};

using Rng = std::mt19937;

inline size_t Choose(Rng& rng, size_t low, size_t high)
{
  return std::uniform_int_distribution<size_t>(low, high)(rng);
}

// An array that ends where a page begins that cannot be touched.
template <typename T> class Guarded {
public:
  Guarded(size_t size, T value)
      : size_(size)
  {
    const size_t page_size = sysconf(_SC_PAGESIZE);
    mapped_size_ = round_up_po2(size * sizeof(T), page_size) + page_size;
    mapped_ = mmap(nullptr, mapped_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(MAP_FAILED, mapped_);
    char* guard = static_cast<char*>(mapped_) + mapped_size_ - page_size;
    EXPECT_EQ(0, mprotect(guard, page_size, PROT_NONE));
    data_ = reinterpret_cast<T*>(guard) - size;
    std::fill_n(data_, size, value);
  }
  explicit Guarded(const std::vector<T>& values)
      : Guarded(values.size(), T())
  {
    std::copy(values.begin(), values.end(), data_);
  }
  Guarded(Guarded&& other) noexcept
      : size_(other.size_),
        mapped_size_(other.mapped_size_),
        mapped_(std::exchange(other.mapped_, nullptr)),
        data_(other.data_)
  {
  }
  Guarded& operator=(Guarded&&) = delete;
  ~Guarded()
  {
    if (mapped_ != nullptr)
      munmap(mapped_, mapped_size_);
  }

  T* data() { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  T& operator[](size_t i) { return data_[i]; }

private:
  size_t size_, mapped_size_;
  void* mapped_;
  T* data_;
};

// Single precision. Sums of small integers are exact in any order; those of other numbers are not.
struct F32 {
  using Element = float;
  using Sum = float;
  union xnn_f32_minmax_params params = {
    {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()}};
  bool is_exact = true;

  // What may not be read: it shows in any sum. No NaN, which a comparison may lose.
  static float Poison() { return 1e30f; }
  // Elements that are read of kc.
  static size_t InputSize(size_t kc, size_t /*kr*/) { return kc; }

  static float Padding() { return 0.0f; }
  float Input(Rng& rng) const
  {
    return is_exact ? static_cast<float>(Choose(rng, 0, 16)) - 8.0f
                    : std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng);
  }
  float Weight(Rng& rng) const { return Input(rng); }
  float Bias(Rng& rng) const { return Input(rng); }
  // What micro-kernels begin sums with.
  static float FoldedBias(float bias, double /*sum_of_weights*/) { return bias; }
  static std::vector<float> MakeScales(Rng& /*rng*/, size_t /*nr*/) { return {}; }

  static double Product(float input, float weight) { return static_cast<double>(input) * weight; }
  float Output(double sum, size_t /*channel*/) const
  {
    return std::min(std::max(static_cast<float>(sum), params.scalar.min), params.scalar.max);
  }
  // Each addition rounds what has been summed.
  double Tolerance(size_t num_products, double sum_of_magnitudes) const
  {
    return is_exact ? 0.0
                    : static_cast<double>(num_products) * std::numeric_limits<float>::epsilon() * sum_of_magnitudes;
  }
};

// Quantized to 8 bits with a scale for each output channel: always exact.
struct Qs8 {
  using Element = int8_t;
  using Sum = int32_t;
  union xnn_qs8_qc8w_conv_minmax_params params = {{/*output_zero_point=*/-3, INT8_MIN, INT8_MAX}};
  int32_t input_zero_point = 11;
  // All inputs are -128, and all weights -127.
  bool is_largest = false;
  std::vector<float> scales;

  static int8_t Poison() { return 0x55; }
  // Micro-kernels read whole steps of input channels. The weights of those that are not there are zeros.
  static size_t InputSize(size_t kc, size_t kr) { return round_up_po2(kc, kr); }

  int8_t Padding() const { return static_cast<int8_t>(input_zero_point); }
  int8_t Input(Rng& rng) const
  {
    return is_largest ? INT8_MIN : static_cast<int8_t>(static_cast<int>(Choose(rng, 0, 255)) - 128);
  }
  int8_t Weight(Rng& rng) const
  {
    return is_largest ? -127 : static_cast<int8_t>(static_cast<int>(Choose(rng, 0, 254)) - 127);
  }
  static int32_t Bias(Rng& rng) { return static_cast<int>(Choose(rng, 0, 20000)) - 10000; }
  // Micro-kernels add 128 to inputs, so that they are unsigned.
  int32_t FoldedBias(int32_t bias, double sum_of_weights) const
  {
    return bias - (input_zero_point + 128) * static_cast<int32_t>(sum_of_weights);
  }
  // Those of a block. Powers of two leave halves to be rounded.
  std::vector<float> MakeScales(Rng& rng, size_t nr)
  {
    std::vector<float> block;
    for (size_t n = 0; n < nr; n++) {
      const float power = std::ldexp(1.0f, -static_cast<int>(Choose(rng, 1, 12)));
      block.push_back(Choose(rng, 0, 1) ? power : power * std::uniform_real_distribution<float>(1.0f, 2.0f)(rng));
    }
    scales.insert(scales.end(), block.begin(), block.end());
    return block;
  }

  double Product(int8_t input, int8_t weight) const { return (input - input_zero_point) * weight; }
  int8_t Output(double sum, size_t channel) const
  {
    const float output = std::nearbyint(static_cast<float>(sum) * scales[channel]) +
                         static_cast<float>(params.fp32_scalar.output_zero_point);
    const float min = params.fp32_scalar.output_min, max = params.fp32_scalar.output_max;
    return static_cast<int8_t>(std::min(std::max(output, min), max));
  }
  static double Tolerance(size_t, double) { return 0.0; }
};

// Inputs, weights packed in blocks for a micro-kernel, and what it makes of them.
template <typename Type> class LiveIgemmTester {
public:
  using Element = typename Type::Element;
  using Sum = typename Type::Sum;

  LiveIgemmTester(const LiveIgemmKernel& kernel, const LiveIgemmTile& tile, const Type& type, Rng& rng)
      : kernel_(kernel),
        tile_(tile),
        type_(type),
        zero_(Type::InputSize(tile.kc, kernel.kr), Type::Poison())
  {
    std::fill_n(zero_.begin(), tile.kc, type_.Padding());
    for (size_t tap = 0; tap < tile.kernel_size; tap++) {
      if (tile.IsLive(tap)) {
        tap_offsets_.push_back(kernel.nr * (sizeof(Sum) + tap * PaddedKc() * sizeof(Element)));
        for (size_t m = 0; m < kernel.rows; m++)
          AddPointer(rng);
      }
    }
    for (size_t start = 0; start < tile.nc; start += kernel.nr)
      AddBlock(rng, start);
    // The rows of the tile are some of the output's, in any order.
    c_rows_.resize(kernel.rows + 2);
    std::iota(c_rows_.begin(), c_rows_.end(), 0);
    std::shuffle(c_rows_.begin(), c_rows_.end(), rng);
    c_rows_.resize(kernel.rows);
  }

  // The output that the micro-kernel writes.
  std::vector<Element> Run()
  {
    Guarded<const void*> a(pointers_);
    Guarded<size_t> tap_offsets(tap_offsets_);
    Guarded<Sum> bias(bias_);
    Guarded<char> w(packed_);
    Guarded<uint32_t> c_rows(c_rows_);
    Guarded<Element> c(EmptyOutput());
    kernel_.function(
      tile_.nc, tile_.kc * sizeof(Element), tap_offsets_.size(), a.data(), tap_offsets.data(), bias.data(), w.data(),
      packed_.size() / divide_round_up(tile_.nc, kernel_.nr), c.data(), CStride() * sizeof(Element), c_rows.data(),
      tile_.a_offset * sizeof(Element), zero_.data(), &type_.params);
    return std::vector<Element>(c.begin(), c.end());
  }

  // The output that the dense micro-kernel writes, row by row where Run has them. All taps have to be live.
  std::vector<Element> RunDense()
  {
    std::vector<const void*> pointers;
    for (size_t tap = 0; tap < tile_.kernel_size; tap++) {
      // It has pointers for all of its rows.
      for (size_t m = 0; m < kernel_.dense_mr; m++)
        pointers.push_back(pointers_[tap * kernel_.rows + std::min(m, kernel_.rows - 1)]);
    }
    // It expects weights to be aligned, as the end of a page is, and blocks are as long.
    Guarded<char> w(packed_);
    std::vector<Element> rows(kernel_.rows * tile_.nc);
    kernel_.dense(
      kernel_.rows, tile_.nc, tile_.kc * sizeof(Element), pointers.size() * sizeof(void*), pointers.data(), w.data(),
      rows.data(), tile_.nc * sizeof(Element), kernel_.nr * sizeof(Element), tile_.a_offset * sizeof(Element),
      zero_.data(), &type_.params);
    std::vector<Element> c = EmptyOutput();
    for (size_t m = 0; m < kernel_.rows; m++)
      std::copy_n(&rows[m * tile_.nc], tile_.nc, &c[c_rows_[m] * CStride()]);
    return c;
  }

  void ExpectSums()
  {
    const std::vector<Element> c = Run();
    std::vector<Element> expected = EmptyOutput();
    std::vector<double> tolerances(expected.size());
    for (size_t m = 0; m < kernel_.rows; m++) {
      for (size_t n = 0; n < tile_.nc; n++) {
        double sum = biases_[n], magnitudes = std::abs(sum);
        for (size_t i = 0; i < tap_offsets_.size() * tile_.kc; i++) {
          const size_t tap = i / tile_.kc, k = i % tile_.kc;
          const double product = type_.Product(inputs_[tap * kernel_.rows + m][k], weights_[n][i]);
          sum += product;
          magnitudes += std::abs(product);
        }
        expected[c_rows_[m] * CStride() + n] = type_.Output(sum, n);
        tolerances[c_rows_[m] * CStride() + n] = type_.Tolerance(tap_offsets_.size() * tile_.kc, magnitudes);
      }
    }
    for (size_t i = 0; i < c.size(); i++) {
      ASSERT_NEAR(expected[i], c[i], tolerances[i])
        << "row " << i / CStride() << " channel " << i % CStride() << ", where nc is " << tile_.nc << ", kc "
        << tile_.kc << ", live taps " << tile_.live << ", offset " << tile_.a_offset;
    }
  }

private:
  size_t PaddedKc() const { return round_up_po2(tile_.kc, kernel_.kr); }
  size_t CStride() const { return tile_.nc + tile_.c_gap; }
  std::vector<Element> EmptyOutput() const
  {
    return std::vector<Element>((kernel_.rows + 2) * CStride() - tile_.c_gap, Type::Poison());
  }

  // The next pointer: to padding, or to a pixel, which is an array of its own.
  void AddPointer(Rng& rng)
  {
    std::vector<Element> input(tile_.kc, type_.Padding());
    if (tile_.padding_every != 0 && Choose(rng, 1, tile_.padding_every) == 1) {
      pointers_.push_back(zero_.data());
    }
    else {
      std::generate(input.begin(), input.end(), [&] { return type_.Input(rng); });
      Guarded<Element> pixel(tile_.a_offset + Type::InputSize(tile_.kc, kernel_.kr), Type::Poison());
      std::copy(input.begin(), input.end(), pixel.begin() + tile_.a_offset);
      pointers_.push_back(pixel.data());
      pixels_.push_back(std::move(pixel));
    }
    inputs_.push_back(std::move(input));
  }

  // The weights of the next NR channels, with their biases in front. Those of dead taps and of channels that are not
  // there are poison, as is the gap behind them.
  void AddBlock(Rng& rng, size_t start)
  {
    const size_t nr = kernel_.nr, kr = kernel_.kr;
    std::vector<Element> taps(tile_.kernel_size * PaddedKc() * nr, Type::Poison());
    std::vector<Sum> block_bias(nr, static_cast<Sum>(Type::Poison()));
    for (size_t n = 0; n < nr && start + n < tile_.nc; n++) {
      std::vector<Element> weights;
      for (size_t tap = 0; tap < tile_.kernel_size; tap++) {
        for (size_t k = 0; tile_.IsLive(tap) && k < PaddedKc(); k++) {
          Element& packed = taps[(tap * PaddedKc() + k / kr * kr) * nr + n * kr + k % kr];
          packed = k < tile_.kc ? type_.Weight(rng) : 0;
          if (k < tile_.kc)
            weights.push_back(packed);
        }
      }
      biases_.push_back(type_.Bias(rng));
      block_bias[n] = type_.FoldedBias(biases_.back(), std::accumulate(weights.begin(), weights.end(), 0.0));
      weights_.push_back(std::move(weights));
    }
    bias_.insert(bias_.end(), block_bias.begin(), block_bias.end());
    // The dense micro-kernel reads the bias here. With dead taps none is there to be read.
    const bool is_dense = tap_offsets_.size() == tile_.kernel_size;
    Pack(is_dense ? block_bias : std::vector<Sum>(nr, static_cast<Sum>(Type::Poison())));
    Pack(taps);
    Pack(std::vector<float>(tile_.w_gap, Type::Poison()));
    Pack(type_.MakeScales(rng, nr));
  }

  template <typename T> void Pack(const std::vector<T>& values)
  {
    const char* bytes = reinterpret_cast<const char*>(values.data());
    packed_.insert(packed_.end(), bytes, bytes + values.size() * sizeof(T));
  }

  const LiveIgemmKernel& kernel_;
  const LiveIgemmTile tile_;
  Type type_;
  Guarded<Element> zero_;
  std::vector<Guarded<Element>> pixels_;
  // For each live tap of each row what is read there, and the pointer to it.
  std::vector<std::vector<Element>> inputs_;
  std::vector<const void*> pointers_;
  std::vector<size_t> tap_offsets_;
  // Of each output channel: the weights of live taps, and the bias.
  std::vector<std::vector<Element>> weights_;
  std::vector<Sum> biases_;
  // The same as the micro-kernel gets it.
  std::vector<char> packed_;
  std::vector<Sum> bias_;
  std::vector<uint32_t> c_rows_;
};
