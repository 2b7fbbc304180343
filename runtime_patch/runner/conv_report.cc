#include "conv_report.h"

#if !TILESKIP_STOCK
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"
#include "xnnpack-masked.h"
#include "xnnpack.h"
#endif

namespace tileskip {

#if TILESKIP_STOCK

bool IsPatched() { return false; }

std::vector<PartitionReport> ReportPartitions(
    const std::vector<const TfLiteNode*>&) {
  return {};
}

#else

bool IsPatched() { return true; }

std::vector<PartitionReport> ReportPartitions(
    const std::vector<const TfLiteNode*>& nodes) {
  std::vector<PartitionReport> partitions;
  for (const TfLiteNode* node : nodes) {
    PartitionReport& partition = partitions.emplace_back();
    const xnn_runtime_t runtime = TfLiteXNNPackNodeRuntime(node);
    if (runtime == nullptr) continue;
    size_t written = 0;
    if (xnn_get_runtime_profiling_info(runtime, xnn_profile_info_num_operators,
                                       sizeof(partition.operators),
                                       &partition.operators,
                                       &written) != xnn_status_success) {
      partition.operators = 0;
      continue;
    }
    std::vector<xnn_conv_report> reports(
        xnn_get_runtime_conv_report(runtime, 0, nullptr));
    xnn_get_runtime_conv_report(runtime, reports.size(), reports.data());
    for (const xnn_conv_report& report : reports) {
      ConvReport convolution;
      convolution.op_index = report.op_index;
      convolution.ukernel = reinterpret_cast<const void*>(report.ukernel);
      convolution.mr = report.mr;
      convolution.nr = report.nr;
      convolution.pixels = report.pixels;
      convolution.kept = report.kept;
      convolution.taps = report.taps;
      convolution.live_taps = report.live_taps;
      partition.convolutions.push_back(convolution);
    }
  }
  return partitions;
}

#endif

}  // namespace tileskip
