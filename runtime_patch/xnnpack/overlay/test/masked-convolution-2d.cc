// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

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
#include "xnnpack/pixel-mask.h"

namespace {

using Subgraph = std::unique_ptr<xnn_subgraph, decltype(&xnn_delete_subgraph)>;
using Runtime = std::unique_ptr<xnn_runtime, decltype(&xnn_delete_runtime)>;
using Threadpool = std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)>;

enum class MaskKind { kRandom, kEmpty, kFull, kSinglePixel, kAlternating };

// A convolution, a mask over its output, and how both are run.
struct Problem {
  size_t batch = 1;
  size_t input_height, input_width;
  size_t kernel_height, kernel_width;
  size_t stride = 1, dilation = 1, padding = 0;
  size_t groups = 1, group_input_channels, group_output_channels;
  bool depthwise = false, same_padding = false;
  float output_min = -std::numeric_limits<float>::infinity();
  float output_max = std::numeric_limits<float>::infinity();
  // A clamp node behind the convolution, to be fused into it.
  bool clamp_node = false;
  float sparsity = 0.3f;
  MaskKind mask = MaskKind::kRandom;
  size_t threads = 1;
  uint32_t runtime_flags = 0;

  size_t InputChannels() const { return groups * group_input_channels; }
  size_t OutputChannels() const { return groups * group_output_channels; }
  size_t OutputSize(size_t input, size_t kernel) const
  {
    if (same_padding)
      return (input + stride - 1) / stride;
    return (input + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
  }
  size_t OutputHeight() const { return OutputSize(input_height, kernel_height); }
  size_t OutputWidth() const { return OutputSize(input_width, kernel_width); }
  std::string ToString() const
  {
    return "batch " + std::to_string(batch) + " input " + std::to_string(input_height) + "x" +
           std::to_string(input_width) + " kernel " + std::to_string(kernel_height) + "x" +
           std::to_string(kernel_width) + " stride " + std::to_string(stride) + " dilation " +
           std::to_string(dilation) + " padding " + std::to_string(padding) + " same " + std::to_string(same_padding) +
           " groups " + std::to_string(groups) + " channels " + std::to_string(group_input_channels) + "->" +
           std::to_string(group_output_channels) + " depthwise " + std::to_string(depthwise) + " mask " +
           std::to_string(static_cast<int>(mask)) + " threads " + std::to_string(threads) + " clamp node " +
           std::to_string(clamp_node);
  }
};

// Data of a problem; input and output are what the two runtimes share.
struct Data {
  std::vector<float> input, filter, bias, fill;
  std::vector<uint8_t> mask;

  Data(const Problem& p, std::mt19937& rng)
  {
    std::uniform_real_distribution<float> f32(-1.0f, 1.0f);
    const auto fill_random = [&](std::vector<float>& v, size_t n) {
      v.resize(n);
      std::generate(v.begin(), v.end(), [&] { return f32(rng); });
    };
    fill_random(input, p.batch * p.input_height * p.input_width * p.InputChannels() + XNN_EXTRA_BYTES);
    fill_random(filter, p.OutputChannels() * p.kernel_height * p.kernel_width * p.group_input_channels);
    fill_random(bias, p.OutputChannels());
    fill_random(fill, p.OutputChannels());
    const size_t pixels = p.OutputHeight() * p.OutputWidth();
    mask.resize(pixels);
    for (size_t i = 0; i < pixels; i++) {
      switch (p.mask) {
        case MaskKind::kRandom:
          mask[i] = std::uniform_real_distribution<float>()(rng) >= p.sparsity;
          break;
        case MaskKind::kEmpty:
          mask[i] = 0;
          break;
        case MaskKind::kFull:
          mask[i] = 1;
          break;
        case MaskKind::kSinglePixel:
          mask[i] = 0;
          break;
        case MaskKind::kAlternating:
          mask[i] = i % 2;
          break;
      }
    }
    if (p.mask == MaskKind::kSinglePixel)
      mask[rng() % pixels] = 1;
  }
};

// Builds and runs the problem; checks that the masked convolution kept as many pixels as the mask does.
std::vector<float> Compute(const Problem& p, const Data& data, bool masked, size_t runs = 1)
{
  xnn_subgraph_t subgraph_ptr = nullptr;
  EXPECT_EQ(xnn_status_success, xnn_create_subgraph(2, 0, &subgraph_ptr));
  Subgraph subgraph(subgraph_ptr, xnn_delete_subgraph);

  const size_t channels = p.OutputChannels();
  const std::vector<size_t> input_dims = {p.batch, p.input_height, p.input_width, p.InputChannels()};
  const std::vector<size_t> output_dims = {p.batch, p.OutputHeight(), p.OutputWidth(), channels};
  std::vector<size_t> filter_dims = {channels, p.kernel_height, p.kernel_width, p.group_input_channels};
  if (p.depthwise)
    filter_dims = {1, p.kernel_height, p.kernel_width, channels};
  const auto define = [&](const std::vector<size_t>& dims, const float* values, uint32_t external_id, uint32_t flags) {
    uint32_t id = XNN_INVALID_VALUE_ID;
    EXPECT_EQ(
      xnn_status_success,
      xnn_define_tensor_value(
        subgraph.get(), xnn_datatype_fp32, dims.size(), dims.data(), values, external_id, flags, &id));
    return id;
  };
  const uint32_t input = define(input_dims, nullptr, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT);
  const uint32_t filter = define(filter_dims, data.filter.data(), XNN_INVALID_VALUE_ID, 0);
  const uint32_t bias = define({channels}, data.bias.data(), XNN_INVALID_VALUE_ID, 0);
  const uint32_t output = define(output_dims, nullptr, 1, XNN_VALUE_FLAG_EXTERNAL_OUTPUT);
  const uint32_t convolved = p.clamp_node ? define(output_dims, nullptr, XNN_INVALID_VALUE_ID, 0) : output;

  const uint32_t pad = p.same_padding ? 0 : p.padding;
  const uint32_t flags = p.same_padding ? XNN_FLAG_TENSORFLOW_SAME_PADDING : 0;
  if (p.depthwise) {
    EXPECT_EQ(
      xnn_status_success,
      xnn_define_depthwise_convolution_2d(
        subgraph.get(), pad, pad, pad, pad, p.kernel_height, p.kernel_width, p.stride, p.stride, p.dilation, p.dilation,
        p.group_output_channels, p.groups, p.output_min, p.output_max, input, filter, bias, convolved, flags));
  }
  else {
    EXPECT_EQ(
      xnn_status_success, xnn_define_convolution_2d(
                            subgraph.get(), pad, pad, pad, pad, p.kernel_height, p.kernel_width, p.stride, p.stride,
                            p.dilation, p.dilation, p.groups, p.group_input_channels, p.group_output_channels,
                            p.output_min, p.output_max, input, filter, bias, convolved, flags));
  }
  if (masked) {
    EXPECT_EQ(
      xnn_status_success,
      xnn_mask_convolution_2d(
        subgraph.get(), convolved, p.OutputHeight(), p.OutputWidth(), data.mask.data(), channels, data.fill.data()));
  }
  if (p.clamp_node) {
    EXPECT_EQ(xnn_status_success, xnn_define_clamp(subgraph.get(), -0.5f, 0.25f, convolved, output, 0));
  }

  Threadpool threadpool(p.threads > 1 ? pthreadpool_create(p.threads) : nullptr, pthreadpool_destroy);
  xnn_runtime_t runtime_ptr = nullptr;
  EXPECT_EQ(
    xnn_status_success,
    xnn_create_runtime_v3(subgraph.get(), nullptr, threadpool.get(), p.runtime_flags, &runtime_ptr));
  Runtime runtime(runtime_ptr, xnn_delete_runtime);
  subgraph.reset();  // A runtime outlives its subgraph.

  std::vector<float> result(p.batch * p.OutputHeight() * p.OutputWidth() * channels, std::nanf(""));
  const std::vector<xnn_external_value> external = {{0, const_cast<float*>(data.input.data())}, {1, result.data()}};
  EXPECT_EQ(xnn_status_success, xnn_setup_runtime(runtime.get(), external.size(), external.data()));
  for (size_t i = 0; i < runs; i++) {
    EXPECT_EQ(xnn_status_success, xnn_invoke_runtime(runtime.get()));
  }

  xnn_operator_plan plan;
  EXPECT_EQ(1, xnn_get_runtime_plan(runtime.get(), 1, &plan));
  const size_t pixels = p.OutputHeight() * p.OutputWidth();
  const size_t kept = masked ? std::count(data.mask.begin(), data.mask.end(), 1) : pixels;
  EXPECT_TRUE(plan.is_layer);
  EXPECT_EQ(pixels, plan.pixels);
  EXPECT_EQ(kept, plan.kept);
  EXPECT_NE(nullptr, plan.ukernel);
  EXPECT_LE(plan.live_taps, plan.taps);
  EXPECT_LE(p.batch * pixels, plan.dense_rows);
  const size_t macs_of_row = p.kernel_height * p.kernel_width * p.group_input_channels * channels;
  EXPECT_EQ(p.batch * pixels * macs_of_row, plan.macs);
  if (kept == 0) {
    EXPECT_STREQ("fill", plan.path);
    EXPECT_EQ(0, plan.macs_computed);
  }
  else if (std::string(plan.path) == "live-taps") {
    EXPECT_EQ(p.batch * kept, plan.rows);
    EXPECT_EQ(plan.macs_computed * plan.taps, plan.rows * macs_of_row * plan.live_taps);
  }
  else {
    EXPECT_LE(p.batch * kept, plan.rows);
    EXPECT_EQ(plan.rows * macs_of_row, plan.macs_computed);
  }
  if (kept == pixels) {
    EXPECT_EQ(plan.dense_rows, plan.rows);
    EXPECT_EQ(masked, plan.why_all_pixels != nullptr);
  }
  return result;
}

// The dense convolution, then a select, computed here.
void ExpectSelectOfDense(const Problem& p, std::mt19937& rng)
{
  SCOPED_TRACE(p.ToString());
  const Data data(p, rng);
  const std::vector<float> dense = Compute(p, data, /*masked=*/false);
  const std::vector<float> masked = Compute(p, data, /*masked=*/true, /*runs=*/2);
  const size_t pixels = p.OutputHeight() * p.OutputWidth();
  const size_t channels = p.OutputChannels();
  const size_t taps = p.kernel_height * p.kernel_width * p.group_input_channels;
  for (size_t i = 0; i < masked.size(); i++) {
    const size_t pixel = i / channels % pixels;
    const size_t channel = i % channels;
    if (data.mask[pixel]) {
      ASSERT_NEAR(dense[i], masked[i], 1e-6f * (1.0f + taps)) << "kept pixel " << pixel << " channel " << channel;
    }
    else {
      float fill = data.fill[channel];
      if (p.clamp_node)
        fill = std::min(std::max(fill, -0.5f), 0.25f);
      ASSERT_EQ(fill, masked[i]) << "skipped pixel " << pixel << " channel " << channel;
    }
  }
}

class MaskedConvolution2D : public testing::TestWithParam<MaskKind> {
protected:
  void SetUp() override { ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr)); }

  size_t Choose(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(rng_); }

  Problem RandomProblem(size_t max_kernel, size_t max_channels)
  {
    Problem p;
    p.mask = GetParam();
    p.batch = Choose(1, 3);
    p.input_height = Choose(1, 19);
    p.input_width = Choose(1, 19);
    p.kernel_height = Choose(1, std::min(max_kernel, p.input_height));
    p.kernel_width = Choose(1, std::min(max_kernel, p.input_width));
    p.stride = Choose(1, 2);
    p.dilation = Choose(1, 4) == 1 ? 2 : 1;
    if (p.kernel_height * 2 > p.input_height || p.kernel_width * 2 > p.input_width)
      p.dilation = 1;
    p.same_padding = Choose(0, 1);
    p.padding = p.same_padding ? 0 : Choose(0, 1) * (std::min(p.kernel_height, p.kernel_width) / 2);
    p.group_input_channels = Choose(1, max_channels);
    p.group_output_channels = Choose(1, max_channels);
    p.sparsity = std::uniform_real_distribution<float>(0.05f, 0.95f)(rng_);
    p.threads = Choose(1, 4);
    p.clamp_node = Choose(0, 2) == 0;
    if (Choose(0, 1))
      p.output_min = 0.0f;
    if (Choose(0, 1))
      p.output_max = 0.75f;
    if (Choose(0, 1))
      p.runtime_flags = XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER;
    return p;
  }

  // The same problems in every run; --gtest_random_seed gives others.
  std::mt19937 rng_{static_cast<uint32_t>(GTEST_FLAG_GET(random_seed))};
};

constexpr size_t kProblems = 20;

TEST_P(MaskedConvolution2D, igemm)
{
  for (size_t i = 0; i < kProblems; i++)
    ExpectSelectOfDense(RandomProblem(5, 70), rng_);
}

TEST_P(MaskedConvolution2D, pointwise)
{
  for (size_t i = 0; i < kProblems; i++) {
    Problem p = RandomProblem(1, 130);
    p.stride = 1;
    ExpectSelectOfDense(p, rng_);
  }
}

// Up to four input channels the taps of a kernel's row are merged, unless the indirection buffer is transient.
TEST_P(MaskedConvolution2D, merged_taps)
{
  for (size_t i = 0; i < 2 * kProblems; i++) {
    Problem p = RandomProblem(7, 70);
    p.group_input_channels = Choose(1, 4);
    p.runtime_flags = 0;
    if (i % 4 == 0) {  // An output of a single pixel has micro-kernels of its own.
      p.same_padding = false;
      p.padding = 0;
      p.stride = p.dilation = 1;
      p.input_height = p.kernel_height;
      p.input_width = p.kernel_width;
    }
    SCOPED_TRACE(p.ToString());
    ExpectSelectOfDense(p, rng_);
    const Data data(p, rng_);
    Problem unmerged = p;
    unmerged.runtime_flags = XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER;
    const std::vector<float> merged = Compute(p, data, /*masked=*/false, /*runs=*/2);
    // The same bits: the products are the same, and are added in the same order.
    ASSERT_EQ(Compute(unmerged, data, /*masked=*/false), merged);
  }
}

// Weights are larger than the image, so that blocks of channels come in turn (channel-blocks.h). Kernels of 36 taps
// have too many for live taps alone to be computed.
TEST_P(MaskedConvolution2D, blocks_of_channels)
{
  for (size_t i = 0; i < kProblems / 2; i++) {
    Problem p = RandomProblem(1, 1);
    p.input_height = Choose(6, 9);
    p.input_width = Choose(6, 9);
    p.kernel_height = p.kernel_width = i % 2 == 0 ? 6 : 3;
    p.dilation = 1;
    p.group_input_channels = i % 2 == 0 ? Choose(16, 24) : Choose(64, 80);
    p.group_output_channels = Choose(130, 250);
    ExpectSelectOfDense(p, rng_);
  }
}

TEST_P(MaskedConvolution2D, grouped)
{
  for (size_t i = 0; i < kProblems; i++) {
    Problem p = RandomProblem(3, 20);
    p.groups = Choose(2, 4);
    ExpectSelectOfDense(p, rng_);
  }
}

TEST_P(MaskedConvolution2D, depthwise)
{
  for (size_t i = 0; i < 2 * kProblems; i++) {
    Problem p = RandomProblem(8, 1);  // Beyond 5x5 the micro-kernel is a multipass one.
    p.depthwise = true;
    p.groups = Choose(1, 70);
    ExpectSelectOfDense(p, rng_);
  }
}

TEST_P(MaskedConvolution2D, depth_multiplier)
{
  for (size_t i = 0; i < kProblems; i++) {
    Problem p = RandomProblem(3, 1);
    p.depthwise = true;
    p.groups = Choose(1, 20);
    p.group_output_channels = Choose(2, 4);
    ExpectSelectOfDense(p, rng_);
  }
}

INSTANTIATE_TEST_SUITE_P(
  masks,
  MaskedConvolution2D,
  testing::Values(
    MaskKind::kRandom, MaskKind::kEmpty, MaskKind::kFull, MaskKind::kSinglePixel, MaskKind::kAlternating));

// Values of int8 tensors, most of them negative, which a clamp node behind the convolution limits as it does pixels.
TEST(MaskedConvolution2DFill, int8_is_clamped)
{
  ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr));
  xnn_subgraph_t subgraph_ptr = nullptr;
  ASSERT_EQ(xnn_status_success, xnn_create_subgraph(2, 0, &subgraph_ptr));
  Subgraph subgraph(subgraph_ptr, xnn_delete_subgraph);
  const auto define = [&](size_t channels, uint32_t external_id, uint32_t flags) {
    const size_t dims[] = {1, 2, 2, channels};
    uint32_t id = XNN_INVALID_VALUE_ID;
    EXPECT_EQ(
      xnn_status_success, xnn_define_quantized_tensor_value(
                            subgraph.get(), xnn_datatype_qint8, /*zero_point=*/3, /*scale=*/0.05f, 4, dims, nullptr,
                            external_id, flags, &id));
    return id;
  };
  const std::vector<int8_t> fill = {-128, -20, -7, -5, 0, 10, 18, 127};
  const std::vector<int8_t> clamped = {-7, -7, -7, -5, 0, 10, 18, 18};
  const size_t channels = fill.size();
  const uint32_t input = define(1, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT);
  const uint32_t convolved = define(channels, XNN_INVALID_VALUE_ID, 0);
  const uint32_t output = define(channels, 1, XNN_VALUE_FLAG_EXTERNAL_OUTPUT);
  const std::vector<int8_t> weights(channels, 1);
  const std::vector<float> scales(channels, 0.01f);
  const size_t filter_dims[] = {channels, 1, 1, 1};
  uint32_t filter = XNN_INVALID_VALUE_ID;
  ASSERT_EQ(
    xnn_status_success, xnn_define_channelwise_quantized_tensor_value(
                          subgraph.get(), xnn_datatype_qcint8, scales.data(), 4, 0, filter_dims, weights.data(),
                          XNN_INVALID_VALUE_ID, 0, &filter));
  const float infinity = std::numeric_limits<float>::infinity();
  ASSERT_EQ(
    xnn_status_success, xnn_define_convolution_2d(
                          subgraph.get(), 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, channels, -infinity, infinity, input,
                          filter, XNN_INVALID_VALUE_ID, convolved, 0));
  const std::vector<uint8_t> mask = {1, 0, 1, 1};
  ASSERT_EQ(
    xnn_status_success, xnn_mask_convolution_2d(subgraph.get(), convolved, 2, 2, mask.data(), channels, fill.data()));
  ASSERT_EQ(xnn_status_success, xnn_define_clamp(subgraph.get(), -0.5f, 0.75f, convolved, output, 0));
  xnn_runtime_t runtime_ptr = nullptr;
  ASSERT_EQ(xnn_status_success, xnn_create_runtime_v3(subgraph.get(), nullptr, nullptr, 0, &runtime_ptr));
  Runtime runtime(runtime_ptr, xnn_delete_runtime);
  std::vector<int8_t> pixels(4 + XNN_EXTRA_BYTES);
  std::vector<int8_t> result(4 * channels + XNN_EXTRA_BYTES);
  const xnn_external_value external[] = {{0, pixels.data()}, {1, result.data()}};
  ASSERT_EQ(xnn_status_success, xnn_setup_runtime(runtime.get(), 2, external));
  ASSERT_EQ(xnn_status_success, xnn_invoke_runtime(runtime.get()));
  EXPECT_EQ(clamped, std::vector<int8_t>(result.begin() + channels, result.begin() + 2 * channels));
}

// Taps are merged for the larger input, which is copied with its padding, and not for the single pixel.
TEST(MaskedConvolution2DReshape, nothing_of_a_larger_input_is_computed_on_a_smaller_one)
{
  ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr));
  const size_t channels = 8, size = 8;
  std::vector<float> kernel(channels * 9 * 3);
  for (size_t i = 0; i < kernel.size(); i++)
    kernel[i] = static_cast<float>(i % 7) - 3.0f;
  const float infinity = std::numeric_limits<float>::infinity();
  const auto compute = [&](const std::vector<size_t>& sizes) {
    xnn_operator_t op_ptr = nullptr;
    EXPECT_EQ(
      xnn_status_success, xnn_create_convolution2d_nhwc_f32(
                            1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 1, 3, channels, 3, channels, kernel.data(), nullptr,
                            -infinity, infinity, 0, nullptr, nullptr, &op_ptr));
    std::unique_ptr<xnn_operator, decltype(&xnn_delete_operator)> op(op_ptr, xnn_delete_operator);
    size_t workspace_size = 0, workspace_alignment = 0;
    for (const size_t side : sizes)
      EXPECT_EQ(
        xnn_status_success,
        xnn_reshape_convolution2d_nhwc_f32(
          op.get(), 1, side, side, &workspace_size, &workspace_alignment, nullptr, nullptr, nullptr));
    EXPECT_EQ(0, workspace_size);
    const std::vector<float> input(size * size * 3 + XNN_EXTRA_BYTES, 0.5f);
    std::vector<float> output(size * size * channels, 77.0f);
    EXPECT_EQ(xnn_status_success, xnn_setup_convolution2d_nhwc_f32(op.get(), nullptr, input.data(), output.data()));
    EXPECT_EQ(xnn_status_success, xnn_run_operator(op.get(), nullptr));
    return output;
  };
  EXPECT_EQ(compute({1}), compute({size, 1}));
}

TEST(PixelMask, more_pixels_than_memory_has_bytes_are_refused)
{
  const uint8_t pixels[] = {1, 1};
  struct xnn_pixel_mask* mask = nullptr;
  // Their number wraps around to 2.
  EXPECT_EQ(xnn_status_invalid_parameter, xnn_create_pixel_mask(SIZE_MAX / 2 + 2, 2, pixels, &mask));
  // The arrays take three numbers of 32 bits a pixel.
  if (sizeof(size_t) == 4)
    EXPECT_EQ(xnn_status_invalid_parameter, xnn_create_pixel_mask(1 << 14, 1 << 15, pixels, &mask));
}

class MaskedConvolution2DErrors : public testing::Test {
protected:
  void SetUp() override
  {
    ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr));
    ASSERT_EQ(xnn_status_success, xnn_create_subgraph(2, 0, &subgraph_));
    const size_t input_dims[] = {1, 4, 4, 2}, filter_dims[] = {3, 1, 1, 2}, output_dims[] = {1, 4, 4, 3};
    uint32_t filter;
    ASSERT_EQ(
      xnn_status_success,
      xnn_define_tensor_value(
        subgraph_, xnn_datatype_fp32, 4, input_dims, nullptr, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT, &input_));
    ASSERT_EQ(
      xnn_status_success,
      xnn_define_tensor_value(
        subgraph_, xnn_datatype_fp32, 4, filter_dims, filter_data_, XNN_INVALID_VALUE_ID, 0, &filter));
    ASSERT_EQ(
      xnn_status_success,
      xnn_define_tensor_value(
        subgraph_, xnn_datatype_fp32, 4, output_dims, nullptr, 1, XNN_VALUE_FLAG_EXTERNAL_OUTPUT, &output_));
    const float infinity = std::numeric_limits<float>::infinity();
    ASSERT_EQ(
      xnn_status_success, xnn_define_convolution_2d(
                            subgraph_, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3, -infinity, infinity, input_, filter,
                            XNN_INVALID_VALUE_ID, output_, 0));
  }
  void TearDown() override { xnn_delete_subgraph(subgraph_); }

  const float filter_data_[6] = {};
  const float fill_[4] = {};
  uint8_t mask_[16] = {1, 0};
  xnn_subgraph_t subgraph_ = nullptr;
  uint32_t input_, output_;
};

TEST_F(MaskedConvolution2DErrors, value_that_no_node_makes)
{
  EXPECT_EQ(xnn_status_invalid_parameter, xnn_mask_convolution_2d(subgraph_, input_, 4, 4, mask_, 3, fill_));
}

TEST_F(MaskedConvolution2DErrors, mask_value_other_than_0_and_1)
{
  mask_[7] = 2;
  EXPECT_EQ(xnn_status_invalid_parameter, xnn_mask_convolution_2d(subgraph_, output_, 4, 4, mask_, 3, fill_));
}

TEST_F(MaskedConvolution2DErrors, fill_of_another_number_of_channels)
{
  EXPECT_EQ(xnn_status_invalid_parameter, xnn_mask_convolution_2d(subgraph_, output_, 4, 4, mask_, 4, fill_));
}

TEST_F(MaskedConvolution2DErrors, second_mask)
{
  EXPECT_EQ(xnn_status_success, xnn_mask_convolution_2d(subgraph_, output_, 4, 4, mask_, 3, fill_));
  EXPECT_EQ(xnn_status_invalid_state, xnn_mask_convolution_2d(subgraph_, output_, 4, 4, mask_, 3, fill_));
}

TEST_F(MaskedConvolution2DErrors, mask_of_another_size_than_the_output)
{
  ASSERT_EQ(xnn_status_success, xnn_mask_convolution_2d(subgraph_, output_, 2, 4, mask_, 3, fill_));
  xnn_runtime_t runtime = nullptr;
  ASSERT_EQ(xnn_status_success, xnn_create_runtime_v3(subgraph_, nullptr, nullptr, 0, &runtime));
  std::vector<float> input(32 + XNN_EXTRA_BYTES), output(48);
  const xnn_external_value external[] = {{0, input.data()}, {1, output.data()}};
  EXPECT_NE(xnn_status_success, xnn_setup_runtime(runtime, 2, external));
  xnn_delete_runtime(runtime);
}

}  // namespace
