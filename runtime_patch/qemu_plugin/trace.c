// A TCG plugin for qemu-user: a trace of what a program for AArch64 or x86-64
// does, for a model of the time that it takes on a core. It tells which blocks
// of code ran after which, how a core's caches and TLBs would have met the
// accesses to memory (caches.h), and how often a core would have gone wrong at
// a branch (branch_predictor.h), in windows: stretches of one thread of about a
// million instructions, that end early at each mark. A mark is a system call
// that tileskip-run --marks makes around runs and operators
// (../runner/marks.h), and others may make through ctypes.
//
//   qemu-aarch64 -d plugin -plugin libtrace.so,out=FILE,KEY=VALUE... PROGRAM...
//
//   window=INSTRUCTIONS                of a window
//   l1d=KIB:WAYS:POLICY                POLICY: lru, random or plru
//   l2=KIB:WAYS:POLICY:shared          or private
//   l3=KIB:WAYS:POLICY:exclusive       or inclusive; without it, there is none
//   l1tlb=ENTRIES  l2tlb=ENTRIES:WAYS
//   page=KIB
//   streaming=LINES:LINES              see struct hierarchy_geometry
//
// From the first mark on, caches and predictors are at work. FILE has the last
// run alone, so a program that marks two runs shows how the second one meets
// caches that the first one has filled. It is text:
//
//   window <thread> <operator> <instructions> <mispredicted> <memory> <edges>
//
// <operator> is the number of the operator in the run, from 0, or -1 outside of
// operators. <memory> are 12 numbers: loads, stores (instructions, 0
// where the machine does not tell them); lines that
// L1D missed: streams, other loads, stores; the same of L2; lines that L3
// missed; dirty lines that went to memory; misses of the first TLB, walks of
// the page table. <edges> are <from>,<to>,<times>, each a block's number;
// <from> is -1 for the first block of a window, and after a wait. At the end
// come the blocks that edges name, the number of operators, and a last line:
//
//   block <number> <address> <code> <name>
//   operators <number>
//   end
//
// <address> and <code> are hexadecimal, <code> as its bytes lie in memory, with
// a dot between instructions; <name> is the function's, or "-".
//
// Instructions of pthreadpool's spinning wait are left out, with their
// accesses: how many there are depends on the host, not on the work. Its loop
// is a block with a YIELD or PAUSE, then one that looks at the word that is
// waited for.

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "branch_predictor.h"
#include "caches.h"
#include "edges.h"
#include "qemu_plugin_api.h"
#include "qemu_plugin_memory.h"

enum {
  kMaxThreads = 64,
  kMaxCode = 4096,  // instructions of a block; QEMU's own limit is 512
  kMaxBytes = 16,   // of an instruction
  kLook = 6,        // instructions, at most, of the waiting loop's other block
  kMarkClock = 0x74696c65,
  kRunBegin = 1,  // kinds of marks: ../runner/marks.h
  kRunEnd = 2,
  kOperatorBegin = 3,
  kPartBegin = 4,
  kOperatorEnd = 5,
};

// What the marks have said. Written by the thread that makes them.
struct place {
  uint64_t run;  // from 1; 0: outside of runs
  int64_t op;    // the operator's number; -1: outside of operators
};

struct thread {
  struct core core;
  struct branch_predictor predictor;
  struct edges edges;
  struct node* at;  // of the block that ran last in this window, or outside
  struct block* before;  // the block that ran last, or NULL
  bool simulates;        // it does not wait, and there was a mark
  bool waited;
  uint64_t marks;                       // that it has seen
  uint64_t instructions, mispredicted;  // of this window
  struct place place;                   // of this window
  struct memory_counts counted;         // before this window
};

int qemu_plugin_version = 1;

static const struct machine* machine;
static FILE* out;
static uint32_t window_size = 1000000;
static struct hierarchy hierarchy;
static struct thread* threads[kMaxThreads];
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

static uint64_t marks;  // how many there were
static struct place place = {0, -1};
static uint64_t runs;
static int64_t operators;  // of the run, so far

static void fail(const char* message) {
  fprintf(stderr, "trace: %s\n", message);
  exit(1);
}

// --- windows ----------------------------------------------------------------

static void WriteEdges(const struct edges* edges) {
  for (struct node* from = edges->used; from != NULL; from = from->next_used) {
    const int64_t number =
        from->block == NULL ? -1 : (int64_t)from->block->number;
    for (uint32_t i = 0; i < from->edge_count; ++i) {
      const struct edge* edge = &from->edges[i];
      if (edge->count == 0) continue;
      edge->to->told = true;
      if (from->block != NULL) from->block->told = true;
      fprintf(out, " %" PRId64 ",%" PRIu32 ",%" PRIu64, number,
              edge->to->number, edge->count);
    }
  }
}

static void WriteWindow(const struct thread* t, uint32_t number) {
  uint64_t instructions = 0, loads = 0, stores = 0;
  for (struct node* n = t->edges.used; n != NULL; n = n->next_used) {
    for (uint32_t i = 0; i < n->edge_count; ++i) {
      const struct edge* edge = &n->edges[i];
      instructions += edge->count * edge->to->instructions;
      loads += edge->count * edge->to->loads;
      stores += edge->count * edge->to->stores;
    }
  }
  const struct memory_counts* now = &t->core.counts;
  const struct memory_counts* old = &t->counted;
  fprintf(out, "window %" PRIu32 " %" PRId64 " %" PRIu64 " %" PRIu64, number,
          t->place.op, instructions, t->mispredicted);
  const uint64_t memory[] = {
      loads,
      stores,
      now->l1.stream - old->l1.stream,
      now->l1.random - old->l1.random,
      now->l1.store - old->l1.store,
      now->l2.stream - old->l2.stream,
      now->l2.random - old->l2.random,
      now->l2.store - old->l2.store,
      now->l3 - old->l3,
      now->written_back - old->written_back,
      now->tlb - old->tlb,
      now->walks - old->walks,
  };
  for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); ++i) {
    fprintf(out, " %" PRIu64, memory[i]);
  }
  WriteEdges(&t->edges);
  fputc('\n', out);
}

// Ends the window of a thread: it is written if it is one of the last run.
static void Cut(struct thread* t, uint32_t number) {
  pthread_mutex_lock(&writing);
  if (t->edges.used != NULL && t->place.run != 0 && t->place.run == runs) {
    WriteWindow(t, number);
  }
  t->place = place;
  t->marks = marks;
  pthread_mutex_unlock(&writing);
  ForgetCounts(&t->edges);
  t->at = &t->edges.outside;
  t->instructions = t->mispredicted = 0;
  t->counted = t->core.counts;
}

// The thread that makes the mark has not ended its window yet; each does that
// before it runs another block.
static void Mark(uint64_t kind) {
  pthread_mutex_lock(&writing);
  switch (kind) {
    case kRunBegin:
      place = (struct place){++runs, -1};
      operators = 0;
      if (fseek(out, 0, SEEK_SET) != 0 || ftruncate(fileno(out), 0) != 0) {
        fail("the file cannot be emptied");
      }
      break;
    case kRunEnd:
      place = (struct place){0, -1};
      break;
    case kOperatorBegin:
      place.op = operators++;
      break;
    case kPartBegin:
      place.op = operators - 1;
      break;
    case kOperatorEnd:
      place.op = -1;
      break;
    default:
      break;
  }
  __atomic_store_n(&marks, marks + 1, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&writing);
}

// --- what QEMU calls --------------------------------------------------------

static bool Predicts(struct thread* t, const struct block* before,
                     const struct block* now) {
  const uint64_t next = before->address + before->bytes;
  const uint64_t branch = next - before->sizes[before->instructions - 1];
  switch (before->ending) {
    case kConditional:
      return PredictConditional(&t->predictor, branch, now->address != next);
    case kCall:
      NoteCall(&t->predictor, next);
      return true;
    case kIndirectCall:
      NoteCall(&t->predictor, next);
      return PredictIndirect(&t->predictor, branch, now->address);
    case kIndirect:
      return PredictIndirect(&t->predictor, branch, now->address);
    case kReturn:
      return PredictReturn(&t->predictor, now->address);
    default:
      return true;
  }
}

// Before a block runs.
static void RunBlock(unsigned int number, void* userdata) {
  struct block* block = userdata;
  struct thread* t = threads[number];
  const uint64_t seen = __atomic_load_n(&marks, __ATOMIC_ACQUIRE);
  if (t->marks != seen || t->instructions >= window_size) Cut(t, number);
  const bool waits = block->yields || (t->waited && block->symbol == NULL &&
                                       block->instructions <= kLook);
  t->waited = block->yields;
  t->simulates = seen != 0 && !waits;
  if (!t->simulates) {
    t->at = &t->edges.outside;
    t->before = NULL;
    return;
  }
  t->at = CountEdge(&t->edges, t->at, block);
  if (t->at == NULL) fail("no memory");
  t->instructions += block->instructions;
  if (t->before != NULL && !Predicts(t, t->before, block)) ++t->mispredicted;
  t->before = block;
}

// An access that the thread's last one does not tell all of.
static void Simulate(struct thread* t, qemu_plugin_meminfo_t info,
                     uint64_t address, bool store) {
  if (!t->simulates) return;
  const uint64_t last =
      address + (UINT64_C(1) << qemu_plugin_mem_size_shift(info)) - 1;
  const uint64_t end = last >> kLineBits;
  for (uint64_t line = address >> kLineBits; line <= end; ++line) {
    if (store) {
      Store(&t->core, line);
    } else {
      Load(&t->core, line);
    }
  }
}

// Whether an access may reach into the next line; QEMU makes none of more than
// 8 bytes.
static bool MayCross(uint64_t address) {
  return address % kLineBytes > kLineBytes - 8;
}

// The halves of 128 bits are two calls; the second is in the same line, and
// costs a comparison.
static void AtLoad(unsigned int number, qemu_plugin_meminfo_t info,
                   uint64_t address, void* userdata) {
  (void)userdata;
  struct thread* t = threads[number];
  if (address >> kLineBits == t->core.last_line && !MayCross(address)) return;
  Simulate(t, info, address, false);
}

static void AtStore(unsigned int number, qemu_plugin_meminfo_t info,
                    uint64_t address, void* userdata) {
  (void)userdata;
  struct thread* t = threads[number];
  if (address >> kLineBits == t->core.last_dirty && !MayCross(address)) return;
  Simulate(t, info, address, true);
}

static void AtEither(unsigned int number, qemu_plugin_meminfo_t info,
                     uint64_t address, void* userdata) {
  if (qemu_plugin_mem_is_store(info)) {
    AtStore(number, info, address, userdata);
  } else {
    AtLoad(number, info, address, userdata);
  }
}

// QEMU holds its lock of translation here, so one thread at a time.
static void TranslateBlock(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  static uint8_t bytes[kMaxCode * kMaxBytes], sizes[kMaxCode];
  const size_t n = qemu_plugin_tb_n_insns(tb);
  if (n == 0 || n > kMaxCode) fail("a block of unlikely length");
  uint8_t* at = bytes;
  for (size_t i = 0; i < n; ++i) {
    struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    const size_t size = qemu_plugin_insn_size(insn);
    if (size == 0 || size > machine->longest) {
      fail("an instruction of unlikely length");
    }
    memcpy(at, qemu_plugin_insn_data(insn), size);
    const struct instruction read = machine->read(at, size);
    sizes[i] = (uint8_t)size;
    at += size;
    if (machine->tells_accesses && !read.loads && !read.stores) continue;
    // QEMU 7.2 takes a call for loads alone for one for nothing, so each is for
    // all accesses, and the instruction's code says what they are.
    const bool either = !machine->tells_accesses || (read.loads && read.stores);
    qemu_plugin_register_vcpu_mem_cb(insn,
                                     either       ? AtEither
                                     : read.loads ? AtLoad
                                                  : AtStore,
                                     QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                     NULL);
  }
  const struct qemu_plugin_insn* first = qemu_plugin_tb_get_insn(tb, 0);
  const struct code code = {machine, qemu_plugin_insn_vaddr(first), bytes,
                            sizes, (uint32_t)n};
  struct block* block = Intern(&code, qemu_plugin_insn_symbol(first));
  if (block == NULL) fail("no memory");
  qemu_plugin_register_vcpu_tb_exec_cb(tb, RunBlock, QEMU_PLUGIN_CB_NO_REGS,
                                       block);
}

static void AtSyscall(qemu_plugin_id_t id, unsigned int thread, int64_t number,
                      uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                      uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)thread, (void)a3, (void)a4;
  (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == machine->clock_getres && a1 == kMarkClock) Mark(a2);
}

static void BeginThread(qemu_plugin_id_t id, unsigned int number) {
  (void)id;
  if (number >= kMaxThreads) fail("more than 64 threads");
  if (number != 0) __atomic_store_n(&hierarchy.several, true, __ATOMIC_RELAXED);
  if (threads[number] != NULL) {  // a thread that has ended had the number
    threads[number]->before = NULL;
    return;
  }
  struct thread* t = calloc(1, sizeof(*t));
  if (t == NULL || !InitCore(&t->core, &hierarchy)) fail("no memory");
  ForgetBranches(&t->predictor);
  InitEdges(&t->edges);
  t->at = &t->edges.outside;
  t->place.op = -1;
  threads[number] = t;
}

static void AtExit(qemu_plugin_id_t id, void* userdata) {
  (void)id, (void)userdata;
  for (uint32_t i = 0; i < kMaxThreads; ++i) {
    if (threads[i] != NULL) Cut(threads[i], i);
  }
  for (uint32_t i = 0; i < BlockCount(); ++i) {
    const struct block* block = BlockOf(i);
    if (!block->told) continue;
    fprintf(out, "block %" PRIu32 " %" PRIx64 " ", i, block->address);
    const uint8_t* at = block->code;
    for (uint32_t k = 0; k < block->instructions; ++k) {
      if (k != 0) fputc('.', out);
      for (uint32_t left = block->sizes[k]; left != 0; --left) {
        fprintf(out, "%02" PRIx8, *at++);
      }
    }
    fprintf(out, " %s\n", block->symbol == NULL ? "-" : block->symbol);
  }
  fprintf(out, "operators %" PRId64 "\nend\n", operators);
  if (fclose(out) != 0) fail("the trace cannot be written");
}

// --- options ----------------------------------------------------------------

// Reads a number of 32 bits and moves behind it; returns false if there is
// none.
static bool ReadNumber(const char** text, uint32_t* number) {
  char* end = NULL;
  const unsigned long value = strtoul(*text, &end, 10);
  if (end == *text || **text == '-' || value > UINT32_MAX) return false;
  *text = end;
  *number = (uint32_t)value;
  return true;
}

// Moves behind a word if it stands there.
static bool ReadWord(const char** text, const char* word) {
  const size_t size = strlen(word);
  if (strncmp(*text, word, size) != 0) return false;
  *text += size;
  return true;
}

// The same of FIRST:SECOND.
static bool ReadPair(const char** text, uint32_t* first, uint32_t* second) {
  return ReadNumber(text, first) && ReadWord(text, ":") &&
         ReadNumber(text, second);
}

// The same of KIB:WAYS:POLICY.
static bool ReadCache(const char** text, struct geometry* geometry) {
  static const char* const policies[] = {"lru", "random", "plru"};
  uint32_t kib = 0;
  if (!ReadPair(text, &kib, &geometry->ways) || !ReadWord(text, ":")) {
    return false;
  }
  geometry->lines = kib * (1024 / kLineBytes);
  for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); ++i) {
    geometry->replacement = (enum replacement)i;
    if (ReadWord(text, policies[i])) return true;
  }
  return false;
}

// The same of one of two words.
static bool ReadChoice(const char** text, const char* yes, const char* no,
                       bool* chosen) {
  *chosen = ReadWord(text, yes);
  return *chosen || ReadWord(text, no);
}

static bool ReadPage(const char** text, uint32_t* bits) {
  uint32_t kib = 0;
  if (!ReadNumber(text, &kib) || kib == 0) return false;
  for (*bits = 10; kib > 1; kib /= 2) ++*bits;
  return true;
}

// Returns whether an option is one, and all of its value can be read.
static bool ReadOption(const char* option, struct hierarchy_geometry* g) {
  const char* at = option;
  bool read = false;
  if (ReadWord(&at, "out=")) {
    out = fopen(at, "w");
    return out != NULL;
  }
  if (ReadWord(&at, "window=")) {
    read = ReadNumber(&at, &window_size);
  } else if (ReadWord(&at, "l1d=")) {
    read = ReadCache(&at, &g->l1d);
  } else if (ReadWord(&at, "l2=")) {
    read = ReadCache(&at, &g->l2) &&
           ReadChoice(&at, ":shared", ":private", &g->l2_shared);
  } else if (ReadWord(&at, "l3=")) {
    read = ReadCache(&at, &g->l3) &&
           ReadChoice(&at, ":exclusive", ":inclusive", &g->l3_exclusive);
  } else if (ReadWord(&at, "l1tlb=")) {
    read = ReadNumber(&at, &g->l1_tlb);
  } else if (ReadWord(&at, "l2tlb=")) {
    read = ReadPair(&at, &g->l2_tlb.lines, &g->l2_tlb.ways);
  } else if (ReadWord(&at, "page=")) {
    read = ReadPage(&at, &g->page_bits);
  } else if (ReadWord(&at, "streaming=")) {
    read = ReadPair(&at, &g->streaming_l1, &g->streaming_l2);
  }
  return read && *at == '\0';
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t* info,
                        int argc, char** argv) {
  machine = MachineCalled(info->target_name);
  if (machine == NULL) {
    fputs("trace: programs for this machine are not traced\n", stderr);
    return 1;
  }
  struct hierarchy_geometry geometry = {.page_bits = 12};
  for (int i = 0; i < argc; ++i) {
    if (!ReadOption(argv[i], &geometry)) {
      fprintf(stderr, "trace: cannot take %s\n", argv[i]);
      return 1;
    }
  }
  if (out == NULL) {
    fputs("trace: give out=FILE\n", stderr);
    return 1;
  }
  if (!GeometryIsSound(&geometry) || !InitHierarchy(&hierarchy, &geometry)) {
    fputs("trace: such caches cannot be played\n", stderr);
    return 1;
  }
  qemu_plugin_register_vcpu_init_cb(id, BeginThread);
  qemu_plugin_register_vcpu_tb_trans_cb(id, TranslateBlock);
  qemu_plugin_register_vcpu_syscall_cb(id, AtSyscall);
  qemu_plugin_register_atexit_cb(id, AtExit, NULL);
  return 0;
}
