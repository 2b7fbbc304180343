#include "branch_predictor.h"

#include <string.h>

enum {
  kTagBits = 11,
  kUseful = 3,
  kIndirectHistory = 16,
};
// Branches back that a table tells entries by.
static const uint32_t kLengths[kHistories] = {6, 14, 30, 63};
static const uint64_t kMix = 0x9e3779b97f4a7c15;

void ForgetBranches(struct branch_predictor* predictor) {
  memset(predictor, 0, sizeof(*predictor));
}

// 64 bits that depend on a branch and on what came before it.
static uint64_t Hash(uint64_t address, uint64_t history, uint32_t length) {
  const uint64_t part = history & ((UINT64_C(1) << length) - 1);
  uint64_t hash = ((address >> 2) + length) * kMix;
  hash ^= part * (kMix | length << 1);
  hash ^= hash >> 32;
  return hash * kMix;
}

static void Count(int8_t* counter, bool taken, int lowest, int highest) {
  if (taken && *counter < highest) ++*counter;
  if (!taken && *counter > lowest) --*counter;
}

// Takes an entry of a longer history for a branch that was told wrong: the
// first that is of no use; where all are, they lose some of it.
static void Allocate(struct history_entry* const* found, const uint16_t* tags,
                     uint32_t first, bool taken) {
  for (uint32_t i = first; i < kHistories; ++i) {
    if (found[i]->useful != 0) continue;
    found[i]->tag = tags[i];
    found[i]->counter = taken ? 0 : -1;
    return;
  }
  for (uint32_t i = first; i < kHistories; ++i) --found[i]->useful;
}

bool PredictConditional(struct branch_predictor* predictor, uint64_t address,
                        bool taken) {
  struct history_entry* found[kHistories];
  uint16_t tags[kHistories];
  int decides = -1, other = -1;  // -1: the branch's own counter
  for (int i = 0; i < kHistories; ++i) {
    const uint64_t hash = Hash(address, predictor->history, kLengths[i]);
    found[i] = &predictor->entries[i][hash >> 54];
    // No tag is 0, as those of entries are that nothing was put into.
    tags[i] = (uint16_t)((hash >> 32 & ((1U << kTagBits) - 1)) + 1);
    if (found[i]->tag != tags[i]) continue;
    other = decides;
    decides = i;
  }
  int8_t* own = &predictor->counters[(address >> 2) % kCounters];
  const bool base = *own >= 0;
  const bool guess = decides < 0 ? base : found[decides]->counter >= 0;
  const bool second = other < 0 ? base : found[other]->counter >= 0;
  if (decides < 0) {
    Count(own, taken, -2, 1);
  } else {
    Count(&found[decides]->counter, taken, -4, 3);
    uint8_t* useful = &found[decides]->useful;
    if (guess != second && guess == taken && *useful < kUseful) ++*useful;
    if (guess != second && guess != taken && *useful > 0) --*useful;
  }
  if (guess != taken) Allocate(found, tags, (uint32_t)(decides + 1), taken);
  predictor->history = predictor->history << 1 | taken;
  return guess == taken;
}

bool PredictIndirect(struct branch_predictor* predictor, uint64_t address,
                     uint64_t target) {
  const uint64_t hash = Hash(address, predictor->history, kIndirectHistory);
  struct target_entry* entry = &predictor->targets[hash >> 55];
  uint64_t* last = &predictor->last_targets[(address >> 2) % kBranches];
  const bool known = entry->hash == hash;
  const bool right = (known ? entry->target : *last) == target;
  // What goes where it went last needs no entry by its history.
  if (known || !right) *entry = (struct target_entry){hash, target};
  *last = target;
  // Where it went is part of what comes after it.
  predictor->history = predictor->history << 2 | (target >> 2 & 3);
  return right;
}

void NoteCall(struct branch_predictor* predictor, uint64_t next) {
  predictor->returns[predictor->return_at++ % kReturns] = next;
}

bool PredictReturn(struct branch_predictor* predictor, uint64_t target) {
  return predictor->returns[--predictor->return_at % kReturns] == target;
}
