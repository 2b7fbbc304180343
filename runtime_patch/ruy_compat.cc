// Lets the static libraries of Debian's libruy-dev be linked here.
//
// ruy's own cpuinfo.cc was compiled against the cpuinfo of its distribution,
// whose structures differ from the ones that this build links: it is replaced
// by the same queries made through this build's headers. And a libc of 2.38 or
// later renames strtol, which older ones do not know.
#include <cpuinfo.h>

#include <algorithm>
#include <cstdlib>

#include "ruy/cpu_cache_params.h"
#include "ruy/cpuinfo.h"

extern "C" __attribute__((visibility("hidden"))) long __isoc23_strtol(
    const char* text, char** end, int base) {
  return std::strtol(text, end, base);
}

namespace ruy {
namespace {

// What ruy assumes where the operating system does not tell the caches' sizes.
constexpr int kLocalCacheBytes = 32 * 1024;
constexpr int kLastLevelCacheBytes = 512 * 1024;

int CacheBytes(const cpuinfo_cache* cache) {
  return cache == nullptr ? 0 : static_cast<int>(cache->size);
}

}  // namespace

CpuInfo::~CpuInfo() = default;

CpuInfo::InitStatus CpuInfo::Initialize() {
  if (!cpuinfo_initialize()) return InitStatus::kFailed;
  cache_params_.local_cache_size = kLocalCacheBytes;
  cache_params_.last_level_cache_size = kLastLevelCacheBytes;
  const cpuinfo_processor* processor = cpuinfo_get_processor(0);
  if (processor != nullptr) {
    const int l1 = CacheBytes(processor->cache.l1d);
    const int l2 = CacheBytes(processor->cache.l2);
    const int l3 = CacheBytes(processor->cache.l3);
    if (l1 > 0) cache_params_.local_cache_size = l1;
    if (l2 > 0 && l3 > 0) cache_params_.local_cache_size = l2;
    if (std::max(l2, l3) > 0) {
      cache_params_.last_level_cache_size = std::max(l2, l3);
    }
  }
  return InitStatus::kInitialized;
}

bool CpuInfo::EnsureInitialized() {
  if (init_status_ == InitStatus::kNotYetAttempted) {
    init_status_ = Initialize();
  }
  return init_status_ == InitStatus::kInitialized;
}

bool CpuInfo::NeonDotprod() {
  return EnsureInitialized() && cpuinfo_has_arm_neon_dot();
}

bool CpuInfo::Sse42() {
  return EnsureInitialized() && cpuinfo_has_x86_sse4_2();
}

bool CpuInfo::Avx() { return EnsureInitialized() && cpuinfo_has_x86_avx(); }

bool CpuInfo::Avx2Fma() {
  return EnsureInitialized() && cpuinfo_has_x86_avx2() &&
         cpuinfo_has_x86_fma3();
}

bool CpuInfo::Avx512() {
  return EnsureInitialized() && cpuinfo_has_x86_avx512f() &&
         cpuinfo_has_x86_avx512dq() && cpuinfo_has_x86_avx512cd() &&
         cpuinfo_has_x86_avx512bw() && cpuinfo_has_x86_avx512vl();
}

bool CpuInfo::AvxVnni() {
  return EnsureInitialized() && cpuinfo_has_x86_avxvnni();
}

const CpuCacheParams& CpuInfo::CacheParams() {
  EnsureInitialized();
  return cache_params_;
}

bool CpuInfo::CurrentCpuIsA55ish() {
  if (!EnsureInitialized()) return false;
  switch (cpuinfo_get_uarch(cpuinfo_get_current_uarch_index())->uarch) {
    case cpuinfo_uarch_cortex_a53:
    case cpuinfo_uarch_cortex_a55:
    case cpuinfo_uarch_cortex_a55r0:
      return true;
    default:
      return false;
  }
}

bool CpuInfo::CurrentCpuIsX1() {
  return EnsureInitialized() &&
         cpuinfo_get_uarch(cpuinfo_get_current_uarch_index())->uarch ==
             cpuinfo_uarch_cortex_x1;
}

}  // namespace ruy
