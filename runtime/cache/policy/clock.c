/* SPDX-License-Identifier: MIT
 * clock and sieve: one list, and one bit for each entry, which a hit sets. Hits move nothing.
 *
 * clock (Corbato, 1968) looks at the tail: a marked entry goes back to the head, unmarked. sieve
 * (Zhang et al., NSDI 2024) leaves entries where they are and moves a hand instead, from the tail
 * to the head and over again, unmarking what it passes; so what came later than the survivors is
 * looked at first.
 *
 * I1 The hand is 0, which is the tail, or a node in the chain. */
#include "builtin.h"
#include "order.h"

struct sieve {
  struct queued q;
  uint32_t hand;
};

static uint32_t *hand_of(struct lethe_evict *e) { return &((struct sieve *)(void *)e)->hand; }

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  (void)r;
  list_push(e, 0, slot);
  return LETHE_OK;
}

static void mark(struct lethe_evict *e, uint32_t slot) { lethe_evict_at(e, slot)->mark = 1; }

/* ---- clock ----------------------------------------------------------------------------------- */

static uint32_t clock_victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct list *l = list_at(e, 0);
  (void)r;
  while (l->tail && lethe_evict_at(e, l->tail)->mark) {
    lethe_evict_at(e, l->tail)->mark = 0;
    list_to_head(e, l, l->tail);
  }
  return l->tail;
}

/* ---- sieve ----------------------------------------------------------------------------------- */

static uint32_t sieve_victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct list *l = list_at(e, 0);
  uint32_t slot = *hand_of(e) ? *hand_of(e) : l->tail;
  (void)r;
  while (slot && lethe_evict_at(e, slot)->mark) {
    struct lethe_evict_node *n = lethe_evict_at(e, slot);
    n->mark = 0;
    slot = n->prev ? n->prev : l->tail;
  }
  return *hand_of(e) = slot;
}

/* It goes out of the chain: the hand is on what came next after it. */
static void pass(struct lethe_evict *e, uint32_t slot) {
  if (*hand_of(e) == slot) *hand_of(e) = lethe_evict_at(e, slot)->prev; /* keeps I1 */
}

static void sieve_leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  pass(e, slot);
  queued_leave(e, slot, evicted);
}

static void sieve_refuse(struct lethe_evict *e, uint32_t slot) {
  pass(e, slot);
  queued_refuse(e, slot);
}

/* Behind the hand, which goes back to it. */
static void sieve_offer(struct lethe_evict *e, uint32_t slot) {
  uint32_t hand = *hand_of(e), after;
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  if (hand == 0 || (after = lethe_evict_at(e, hand)->next) == 0) {
    queued_offer(e, slot);
  } else {
    n->prev = hand;
    n->next = after;
    lethe_evict_at(e, hand)->next = lethe_evict_at(e, after)->prev = slot;
  }
  if (hand) *hand_of(e) = slot;
}

const struct lethe_evict_ops evict_clock = {.name = "clock",
                                            .size = sizeof(struct queued),
                                            .node = sizeof(struct lethe_evict_node),
                                            .insert = insert,
                                            .hit = mark,
                                            .victim = clock_victim,
                                            .leave = queued_leave,
                                            QUEUED_OPS};
const struct lethe_evict_ops evict_sieve = {.name = "sieve",
                                            .size = sizeof(struct sieve),
                                            .node = sizeof(struct lethe_evict_node),
                                            .insert = insert,
                                            .hit = mark,
                                            .victim = sieve_victim,
                                            .leave = sieve_leave,
                                            .refuse = sieve_refuse,
                                            .offer = sieve_offer,
                                            .weigh = queued_weigh,
                                            .each = queued_each,
                                            .check = queued_check};
