#include "interrupt.h"

#include <gtest/gtest.h>

#include <csignal>

namespace tileskip {
namespace {

TEST(InterruptDeathTest, TheFirstSignalIsNotedAndTheSecondEndsTheProcess) {
  EXPECT_EXIT(
      {
        CatchInterrupts();
        if (InterruptRequested()) std::_Exit(1);
        std::raise(SIGINT);
        if (!InterruptRequested() || InterruptExitCode() != 130) std::_Exit(2);
        std::raise(SIGINT);
        std::_Exit(3);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST(InterruptDeathTest, SigtermHasItsOwnExitCode) {
  EXPECT_EXIT(
      {
        CatchInterrupts();
        std::raise(SIGTERM);
        std::_Exit(InterruptRequested() ? InterruptExitCode() : 1);
      },
      ::testing::ExitedWithCode(143), "");
}

}  // namespace
}  // namespace tileskip
