// A branch predictor as cores of this kind have one: it tells which branches of
// a run a core would have gone wrong at. No core's own is public, so it is a
// small one of the common kind (Seznec and Michaud, "A case for (partially)
// tagged geometric history length branch predictors", 2006): a counter for each
// branch, and tables by the branch and longer and longer histories, of which
// the longest that knows the branch decides. A loop's end is learnt where all
// turns of the loop fit into the history. Indirect branches go where they went
// after the same history, else where they went last; returns where the call
// was.

#ifndef TILESKIP_QEMU_PLUGIN_BRANCH_PREDICTOR_H_
#define TILESKIP_QEMU_PLUGIN_BRANCH_PREDICTOR_H_

#include <stdbool.h>
#include <stdint.h>

enum {
  kCounters = 4096,
  kHistories = 4,
  kEntries = 1024,
  kBranches = 256,
  kTargets = 512,
  kReturns = 16,
};

struct history_entry {
  uint16_t tag;
  int8_t counter;  // -4 to 3; 0 and above: taken
  uint8_t useful;
};

struct target_entry {
  uint64_t hash;  // of the branch and what came before it
  uint64_t target;
};

struct branch_predictor {
  uint64_t history;            // the latest in the lowest bit, 1 for taken
  int8_t counters[kCounters];  // -2 to 1; 0 and above: taken
  struct history_entry entries[kHistories][kEntries];
  uint64_t last_targets[kBranches];
  struct target_entry targets[kTargets];
  uint64_t returns[kReturns];
  uint32_t return_at;
};

// Begins with nothing known.
void ForgetBranches(struct branch_predictor* predictor);

// Each tells whether it was predicted, and learns what it was.
bool PredictConditional(struct branch_predictor* predictor, uint64_t address,
                        bool taken);
bool PredictIndirect(struct branch_predictor* predictor, uint64_t address,
                     uint64_t target);
bool PredictReturn(struct branch_predictor* predictor, uint64_t target);

// A call that will return to an address.
void NoteCall(struct branch_predictor* predictor, uint64_t next);

#endif  // TILESKIP_QEMU_PLUGIN_BRANCH_PREDICTOR_H_
