#include "caches.h"

#include <stdlib.h>
#include <string.h>

enum {
  kAddressBits = 48,
  kFarthestStride = 15,  // lines; twice as far is still among the neighbours
  kNeighbours = 32,      // lines before and behind one that was missed
};
static const uint64_t kNone = UINT64_MAX;
static const uint64_t kSeed = 0x9e3779b97f4a7c15;
static const uint64_t kOtherSeed = 0xbf58476d1ce4e5b9;

// --- one cache --------------------------------------------------------------

static bool IsPowerOfTwo(uint32_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

static bool IsSound(const struct geometry* geometry) {
  if (geometry->ways == 0 || geometry->ways > kMaxWays) return false;
  if (geometry->lines % geometry->ways != 0) return false;
  return IsPowerOfTwo(geometry->lines / geometry->ways) &&
         (geometry->replacement != kPseudoLru || IsPowerOfTwo(geometry->ways));
}

static bool InitCache(struct cache* cache, const struct geometry* geometry) {
  memset(cache, 0, sizeof(*cache));
  if (geometry->lines == 0) return true;
  const uint32_t sets = geometry->lines / geometry->ways;
  cache->ways = geometry->ways;
  cache->set_mask = sets - 1;
  cache->replacement = geometry->replacement;
  cache->random = kSeed;
  cache->tags = malloc(sizeof(*cache->tags) * geometry->lines);
  cache->trees = calloc(sets, sizeof(*cache->trees));
  if (cache->tags == NULL || cache->trees == NULL) return false;
  memset(cache->tags, 0xff, sizeof(*cache->tags) * geometry->lines);
  return true;
}

static void FreeCache(struct cache* cache) {
  free(cache->tags);
  free(cache->trees);
}

static uint64_t* SetOf(const struct cache* cache, uint64_t line) {
  return cache->tags + (line & cache->set_mask) * cache->ways;
}

// Lets the tree's bits on the way to a leaf lead away from it. Node 1 is the
// root, and the children of node n are 2n and 2n + 1.
static void PointAway(uint64_t* tree, uint32_t ways, uint32_t way) {
  uint32_t node = 1;
  for (uint32_t half = ways >> 1; half != 0; half >>= 1) {
    const uint64_t bit = UINT64_C(1) << node;
    const bool upper = (way & half) != 0;
    *tree = upper ? *tree & ~bit : *tree | bit;
    node = 2 * node + upper;
  }
}

static uint32_t PointedAt(uint64_t tree, uint32_t ways) {
  uint32_t node = 1;
  while (node < ways) node += node + (uint32_t)(tree >> node & 1);
  return node - ways;
}

// Whether a line is there; it is then the one used latest, and dirty if it is
// stored to.
static bool Touch(struct cache* cache, uint64_t line, uint64_t dirty) {
  uint64_t* set = SetOf(cache, line);
  const uint64_t tag = line << 1;
  if (cache->replacement == kLeastRecentlyUsed) {
    for (uint32_t way = 0; way < cache->ways; ++way) {
      const uint64_t found = set[way];
      if ((found & ~UINT64_C(1)) != tag) continue;
      for (; way != 0; --way) set[way] = set[way - 1];
      set[0] = found | dirty;
      return true;
    }
    return false;
  }
  for (uint32_t way = 0; way < cache->ways; ++way) {
    if ((set[way] & ~UINT64_C(1)) != tag) continue;
    set[way] |= dirty;
    if (cache->replacement == kPseudoLru) {
      PointAway(&cache->trees[line & cache->set_mask], cache->ways, way);
    }
    return true;
  }
  return false;
}

// The way whose line goes: an empty one, or as the policy says.
static uint32_t Victim(struct cache* cache, uint64_t line) {
  const uint64_t* set = SetOf(cache, line);
  for (uint32_t way = 0; way < cache->ways; ++way) {
    if (set[way] == kNone) return way;
  }
  if (cache->replacement == kPseudoLru) {
    return PointedAt(cache->trees[line & cache->set_mask], cache->ways);
  }
  cache->random ^= cache->random << 13;
  cache->random ^= cache->random >> 7;
  cache->random ^= cache->random << 17;
  return (uint32_t)((cache->random >> 32) * cache->ways >> 32);
}

// Whether a line is there; nothing is changed.
static bool Has(const struct cache* cache, uint64_t line) {
  const uint64_t* set = SetOf(cache, line);
  for (uint32_t way = 0; way < cache->ways; ++way) {
    if (set[way] >> 1 == line) return true;
  }
  return false;
}

// Puts a line in that is not there. Returns the tag of the one that it takes
// the place of, or kNone.
static uint64_t Insert(struct cache* cache, uint64_t line, uint64_t dirty) {
  uint64_t* set = SetOf(cache, line);
  if (cache->replacement == kLeastRecentlyUsed) {
    const uint64_t old = set[cache->ways - 1];
    for (uint32_t way = cache->ways - 1; way != 0; --way) {
      set[way] = set[way - 1];
    }
    set[0] = line << 1 | dirty;
    return old;
  }
  const uint32_t way = Victim(cache, line);
  const uint64_t old = set[way];
  set[way] = line << 1 | dirty;
  if (cache->replacement == kPseudoLru) {
    PointAway(&cache->trees[line & cache->set_mask], cache->ways, way);
  }
  return old;
}

// Takes a line out. Returns its tag, or kNone if it was not there.
static uint64_t Take(struct cache* cache, uint64_t line) {
  uint64_t* set = SetOf(cache, line);
  for (uint32_t way = 0; way < cache->ways; ++way) {
    const uint64_t found = set[way];
    if (found >> 1 != line) continue;
    if (cache->replacement == kLeastRecentlyUsed) {
      for (; way + 1 < cache->ways; ++way) set[way] = set[way + 1];
    }
    set[way] = kNone;
    return found;
  }
  return kNone;
}

// --- all of them ------------------------------------------------------------

bool GeometryIsSound(const struct hierarchy_geometry* geometry) {
  return IsSound(&geometry->l1d) && IsSound(&geometry->l2) &&
         (geometry->l3.lines == 0 || IsSound(&geometry->l3)) &&
         IsSound(&geometry->l2_tlb) && geometry->l1_tlb != 0 &&
         geometry->l1_tlb <= kMaxTlb && geometry->page_bits >= kLineBits &&
         geometry->page_bits < kAddressBits;
}

bool InitHierarchy(struct hierarchy* hierarchy,
                   const struct hierarchy_geometry* geometry) {
  memset(hierarchy, 0, sizeof(*hierarchy));
  hierarchy->geometry = *geometry;
  pthread_mutex_init(&hierarchy->lock, NULL);
  return InitCache(&hierarchy->l2, &geometry->l2) &&
         InitCache(&hierarchy->l3, &geometry->l3);
}

bool InitCore(struct core* core, struct hierarchy* hierarchy) {
  const struct hierarchy_geometry* geometry = &hierarchy->geometry;
  memset(core, 0, sizeof(*core));
  core->hierarchy = hierarchy;
  core->last_line = core->last_dirty = core->last_page = kNone;
  core->stored_line = kNone - 1;
  core->l2 = geometry->l2_shared ? &hierarchy->l2 : &core->own_l2;
  core->tlb.entries = geometry->l1_tlb;
  memset(core->tlb.pages, 0xff, sizeof(core->tlb.pages));
  // Far from every line: no miss is a neighbour of these.
  memset(core->recent, 0x7f, sizeof(core->recent));
  if (!InitCache(&core->l1d, &geometry->l1d) ||
      !InitCache(&core->l2_tlb, &geometry->l2_tlb) ||
      (!geometry->l2_shared && !InitCache(&core->own_l2, &geometry->l2))) {
    return false;
  }
  pthread_mutex_lock(&hierarchy->lock);
  core->next = hierarchy->cores;
  hierarchy->cores = core;
  pthread_mutex_unlock(&hierarchy->lock);
  return true;
}

void FreeCore(struct core* core) {
  struct hierarchy* hierarchy = core->hierarchy;
  pthread_mutex_lock(&hierarchy->lock);
  for (struct core** it = &hierarchy->cores; *it != NULL; it = &(*it)->next) {
    if (*it != core) continue;
    *it = core->next;
    break;
  }
  pthread_mutex_unlock(&hierarchy->lock);
  FreeCache(&core->l1d);
  FreeCache(&core->l2_tlb);
  FreeCache(&core->own_l2);
}

void FreeHierarchy(struct hierarchy* hierarchy) {
  FreeCache(&hierarchy->l2);
  FreeCache(&hierarchy->l3);
  pthread_mutex_destroy(&hierarchy->lock);
}

// A product with an odd number and a shift to the right, each a permutation of
// the numbers of so many bits, twice.
uint64_t FrameOf(uint64_t page, uint32_t page_bits) {
  const uint32_t bits = kAddressBits - page_bits;
  const uint64_t mask = (UINT64_C(1) << bits) - 1;
  uint64_t frame = page & mask;
  frame = (frame * kSeed) & mask;
  frame ^= frame >> (bits / 2);
  frame = (frame * kOtherSeed) & mask;
  return frame ^ (frame >> (bits / 2));
}

// The entry of the first TLB that holds a page, which is looked up in the
// second one where it has to be.
static uint32_t EntryOf(struct core* core, uint64_t page) {
  struct tlb* tlb = &core->tlb;
  uint32_t oldest = 0;
  for (uint32_t i = 0; i < tlb->entries; ++i) {
    if (tlb->pages[i] == page) return i;
    if (tlb->used[i] < tlb->used[oldest]) oldest = i;
  }
  ++core->counts.tlb;
  if (!Touch(&core->l2_tlb, page, 0)) {
    ++core->counts.walks;
    Insert(&core->l2_tlb, page, 0);
  }
  const uint32_t page_bits = core->hierarchy->geometry.page_bits;
  tlb->pages[oldest] = page;
  tlb->frames[oldest] = FrameOf(page, page_bits) << (page_bits - kLineBits);
  return oldest;
}

// The physical line of a virtual one.
static uint64_t Translate(struct core* core, uint64_t line) {
  const uint32_t bits = core->hierarchy->geometry.page_bits - kLineBits;
  const uint64_t page = line >> bits;
  if (page != core->last_page) {
    struct tlb* tlb = &core->tlb;
    uint8_t* guess = &tlb->guess[page % sizeof(tlb->guess)];
    if (tlb->pages[*guess] != page) *guess = (uint8_t)EntryOf(core, page);
    tlb->used[*guess] = ++tlb->now;
    core->last_page = page;
    core->last_frame = tlb->frames[*guess];
  }
  return core->last_frame | (line & ((UINT64_C(1) << bits) - 1));
}

// Whether a line that was missed follows a stream: the line a stride before it
// and that two strides before it were missed lately.
static bool Follows(struct core* core, uint64_t line) {
  uint64_t near = 0;  // bit 32 + d: the line d before this one
  for (uint32_t i = 0; i < kRecentMisses; ++i) {
    const uint64_t behind = line - core->recent[i] + kNeighbours;
    if (behind < 64) near |= UINT64_C(1) << behind;
  }
  core->recent[core->recent_at++ % kRecentMisses] = line;
  for (uint32_t stride = 1; stride <= kFarthestStride; ++stride) {
    const uint64_t up =
        near >> (kNeighbours + stride) & near >> (kNeighbours + 2 * stride);
    const uint64_t down =
        near >> (kNeighbours - stride) & near >> (kNeighbours - 2 * stride);
    if ((up | down) & 1) return true;
  }
  return false;
}

// L2 puts a line out.
static void PutOut(struct core* core, uint64_t tag) {
  struct hierarchy* hierarchy = core->hierarchy;
  if (tag == kNone) return;
  const uint64_t dirty = tag & 1;
  uint64_t out = tag;
  if (hierarchy->geometry.l3.lines != 0) {
    if (!dirty && !hierarchy->geometry.l3_exclusive) return;
    if (Touch(&hierarchy->l3, tag >> 1, dirty)) return;
    out = Insert(&hierarchy->l3, tag >> 1, dirty);
  }
  if (out != kNone && (out & 1) != 0) ++core->counts.written_back;
}

// Whether the L2 of another core has a line, which then comes from there.
static bool AnotherHas(const struct core* core, uint64_t line) {
  const struct core* other = core->hierarchy->cores;
  for (; other != NULL; other = other->next) {
    if (other->l2 != core->l2 && Has(other->l2, line)) return true;
  }
  return false;
}

// L1D misses a line and reads it from below.
static void Read(struct core* core, uint64_t line, uint64_t* l2_misses) {
  struct hierarchy* hierarchy = core->hierarchy;
  if (Touch(core->l2, line, 0)) return;
  ++*l2_misses;
  uint64_t dirty = 0;
  if (hierarchy->geometry.l3.lines != 0) {
    if (hierarchy->geometry.l3_exclusive) {
      const uint64_t found = Take(&hierarchy->l3, line);
      if (found == kNone && !AnotherHas(core, line)) ++core->counts.l3;
      dirty = found == kNone ? 0 : found & 1;
    } else if (!Touch(&hierarchy->l3, line, 0)) {
      ++core->counts.l3;
      const uint64_t out = Insert(&hierarchy->l3, line, 0);
      if (out != kNone && (out & 1) != 0) ++core->counts.written_back;
    }
  }
  PutOut(core, Insert(core->l2, line, dirty));
}

// L1D writes a whole line to L2, which need not read it.
static void Write(struct core* core, uint64_t line) {
  struct hierarchy* hierarchy = core->hierarchy;
  if (Touch(core->l2, line, 1)) return;
  if (hierarchy->geometry.l3.lines != 0 && hierarchy->geometry.l3_exclusive) {
    Take(&hierarchy->l3, line);
  }
  PutOut(core, Insert(core->l2, line, 1));
}

// Whether a store that missed L1D is one of a long row, and goes past it.
static bool StoresPast(struct core* core, uint64_t line, uint64_t physical) {
  const struct hierarchy_geometry* geometry = &core->hierarchy->geometry;
  if (geometry->streaming_l1 == 0) return false;
  const bool again = line == core->stored_line;  // it is still being gathered
  if (!again) {
    const bool next = line == core->stored_line + 1;
    core->stored_lines = next ? core->stored_lines + 1 : 0;
    core->stored_line = line;
  }
  if (core->stored_lines < geometry->streaming_l1) return false;
  core->last_line = kNone;  // a load has to look for it
  if (again) return true;
  ++core->counts.l1.store;
  if (geometry->streaming_l2 == 0 ||
      core->stored_lines < geometry->streaming_l2) {
    Write(core, physical);
  } else if (!Touch(core->l2, physical, 1)) {
    ++core->counts.written_back;
  }
  return true;
}

static void Miss(struct core* core, uint64_t line, uint64_t physical,
                 bool store) {
  struct memory_counts* counts = &core->counts;
  if (store && StoresPast(core, line, physical)) return;
  uint64_t* l1 = &counts->l1.store;
  uint64_t* l2 = &counts->l2.store;
  const bool follows = Follows(core, line);
  if (!store) {
    l1 = follows ? &counts->l1.stream : &counts->l1.random;
    l2 = follows ? &counts->l2.stream : &counts->l2.random;
  }
  ++*l1;
  Read(core, physical, l2);
  const uint64_t out = Insert(&core->l1d, physical, store);
  if (out != kNone && (out & 1) != 0) Write(core, out >> 1);
}

static void Access(struct core* core, uint64_t line, bool store) {
  const uint64_t physical = Translate(core, line);
  core->last_line = line;
  core->last_dirty = store ? line : kNone;
  if (Touch(&core->l1d, physical, store)) return;
  struct hierarchy* hierarchy = core->hierarchy;
  const bool several = __atomic_load_n(&hierarchy->several, __ATOMIC_RELAXED);
  if (several) pthread_mutex_lock(&hierarchy->lock);
  Miss(core, line, physical, store);
  if (several) pthread_mutex_unlock(&hierarchy->lock);
}

void LoadLine(struct core* core, uint64_t line) { Access(core, line, false); }

void StoreLine(struct core* core, uint64_t line) { Access(core, line, true); }
