// Copyright 2026 The Tileskip Authors
//
// This source code is licensed under the BSD-style license found in the
// LICENSE file in the root directory of this source tree.

// Every micro-kernel of live taps, called directly. A test's name ends with that of the micro-kernel; where the machine
// lacks its instructions the test is skipped.

#include "xnnpack/live-igemm.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "live-igemm-microkernel-tester.h"
#include "xnnpack/common.h"
#include "xnnpack/hardware-config.h"
#include "xnnpack/igemm.h"
#include "xnnpack/math.h"
#include "xnnpack/microfnptr.h"

void PrintTo(const LiveIgemmKernel& kernel, std::ostream* stream)
{
  *stream << kernel.name;
}

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Micro-kernels of a table, each named as its file does. Those of fewer rows than in_order_rows add products in an
// order of their own, and not as the dense one.
template <size_t kMaxRows>
void AddTable(
  std::vector<LiveIgemmKernel>& kernels,
  const std::string& type,
  const std::string& isa,
  const xnn_live_igemm_ukernel_fn (&table)[kMaxRows],
  size_t nr,
  size_t kr,
  HasIsa has_isa,
  xnn_igemm_ukernel_fn dense,
  size_t in_order_rows = 1)
{
  for (size_t rows = 1; rows <= kMaxRows; rows++) {
    const std::string steps = kr == 1 ? "" : "c" + std::to_string(kr);
    std::ostringstream name;
    name << "xnn_" << type << "_ukernel_" << rows << "x" << nr << steps << "__" << isa;
    kernels.push_back(
      {name.str(), table[rows - 1], rows, nr, kr, /*is_quantized=*/kr != 1, has_isa,
       rows < in_order_rows ? nullptr : dense,
       /*dense_mr=*/kMaxRows});
  }
}

std::vector<LiveIgemmKernel> Kernels()
{
  std::vector<LiveIgemmKernel> kernels;
#if XNN_ARCH_ARM64
  AddTable(
    kernels, "f32_live_igemm_minmax", "aarch64_neonfma", xnn_f32_live_igemm_minmax_ukernel_table__aarch64_neonfma,
    /*nr=*/8, /*kr=*/1, [](const struct xnn_hardware_config*) { return true; },
    (xnn_igemm_ukernel_fn) xnn_f32_igemm_minmax_ukernel_6x8__aarch64_neonfma_lane_ld128);
#if XNN_ENABLE_ASSEMBLY
  AddTable(
    kernels, "f32_live_igemm_minmax", "asm_aarch64_neonfma_cortex_a53",
    xnn_f32_live_igemm_minmax_ukernel_table__asm_aarch64_neonfma_cortex_a53,
    /*nr=*/8, /*kr=*/1, [](const struct xnn_hardware_config*) { return true; },
    (xnn_igemm_ukernel_fn) xnn_f32_igemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a53);
#endif
#elif XNN_ARCH_X86 || XNN_ARCH_X86_64
  AddTable(
    kernels, "f32_live_igemm_minmax", "fma3_broadcast", xnn_f32_live_igemm_minmax_ukernel_table__fma3_broadcast,
    /*nr=*/16, /*kr=*/1, [](const struct xnn_hardware_config* config) { return config->use_x86_fma3 != 0; },
    (xnn_igemm_ukernel_fn) xnn_f32_igemm_minmax_ukernel_5x16__fma3_broadcast_prfm);
  AddTable(
    kernels, "f32_live_igemm_minmax", "avx512f_broadcast", xnn_f32_live_igemm_minmax_ukernel_table__avx512f_broadcast,
    /*nr=*/32, /*kr=*/1, [](const struct xnn_hardware_config* config) { return config->use_x86_avx512f != 0; },
    (xnn_igemm_ukernel_fn) xnn_f32_igemm_minmax_ukernel_7x32__avx512f_broadcast, /*in_order_rows=*/4);
#if XNN_ENABLE_AVX512VNNI
  AddTable(
    kernels, "qs8_qc8w_live_igemm_minmax_fp32", "avx512vnni",
    xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_table__avx512vnni, /*nr=*/16, /*kr=*/8,
    [](const struct xnn_hardware_config* config) { return config->use_x86_avx512vnni != 0; },
    (xnn_igemm_ukernel_fn) xnn_qs8_qc8w_igemm_minmax_fp32_ukernel_7x16c8__avx512vnni_prfm);
#endif
#endif
  return kernels;
}

template <typename Predicate> std::vector<LiveIgemmKernel> KernelsThat(Predicate predicate)
{
  std::vector<LiveIgemmKernel> kernels;
  for (const LiveIgemmKernel& kernel : Kernels()) {
    if (predicate(kernel))
      kernels.push_back(kernel);
  }
  return kernels;
}

std::string NameOf(const testing::TestParamInfo<LiveIgemmKernel>& info)
{
  return info.param.name;
}

void SkipWhereMissing(const std::string& name, HasIsa has_isa)
{
  const struct xnn_hardware_config* hardware_config = xnn_init_hardware_config();
  if (hardware_config == nullptr || !has_isa(hardware_config))
    GTEST_SKIP() << "this machine lacks the instructions of " << name;
}

class LiveIgemm : public testing::TestWithParam<LiveIgemmKernel> {
protected:
  void SetUp() override { SkipWhereMissing(GetParam().name, GetParam().has_isa); }

  // Three blocks of output channels, the last one of one channel.
  static LiveIgemmTile TileOf(size_t kc)
  {
    LiveIgemmTile tile;
    tile.nc = 2 * GetParam().nr + 1;
    tile.kc = kc;
    return tile;
  }
  static LiveIgemmTile SomeTile() { return TileOf(2 * Step() + 3); }

  // Input channels that are multiplied at a time, at most.
  static size_t Step() { return std::max<size_t>(4, 2 * GetParam().kr); }

  template <typename Type> void ExpectSums(const LiveIgemmTile& tile, const Type& type)
  {
    LiveIgemmTester<Type>(GetParam(), tile, type, rng_).ExpectSums();
  }
  void ExpectSums(const LiveIgemmTile& tile)
  {
    if (GetParam().is_quantized)
      ExpectSums(tile, Qs8());
    else
      ExpectSums(tile, F32());
  }

  template <typename Type> void ExpectBitsOfDense(const LiveIgemmTile& tile, const Type& type)
  {
    LiveIgemmTester<Type> tester(GetParam(), tile, type, rng_);
    const auto c = tester.Run(), dense = tester.RunDense();
    ASSERT_EQ(0, std::memcmp(c.data(), dense.data(), c.size() * sizeof(c[0]))) << "kc " << tile.kc;
  }

  Rng rng_{static_cast<uint32_t>(GTEST_FLAG_GET(random_seed))};
};

TEST_P(LiveIgemm, any_number_of_output_channels)
{
  for (size_t nc = 1; nc <= 2 * GetParam().nr + 1 && !HasFailure(); nc++) {
    LiveIgemmTile tile = SomeTile();
    tile.nc = nc;
    ExpectSums(tile);
  }
}

TEST_P(LiveIgemm, any_number_of_input_channels)
{
  for (size_t kc = 1; kc <= 3 * Step() + 1 && !HasFailure(); kc++)
    ExpectSums(TileOf(kc));
}

// None and all among them.
TEST_P(LiveIgemm, any_taps_of_nine)
{
  for (uint32_t live = 0; live < 1 << 9 && !HasFailure(); live++) {
    LiveIgemmTile tile = TileOf(3);
    tile.nc = GetParam().nr - 1;
    tile.kernel_size = 9;
    tile.live = live;
    ExpectSums(tile);
  }
}

TEST_P(LiveIgemm, as_many_taps_as_a_plan_may_have)
{
  LiveIgemmTile tile = SomeTile();
  tile.kernel_size = 32;
  tile.live = 0xA5F00F35;
  ExpectSums(tile);
}

TEST_P(LiveIgemm, the_offset_is_that_of_pixels_and_not_of_padding)
{
  for (size_t a_offset : {0, 1, 64}) {
    // None, all, some.
    for (size_t padding_every : {0, 1, 2}) {
      LiveIgemmTile tile = SomeTile();
      tile.a_offset = a_offset;
      tile.padding_every = padding_every;
      ExpectSums(tile);
    }
  }
}

TEST_P(LiveIgemm, any_strides)
{
  for (size_t c_gap : {0, 1, 40}) {
    for (size_t w_gap : {0, 1, 16}) {
      LiveIgemmTile tile = SomeTile();
      tile.c_gap = c_gap;
      tile.w_gap = w_gap;
      ExpectSums(tile);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ukernels, LiveIgemm, testing::ValuesIn(Kernels()), NameOf);

class InOrderLiveIgemm : public LiveIgemm {};

TEST_P(InOrderLiveIgemm, has_the_bits_of_the_dense_micro_kernel_where_all_taps_are_live)
{
  F32 f32;
  f32.is_exact = false;
  for (size_t kc = 1; kc <= 3 * Step() + 1 && !HasFailure(); kc++) {
    LiveIgemmTile tile = TileOf(kc);
    tile.live = 0b111;
    if (GetParam().is_quantized)
      ExpectBitsOfDense(tile, Qs8());
    else
      ExpectBitsOfDense(tile, f32);
  }
}

INSTANTIATE_TEST_SUITE_P(
  ukernels,
  InOrderLiveIgemm,
  testing::ValuesIn(KernelsThat([](const LiveIgemmKernel& kernel) { return kernel.dense != nullptr; })),
  NameOf);

class F32LiveIgemm : public LiveIgemm {};

TEST_P(F32LiveIgemm, sums_are_as_good_as_single_precision)
{
  F32 type;
  type.is_exact = false;
  for (size_t kc : {1, 7, 64, 301})
    ExpectSums(TileOf(kc), type);
}

TEST_P(F32LiveIgemm, outputs_are_clamped)
{
  const std::pair<float, float> limits[] = {
    {-kInfinity, 20.0f}, {-20.0f, kInfinity}, {-10.0f, 30.0f}, {0.0f, 6.0f}, {2.0f, 2.0f}};
  for (const auto& limit : limits) {
    F32 type;
    type.params.scalar.min = limit.first;
    type.params.scalar.max = limit.second;
    ExpectSums(SomeTile(), type);
  }
}

INSTANTIATE_TEST_SUITE_P(
  ukernels,
  F32LiveIgemm,
  testing::ValuesIn(KernelsThat([](const LiveIgemmKernel& kernel) { return !kernel.is_quantized; })),
  NameOf);

class Qs8LiveIgemm : public LiveIgemm {};

TEST_P(Qs8LiveIgemm, any_zero_points)
{
  const int16_t output_zero_points[] = {-128, -7, 0, 127};
  for (int32_t input_zero_point : {-128, -1, 0, 1, 127}) {
    for (int16_t output_zero_point : output_zero_points) {
      Qs8 type;
      type.input_zero_point = input_zero_point;
      type.params.fp32_scalar.output_zero_point = output_zero_point;
      ExpectSums(SomeTile(), type);
    }
  }
}

TEST_P(Qs8LiveIgemm, outputs_are_clamped)
{
  const std::pair<int16_t, int16_t> limits[] = {{-128, 20}, {-20, 127}, {-10, 30}, {-3, 60}, {5, 5}};
  for (const auto& limit : limits) {
    Qs8 type;
    type.params.fp32_scalar.output_min = limit.first;
    type.params.fp32_scalar.output_max = limit.second;
    ExpectSums(SomeTile(), type);
  }
}

// Not even two of their products fit in 16 bits.
TEST_P(Qs8LiveIgemm, largest_products)
{
  for (int input_zero_point : {-128, 127}) {
    Qs8 type;
    type.input_zero_point = input_zero_point;
    type.is_largest = true;
    ExpectSums(TileOf(301), type);
  }
}

INSTANTIATE_TEST_SUITE_P(
  ukernels,
  Qs8LiveIgemm,
  testing::ValuesIn(KernelsThat([](const LiveIgemmKernel& kernel) { return kernel.is_quantized; })),
  NameOf);

struct LiveSumKernel {
  std::string name;
  xnn_qs8_live_sum_ukernel_fn function;
  size_t nr, kr;
  HasIsa has_isa;
};

void PrintTo(const LiveSumKernel& kernel, std::ostream* stream)
{
  *stream << kernel.name;
}

std::vector<LiveSumKernel> SumKernels()
{
  std::vector<LiveSumKernel> kernels;
#if (XNN_ARCH_X86 || XNN_ARCH_X86_64) && XNN_ENABLE_AVX512VNNI
  kernels.push_back(
    {"xnn_qs8_qc8w_live_sum_ukernel_1x16c8__avx512vnni", xnn_qs8_qc8w_live_sum_ukernel_1x16c8__avx512vnni, /*nr=*/16,
     /*kr=*/8, [](const struct xnn_hardware_config* config) { return config->use_x86_avx512vnni != 0; }});
#endif
  return kernels;
}

class Qs8LiveSum : public testing::TestWithParam<LiveSumKernel> {
protected:
  void SetUp() override { SkipWhereMissing(GetParam().name, GetParam().has_isa); }
};

// The sums are those of inputs to which 128 is added.
TEST_P(Qs8LiveSum, any_number_of_input_channels)
{
  const size_t nr = GetParam().nr, kr = GetParam().kr;
  Rng rng(static_cast<uint32_t>(GTEST_FLAG_GET(random_seed)));
  const Qs8 type;
  for (size_t kc = 1; kc <= 5 * kr + 1; kc++) {
    Guarded<int8_t> a(round_up_po2(kc, kr), Qs8::Poison());
    Guarded<int8_t> w(round_up_po2(kc, kr) * nr, 0);
    Guarded<int32_t> sums(nr, -1);
    std::vector<int32_t> expected(nr);
    for (size_t k = 0; k < kc; k++) {
      a[k] = type.Input(rng);
      for (size_t n = 0; n < nr; n++) {
        const int8_t weight = type.Weight(rng);
        w[k / kr * kr * nr + n * kr + k % kr] = weight;
        expected[n] += (a[k] + 128) * weight;
      }
    }
    GetParam().function(kc, a.data(), w.data(), sums.data());
    ASSERT_EQ(expected, std::vector<int32_t>(sums.begin(), sums.end())) << "kc " << kc;
  }
}

INSTANTIATE_TEST_SUITE_P(
  ukernels, Qs8LiveSum, testing::ValuesIn(SumKernels()), [](const testing::TestParamInfo<LiveSumKernel>& info) {
    return info.param.name;
  });

// An instruction set has micro-kernels of some types, or none.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LiveIgemm);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InOrderLiveIgemm);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(F32LiveIgemm);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Qs8LiveIgemm);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Qs8LiveSum);

}  // namespace
