// Runs a model through TensorFlow Lite's C API and the XNNPACK delegate.
//
//   run_model MODEL THREADS FP16 RUNS AGAIN INPUT FOLDER
//
// prepares the model, runs it RUNS times on what INPUT holds and writes
// FOLDER/output<i>.bin. Then it does all of that AGAIN times more, and prints
// by how many bytes the memory in use grew, of malloc and of the whole process.
// FP16 is 1 to ask for inference in fp16, else 0.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tensorflow/lite/c/c_api.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"

static void Require(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "run_model: %s\n", what);
  exit(1);
}

struct Job {
  const char* model;
  int threads;
  int fp16;
  int runs;
  const char* input;  // one input, or several for the runs to take in turn
  size_t input_size;
  const char* folder;  // NULL: outputs are not written
};

static void WriteOutputs(const TfLiteInterpreter* interpreter,
                         const char* folder) {
  const int count = TfLiteInterpreterGetOutputTensorCount(interpreter);
  for (int i = 0; i < count; ++i) {
    const TfLiteTensor* tensor =
        TfLiteInterpreterGetOutputTensor(interpreter, i);
    char path[4096];
    snprintf(path, sizeof(path), "%s/output%d.bin", folder, i);
    FILE* file = fopen(path, "wb");
    Require(file != NULL, path);
    const size_t size = TfLiteTensorByteSize(tensor);
    Require(fwrite(TfLiteTensorData(tensor), 1, size, file) == size, path);
    Require(fclose(file) == 0, path);
  }
}

static void RunOnce(const struct Job* job) {
  TfLiteModel* model = TfLiteModelCreateFromFile(job->model);
  Require(model != NULL, "the model cannot be loaded");
  TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
  xnnpack.num_threads = job->threads;
  xnnpack.flags |=
      TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
  if (job->fp16) xnnpack.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16;
  TfLiteDelegate* delegate = TfLiteXNNPackDelegateCreate(&xnnpack);
  Require(delegate != NULL, "no delegate");
  TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsAddDelegate(options, delegate);
  TfLiteInterpreter* interpreter = TfLiteInterpreterCreate(model, options);
  Require(interpreter != NULL, "no interpreter");
  Require(TfLiteInterpreterAllocateTensors(interpreter) == kTfLiteOk,
          "tensors cannot be allocated");
  for (int run = 0; run < job->runs; ++run) {
    TfLiteTensor* input = TfLiteInterpreterGetInputTensor(interpreter, 0);
    const size_t size = TfLiteTensorByteSize(input);
    Require(job->input_size % size == 0, "the input is of another size");
    const size_t start = run * size % job->input_size;
    Require(TfLiteTensorCopyFromBuffer(input, job->input + start, size) ==
                kTfLiteOk,
            "the input cannot be copied");
    Require(TfLiteInterpreterInvoke(interpreter) == kTfLiteOk, "it failed");
  }
  if (job->folder != NULL) WriteOutputs(interpreter, job->folder);
  TfLiteInterpreterDelete(interpreter);
  TfLiteInterpreterOptionsDelete(options);
  TfLiteXNNPackDelegateDelete(delegate);
  TfLiteModelDelete(model);
}

static long AllocatedBytes(void) {
  const struct mallinfo2 info = mallinfo2();
  return (long)(info.uordblks + info.hblkhd);
}

// NOLINTBEGIN(bugprone-unchecked-string-to-number-conversion): all numbers come
// from the kernel or from the test that starts this.
static long ProcessBytes(void) {
  long pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  Require(file != NULL && fscanf(file, "%ld", &pages) == 1, "no statm");
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char** argv) {
  Require(argc == 8, "MODEL THREADS FP16 RUNS AGAIN INPUT FOLDER");
  FILE* file = fopen(argv[6], "rb");
  Require(file != NULL, argv[6]);
  fseek(file, 0, SEEK_END);
  const size_t size = (size_t)ftell(file);
  Require(fseek(file, 0, SEEK_SET) == 0, argv[6]);
  char* input = malloc(size);
  Require(input != NULL && fread(input, 1, size, file) == size, argv[6]);
  fclose(file);

  struct Job job = {.model = argv[1],
                    .threads = atoi(argv[2]),
                    .fp16 = atoi(argv[3]),
                    .runs = atoi(argv[4]),
                    .input = input,
                    .input_size = size,
                    .folder = argv[7]};
  RunOnce(&job);
  const int again = atoi(argv[5]);
  job.folder = NULL;
  if (again > 0) {
    // Until the lists of free chunks that malloc keeps are full.
    for (int i = 0; i < again / 2; ++i) RunOnce(&job);
    const long allocated = AllocatedBytes();
    const long process = ProcessBytes();
    for (int i = 0; i < again; ++i) RunOnce(&job);
    printf("%ld %ld\n", AllocatedBytes() - allocated, ProcessBytes() - process);
  }
  free(input);
  return 0;
}
// NOLINTEND(bugprone-unchecked-string-to-number-conversion)
