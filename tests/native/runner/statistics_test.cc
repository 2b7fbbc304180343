#include "statistics.h"

#include <gtest/gtest.h>

#include <vector>

namespace tileskip {
namespace {

TEST(Median, IsTheMiddleOfAnOddSampleInAnyOrder) {
  EXPECT_DOUBLE_EQ(Median({5, 1, 9}), 5);
}

TEST(Median, IsTheMeanOfTheTwoMiddleValuesOfAnEvenSample) {
  EXPECT_DOUBLE_EQ(Median({4, 1, 3, 2}), 2.5);
}

TEST(Quantile, IsLinearBetweenRanksAsInNumpy) {
  // numpy.percentile([1, 2, 3, 4, 10], 95) and 40.
  EXPECT_NEAR(Quantile({10, 4, 3, 2, 1}, 0.95), 8.8, 1e-12);
  EXPECT_NEAR(Quantile({10, 4, 3, 2, 1}, 0.40), 2.6, 1e-12);
}

TEST(Quantile, ReachesBothEnds) {
  EXPECT_DOUBLE_EQ(Quantile({3, 1, 2}, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile({3, 1, 2}, 1), 3);
}

TEST(Summarize, OfOneValueIsThatValue) {
  const Summary summary = Summarize({7});
  EXPECT_DOUBLE_EQ(summary.min, 7);
  EXPECT_DOUBLE_EQ(summary.median, 7);
  EXPECT_DOUBLE_EQ(summary.mean, 7);
  EXPECT_DOUBLE_EQ(summary.p95, 7);
  EXPECT_DOUBLE_EQ(summary.max, 7);
  EXPECT_DOUBLE_EQ(summary.mad, 0);
}

TEST(Summarize, GivesEveryFigure) {
  const Summary summary = Summarize({1, 1, 2, 2, 4, 6, 9});
  EXPECT_DOUBLE_EQ(summary.min, 1);
  EXPECT_DOUBLE_EQ(summary.median, 2);
  EXPECT_DOUBLE_EQ(summary.mean, 25.0 / 7);
  EXPECT_DOUBLE_EQ(summary.max, 9);
  EXPECT_NEAR(summary.p95, 8.1, 1e-12);
  // Deviations from 2: 1 1 0 0 2 4 7, in order 0 0 1 1 2 4 7.
  EXPECT_DOUBLE_EQ(summary.mad, 1);
}

TEST(Summarize, MadIgnoresAnOutlier) {
  EXPECT_DOUBLE_EQ(Summarize({10, 11, 10, 9, 10000}).mad, 1);
}

}  // namespace
}  // namespace tileskip
