// A TCG plugin for qemu-user: counts the guest's instructions between marks,
// by the function that they belong to. A mark is a system call that
// tileskip-run --marks makes around runs and operators (../runner/marks.h).
//
//   qemu-aarch64 -d plugin -plugin libcount_instructions.so,out=FILE PROGRAM...
//
// FILE gets one line a mark, with the counts since the mark before it:
//
//   mark <kind> <threads> <function>:<count> ...
//
// <threads> are the counts of each thread, separated by commas; counts without
// a function belong to function 0. At the end come
//
//   function <number> <name>
//   end
//
// Instructions of pthreadpool's spinning wait are function 1 and in no thread's
// count: how many there are depends on the host, not on the work. Its loop is a
// block with a YIELD, then one that looks at the word that is waited for.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin_api.h"

enum {
  kMaxThreads = 64,
  kMaxFunctions = 4096,
  kNoFunction = 0,
  kWaiting = 1,
  kLook = 6,  // instructions, at most, of the waiting loop's other block
  kClockGetres = 114,  // of aarch64, and of every other new port of Linux
  kMarkClock = 0x74696c65,
};
static const uint32_t kYield = 0xd503203f;

// A translated block; lives as long as the process, as QEMU may run it any
// time.
struct block {
  uint32_t function;
  uint32_t instructions;
};

int qemu_plugin_version = 1;

static FILE* out;
static uint32_t function_count = kWaiting + 1;
static const char* function_names[kMaxFunctions] = {"(other)", "(waiting)"};
// Written by the thread that they belong to, read at marks by another one while
// that thread waits; a count that is a few instructions old does no harm.
static uint64_t counts[kMaxThreads][kMaxFunctions];
static uint64_t marked[kMaxThreads][kMaxFunctions];
static uint32_t thread_count;
// Whether the block that a thread ran last was one of its waiting loop.
static int waited[kMaxThreads];

static void fail(const char* message) {
  fprintf(stderr, "count_instructions: %s\n", message);
  exit(1);
}

// The number of a function; QEMU's pointer to a name is the same every time.
static uint32_t number_of(const char* name) {
  if (name == NULL) return kNoFunction;
  for (uint32_t i = kWaiting + 1; i < function_count; ++i) {
    if (strcmp(function_names[i], name) == 0) return i;
  }
  if (function_count == kMaxFunctions) return kNoFunction;
  function_names[function_count] = strdup(name);
  if (function_names[function_count] == NULL) fail("no memory");
  return function_count++;
}

static void run_block(unsigned int thread, void* userdata) {
  const struct block* block = userdata;
  if (thread >= kMaxThreads) fail("more than 64 threads");
  uint32_t function = block->function;
  if (waited[thread] && function == kNoFunction &&
      block->instructions <= kLook) {
    function = kWaiting;
  }
  counts[thread][function] += block->instructions;
  waited[thread] = block->function == kWaiting;
}

// QEMU holds its lock of translation here, so one thread at a time.
static void translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  struct block* block = malloc(sizeof(*block));
  if (block == NULL) fail("no memory");
  const size_t n = qemu_plugin_tb_n_insns(tb);
  block->instructions = (uint32_t)n;
  block->function =
      number_of(qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0)));
  for (size_t i = 0; i < n; ++i) {
    const struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    uint32_t code = 0;
    if (qemu_plugin_insn_size(insn) != sizeof(code)) continue;
    memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
    if (code == kYield) block->function = kWaiting;
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, run_block, QEMU_PLUGIN_CB_NO_REGS,
                                       block);
}

static void mark(uint64_t kind) {
  static uint64_t functions[kMaxFunctions];
  memset(functions, 0, sizeof(functions));
  fprintf(out, "mark %" PRIu64 " ", kind);
  for (uint32_t t = 0; t < thread_count; ++t) {
    uint64_t total = 0;
    for (uint32_t f = 0; f < function_count; ++f) {
      const uint64_t now = __atomic_load_n(&counts[t][f], __ATOMIC_RELAXED);
      const uint64_t since = now - marked[t][f];
      marked[t][f] = now;
      functions[f] += since;
      if (f != kWaiting) total += since;
    }
    fprintf(out, "%s%" PRIu64, t == 0 ? "" : ",", total);
  }
  for (uint32_t f = 0; f < function_count; ++f) {
    if (functions[f] != 0) fprintf(out, " %u:%" PRIu64, f, functions[f]);
  }
  fputc('\n', out);
}

// One thread makes all marks: that which runs the model.
static void at_syscall(qemu_plugin_id_t id, unsigned int thread, int64_t number,
                       uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)thread, (void)a3, (void)a4;
  (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == kClockGetres && a1 == kMarkClock) mark(a2);
}

static void begin_thread(qemu_plugin_id_t id, unsigned int thread) {
  (void)id;
  if (thread >= kMaxThreads) fail("more than 64 threads");
  if (thread >= thread_count) thread_count = thread + 1;
}

static void at_exit(qemu_plugin_id_t id, void* userdata) {
  (void)id, (void)userdata;
  for (uint32_t f = 0; f < function_count; ++f) {
    fprintf(out, "function %u %s\n", f, function_names[f]);
  }
  fputs("end\n", out);
  if (fclose(out) != 0) fail("the counts cannot be written");
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t* info,
                        int argc, char** argv) {
  (void)info;
  const char* path = NULL;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "out=", 4) == 0) path = argv[i] + 4;
  }
  if (path == NULL) {
    fputs("count_instructions: give out=FILE\n", stderr);
    return 1;
  }
  out = fopen(path, "w");
  if (out == NULL) {
    perror(path);
    return 1;
  }
  qemu_plugin_register_vcpu_init_cb(id, begin_thread);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate_block);
  qemu_plugin_register_vcpu_syscall_cb(id, at_syscall);
  qemu_plugin_register_atexit_cb(id, at_exit, NULL);
  return 0;
}
