#include "perf_counter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <thread>

namespace tileskip {
namespace {

// At least a million instructions, whatever the optimiser does.
void Work() {
  volatile uint64_t sum = 0;
  for (uint64_t i = 0; i < 1000000; ++i) sum = sum + i;
}

TEST(InstructionCounter, CountsOrSaysWhyNot) {
  InstructionCounter counter;
  const std::optional<uint64_t> before = counter.Read();
  if (!before) {
    EXPECT_FALSE(counter.reason().empty());
    EXPECT_EQ(counter.Read(), std::nullopt);
    return;
  }
  EXPECT_TRUE(counter.reason().empty());
  Work();
  const std::optional<uint64_t> after = counter.Read();
  ASSERT_TRUE(after);
  EXPECT_GE(*after - *before, 1000000u);
}

TEST(InstructionCounter, CountsThreadsThatAreStartedLater) {
  InstructionCounter counter;
  const std::optional<uint64_t> before = counter.Read();
  if (!before) GTEST_SKIP() << counter.reason();
  std::thread(Work).join();
  const std::optional<uint64_t> after = counter.Read();
  ASSERT_TRUE(after);
  EXPECT_GE(*after - *before, 1000000u);
}

}  // namespace
}  // namespace tileskip
