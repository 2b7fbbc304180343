// Which blocks of code follow which, how often: an edge leads from a block to
// one that ran after it. Every thread counts its own (struct edges).

#ifndef TILESKIP_QEMU_PLUGIN_EDGES_H_
#define TILESKIP_QEMU_PLUGIN_EDGES_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine_code.h"

// A translated block. It lives as long as the process, as QEMU may run it any
// time; the same code at the same address is one block, however often QEMU
// translates it.
struct block {
  struct block* next;  // of those that Intern takes for the same at first sight
  const char* symbol;  // NULL: the program names none there
  uint64_t address;
  uint32_t number;
  uint32_t instructions, loads, stores;
  enum ending ending;
  bool yields;
  bool told;  // whether an edge of what was written names it
  uint32_t bytes;
  uint8_t* sizes;  // bytes of each instruction
  uint8_t code[];
};

struct node;

struct edge {
  struct block* to;
  struct node* node;  // of the block that it leads to
  uint64_t count;
};

// A block as one thread sees it, with the edges that leave it, the latest
// first.
struct node {
  struct block* block;  // NULL: what ran before is not known
  struct edge* edges;
  uint32_t edge_count, edge_space;
  struct node* next_used;
  bool used;  // whether an edge was counted since the last time they were told
};

struct edges {
  struct node** nodes;  // by the block's number
  uint32_t node_space;
  struct node outside;
  struct node* used;
};

// Straight code of a machine.
struct code {
  const struct machine* machine;
  uint64_t address;
  const uint8_t* bytes;
  const uint8_t* sizes;  // of each instruction, in bytes
  uint32_t instructions;
};

// The block with this code; made unless there is one. NULL: memory is short.
struct block* Intern(const struct code* code, const char* symbol);

// All blocks, by their numbers.
uint32_t BlockCount(void);
struct block* BlockOf(uint32_t number);

void InitEdges(struct edges* edges);

// The edge from a node to a block, now the first of the node's. NULL: memory is
// short.
struct edge* FindEdge(struct edges* edges, struct node* from,
                      struct block* block);

// Counts an edge. Returns the node of the block that it leads to, or NULL.
static inline struct node* CountEdge(struct edges* edges, struct node* from,
                                     struct block* block) {
  struct edge* edge = from->edges;
  if (edge->to != block) {
    edge = FindEdge(edges, from, block);
    if (edge == NULL) return NULL;
  }
  ++edge->count;
  if (!from->used) {
    from->used = true;
    from->next_used = edges->used;
    edges->used = from;
  }
  return edge->node;
}

// Every count is 0 again.
void ForgetCounts(struct edges* edges);

#endif  // TILESKIP_QEMU_PLUGIN_EDGES_H_
