/* SPDX-License-Identifier: MIT
 * Where Refs are: in blocks that begin at a multiple of their size, so that a Ref's address leads
 * to its block, and its slot to where it stands there. A look-up comes by a Ref's address and wants
 * its slot; so it need not touch the Ref, which is one of many, but its block, which is one of few.
 * Addresses that are a multiple of something large have one set of a cache for them all: so each
 * block stands at another distance from its memory's beginning, in the midst of its places, which
 * are counted from it on and go round.
 *
 * Invariants: P1  blocks[n] has the slots from n * WEAK_PLACES on; its own place, number 0, is
 * nobody's slot. P2  a place is in use until its Ref's memory goes. P3  `spare` has the blocks with
 * places to give. P4  only living Refs are in a block's `living`. */
#include <string.h>

#include "weakmap.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p))
#endif

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

_Static_assert(sizeof(struct weak_block) <= sizeof(struct weak_ref), "a block fits its own place");
_Static_assert(WEAK_PLACES % 64 == 0, "whole words of bits");

static char *beginning(struct weak_block *b) { return (char *)b - (uintptr_t)b % WEAK_BLOCK; }

static struct weak_ref *place_at(struct weak_block *b, uint32_t i) {
  return (struct weak_ref *)(void *)(beginning(b) +
                                     ((uintptr_t)b + i * sizeof(struct weak_ref)) % WEAK_BLOCK);
}

/* The least number that no block has. */
static int take_number(struct weak_home *h, size_t *number) {
  size_t n = 0, had = h->room;
  while (n < had && h->blocks[n]) n++;
  *number = n;
  if (n < had) return LETHE_OK;
  if (lethe_grow(mem, (void **)&h->blocks, &h->room, n + 1, sizeof(struct weak_block *)))
    return LETHE_ENOMEM;
  memset(h->blocks + had, 0, (h->room - had) * sizeof(struct weak_block *));
  return LETHE_OK;
}

static int add_block(struct weak_home *h) {
  size_t number;
  if (take_number(h, &number)) return LETHE_ENOMEM;
  char *memory = lethe_malloc(mem, 2 * WEAK_BLOCK);
  if (!memory) return LETHE_ENOMEM;
  uintptr_t behind = (WEAK_BLOCK - (uintptr_t)memory % WEAK_BLOCK) % WEAK_BLOCK;
  ASAN_POISON_MEMORY_REGION(memory + behind, WEAK_BLOCK);
  struct weak_block *b = weak_block_of((struct weak_ref *)(void *)(memory + behind));
  ASAN_UNPOISON_MEMORY_REGION(b, sizeof *b);
  *b = (struct weak_block){.behind = (uint16_t)behind, .high = 1};
  b->first = (uint32_t)(number * WEAK_PLACES);
  lethe_list_push(&h->spare, &b->spare);
  h->blocks[number] = b;
  return LETHE_OK;
}

static void free_block(struct weak_home *h, struct weak_block *b) {
  h->blocks[b->first / WEAK_PLACES] = NULL;
  lethe_list_remove(&b->spare);
  char *memory = beginning(b) - b->behind;
  ASAN_UNPOISON_MEMORY_REGION(beginning(b), WEAK_BLOCK);
  lethe_free(mem, memory, 2 * WEAK_BLOCK);
}

void weak_pool_init(struct weak_home *h) { lethe_list_init(&h->spare); }

void weak_pool_end(struct weak_home *h) {
  for (size_t n = 0; n < h->room; n++)
    if (h->blocks[n]) free_block(h, h->blocks[n]);
  lethe_free(mem, h->blocks, h->room * sizeof(struct weak_block *));
}

struct weak_ref *weak_pool_take(struct weak_home *h) {
  if (lethe_list_empty(&h->spare) && add_block(h)) return NULL;
  struct weak_block *b = lethe_container_of(h->spare.next, struct weak_block, spare);
  uint16_t i = b->free ? b->free : b->high++;
  struct weak_ref *r = place_at(b, i);
  ASAN_UNPOISON_MEMORY_REGION(r, sizeof *r);
  if (b->free) b->free = (uint16_t)r->slot;
  *r = (struct weak_ref){.slot = b->first + i, .home = h};
  b->living[i / 64] |= UINT64_C(1) << i % 64;
  if (++b->used == WEAK_PLACES - 1) lethe_list_remove(&b->spare);
  return r;
}

void weak_pool_died(struct weak_ref *r) {
  uint32_t i = weak_place_of(r);
  weak_block_of(r)->living[i / 64] &= ~(UINT64_C(1) << i % 64);
}

/* One block stays, for who comes and goes one by one. */
void weak_pool_give(struct weak_home *h, struct weak_ref *r) {
  struct weak_block *b = weak_block_of(r);
  if (b->used-- == WEAK_PLACES - 1) lethe_list_push(&h->spare, &b->spare);
  r->slot = b->free;
  b->free = (uint16_t)weak_place_of(r);
  ASAN_POISON_MEMORY_REGION(r, sizeof *r);
  if (b->used == 0 && h->spare.next != h->spare.prev) free_block(h, b);
}

struct weak_ref *weak_pool_next(const struct weak_home *h, uint32_t slot) {
  for (size_t n = slot / WEAK_PLACES; n < h->room; n++) {
    struct weak_block *b = h->blocks[n];
    uint32_t i = n == slot / WEAK_PLACES ? slot % WEAK_PLACES : 0;
    for (; b && i < WEAK_PLACES; i = (i | 63) + 1) {
      uint64_t left = b->living[i / 64] >> i % 64;
      if (left) return place_at(b, i + (uint32_t)__builtin_ctzll(left));
    }
  }
  return NULL;
}
