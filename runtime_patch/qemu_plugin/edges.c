#include "edges.h"

#include <stdlib.h>
#include <string.h>

enum { kBuckets = 1 << 16, kSpace = 4 };

// What a node without edges has, so that counting need not ask for it.
static struct edge no_edge;

static struct block* buckets[kBuckets];
static struct block** blocks;
static uint32_t block_count, block_space;

// The array with room for one more element, the new ones 0; NULL where memory
// is short, and the array is as it was.
static void* Grown(void* array, size_t size, uint32_t needed, uint32_t* space) {
  if (needed < *space) return array;
  uint32_t more = *space == 0 ? kSpace : *space;
  while (more <= needed) more *= 2;
  char* grown = realloc(array, size * more);
  if (grown == NULL) return NULL;
  memset(grown + size * *space, 0, size * (more - *space));
  *space = more;
  return grown;
}

static uint32_t BytesOf(const struct code* code) {
  uint32_t bytes = 0;
  for (uint32_t i = 0; i < code->instructions; ++i) bytes += code->sizes[i];
  return bytes;
}

static void Describe(struct block* made, const struct code* code) {
  const uint8_t* at = code->bytes;
  for (uint32_t i = 0; i < code->instructions; ++i) {
    const struct instruction read = code->machine->read(at, code->sizes[i]);
    made->loads += read.loads;
    made->stores += read.stores;
    made->yields |= read.yields;
    made->ending = read.ending;  // the last one's stays
    at += code->sizes[i];
  }
}

struct block* Intern(const struct code* code, const char* symbol) {
  const uint32_t bytes = BytesOf(code);
  struct block** bucket = &buckets[(code->address / 4) % kBuckets];
  for (struct block* one = *bucket; one != NULL; one = one->next) {
    if (one->address == code->address && one->bytes == bytes &&
        memcmp(one->code, code->bytes, bytes) == 0) {
      return one;
    }
  }
  struct block** grown =
      Grown(blocks, sizeof(*blocks), block_count, &block_space);
  if (grown == NULL) return NULL;
  blocks = grown;
  struct block* made = calloc(1, sizeof(*made) + bytes + code->instructions);
  if (made == NULL) return NULL;
  made->next = *bucket;
  *bucket = made;
  made->symbol = symbol == NULL ? NULL : strdup(symbol);
  made->address = code->address;
  made->number = block_count;
  made->instructions = code->instructions;
  made->bytes = bytes;
  made->sizes = made->code + bytes;
  memcpy(made->code, code->bytes, bytes);
  memcpy(made->sizes, code->sizes, code->instructions);
  Describe(made, code);
  blocks[block_count++] = made;
  return made;
}

uint32_t BlockCount(void) { return block_count; }

struct block* BlockOf(uint32_t number) {
  return blocks[number];
}

void InitEdges(struct edges* edges) {
  memset(edges, 0, sizeof(*edges));
  edges->outside.edges = &no_edge;
}

static struct node* NodeOf(struct edges* edges, struct block* block) {
  struct node** grown = Grown(edges->nodes, sizeof(*edges->nodes),
                              block->number, &edges->node_space);
  if (grown == NULL) return NULL;
  edges->nodes = grown;
  struct node** place = &edges->nodes[block->number];
  if (*place == NULL) {
    *place = calloc(1, sizeof(**place));
    if (*place == NULL) return NULL;
    (*place)->block = block;
    (*place)->edges = &no_edge;
  }
  return *place;
}

struct edge* FindEdge(struct edges* edges, struct node* from,
                      struct block* block) {
  uint32_t at = 0;
  while (at < from->edge_count && from->edges[at].to != block) ++at;
  if (at == from->edge_count) {
    struct node* node = NodeOf(edges, block);
    void* array = from->edges == &no_edge ? NULL : from->edges;
    struct edge* grown =
        Grown(array, sizeof(struct edge), at, &from->edge_space);
    if (node == NULL || grown == NULL) return NULL;
    from->edges = grown;
    from->edges[at] = (struct edge){.to = block, .node = node};
    ++from->edge_count;
  }
  // The one before it makes room: an edge that is taken often stays in front.
  if (at != 0) {
    const struct edge found = from->edges[at];
    const uint32_t place = at == 1 ? 0 : at / 2;
    from->edges[at] = from->edges[place];
    from->edges[place] = found;
    at = place;
  }
  return &from->edges[at];
}

void ForgetCounts(struct edges* edges) {
  while (edges->used != NULL) {
    struct node* node = edges->used;
    for (uint32_t i = 0; i < node->edge_count; ++i) node->edges[i].count = 0;
    node->used = false;
    edges->used = node->next_used;
  }
}
