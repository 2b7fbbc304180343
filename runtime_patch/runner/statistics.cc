#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

namespace tileskip {

double Quantile(std::vector<double> sample, double fraction) {
  std::sort(sample.begin(), sample.end());
  const double rank = fraction * static_cast<double>(sample.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sample.size() - 1);
  const double weight = rank - static_cast<double>(below);
  return sample[below] + weight * (sample[above] - sample[below]);
}

double Median(std::vector<double> sample) {
  return Quantile(std::move(sample), 0.5);
}

Summary Summarize(const std::vector<double>& sample) {
  Summary summary;
  const auto [min, max] = std::minmax_element(sample.begin(), sample.end());
  summary.min = *min;
  summary.max = *max;
  summary.mean = std::accumulate(sample.begin(), sample.end(), 0.0) /
                 static_cast<double>(sample.size());
  summary.median = Median(sample);
  summary.p95 = Quantile(sample, 0.95);
  std::vector<double> deviations;
  deviations.reserve(sample.size());
  for (const double value : sample) {
    deviations.push_back(std::abs(value - summary.median));
  }
  summary.mad = Median(std::move(deviations));
  return summary;
}

}  // namespace tileskip
