#include "mediapipe.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tensorflow/lite/core/c/builtin_op_data.h"
#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/kernels/internal/tensor_ctypes.h"
#include "tensorflow/lite/kernels/kernel_util.h"
#include "tensorflow/lite/kernels/padding.h"

namespace tileskip {
namespace {

// As of TensorFlow Lite's own operators in the runner's model_check.cc.
constexpr int kLargestStride = 1 << 14;
constexpr int64_t kLargestSide = INT32_MAX / 2;

// An operator's own data are the bytes of one of TensorFlow Lite's structures.
template <typename Parameters>
TfLiteStatus ReadParameters(TfLiteContext* context, const TfLiteNode& node,
                            Parameters* parameters) {
  *parameters = Parameters{};
  const auto size = static_cast<size_t>(node.custom_initial_data_size);
  TF_LITE_ENSURE(context, node.custom_initial_data != nullptr && size >= 12);
  std::memcpy(parameters, node.custom_initial_data,
              std::min(size, sizeof(Parameters)));
  TF_LITE_ENSURE(context, parameters->padding == kTfLitePaddingSame ||
                              parameters->padding == kTfLitePaddingValid);
  for (const int stride :
       {parameters->stride_height, parameters->stride_width}) {
    TF_LITE_ENSURE(context, stride > 0 && stride <= kLargestStride);
  }
  return kTfLiteOk;
}

// Results are no larger than what their places can be computed for.
TfLiteStatus Resize(TfLiteContext* context, TfLiteTensor* tensor, int batch,
                    int64_t height, int64_t width, int channels) {
  for (const int64_t side : {height, width}) {
    TF_LITE_ENSURE(context, side >= 0 && side <= kLargestSide);
  }
  TfLiteIntArray* size = TfLiteIntArrayCreate(4);
  size->data[0] = batch;
  size->data[1] = static_cast<int>(height);
  size->data[2] = static_cast<int>(width);
  size->data[3] = channels;
  return context->ResizeTensor(context, tensor, size);
}

int64_t SizeOfUpsampled(int64_t size, int kernel, int stride,
                        TfLitePadding padding) {
  return padding == kTfLitePaddingSame ? size * stride
                                       : (size - 1) * stride + kernel;
}

// --- Convolution2DTransposeBias: input, weights [O, kh, kw, I], bias ---------

// The pixels that are cut off above or left of a result.
int CutOff(int kernel, int stride, TfLitePadding padding) {
  if (padding != kTfLitePaddingSame) return 0;
  return std::max(0, kernel - stride) / 2;
}

TfLiteStatus PrepareDeconvolution(TfLiteContext* context, TfLiteNode* node) {
  TfLiteTransposeConvParams parameters;
  TF_LITE_ENSURE_OK(context, ReadParameters(context, *node, &parameters));
  TF_LITE_ENSURE_EQ(context, tflite::NumInputs(node), 3);
  TF_LITE_ENSURE_EQ(context, tflite::NumOutputs(node), 1);
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  const TfLiteTensor* weights = tflite::GetInput(context, node, 1);
  const TfLiteTensor* bias = tflite::GetInput(context, node, 2);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  TF_LITE_ENSURE(context, input && weights && bias && output);
  for (const TfLiteTensor* tensor :
       {input, weights, bias, static_cast<const TfLiteTensor*>(output)}) {
    TF_LITE_ENSURE_TYPES_EQ(context, tensor->type, kTfLiteFloat32);
  }
  TF_LITE_ENSURE_EQ(context, tflite::NumDimensions(input), 4);
  TF_LITE_ENSURE_EQ(context, tflite::NumDimensions(weights), 4);
  TF_LITE_ENSURE_EQ(context, tflite::SizeOfDimension(input, 3),
                    tflite::SizeOfDimension(weights, 3));
  TF_LITE_ENSURE_EQ(context, tflite::NumElements(bias),
                    tflite::SizeOfDimension(weights, 0));
  const auto side = [&](int axis, int stride) {
    return SizeOfUpsampled(tflite::SizeOfDimension(input, axis),
                           tflite::SizeOfDimension(weights, axis), stride,
                           parameters.padding);
  };
  return Resize(context, output, tflite::SizeOfDimension(input, 0),
                side(1, parameters.stride_height),
                side(2, parameters.stride_width),
                tflite::SizeOfDimension(weights, 0));
}

TfLiteStatus RunDeconvolution(TfLiteContext* context, TfLiteNode* node) {
  TfLiteTransposeConvParams parameters;
  TF_LITE_ENSURE_OK(context, ReadParameters(context, *node, &parameters));
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  const TfLiteTensor* weights = tflite::GetInput(context, node, 1);
  const TfLiteTensor* bias = tflite::GetInput(context, node, 2);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  const tflite::RuntimeShape in = tflite::GetTensorShape(input);
  const tflite::RuntimeShape filter = tflite::GetTensorShape(weights);
  const tflite::RuntimeShape out = tflite::GetTensorShape(output);
  const float* x = tflite::GetTensorData<float>(input);
  const float* w = tflite::GetTensorData<float>(weights);
  const float* b = tflite::GetTensorData<float>(bias);
  float* y = tflite::GetTensorData<float>(output);
  const int above =
      CutOff(filter.Dims(1), parameters.stride_height, parameters.padding);
  const int left =
      CutOff(filter.Dims(2), parameters.stride_width, parameters.padding);

  const int channels = out.Dims(3);
  for (int i = 0; i < out.FlatSize(); ++i) y[i] = b[i % channels];
  for (int n = 0; n < in.Dims(0); ++n) {
    for (int iy = 0; iy < in.Dims(1); ++iy) {
      for (int ix = 0; ix < in.Dims(2); ++ix) {
        const float* pixel = x + tflite::Offset(in, n, iy, ix, 0);
        for (int ky = 0; ky < filter.Dims(1); ++ky) {
          const int oy = iy * parameters.stride_height - above + ky;
          if (oy < 0 || oy >= out.Dims(1)) continue;
          for (int kx = 0; kx < filter.Dims(2); ++kx) {
            const int ox = ix * parameters.stride_width - left + kx;
            if (ox < 0 || ox >= out.Dims(2)) continue;
            float* result = y + tflite::Offset(out, n, oy, ox, 0);
            for (int o = 0; o < channels; ++o) {
              const float* taps = w + tflite::Offset(filter, o, ky, kx, 0);
              float sum = 0;
              for (int i = 0; i < in.Dims(3); ++i) sum += pixel[i] * taps[i];
              result[o] += sum;
            }
          }
        }
      }
    }
  }
  return kTfLiteOk;
}

// --- MaxPoolingWithArgmax2D and MaxUnpooling2D ------------------------------
//
// Windows do not overlap. A window's place of its largest value is kept as
// XNNPACK keeps it: a uint32, column by column, whatever the tensor's type.

TfLiteStatus ReadPooling(TfLiteContext* context, const TfLiteNode& node,
                         TfLitePoolParams* parameters) {
  TF_LITE_ENSURE_OK(context, ReadParameters(context, node, parameters));
  TF_LITE_ENSURE_EQ(context, parameters->filter_height,
                    parameters->stride_height);
  TF_LITE_ENSURE_EQ(context, parameters->filter_width,
                    parameters->stride_width);
  TF_LITE_ENSURE_EQ(context, parameters->activation, kTfLiteActNone);
  return kTfLiteOk;
}

TfLiteStatus CheckPlaces(TfLiteContext* context, const TfLiteTensor* places) {
  TF_LITE_ENSURE(context, places != nullptr);
  TF_LITE_ENSURE(
      context, places->type == kTfLiteFloat32 || places->type == kTfLiteInt32);
  return kTfLiteOk;
}

TfLiteStatus PreparePooling(TfLiteContext* context, TfLiteNode* node) {
  TfLitePoolParams parameters;
  TF_LITE_ENSURE_OK(context, ReadPooling(context, *node, &parameters));
  TF_LITE_ENSURE_EQ(context, tflite::NumInputs(node), 1);
  TF_LITE_ENSURE_EQ(context, tflite::NumOutputs(node), 2);
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  TfLiteTensor* places = tflite::GetOutput(context, node, 1);
  TF_LITE_ENSURE(context, input && output);
  TF_LITE_ENSURE_OK(context, CheckPlaces(context, places));
  TF_LITE_ENSURE_TYPES_EQ(context, input->type, kTfLiteFloat32);
  TF_LITE_ENSURE_TYPES_EQ(context, output->type, kTfLiteFloat32);
  TF_LITE_ENSURE_EQ(context, tflite::NumDimensions(input), 4);
  int height = 0, width = 0;
  tflite::ComputePaddingHeightWidth(
      parameters.stride_height, parameters.stride_width, 1, 1,
      tflite::SizeOfDimension(input, 1), tflite::SizeOfDimension(input, 2),
      parameters.filter_height, parameters.filter_width, parameters.padding,
      &height, &width);
  const int batch = tflite::SizeOfDimension(input, 0);
  const int channels = tflite::SizeOfDimension(input, 3);
  TF_LITE_ENSURE_OK(context,
                    Resize(context, output, batch, height, width, channels));
  return Resize(context, places, batch, height, width, channels);
}

TfLiteStatus RunPooling(TfLiteContext* context, TfLiteNode* node) {
  TfLitePoolParams parameters;
  TF_LITE_ENSURE_OK(context, ReadPooling(context, *node, &parameters));
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  const tflite::RuntimeShape in = tflite::GetTensorShape(input);
  const tflite::RuntimeShape out = tflite::GetTensorShape(output);
  int height = 0, width = 0;
  const TfLitePaddingValues padding = tflite::ComputePaddingHeightWidth(
      parameters.stride_height, parameters.stride_width, 1, 1, in.Dims(1),
      in.Dims(2), parameters.filter_height, parameters.filter_width,
      parameters.padding, &height, &width);
  const float* x = tflite::GetTensorData<float>(input);
  float* y = tflite::GetTensorData<float>(output);
  char* places = tflite::GetOutput(context, node, 1)->data.raw;
  size_t element = 0;
  for (int n = 0; n < out.Dims(0); ++n) {
    for (int oy = 0; oy < out.Dims(1); ++oy) {
      for (int ox = 0; ox < out.Dims(2); ++ox) {
        for (int c = 0; c < out.Dims(3); ++c, ++element) {
          float largest = -std::numeric_limits<float>::infinity();
          uint32_t place = 0;
          for (int kx = 0; kx < parameters.filter_width; ++kx) {
            const int ix = ox * parameters.stride_width - padding.width + kx;
            if (ix < 0 || ix >= in.Dims(2)) continue;
            for (int ky = 0; ky < parameters.filter_height; ++ky) {
              const int iy =
                  oy * parameters.stride_height - padding.height + ky;
              if (iy < 0 || iy >= in.Dims(1)) continue;
              const float value = x[tflite::Offset(in, n, iy, ix, c)];
              if (value > largest) {
                largest = value;
                place =
                    static_cast<uint32_t>(kx * parameters.filter_height + ky);
              }
            }
          }
          y[element] = largest;
          std::memcpy(places + element * sizeof(place), &place, sizeof(place));
        }
      }
    }
  }
  return kTfLiteOk;
}

TfLiteStatus PrepareUnpooling(TfLiteContext* context, TfLiteNode* node) {
  TfLitePoolParams parameters;
  TF_LITE_ENSURE_OK(context, ReadPooling(context, *node, &parameters));
  TF_LITE_ENSURE_EQ(context, tflite::NumInputs(node), 2);
  TF_LITE_ENSURE_EQ(context, tflite::NumOutputs(node), 1);
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  const TfLiteTensor* places = tflite::GetInput(context, node, 1);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  TF_LITE_ENSURE(context, input && output);
  TF_LITE_ENSURE_OK(context, CheckPlaces(context, places));
  TF_LITE_ENSURE_TYPES_EQ(context, input->type, kTfLiteFloat32);
  TF_LITE_ENSURE_TYPES_EQ(context, output->type, kTfLiteFloat32);
  TF_LITE_ENSURE_EQ(context, tflite::NumDimensions(input), 4);
  TF_LITE_ENSURE(context, TfLiteIntArrayEqual(input->dims, places->dims));
  return Resize(context, output, tflite::SizeOfDimension(input, 0),
                int64_t{parameters.stride_height} * input->dims->data[1],
                int64_t{parameters.stride_width} * input->dims->data[2],
                tflite::SizeOfDimension(input, 3));
}

TfLiteStatus RunUnpooling(TfLiteContext* context, TfLiteNode* node) {
  TfLitePoolParams parameters;
  TF_LITE_ENSURE_OK(context, ReadPooling(context, *node, &parameters));
  const TfLiteTensor* input = tflite::GetInput(context, node, 0);
  TfLiteTensor* output = tflite::GetOutput(context, node, 0);
  const tflite::RuntimeShape in = tflite::GetTensorShape(input);
  const tflite::RuntimeShape out = tflite::GetTensorShape(output);
  const float* x = tflite::GetTensorData<float>(input);
  const char* places = tflite::GetInput(context, node, 1)->data.raw;
  float* y = tflite::GetTensorData<float>(output);
  std::fill_n(y, out.FlatSize(), 0.0f);
  const auto rows = static_cast<uint32_t>(parameters.filter_height);
  const auto columns = static_cast<uint32_t>(parameters.filter_width);
  size_t element = 0;
  for (int n = 0; n < in.Dims(0); ++n) {
    for (int iy = 0; iy < in.Dims(1); ++iy) {
      for (int ix = 0; ix < in.Dims(2); ++ix) {
        for (int c = 0; c < in.Dims(3); ++c, ++element) {
          uint32_t place = 0;
          std::memcpy(&place, places + element * sizeof(place), sizeof(place));
          TF_LITE_ENSURE(context, place < rows * columns);
          const int oy =
              iy * parameters.stride_height + static_cast<int>(place % rows);
          const int ox =
              ix * parameters.stride_width + static_cast<int>(place / rows);
          y[tflite::Offset(out, n, oy, ox, c)] = x[element];
        }
      }
    }
  }
  return kTfLiteOk;
}

using Step = TfLiteStatus (*)(TfLiteContext*, TfLiteNode*);

TfLiteRegistration Registration(Step prepare, Step run) {
  TfLiteRegistration registration{};
  registration.prepare = prepare;
  registration.invoke = run;
  return registration;
}

}  // namespace

void AddMediaPipeOperators(tflite::MutableOpResolver* resolver) {
  static const TfLiteRegistration kDeconvolution =
      Registration(PrepareDeconvolution, RunDeconvolution);
  static const TfLiteRegistration kPooling =
      Registration(PreparePooling, RunPooling);
  static const TfLiteRegistration kUnpooling =
      Registration(PrepareUnpooling, RunUnpooling);
  resolver->AddCustom("Convolution2DTransposeBias", &kDeconvolution);
  resolver->AddCustom("MaxPoolingWithArgmax2D", &kPooling);
  resolver->AddCustom("MaxUnpooling2D", &kUnpooling);
}

}  // namespace tileskip
