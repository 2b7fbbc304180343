// A library for tests: caches and the branch predictor of the plugin, called
// with arrays.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "branch_predictor.h"
#include "caches.h"
#include "machine_code.h"

enum { kCores = 2 };

struct player {
  struct hierarchy hierarchy;
  struct core cores[kCores];
};

static struct geometry GeometryOf(const uint32_t* numbers) {
  return (struct geometry){numbers[0], numbers[1],
                           (enum replacement)numbers[2]};
}

// NULL: the geometry is not sound, or memory is short.
struct player* NewPlayer(const uint32_t* numbers) {
  const struct hierarchy_geometry geometry = {
      .l1d = GeometryOf(numbers),
      .l2 = GeometryOf(numbers + 3),
      .l3 = GeometryOf(numbers + 6),
      .l2_tlb = GeometryOf(numbers + 9),
      .l2_shared = numbers[12],
      .l3_exclusive = numbers[13],
      .page_bits = numbers[14],
      .l1_tlb = numbers[15],
      .streaming_l1 = numbers[16],
      .streaming_l2 = numbers[17],
  };
  struct player* player = malloc(sizeof(*player));
  if (player == NULL || !GeometryIsSound(&geometry) ||
      !InitHierarchy(&player->hierarchy, &geometry)) {
    free(player);
    return NULL;
  }
  for (int i = 0; i < kCores; ++i) {
    if (!InitCore(&player->cores[i], &player->hierarchy)) return NULL;
  }
  player->hierarchy.several = true;
  return player;
}

void FreePlayer(struct player* player) {
  for (int i = 0; i < kCores; ++i) FreeCore(&player->cores[i]);
  FreeHierarchy(&player->hierarchy);
  free(player);
}

// One core's accesses, each a line and whether it is stored to.
void Play(struct player* player, uint32_t core, const uint64_t* lines,
          const uint8_t* stores, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (stores[i]) {
      Store(&player->cores[core], lines[i]);
    } else {
      Load(&player->cores[core], lines[i]);
    }
  }
}

void Told(const struct player* player, uint32_t core, uint64_t* counts) {
  const struct memory_counts* told = &player->cores[core].counts;
  const uint64_t all[] = {
      told->l1.stream, told->l1.random, told->l1.store, told->l2.stream,
      told->l2.random, told->l2.store,  told->l3,       told->written_back,
      told->tlb,       told->walks,
  };
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); ++i) counts[i] = all[i];
}

// How often a predictor that begins with nothing goes wrong at branches, each
// an address and whether it is taken; the first ones are not counted.
size_t Mispredicted(const uint64_t* addresses, const uint8_t* taken,
                    size_t count, size_t uncounted) {
  static struct branch_predictor predictor;
  ForgetBranches(&predictor);
  size_t wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool right = PredictConditional(&predictor, addresses[i], taken[i]);
    wrong += !right && i >= uncounted;
  }
  return wrong;
}

// The same of indirect branches at one address.
size_t MispredictedTargets(const uint64_t* targets, size_t count,
                           size_t uncounted) {
  static struct branch_predictor predictor;
  ForgetBranches(&predictor);
  size_t wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool right = PredictIndirect(&predictor, 0x1000, targets[i]);
    wrong += !right && i >= uncounted;
  }
  return wrong;
}

// How often returns from calls inside each other to a depth go wrong.
size_t MispredictedReturns(size_t depth) {
  static struct branch_predictor predictor;
  ForgetBranches(&predictor);
  size_t wrong = 0;
  for (size_t i = 0; i < depth; ++i) NoteCall(&predictor, 0x1000 + 4 * i);
  for (size_t i = depth; i-- != 0;) {
    wrong += !PredictReturn(&predictor, 0x1000 + 4 * i);
  }
  return wrong;
}

uint64_t Frame(uint64_t page, uint32_t page_bits) {
  return FrameOf(page, page_bits);
}

// Bit 0: it loads, bit 1: it stores; bits 2 to 7 are its ending, bit 8: it
// yields.
uint32_t Kind(const char* machine, const uint8_t* code, size_t size) {
  const struct instruction read = MachineCalled(machine)->read(code, size);
  return (uint32_t)read.loads | (uint32_t)read.stores << 1 |
         (uint32_t)read.ending << 2 | (uint32_t)read.yields << 8;
}
