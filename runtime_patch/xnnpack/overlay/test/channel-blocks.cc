// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include "xnnpack/channel-blocks.h"

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
#include "xnnpack.h"
#include "xnnpack/operator.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  size_t height, width, kernel, stride, channels_in, channels_out, threads;

  size_t Pad() const { return kernel / 2; }
  size_t OutputSize(size_t input) const { return (input + 2 * Pad() - kernel) / stride + 1; }
  size_t InputSize() const { return height * width * channels_in; }
  size_t NumOutputs() const { return OutputSize(height) * OutputSize(width) * channels_out; }
  std::string ToString() const
  {
    return "input " + std::to_string(height) + "x" + std::to_string(width) + " kernel " + std::to_string(kernel) +
           " stride " + std::to_string(stride) + " channels " + std::to_string(channels_in) + "->" +
           std::to_string(channels_out) + " threads " + std::to_string(threads);
  }
};

class ChannelBlocks : public testing::Test {
protected:
  void SetUp() override { ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr)); }

  size_t Choose(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(rng_); }
  std::vector<float> RandomVector(size_t n)
  {
    std::vector<float> v(n);
    for (float& x : v)
      x = std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng_);
    return v;
  }

  // Runs a convolution; tells whether blocks of channels come in turn.
  bool Run(const Problem& p, size_t batch, const std::vector<float>& input, std::vector<float>* output)
  {
    xnn_operator_t op = nullptr;
    const uint32_t pad = p.Pad();
    EXPECT_EQ(
      xnn_status_success,
      xnn_create_convolution2d_nhwc_f32(
        pad, pad, pad, pad, p.kernel, p.kernel, p.stride, p.stride, 1, 1, /*groups=*/1, p.channels_in, p.channels_out,
        p.channels_in, p.channels_out, filter_.data(), bias_.data(), -kInfinity, kInfinity, 0, nullptr, nullptr, &op));
    const std::unique_ptr<xnn_operator, decltype(&xnn_delete_operator)> owned(op, xnn_delete_operator);
    const std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)> pool(
      p.threads > 1 ? pthreadpool_create(p.threads) : nullptr, pthreadpool_destroy);
    size_t workspace_size = 0, workspace_alignment = 1, height = 0, width = 0;
    EXPECT_EQ(
      xnn_status_success,
      xnn_reshape_convolution2d_nhwc_f32(
        op, batch, p.height, p.width, &workspace_size, &workspace_alignment, &height, &width, pool.get()));
    std::vector<char> workspace(workspace_size + XNN_ALLOCATION_ALIGNMENT);
    const uintptr_t start = reinterpret_cast<uintptr_t>(workspace.data());
    void* aligned = workspace.data() + (XNN_ALLOCATION_ALIGNMENT - start % XNN_ALLOCATION_ALIGNMENT);
    output->assign(batch * p.NumOutputs(), std::nanf(""));
    EXPECT_EQ(xnn_status_success, xnn_setup_convolution2d_nhwc_f32(op, aligned, input.data(), output->data()));
    EXPECT_EQ(xnn_status_success, xnn_run_operator(op, pool.get()));
    return std::any_of(std::begin(op->compute), std::end(op->compute), [&](const compute_parameters& compute) {
      return compute.type == xnn_parallelization_type_2d_tile_2d && compute.range[0] == p.channels_out &&
             compute.range[1] == p.OutputSize(p.height) * p.OutputSize(p.width);
    });
  }

  float Reference(const Problem& p, const std::vector<float>& input, size_t element) const
  {
    const size_t width = p.OutputSize(p.width);
    const size_t c = element % p.channels_out, pixel = element / p.channels_out;
    double sum = bias_[c];
    for (size_t tap = 0; tap < p.kernel * p.kernel; tap++) {
      const size_t y = pixel / width * p.stride + tap / p.kernel - p.Pad();
      const size_t x = pixel % width * p.stride + tap % p.kernel - p.Pad();
      if (y >= p.height || x >= p.width)
        continue;
      const float* taps = &filter_[(c * p.kernel * p.kernel + tap) * p.channels_in];
      for (size_t k = 0; k < p.channels_in; k++)
        sum += static_cast<double>(input[(y * p.width + x) * p.channels_in + k]) * taps[k];
    }
    return static_cast<float>(sum);
  }

  // Tiles of pixels come in turn where two images are computed: they say what the bits are.
  void ExpectBlocksWithTheBitsOfTwoImages(const Problem& p)
  {
    SCOPED_TRACE(p.ToString());
    filter_ = RandomVector(p.channels_out * p.kernel * p.kernel * p.channels_in);
    bias_ = RandomVector(p.channels_out);
    const std::vector<float> images = RandomVector(2 * p.InputSize() + XNN_EXTRA_BYTES);
    std::vector<float> one, two;
    EXPECT_TRUE(Run(p, 1, images, &one));
    EXPECT_FALSE(Run(p, 2, images, &two));
    for (size_t i = 0; i < one.size(); i++) {
      ASSERT_EQ(one[i], two[i]) << "element " << i;
      if (i % 7 == 0) {
        ASSERT_NEAR(one[i], Reference(p, images, i), 1e-3f) << "element " << i;
      }
    }
  }

  std::vector<float> filter_, bias_;
  std::mt19937 rng_{static_cast<uint32_t>(GTEST_FLAG_GET(random_seed))};
};

TEST_F(ChannelBlocks, igemm)
{
  for (size_t i = 0; i < 12 && !HasFailure(); i++) {
    ExpectBlocksWithTheBitsOfTwoImages(
      {Choose(6, 11), Choose(6, 11), /*kernel=*/3, Choose(1, 2), Choose(32, 96), Choose(240, 400), Choose(1, 4)});
  }
}

// The rows of two images are those of one matrix, which is larger than the weights.
TEST_F(ChannelBlocks, gemm)
{
  for (size_t i = 0; i < 12 && !HasFailure(); i++) {
    ExpectBlocksWithTheBitsOfTwoImages(
      {15, 15, /*kernel=*/1, /*stride=*/1, Choose(220, 300), Choose(300, 440), Choose(1, 4)});
  }
}

TEST_F(ChannelBlocks, none_where_weights_are_small)
{
  EXPECT_EQ(0, xnn_get_block_channels(/*output_channels=*/64, /*nr=*/8, /*w_stride=*/4096, /*input_size=*/0));
  EXPECT_EQ(64, xnn_get_block_channels(/*output_channels=*/65, /*nr=*/8, /*w_stride=*/4096, /*input_size=*/0));
  EXPECT_EQ(
    0, xnn_get_block_channels(/*output_channels=*/65, /*nr=*/8, /*w_stride=*/4096, /*input_size=*/size_t{65} * 4096));
}

// Of a task with images and groups, as masked convolutions have.
TEST_F(ChannelBlocks, come_first_where_pixels_have_more_than_one_tile)
{
  for (size_t pixels : {6, 7}) {
    compute_parameters compute = {};
    compute.type = xnn_parallelization_type_4d_tile_2d;
    compute.range[2] = pixels;
    compute.range[3] = 512;
    compute.tile[0] = 6;
    compute.tile[1] = 512;
    xnn_put_channel_blocks_first(&compute, /*task=*/nullptr, /*nr=*/8, /*w_stride=*/4096, /*input_size=*/0);
    const bool has_blocks = pixels > 6;
    EXPECT_EQ(has_blocks ? 512 : pixels, compute.range[2]);
    EXPECT_EQ(has_blocks ? pixels : 512, compute.range[3]);
    EXPECT_EQ(has_blocks ? 64 : 6, compute.tile[0]);
    EXPECT_EQ(has_blocks ? 6 : 512, compute.tile[1]);
  }
}

TEST_F(ChannelBlocks, have_a_panel_at_least)
{
  EXPECT_EQ(16, xnn_get_block_channels(/*output_channels=*/64, /*nr=*/16, /*w_stride=*/65536, /*input_size=*/0));
}

}  // namespace
