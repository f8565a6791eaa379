/* SPDX-License-Identifier: MIT
 * The inside of hook policies: their queues and ghost lists, by index.
 *
 * I1 A node's queue is 1 + the index of the one that counts it; 0: none does.
 * I2 It is in the chain of that queue unless it is refused. */
#ifndef LETHE_CACHE_HOOKS_INTERNAL_H
#define LETHE_CACHE_HOOKS_INTERNAL_H

#include "lethe/evict_hooks.h"
#include "script_internal.h"

enum { HOOK_NAME = 64 };

struct hook_queue {
  char name[HOOK_NAME];
  struct list list;
};
struct hook_ghost {
  char name[HOOK_NAME];
  uint64_t most;
  bool heir; /* of a policy before, and not asked for since */
  struct ghost ghost;
};

struct hooks {
  struct script script;
  struct lethe_evict_hooks config;
  struct hook_queue *queue;
  struct hook_ghost *ghost;
  size_t queues, queue_room, ghosts, ghost_room;
  uint32_t calls;                            /* of on_evict */
  uint64_t asked_at;                         /* the access of the last one */
  const struct lethe_evict_request *request; /* that the call under way is about, or NULL */
  struct lethe_evict_request *admitting;     /* likewise, while admit may note what it found */
  unsigned proposals;
  uint64_t proposal[LETHE_EVICT_VICTIMS];
};

static inline struct hooks *hooks_of(struct script *s) {
  return lethe_container_of(s, struct hooks, script);
}
/* Where a node is counted, or NULL. */
static inline struct list *hooks_list(struct hooks *p, uint32_t slot) {
  unsigned queue = script_at(&p->script, slot)->node.queue;
  if (script_is_out(&p->script)) return &p->script.lru;
  return queue ? &p->queue[queue - 1].list : NULL;
}
/* To the front or back of a queue, from wherever it is. */
void hooks_place(struct hooks *p, uint32_t slot, unsigned queue, bool front);
int hooks_prepare(struct script *s, struct script *from);
void hooks_inherit(struct script *s, struct script *from);
void hooks_emptied(struct script *s);
void hooks_forget(struct hooks *p);
void hooks_end(struct hooks *p);

#endif
