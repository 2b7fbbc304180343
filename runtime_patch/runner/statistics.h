// Figures that describe a sample of measurements.

#ifndef TILESKIP_RUNNER_STATISTICS_H_
#define TILESKIP_RUNNER_STATISTICS_H_

#include <vector>

namespace tileskip {

// In the unit of the sample.
struct Summary {
  double min = 0;
  double median = 0;
  double mean = 0;
  double p95 = 0;
  double max = 0;
  // Median absolute deviation from the median, not scaled.
  double mad = 0;
};

// The `fraction` quantile (0 to 1), linear between the two nearest ranks, as
// numpy's default. `sample` must not be empty.
double Quantile(std::vector<double> sample, double fraction);

// The middle value, or the mean of the two middle ones.
double Median(std::vector<double> sample);

// All of Summary. `sample` must not be empty.
Summary Summarize(const std::vector<double>& sample);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_STATISTICS_H_
