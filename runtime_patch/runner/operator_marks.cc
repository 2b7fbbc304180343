// Marks and a clock around every operator that XNNPACK runs. The program is
// linked with --wrap=xnn_run_operator_with_index, so that XNNPACK calls the
// function here in place of its own; it needs no change for that, patched or
// not.

#include <cstddef>

#include "clock.h"
#include "marks.h"
#include "operator_times.h"
#include "pthreadpool.h"
#include "xnnpack.h"

extern "C" {

xnn_status __real_xnn_run_operator_with_index(xnn_operator_t op,
                                              size_t opdata_index,
                                              size_t operator_object_index,
                                              pthreadpool_t threadpool);

// An operator may be made of several objects: a concatenation has one for each
// of its inputs.
xnn_status __wrap_xnn_run_operator_with_index(xnn_operator_t op,
                                              size_t opdata_index,
                                              size_t operator_object_index,
                                              pthreadpool_t threadpool) {
  using tileskip::Mark;
  using tileskip::MarkKind;
  using tileskip::NowNs;
  const bool timed = tileskip::OperatorTimesAreOn();
  const int64_t began = timed ? NowNs() : 0;
  Mark(operator_object_index == 0 ? MarkKind::kOperatorBegin
                                  : MarkKind::kPartBegin);
  const xnn_status status = __real_xnn_run_operator_with_index(
      op, opdata_index, operator_object_index, threadpool);
  Mark(MarkKind::kOperatorEnd);
  if (timed) tileskip::AddOperatorTime(operator_object_index, NowNs() - began);
  return status;
}

}  // extern "C"
