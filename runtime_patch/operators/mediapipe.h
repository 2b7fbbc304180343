// Custom operators that MediaPipe's models have and that XNNPACK computes, for
// where XNNPACK does not take them.

#ifndef TILESKIP_OPERATORS_MEDIAPIPE_H_
#define TILESKIP_OPERATORS_MEDIAPIPE_H_

#include "tensorflow/lite/mutable_op_resolver.h"

namespace tileskip {

// Adds Convolution2DTransposeBias, MaxPoolingWithArgmax2D and MaxUnpooling2D.
void AddMediaPipeOperators(tflite::MutableOpResolver* resolver);

}  // namespace tileskip

#endif  // TILESKIP_OPERATORS_MEDIAPIPE_H_
