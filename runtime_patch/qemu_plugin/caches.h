// A core's data caches, TLBs and stream detector, played on the addresses of
// its accesses. It knows nothing of QEMU; all is counted, nothing is timed.
//
//   L1D, TLBs, streams   of one thread (struct core)
//   L2                   of one thread, or of all (struct hierarchy)
//   L3                   of all, where there is one
//
// All caches write back and allocate on a store. Pages lie in physical memory
// as a fixed function says (FrameOf), so that what falls into one set of L2
// follows from chance, as on a board, and is the same in each run.
//
// With an exclusive L3, a line that another core's L2 has comes from there.
//
// Not played: lines that a prefetcher brings (see struct misses), code in L2,
// and that a store takes a line out of another core's L1D and L2.

#ifndef TILESKIP_QEMU_PLUGIN_CACHES_H_
#define TILESKIP_QEMU_PLUGIN_CACHES_H_

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  kLineBits = 6,  // 64 bytes, in all cores that are played
  kLineBytes = 1 << kLineBits,
  kMaxWays = 32,
  kMaxTlb = 64,
  kRecentMisses = 32,
};

enum replacement {
  kLeastRecentlyUsed,
  kRandom,     // by a generator with a fixed seed
  kPseudoLru,  // a tree of bits a set; ways are a power of two
};

// Of a cache, in lines, or of a TLB, in pages. No lines: there is none.
struct geometry {
  uint32_t lines;
  uint32_t ways;
  enum replacement replacement;
};

struct hierarchy_geometry {
  struct geometry l1d, l2, l3;
  bool l2_shared;
  // Whether L3 holds what L2 has put out, and no line that an L2 has read.
  bool l3_exclusive;
  uint32_t page_bits;
  uint32_t l1_tlb;  // entries; it is fully associative, least recently used
  struct geometry l2_tlb;
  // How many lines that follow each other are stored to before stores that
  // miss go past L1D, and past L2. 0: they never do.
  uint32_t streaming_l1, streaming_l2;
};

// A line of L1D that was missed is counted by what missed it: a load that
// follows a stream, which a prefetcher would have brought in time; another
// load; or a store.
struct misses {
  uint64_t stream, random, store;
};

struct memory_counts {
  struct misses l1, l2;   // those of L2 are among those of L1D
  uint64_t l3;            // lines that L3 did not have, among those of L2, nor
                          // the L2 of another core
  uint64_t written_back;  // dirty lines that went to memory
  uint64_t tlb, walks;    // misses of the first TLB; of the second one, too
};

// A set's ways lie side by side, least recently used: the latest first.
struct cache {
  uint64_t* tags;  // of a line: twice its number, and 1 if it is dirty
  uint64_t* trees;
  uint32_t set_mask;
  uint32_t ways;
  enum replacement replacement;
  uint64_t random;
};

struct tlb {
  uint64_t pages[kMaxTlb], frames[kMaxTlb], used[kMaxTlb];
  uint8_t guess[256];  // where a page was found last, by its lower bits
  uint64_t now;
  uint32_t entries;
};

// What all cores share.
struct hierarchy {
  struct hierarchy_geometry geometry;
  struct cache l2, l3;
  struct core* cores;
  bool several;  // cores: then the lock is taken
  pthread_mutex_t lock;
};

struct core {
  // The line that was accessed last, and the same if it is dirty.
  uint64_t last_line, last_dirty;
  uint64_t last_page, last_frame;
  struct cache l1d;
  struct cache own_l2;
  struct cache* l2;
  struct hierarchy* hierarchy;
  struct core* next;
  struct tlb tlb;
  struct cache l2_tlb;
  uint64_t recent[kRecentMisses];
  uint32_t recent_at;
  uint64_t stored_line;
  uint32_t stored_lines;
  struct memory_counts counts;
};

// Whether a geometry can be played: sets and ways are powers of two where they
// have to be.
bool GeometryIsSound(const struct hierarchy_geometry* geometry);

// Both return false where memory is short. A core belongs to one thread.
bool InitHierarchy(struct hierarchy* hierarchy,
                   const struct hierarchy_geometry* geometry);
bool InitCore(struct core* core, struct hierarchy* hierarchy);
void FreeCore(struct core* core);
void FreeHierarchy(struct hierarchy* hierarchy);

// The number of the page in physical memory: a permutation of all pages.
uint64_t FrameOf(uint64_t page, uint32_t page_bits);

// An access to a line, by its number: its address without the lowest bits.
void LoadLine(struct core* core, uint64_t line);
void StoreLine(struct core* core, uint64_t line);

// The same, for the line that was accessed last at no cost.
static inline void Load(struct core* core, uint64_t line) {
  if (line != core->last_line) LoadLine(core, line);
}

static inline void Store(struct core* core, uint64_t line) {
  if (line != core->last_dirty) StoreLine(core, line);
}

#endif  // TILESKIP_QEMU_PLUGIN_CACHES_H_
