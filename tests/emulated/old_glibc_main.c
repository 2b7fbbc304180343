/* Loads what a program on an older system would load, and uses it:
   MAIN CHECK DELEGATE C_LIBRARY MODEL INPUT OUTPUT. Says the glibc it runs on.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static void* Open(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return library;
}

static void* Find(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return symbol;
}

#define FIND(library, type, name, ...) \
  type (*name)(__VA_ARGS__) = (type(*)(__VA_ARGS__))Find(library, #name)

static void Require(int holds, const char* what) {
  if (!holds) {
    fprintf(stderr, "%s failed\n", what);
    exit(1);
  }
}

int main(int argc, char** argv) {
  Require(argc == 7, "the command line");
  void* own = Open(argv[1]);
  FIND(own, int, check, const char*);
  const int fault = check(argv[1]);
  if (fault != 0) fprintf(stderr, "fault %d\n", fault);
  Require(fault == 0, "glibc_compat.c");

  void* delegates = Open(argv[2]);
  FIND(delegates, void*, tflite_plugin_create_delegate, char**, char**, size_t,
       void (*)(const char*));
  FIND(delegates, void, tflite_plugin_destroy_delegate, void*);
  void* delegate = tflite_plugin_create_delegate(NULL, NULL, 0, NULL);
  Require(delegate != NULL, "the delegate");
  tflite_plugin_destroy_delegate(delegate);

  void* lite = Open(argv[3]);
  FIND(lite, void*, TfLiteModelCreateFromFile, const char*);
  FIND(lite, void*, TfLiteInterpreterCreate, const void*, const void*);
  FIND(lite, int, TfLiteInterpreterAllocateTensors, void*);
  FIND(lite, int, TfLiteInterpreterInvoke, void*);
  FIND(lite, void*, TfLiteInterpreterGetInputTensor, const void*, int);
  FIND(lite, const void*, TfLiteInterpreterGetOutputTensor, const void*, int);
  FIND(lite, size_t, TfLiteTensorByteSize, const void*);
  FIND(lite, void*, TfLiteTensorData, const void*);
  void* model = TfLiteModelCreateFromFile(argv[4]);
  Require(model != NULL, "the model");
  void* interpreter = TfLiteInterpreterCreate(model, NULL);
  Require(
      interpreter != NULL && TfLiteInterpreterAllocateTensors(interpreter) == 0,
      "the interpreter");
  void* input = TfLiteInterpreterGetInputTensor(interpreter, 0);
  FILE* file = fopen(argv[5], "rb");
  Require(file != NULL && fread(TfLiteTensorData(input),
                                TfLiteTensorByteSize(input), 1, file) == 1,
          "the input");
  fclose(file);
  Require(TfLiteInterpreterInvoke(interpreter) == 0, "the inference");
  const void* output = TfLiteInterpreterGetOutputTensor(interpreter, 0);
  file = fopen(argv[6], "wb");
  Require(file != NULL && fwrite(TfLiteTensorData(output),
                                 TfLiteTensorByteSize(output), 1, file) == 1,
          "the output");
  Require(fclose(file) == 0, "the output");
  printf("%s\n", gnu_get_libc_version());
  return 0;
}
