// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/live-taps.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "pthreadpool.h"
#include "xnnpack-masked.h"
#include "xnnpack.h"
#include "xnnpack/config.h"
#include "xnnpack/hardware-config.h"
#include "xnnpack/live-igemm.h"
#include "xnnpack/microparams.h"
#include "xnnpack/operator.h"
#include "xnnpack/subgraph.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class LiveTaps : public testing::Test {
protected:
  void SetUp() override
  {
    ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr));
    config_ = xnn_get_live_igemm_config(xnn_operator_type_convolution_nhwc_f32, xnn_init_f32_gemm_config()->nr, 1, 1);
    if (config_ == nullptr)
      GTEST_SKIP() << "no micro-kernels for live taps";
  }

  size_t Choose(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(rng_); }
  float Random() { return std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng_); }
  std::vector<float> RandomVector(size_t n)
  {
    std::vector<float> v(n);
    for (float& x : v)
      x = Random();
    return v;
  }

  const struct xnn_live_igemm_config* config_;
  std::mt19937 rng_{static_cast<uint32_t>(GTEST_FLAG_GET(random_seed))};
};

// Every micro-kernel against sums computed here: any number of channels, taps out of the kernel's, padding, an offset.
TEST_F(LiveTaps, ukernels)
{
  const size_t nr = config_->nr;
  for (size_t rows = 1; rows <= config_->max_rows; rows++) {
    for (size_t i = 0; i < 60; i++) {
      const size_t nc = Choose(1, 2 * nr + 1), kc = Choose(1, 13), kernel_size = Choose(1, 9);
      const size_t cm_stride = nc + Choose(0, 3), a_offset = Choose(0, 5);
      const size_t blocks = (nc + nr - 1) / nr, block_size = nr * (1 + kernel_size * kc);
      const std::vector<float> w = RandomVector(blocks * block_size), bias = RandomVector(blocks * nr);
      const std::vector<float> image = RandomVector(50 * kc + a_offset), zero(kc, 0.0f);
      std::vector<size_t> taps, tap_offsets;
      for (size_t tap = 0; tap < kernel_size; tap++) {
        if (Choose(0, 2) == 0)
          continue;
        taps.push_back(tap);
        tap_offsets.push_back(nr * (1 + tap * kc) * sizeof(float));
      }
      std::vector<const void*> a;
      a.reserve(taps.size() * rows);
      for (size_t j = 0; j < taps.size() * rows; j++) {
        a.push_back(Choose(0, 4) == 0 ? zero.data() : image.data() + Choose(0, 49) * kc);
      }
      std::vector<uint32_t> c_rows(20);
      for (size_t j = 0; j < c_rows.size(); j++)
        c_rows[j] = j;
      std::shuffle(c_rows.begin(), c_rows.end(), rng_);
      std::vector<float> c(c_rows.size() * cm_stride, 77.0f);
      union xnn_f32_minmax_params params;
      params.scalar.min = Choose(0, 1) ? -0.5f : -kInfinity;
      params.scalar.max = Choose(0, 1) ? 0.75f : kInfinity;

      config_->ukernels[rows - 1](
        nc, kc * sizeof(float), taps.size(), a.data(), tap_offsets.data(), bias.data(), w.data(),
        block_size * sizeof(float), c.data(), cm_stride * sizeof(float), c_rows.data(), a_offset * sizeof(float),
        zero.data(), &params);

      std::vector<float> expected(c.size(), 77.0f);
      for (size_t m = 0; m < rows; m++) {
        for (size_t n = 0; n < nc; n++) {
          double sum = bias[n];
          for (size_t t = 0; t < taps.size(); t++) {
            const float* row = static_cast<const float*>(a[t * rows + m]);
            if (row != zero.data())
              row += a_offset;
            const float* tap_w = &w[n / nr * block_size + nr * (1 + taps[t] * kc) + n % nr];
            for (size_t k = 0; k < kc; k++)
              sum += static_cast<double>(row[k]) * tap_w[k * nr];
          }
          expected[c_rows[m] * cm_stride + n] =
            std::min(std::max(static_cast<float>(sum), params.scalar.min), params.scalar.max);
        }
      }
      for (size_t j = 0; j < c.size(); j++) {
        ASSERT_NEAR(expected[j], c[j], 1e-4f) << "rows " << rows << " nc " << nc << " kc " << kc << " element " << j;
      }
    }
  }
}

enum class MaskKind { kLattice, kRandom, kColumns, kEmpty, kSinglePixel };

std::vector<uint8_t> MakeMask(MaskKind kind, size_t height, size_t width, size_t residue, std::mt19937& rng)
{
  std::vector<uint8_t> mask(height * width);
  for (size_t i = 0; i < mask.size(); i++) {
    const size_t x = i % width, y = i / width;
    switch (kind) {
      case MaskKind::kLattice:
        mask[i] = (x + 2 * y) % 5 != residue;
        break;
      case MaskKind::kRandom:
        mask[i] = rng() % 4 != 0;
        break;
      case MaskKind::kColumns:
        mask[i] = x % 2;
        break;
      case MaskKind::kEmpty:
        mask[i] = 0;
        break;
      case MaskKind::kSinglePixel:
        mask[i] = i == mask.size() / 2;
        break;
    }
  }
  return mask;
}

// Two convolutions, each with a mask; the second one reads the first one's pixels and its fill.
struct Pair {
  size_t batch = 1, height, width, channels_in, channels, channels_out;
  size_t kernel = 3, stride = 1, dilation = 1, threads = 1;
  bool second_masked = true, factors = false, output_is_read_twice = false;
  std::vector<uint8_t> first_mask, second_mask;
  std::vector<float> first_weights, second_weights, fill, second_fill, bias;

  size_t Pad() const { return kernel / 2 * dilation; }
  size_t OutputSize(size_t input) const { return (input + 2 * Pad() - (kernel - 1) * dilation - 1) / stride + 1; }
};

struct Outcome {
  std::vector<float> output;
  bool skips_taps = false;
  size_t num_products = 0;
};

Outcome RunPair(const Pair& p, const std::vector<float>& input, const std::vector<float>& factors)
{
  xnn_subgraph_t subgraph = nullptr;
  EXPECT_EQ(xnn_status_success, xnn_create_subgraph(3, 0, &subgraph));
  const auto define = [&](std::vector<size_t> dims, const float* data, uint32_t external_id, uint32_t flags) {
    uint32_t id = XNN_INVALID_VALUE_ID;
    EXPECT_EQ(
      xnn_status_success,
      xnn_define_tensor_value(subgraph, xnn_datatype_fp32, dims.size(), dims.data(), data, external_id, flags, &id));
    return id;
  };
  const size_t oh = p.OutputSize(p.height), ow = p.OutputSize(p.width);
  const uint32_t none = XNN_INVALID_VALUE_ID;
  const uint32_t x = define({p.batch, p.height, p.width, p.channels_in}, nullptr, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT);
  const uint32_t w1 = define({p.channels, 1, 1, p.channels_in}, p.first_weights.data(), none, 0);
  uint32_t between = define({p.batch, p.height, p.width, p.channels}, nullptr, none, 0);
  EXPECT_EQ(
    xnn_status_success, xnn_define_convolution_2d(
                          subgraph, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, p.channels_in, p.channels, -kInfinity, kInfinity,
                          x, w1, none, between, 0));
  EXPECT_EQ(
    xnn_status_success,
    xnn_mask_convolution_2d(subgraph, between, p.height, p.width, p.first_mask.data(), p.channels, p.fill.data()));
  if (p.factors) {
    const uint32_t f = define({p.batch, 1, 1, p.channels}, nullptr, 2, XNN_VALUE_FLAG_EXTERNAL_INPUT);
    const uint32_t scaled = define({p.batch, p.height, p.width, p.channels}, nullptr, none, 0);
    EXPECT_EQ(xnn_status_success, xnn_define_binary(subgraph, xnn_binary_multiply, nullptr, between, f, scaled, 0));
    between = scaled;
  }
  const uint32_t w2 = define({p.channels_out, p.kernel, p.kernel, p.channels}, p.second_weights.data(), none, 0);
  const uint32_t b2 = define({p.channels_out}, p.bias.data(), none, 0);
  const uint32_t y = define({p.batch, oh, ow, p.channels_out}, nullptr, 1, XNN_VALUE_FLAG_EXTERNAL_OUTPUT);
  const uint32_t pad = p.Pad();
  EXPECT_EQ(
    xnn_status_success, xnn_define_convolution_2d(
                          subgraph, pad, pad, pad, pad, p.kernel, p.kernel, p.stride, p.stride, p.dilation, p.dilation,
                          1, p.channels, p.channels_out, -kInfinity, 2.0f, between, w2, b2, y, 0));
  if (p.second_masked) {
    EXPECT_EQ(
      xnn_status_success,
      xnn_mask_convolution_2d(subgraph, y, oh, ow, p.second_mask.data(), p.channels_out, p.second_fill.data()));
  }
  std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)> threadpool(
    p.threads > 1 ? pthreadpool_create(p.threads) : nullptr, pthreadpool_destroy);
  xnn_runtime_t runtime = nullptr;
  EXPECT_EQ(xnn_status_success, xnn_create_runtime_v3(subgraph, nullptr, threadpool.get(), 0, &runtime));
  EXPECT_EQ(xnn_status_success, xnn_delete_subgraph(subgraph));
  Outcome outcome;
  outcome.output.assign(p.batch * oh * ow * p.channels_out, std::nanf(""));
  std::vector<xnn_external_value> externals = {{0, const_cast<float*>(input.data())}, {1, outcome.output.data()}};
  if (p.factors)
    externals.push_back({2, const_cast<float*>(factors.data())});
  EXPECT_EQ(xnn_status_success, xnn_setup_runtime(runtime, externals.size(), externals.data()));
  // Biases are computed in the first run and used in the second one.
  EXPECT_EQ(xnn_status_success, xnn_invoke_runtime(runtime));
  std::fill(outcome.output.begin(), outcome.output.end(), std::nanf(""));
  EXPECT_EQ(xnn_status_success, xnn_invoke_runtime(runtime));
  for (size_t i = 0; i < runtime->num_ops; i++) {
    const struct xnn_operator* op = runtime->opdata[i].operator_objects[0];
    if (op != nullptr && op->masked.live_taps != nullptr) {
      outcome.skips_taps = true;
      outcome.num_products = op->masked.live_taps->num_pointers;
    }
  }
  EXPECT_EQ(xnn_status_success, xnn_delete_runtime(runtime));
  return outcome;
}

std::vector<float> Reference(const Pair& p, const std::vector<float>& input, const std::vector<float>& factors)
{
  const size_t oh = p.OutputSize(p.height), ow = p.OutputSize(p.width);
  std::vector<float> between(p.batch * p.height * p.width * p.channels);
  for (size_t i = 0; i < between.size(); i++) {
    const size_t pixel = i / p.channels, c = i % p.channels;
    double sum = 0.0;
    for (size_t k = 0; k < p.channels_in; k++) {
      sum += static_cast<double>(input[pixel * p.channels_in + k]) * p.first_weights[c * p.channels_in + k];
    }
    between[i] = p.first_mask[pixel % (p.height * p.width)] ? static_cast<float>(sum) : p.fill[c];
    if (p.factors)
      between[i] *= factors[pixel / (p.height * p.width) * p.channels + c];
  }
  std::vector<float> output(p.batch * oh * ow * p.channels_out);
  for (size_t i = 0; i < output.size(); i++) {
    const size_t c = i % p.channels_out, pixel = i / p.channels_out % (oh * ow), image = i / p.channels_out / (oh * ow);
    if (p.second_masked && !p.second_mask[pixel]) {
      output[i] = p.second_fill[c];
      continue;
    }
    double sum = p.bias[c];
    for (size_t tap = 0; tap < p.kernel * p.kernel; tap++) {
      const size_t y = pixel / ow * p.stride + tap / p.kernel * p.dilation - p.Pad();
      const size_t x = pixel % ow * p.stride + tap % p.kernel * p.dilation - p.Pad();
      if (y >= p.height || x >= p.width)
        continue;
      for (size_t k = 0; k < p.channels; k++) {
        sum += static_cast<double>(between[((image * p.height + y) * p.width + x) * p.channels + k]) *
               p.second_weights[(c * p.kernel * p.kernel + tap) * p.channels + k];
      }
    }
    output[i] = std::min(static_cast<float>(sum), 2.0f);
  }
  return output;
}

class LiveTapsPair : public LiveTaps {
protected:
  Pair RandomPair(MaskKind kind)
  {
    Pair p;
    p.batch = Choose(1, 3);
    p.height = Choose(3, 17);
    p.width = Choose(3, 17);
    p.channels_in = Choose(1, 9);
    p.channels = Choose(1, 24);
    p.channels_out = Choose(1, 70);
    p.kernel = Choose(1, 2) * 2 + 1;
    p.stride = Choose(1, 2);
    p.dilation = p.kernel == 3 && std::min(p.height, p.width) > 4 ? Choose(1, 2) : 1;
    p.threads = Choose(0, 3) == 0 ? Choose(2, 4) : 1;
    p.second_masked = Choose(0, 2) != 0;
    FillIn(p, kind);
    return p;
  }

  void FillIn(Pair& p, MaskKind kind)
  {
    const size_t residue = Choose(0, 4);
    p.first_mask = MakeMask(kind, p.height, p.width, residue, rng_);
    const MaskKind second = Choose(0, 1) ? kind : MaskKind::kRandom;
    p.second_mask = MakeMask(second, p.OutputSize(p.height), p.OutputSize(p.width), residue, rng_);
    p.first_weights = RandomVector(p.channels * p.channels_in);
    p.second_weights = RandomVector(p.channels_out * p.kernel * p.kernel * p.channels);
    p.fill = RandomVector(p.channels);
    p.second_fill = RandomVector(p.channels_out);
    p.bias = RandomVector(p.channels_out);
  }

  bool ExpectReference(const Pair& p)
  {
    SCOPED_TRACE(
      "batch " + std::to_string(p.batch) + " input " + std::to_string(p.height) + "x" + std::to_string(p.width) +
      " kernel " + std::to_string(p.kernel) + " stride " + std::to_string(p.stride) + " dilation " +
      std::to_string(p.dilation) + " channels " + std::to_string(p.channels) + "->" + std::to_string(p.channels_out) +
      " threads " + std::to_string(p.threads) + " factors " + std::to_string(p.factors) + " masked " +
      std::to_string(p.second_masked));
    const std::vector<float> input = RandomVector(p.batch * p.height * p.width * p.channels_in + XNN_EXTRA_BYTES);
    const std::vector<float> factors = RandomVector(p.batch * p.channels + XNN_EXTRA_BYTES);
    const std::vector<float> expected = Reference(p, input, factors);
    const Outcome outcome = RunPair(p, input, factors);
    for (size_t i = 0; i < expected.size(); i++) {
      EXPECT_NEAR(expected[i], outcome.output[i], 1e-4f * p.kernel * p.kernel) << "element " << i;
      if (HasNonfatalFailure())
        return false;
    }
    return outcome.skips_taps;
  }
};

class LiveTapsOperator : public LiveTapsPair, public testing::WithParamInterface<MaskKind> {};

TEST_P(LiveTapsOperator, equals_sums_over_all_taps)
{
  for (size_t i = 0; i < 40 && !HasNonfatalFailure(); i++)
    ExpectReference(RandomPair(GetParam()));
}

// A fill that depends on the input of the network is no constant.
TEST_P(LiveTapsOperator, fill_that_changes_with_every_run)
{
  for (size_t i = 0; i < 20 && !HasNonfatalFailure(); i++) {
    Pair p = RandomPair(GetParam());
    p.factors = true;
    ExpectReference(p);
  }
}

INSTANTIATE_TEST_SUITE_P(
  masks,
  LiveTapsOperator,
  testing::Values(MaskKind::kLattice, MaskKind::kRandom, MaskKind::kColumns, MaskKind::kEmpty, MaskKind::kSinglePixel));

// Of the nine taps of a kept pixel two are dead, whatever its place in the lattice; at the edges padding is, besides.
TEST_F(LiveTapsPair, lattice_computes_seven_of_nine_taps)
{
  Pair p;
  p.height = p.width = 20;
  p.channels_in = 3;
  p.channels = 16;
  p.channels_out = 40;
  FillIn(p, MaskKind::kLattice);
  p.second_mask = p.first_mask;
  EXPECT_TRUE(ExpectReference(p));
  const std::vector<float> input = RandomVector(p.height * p.width * p.channels_in + XNN_EXTRA_BYTES);
  const Outcome outcome = RunPair(p, input, {});
  const size_t kept = std::count(p.first_mask.begin(), p.first_mask.end(), 1);
  EXPECT_EQ(320, kept);
  EXPECT_LE(outcome.num_products, kept * 7 + kept / 8);
}

}  // namespace
