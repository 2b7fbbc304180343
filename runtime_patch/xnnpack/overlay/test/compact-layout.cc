// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <gtest/gtest.h>

#include "pthreadpool.h"
#include "xnnpack-masked.h"
#include "xnnpack.h"
#include "xnnpack/hardware-config.h"
#include "xnnpack/node-type.h"
#include "xnnpack/subgraph.h"

namespace {

using Threadpool = std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)>;

enum class Op { kConvolution, kDepthwise, kUnary, kAdd, kMultiplyChannels, kConcatenate, kMaxPooling };

// A step of a network: makes value `output` from earlier ones.
struct Step {
  Op op;
  std::vector<size_t> inputs;
  size_t kernel = 1, stride = 1;
  bool masked = false, external = false;
  size_t height, width, channels;  // of the output
  std::vector<uint8_t> mask;
  std::vector<float> weights, fill, channel_factors;
  enum xnn_unary_operator unary = xnn_unary_clamp;
};

struct Network {
  size_t batch, height, width, channels, threads;
  enum xnn_datatype datatype;
  std::vector<Step> steps;  // step i makes value i + 1; value 0 is the input
};

constexpr float kScale = 0.05f;
constexpr int32_t kZeroPoint = 3;

struct Shape {
  size_t height, width, channels;
};

size_t Choose(std::mt19937& rng, size_t low, size_t high)
{
  return std::uniform_int_distribution<size_t>(low, high)(rng);
}

// Draws what a step does to its input; false if that has not the shape or type for it.
bool ChooseOperator(std::mt19937& rng, enum xnn_datatype datatype, const std::vector<Shape>& shapes, Step& step)
{
  step.op = static_cast<Op>(Choose(rng, 0, 6));
  if (Choose(rng, 0, 2) == 0)
    step.op = Op::kConvolution;
  // Mostly the latest value: then networks get deep.
  const size_t input = Choose(rng, 0, 3) != 0 ? shapes.size() - 1 : Choose(rng, 0, shapes.size() - 1);
  const Shape& in = shapes[input];
  step.inputs = {input};
  step.height = in.height;
  step.width = in.width;
  step.channels = in.channels;
  switch (step.op) {
    case Op::kConvolution:
      step.channels = Choose(rng, 1, 40);
      step.kernel = Choose(rng, 0, 1) ? 1 : 3;
      step.stride = Choose(rng, 0, 3) == 0 ? 2 : 1;
      break;
    case Op::kDepthwise:
      step.kernel = Choose(rng, 0, 3) == 0 ? 5 : 3;
      step.stride = Choose(rng, 0, 3) == 0 ? 2 : 1;
      break;
    case Op::kUnary:
      if (datatype == xnn_datatype_fp32 && Choose(rng, 0, 1))
        step.unary = xnn_unary_hardswish;
      break;
    case Op::kAdd:
    case Op::kConcatenate: {
      std::vector<size_t> others;
      for (size_t i = 0; i < shapes.size(); i++) {
        if (
          shapes[i].height == in.height && shapes[i].width == in.width &&
          (step.op == Op::kConcatenate || shapes[i].channels == in.channels)) {
          others.push_back(i);
        }
      }
      step.inputs.push_back(others[Choose(rng, 0, others.size() - 1)]);
      if (step.op == Op::kConcatenate)
        step.channels += shapes[step.inputs[1]].channels;
      break;
    }
    case Op::kMultiplyChannels:
      return datatype == xnn_datatype_fp32 && step.channels <= 60;
    case Op::kMaxPooling:
      if (in.height < 3 || in.width < 3)
        return false;
      step.kernel = 2;
      step.height = in.height - 1;
      step.width = in.width - 1;
      break;
  }
  return step.channels <= 60;
}

// Draws the weights of a convolution of `in`, and whether it is masked.
void ChooseWeights(std::mt19937& rng, const Shape& in, Step& step)
{
  // TensorFlow's SAME padding underflows where the stride is larger than the kernel (upstream).
  if (step.kernel == 1)
    step.stride = 1;
  step.height = (in.height + step.stride - 1) / step.stride;
  step.width = (in.width + step.stride - 1) / step.stride;
  step.masked = Choose(rng, 0, 3) != 0;
  const size_t taps = step.kernel * step.kernel * (step.op == Op::kConvolution ? in.channels : 1);
  step.weights.resize(step.channels * taps);
  std::uniform_real_distribution<float> f32(-1.0f, 1.0f);
  for (float& w : step.weights)
    w = f32(rng) / std::sqrt(static_cast<float>(taps));
}

std::vector<uint8_t> RandomMask(std::mt19937& rng, size_t height, size_t width)
{
  std::vector<uint8_t> mask(height * width);
  const float sparsity = std::uniform_real_distribution<float>(0.0f, 1.0f)(rng);
  for (uint8_t& m : mask)
    m = std::uniform_real_distribution<float>()(rng) >= sparsity;
  const size_t kind = Choose(rng, 0, 9);
  if (kind == 0)
    std::fill(mask.begin(), mask.end(), 0);
  if (kind == 1)
    std::fill(mask.begin(), mask.end(), 1);
  if (kind == 2) {
    std::fill(mask.begin(), mask.end(), 0);
    mask[Choose(rng, 0, mask.size() - 1)] = 1;
  }
  if (kind > 5) {
    const size_t residue = Choose(rng, 0, 4);
    for (size_t i = 0; i < mask.size(); i++) {
      mask[i] = (i % width + 2 * (i / width)) % 5 != residue;
    }
  }
  return mask;
}

Network RandomNetwork(std::mt19937& rng, enum xnn_datatype datatype)
{
  Network net;
  net.batch = Choose(rng, 1, 2);
  // Threads are slow to start where a core is emulated.
  net.threads = Choose(rng, 0, 4) == 0 ? Choose(rng, 2, 3) : 1;
  net.height = Choose(rng, 3, 17);
  net.width = Choose(rng, 3, 17);
  net.channels = Choose(rng, 1, 12);
  net.datatype = datatype;
  std::uniform_real_distribution<float> f32(-1.0f, 1.0f);
  std::vector<Shape> shapes = {{net.height, net.width, net.channels}};
  std::map<std::pair<size_t, size_t>, std::vector<uint8_t>> masks;
  const size_t num_steps = Choose(rng, 2, 14);
  while (net.steps.size() < num_steps) {
    Step step;
    if (!ChooseOperator(rng, datatype, shapes, step))
      continue;
    if (step.op == Op::kConvolution || step.op == Op::kDepthwise)
      ChooseWeights(rng, shapes[step.inputs[0]], step);
    step.fill.resize(step.channels);
    for (float& v : step.fill)
      v = f32(rng);
    // Those of all images, or of each its own.
    step.channel_factors.resize((Choose(rng, 0, 1) ? net.batch : 1) * step.channels);
    for (float& v : step.channel_factors)
      v = f32(rng);
    if (step.masked) {
      std::vector<uint8_t>& mask = masks[{step.height, step.width}];
      if (mask.empty() || Choose(rng, 0, 4) == 0)
        mask = RandomMask(rng, step.height, step.width);
      step.mask = mask;
    }
    step.external = Choose(rng, 0, 9) == 0;
    shapes.push_back({step.height, step.width, step.channels});
    net.steps.push_back(step);
  }
  // What nobody reads is an output.
  for (size_t i = 0; i < net.steps.size(); i++) {
    bool read = false;
    for (const Step& step : net.steps) {
      read |= std::find(step.inputs.begin(), step.inputs.end(), i + 1) != step.inputs.end();
    }
    net.steps[i].external |= !read;
  }
  return net;
}

// Weights are larger than the image, so that blocks of channels come in turn (channel-blocks.h): an IGEMM of too many
// taps for live ones alone to be computed, a GEMM of compact pixels, and what reads that.
Network NetworkOfLargeWeights(std::mt19937& rng, enum xnn_datatype datatype)
{
  std::uniform_real_distribution<float> f32(-1.0f, 1.0f);
  Network net = {/*batch=*/1 + rng() % 2, /*height=*/5, /*width=*/6, /*channels=*/16, /*threads=*/1 + rng() % 2};
  net.datatype = datatype;
  size_t channels = net.channels;
  for (size_t kernel : {6, 1, 1}) {
    Step step;
    step.op = Op::kConvolution;
    step.inputs = {net.steps.size()};
    step.kernel = kernel;
    step.masked = true;
    step.external = net.steps.size() == 2;
    step.height = net.height;
    step.width = net.width;
    step.channels = 520;
    for (size_t i = 0; i < net.height * net.width; i++)
      step.mask.push_back((i + i / net.width) % 5 != 0);
    const size_t taps = kernel * kernel * channels;
    step.weights.resize(step.channels * taps);
    for (float& w : step.weights)
      w = f32(rng) / std::sqrt(static_cast<float>(taps));
    step.fill.assign(step.channels, 0.25f);
    channels = step.channels;
    net.steps.push_back(step);
  }
  return net;
}

int8_t Quantize(float value)
{
  return static_cast<int8_t>(std::min(127.0f, std::max(-128.0f, std::nearbyint(value / kScale) + kZeroPoint)));
}

struct Result {
  std::vector<std::vector<float>> outputs;
  size_t workspace_size = 0;
  size_t num_expanded = 0;
};

// A network as XNNPACK's subgraph, with its static data.
class Subgraph {
public:
  Subgraph(const Network& net, size_t num_outputs)
      : net_(net)
  {
    EXPECT_EQ(xnn_status_success, xnn_create_subgraph(1 + num_outputs, 0, &subgraph_));
  }
  Subgraph(const Subgraph&) = delete;
  Subgraph& operator=(const Subgraph&) = delete;
  ~Subgraph() { Delete(); }

  // Deletes XNNPACK's subgraph, which no runtime of it needs; static data stays.
  void Delete()
  {
    if (subgraph_ != nullptr)
      EXPECT_EQ(xnn_status_success, xnn_delete_subgraph(subgraph_));
    subgraph_ = nullptr;
  }

  xnn_subgraph_t get() const { return subgraph_; }

  uint32_t DefineValue(const Shape& shape, uint32_t external_id, uint32_t flags)
  {
    const size_t dims[] = {net_.batch, shape.height, shape.width, shape.channels};
    uint32_t id = XNN_INVALID_VALUE_ID;
    EXPECT_EQ(
      xnn_status_success,
      quantized() ? xnn_define_quantized_tensor_value(
                      subgraph_, net_.datatype, kZeroPoint, kScale, 4, dims, nullptr, external_id, flags, &id)
                  : xnn_define_tensor_value(subgraph_, xnn_datatype_fp32, 4, dims, nullptr, external_id, flags, &id));
    return id;
  }

  // Makes value `output_id` of those that the step reads; `in` is the shape of the first one.
  void DefineStep(const Step& step, const std::vector<uint32_t>& ids, const Shape& in, uint32_t output_id)
  {
    const uint32_t input_id = ids[step.inputs[0]];
    enum xnn_status status = xnn_status_success;
    switch (step.op) {
      case Op::kConvolution:
      case Op::kDepthwise:
        DefineConvolution(step, input_id, in, output_id);
        if (step.masked)
          MaskConvolution(step, output_id);
        break;
      case Op::kUnary: {
        union xnn_unary_params params;
        params.clamp.min = -0.5f;
        params.clamp.max = 0.75f;
        status = xnn_define_unary(subgraph_, step.unary, &params, input_id, output_id, 0);
        break;
      }
      case Op::kAdd:
        status = xnn_define_binary(subgraph_, xnn_binary_add, nullptr, input_id, ids[step.inputs[1]], output_id, 0);
        break;
      case Op::kMultiplyChannels: {
        uint32_t factors_id = XNN_INVALID_VALUE_ID;
        const size_t dims[] = {step.channel_factors.size() / step.channels, 1, 1, step.channels};
        EXPECT_EQ(
          xnn_status_success,
          xnn_define_tensor_value(
            subgraph_, xnn_datatype_fp32, 4, dims, step.channel_factors.data(), XNN_INVALID_VALUE_ID, 0, &factors_id));
        status = xnn_define_binary(subgraph_, xnn_binary_multiply, nullptr, input_id, factors_id, output_id, 0);
        break;
      }
      case Op::kConcatenate:
        status = xnn_define_concatenate2(subgraph_, 3, input_id, ids[step.inputs[1]], output_id, 0);
        break;
      case Op::kMaxPooling:
        status = xnn_define_max_pooling_2d(
          subgraph_, 0, 0, 0, 0, 2, 2, 1, 1, 1, 1, -kInfinity, kInfinity, input_id, output_id, 0);
        break;
    }
    EXPECT_EQ(xnn_status_success, status);
  }

private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  bool quantized() const { return net_.datatype != xnn_datatype_fp32; }

  uint32_t DefineFilter(const Step& step, const Shape& in)
  {
    const bool depthwise = step.op == Op::kDepthwise;
    std::vector<size_t> dims = {step.channels, step.kernel, step.kernel, in.channels};
    if (depthwise)
      dims = {1, step.kernel, step.kernel, step.channels};
    uint32_t filter_id = XNN_INVALID_VALUE_ID;
    if (quantized()) {
      bytes_.push_back(std::make_unique<std::vector<int8_t>>());
      for (float w : step.weights)
        bytes_.back()->push_back(static_cast<int8_t>(std::nearbyint(w * 100.0f)));
      floats_.push_back(std::make_unique<std::vector<float>>(step.channels, 0.01f));
      EXPECT_EQ(
        xnn_status_success, xnn_define_channelwise_quantized_tensor_value(
                              subgraph_, xnn_datatype_qcint8, floats_.back()->data(), 4, depthwise ? 3 : 0, dims.data(),
                              bytes_.back()->data(), XNN_INVALID_VALUE_ID, 0, &filter_id));
    }
    else {
      EXPECT_EQ(
        xnn_status_success,
        xnn_define_tensor_value(
          subgraph_, xnn_datatype_fp32, 4, dims.data(), step.weights.data(), XNN_INVALID_VALUE_ID, 0, &filter_id));
    }
    return filter_id;
  }

  void DefineConvolution(const Step& step, uint32_t input_id, const Shape& in, uint32_t output_id)
  {
    const uint32_t filter_id = DefineFilter(step, in);
    enum xnn_status status = xnn_status_success;
    if (step.op == Op::kDepthwise) {
      status = xnn_define_depthwise_convolution_2d(
        subgraph_, 0, 0, 0, 0, step.kernel, step.kernel, step.stride, step.stride, 1, 1, 1, step.channels, -kInfinity,
        kInfinity, input_id, filter_id, XNN_INVALID_VALUE_ID, output_id, XNN_FLAG_TENSORFLOW_SAME_PADDING);
    }
    else {
      status = xnn_define_convolution_2d(
        subgraph_, 0, 0, 0, 0, step.kernel, step.kernel, step.stride, step.stride, 1, 1, 1, in.channels, step.channels,
        -kInfinity, kInfinity, input_id, filter_id, XNN_INVALID_VALUE_ID, output_id, XNN_FLAG_TENSORFLOW_SAME_PADDING);
    }
    EXPECT_EQ(xnn_status_success, status);
  }

  void MaskConvolution(const Step& step, uint32_t output_id)
  {
    std::vector<int8_t> fill;
    fill.reserve(step.fill.size());
    for (float v : step.fill)
      fill.push_back(Quantize(v));
    EXPECT_EQ(
      xnn_status_success, xnn_mask_convolution_2d(
                            subgraph_, output_id, step.height, step.width, step.mask.data(), step.channels,
                            quantized() ? static_cast<const void*>(fill.data()) : step.fill.data()));
  }

  const Network& net_;
  xnn_subgraph_t subgraph_ = nullptr;
  std::vector<std::unique_ptr<std::vector<float>>> floats_;
  std::vector<std::unique_ptr<std::vector<int8_t>>> bytes_;
};

// Numbers as a tensor has them, with room for what is read behind it.
std::vector<uint8_t> ToBuffer(const std::vector<float>& values, bool quantized)
{
  const size_t element_size = quantized ? 1 : 4;
  std::vector<uint8_t> buffer(values.size() * element_size + XNN_EXTRA_BYTES);
  for (size_t i = 0; i < values.size(); i++) {
    if (quantized) {
      buffer[i] = static_cast<uint8_t>(Quantize(values[i]));
    }
    else {
      std::memcpy(&buffer[i * 4], &values[i], 4);
    }
  }
  return buffer;
}

std::vector<float> FromBuffer(const std::vector<uint8_t>& buffer, bool quantized)
{
  const size_t element_size = quantized ? 1 : 4;
  std::vector<float> values;
  for (size_t i = 0; i < (buffer.size() - XNN_EXTRA_BYTES) / element_size; i++) {
    float value;
    if (quantized) {
      value = static_cast<int8_t>(buffer[i]);
    }
    else {
      std::memcpy(&value, &buffer[i * 4], 4);
    }
    values.push_back(value);
  }
  return values;
}

// Runs a network twice, and gives the outputs of the second run.
Result RunNetwork(const Network& net, const std::vector<float>& input, uint32_t flags)
{
  const bool quantized = net.datatype != xnn_datatype_fp32;
  size_t num_outputs = 0;
  for (const Step& step : net.steps)
    num_outputs += step.external;
  Subgraph subgraph(net, num_outputs);
  std::vector<Shape> shapes = {{net.height, net.width, net.channels}};
  std::vector<uint32_t> ids = {subgraph.DefineValue(shapes[0], 0, XNN_VALUE_FLAG_EXTERNAL_INPUT)};
  std::vector<uint8_t> input_data = ToBuffer(input, quantized);
  std::vector<std::vector<uint8_t>> buffers;
  for (const Step& step : net.steps) {
    const Shape shape = {step.height, step.width, step.channels};
    uint32_t external_id = XNN_INVALID_VALUE_ID;
    if (step.external) {
      const size_t size = shape.height * shape.width * shape.channels * (quantized ? 1 : 4);
      buffers.emplace_back(net.batch * size + XNN_EXTRA_BYTES, 0x7F);
      external_id = buffers.size();
    }
    const uint32_t output_id =
      subgraph.DefineValue(shape, external_id, step.external ? XNN_VALUE_FLAG_EXTERNAL_OUTPUT : 0);
    subgraph.DefineStep(step, ids, shapes[step.inputs[0]], output_id);
    ids.push_back(output_id);
    shapes.push_back(shape);
  }
  std::vector<xnn_external_value> externals = {{0, input_data.data()}};
  for (size_t i = 0; i < buffers.size(); i++) {
    externals.push_back({static_cast<uint32_t>(i + 1), buffers[i].data()});
  }

  Threadpool threadpool(net.threads > 1 ? pthreadpool_create(net.threads) : nullptr, pthreadpool_destroy);
  xnn_runtime_t runtime = nullptr;
  EXPECT_EQ(xnn_status_success, xnn_create_runtime_v3(subgraph.get(), nullptr, threadpool.get(), flags, &runtime));
  subgraph.Delete();
  EXPECT_EQ(xnn_status_success, xnn_setup_runtime(runtime, externals.size(), externals.data()));
  EXPECT_EQ(xnn_status_success, xnn_invoke_runtime(runtime));
  EXPECT_EQ(xnn_status_success, xnn_invoke_runtime(runtime));
  Result result;
  result.workspace_size = runtime->workspace->size;
  for (size_t i = 0; i < runtime->num_ops; i++) {
    const struct xnn_operator* op = runtime->opdata[i].operator_objects[0];
    if (op == nullptr)
      continue;
    result.num_expanded += runtime->opdata[i].type == xnn_node_type_expand_pixels;
  }
  EXPECT_EQ(xnn_status_success, xnn_delete_runtime(runtime));
  for (const std::vector<uint8_t>& buffer : buffers)
    result.outputs.push_back(FromBuffer(buffer, quantized));
  return result;
}

// With a transient indirection buffer every value stays dense; that those masked convolutions are right is tested in
// masked-convolution-2d.cc.
void ExpectSameAsDenseLayout(const Network& net, std::mt19937& rng, uint32_t flags = 0, float tolerance = 1e-4f)
{
  std::vector<float> input(net.batch * net.height * net.width * net.channels);
  for (float& v : input)
    v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng);
  const Result dense = RunNetwork(net, input, flags | XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER);
  const Result compact = RunNetwork(net, input, flags);
  EXPECT_EQ(0, dense.num_expanded);
  Network unmasked = net;
  for (Step& step : unmasked.steps)
    step.masked = false;
  EXPECT_LE(compact.workspace_size, RunNetwork(unmasked, input, flags).workspace_size);
  ASSERT_EQ(dense.outputs.size(), compact.outputs.size());
  for (size_t o = 0; o < dense.outputs.size(); o++) {
    for (size_t i = 0; i < dense.outputs[o].size(); i++) {
      if (net.datatype == xnn_datatype_fp32) {
        ASSERT_NEAR(dense.outputs[o][i], compact.outputs[o][i], tolerance * (1.0f + std::abs(dense.outputs[o][i])))
          << "output " << o << " element " << i;
      }
      else {
        ASSERT_EQ(dense.outputs[o][i], compact.outputs[o][i]) << "output " << o << " element " << i;
      }
    }
  }
}

void ExpectSameAsDenseLayout(enum xnn_datatype datatype, uint32_t seed, uint32_t flags = 0, float tolerance = 1e-4f)
{
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  ExpectSameAsDenseLayout(RandomNetwork(rng, datatype), rng, flags, tolerance);
}

// A single masked convolution: kept pixels as without a mask, the fill elsewhere.
void ExpectSelectOfUnmasked(enum xnn_datatype datatype, uint32_t seed)
{
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  Network net = RandomNetwork(rng, datatype);
  if (!net.steps[0].masked)
    return;
  net.steps.resize(1);
  net.steps[0].external = true;
  const Step& step = net.steps[0];
  std::vector<float> input(net.batch * net.height * net.width * net.channels);
  for (float& v : input)
    v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng);
  const std::vector<float> masked = RunNetwork(net, input, 0).outputs[0];
  Network unmasked_net = net;
  unmasked_net.steps[0].masked = false;
  const std::vector<float> unmasked = RunNetwork(unmasked_net, input, 0).outputs[0];
  for (size_t i = 0; i < masked.size(); i++) {
    const size_t channel = i % step.channels;
    if (!step.mask[i / step.channels % step.mask.size()]) {
      const float fill = step.fill[channel];
      ASSERT_EQ(datatype == xnn_datatype_fp32 ? fill : Quantize(fill), masked[i]) << "element " << i;
    }
    else if (datatype == xnn_datatype_fp32) {
      ASSERT_NEAR(unmasked[i], masked[i], 1e-5f) << "element " << i;
    }
    else {
      ASSERT_EQ(unmasked[i], masked[i]) << "element " << i;
    }
  }
}

class CompactLayout : public testing::Test {
protected:
  void SetUp() override { ASSERT_EQ(xnn_status_success, xnn_initialize(nullptr)); }
};

// glibc's count of bytes that are in use.
size_t AllocatedBytes()
{
#ifdef __GLIBC__
  return mallinfo2().uordblks;
#else
  return 0;
#endif
}

TEST_F(CompactLayout, prepared_and_freed_1000_times_does_not_grow)
{
  std::mt19937 rng(7);
  Network net = RandomNetwork(rng, xnn_datatype_fp32);
  net.threads = 1;
  const std::vector<float> input(net.batch * net.height * net.width * net.channels, 0.5f);
  // Until the lists of free chunks that malloc keeps are full.
  for (int i = 0; i < 500; i++)
    RunNetwork(net, input, 0);
  const size_t before = AllocatedBytes();
  for (int i = 0; i < 1000; i++)
    RunNetwork(net, input, 0);
  // What malloc keeps for each size of chunk may differ a little; the smallest leak is a chunk of 32 bytes each time.
  EXPECT_LT(AllocatedBytes(), before + 1000 * sizeof(void*));
}

TEST_F(CompactLayout, a_masked_convolution_that_nothing_reads_leaves_nothing_behind)
{
  const size_t dims[] = {1, 4, 4, 8}, filter_dims[] = {8, 1, 1, 8};
  const std::vector<float> filter(64), fill(8);
  std::vector<uint8_t> mask(16, 1);
  mask[3] = 0;
  const auto prepare = [&] {
    xnn_subgraph_t subgraph = nullptr;
    ASSERT_EQ(xnn_status_success, xnn_create_subgraph(2, 0, &subgraph));
    const auto define = [&](const size_t* shape, const float* data, uint32_t external_id, uint32_t flags) {
      uint32_t id = XNN_INVALID_VALUE_ID;
      EXPECT_EQ(
        xnn_status_success,
        xnn_define_tensor_value(subgraph, xnn_datatype_fp32, 4, shape, data, external_id, flags, &id));
      return id;
    };
    const uint32_t none = XNN_INVALID_VALUE_ID;
    const uint32_t input = define(dims, nullptr, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT);
    const uint32_t output = define(dims, nullptr, 1, XNN_VALUE_FLAG_EXTERNAL_OUTPUT);
    const uint32_t weights = define(filter_dims, filter.data(), none, 0), unread = define(dims, nullptr, none, 0);
    const float infinity = std::numeric_limits<float>::infinity();
    ASSERT_EQ(
      xnn_status_success,
      xnn_define_convolution_2d(
        subgraph, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 8, 8, -infinity, infinity, input, weights, none, unread, 0));
    ASSERT_EQ(xnn_status_success, xnn_mask_convolution_2d(subgraph, unread, 4, 4, mask.data(), 8, fill.data()));
    ASSERT_EQ(xnn_status_success, xnn_define_clamp(subgraph, 0.0f, 6.0f, input, output, 0));
    xnn_runtime_t runtime = nullptr;
    ASSERT_EQ(xnn_status_success, xnn_create_runtime_v3(subgraph, nullptr, nullptr, 0, &runtime));
    xnn_delete_runtime(runtime);
    xnn_delete_subgraph(subgraph);
  };
  for (int i = 0; i < 500; i++)
    prepare();
  const size_t before = AllocatedBytes();
  for (int i = 0; i < 1000; i++)
    prepare();
  EXPECT_LT(AllocatedBytes(), before + 1000 * sizeof(void*));
}

constexpr uint32_t kNetworks = 40;

TEST_F(CompactLayout, f32)
{
  const uint32_t first = GTEST_FLAG_GET(random_seed) * 1000003u;
  for (uint32_t i = 0; i < kNetworks && !HasFatalFailure(); i++)
    ExpectSameAsDenseLayout(xnn_datatype_fp32, first + i);
}

// On cores that have it; elsewhere, and where it is emulated, XNNPACK decides.
TEST_F(CompactLayout, f16)
{
  const struct xnn_hardware_config* hardware_config = xnn_init_hardware_config();
  if (hardware_config == nullptr || !xnn_is_f16_compatible_config(hardware_config))
    GTEST_SKIP() << "no FP16 here";
  const uint32_t first = GTEST_FLAG_GET(random_seed) * 1000003u;
  for (uint32_t i = 0; i < kNetworks && !HasFatalFailure(); i++) {
    ExpectSameAsDenseLayout(xnn_datatype_fp32, first + i, XNN_FLAG_FORCE_FP16_INFERENCE, 0.05f);
  }
}

TEST_F(CompactLayout, qs8)
{
  const uint32_t first = GTEST_FLAG_GET(random_seed) * 1000003u;
  for (uint32_t i = 0; i < kNetworks && !HasFatalFailure(); i++)
    ExpectSameAsDenseLayout(xnn_datatype_qint8, first + i);
}

TEST_F(CompactLayout, blocks_of_channels)
{
  std::mt19937 rng(GTEST_FLAG_GET(random_seed));
  for (const enum xnn_datatype datatype : {xnn_datatype_fp32, xnn_datatype_qint8}) {
    for (size_t i = 0; i < 2 && !HasFatalFailure(); i++)
      ExpectSameAsDenseLayout(NetworkOfLargeWeights(rng, datatype), rng);
  }
}

TEST_F(CompactLayout, single_qs8_convolution)
{
  const uint32_t first = GTEST_FLAG_GET(random_seed) * 1000003u;
  for (uint32_t i = 0; i < 5 * kNetworks && !HasFatalFailure(); i++) {
    ExpectSelectOfUnmasked(xnn_datatype_qint8, first + i);
  }
}

}  // namespace
