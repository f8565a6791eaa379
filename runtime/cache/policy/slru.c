/* SPDX-License-Identifier: MIT
 * slru, segmented LRU (Karedla et al., 1994): four lists of a quarter of the limit each.
 *
 * A newcomer stands in the lowest one that has room, so a cold cache fills from below; a hit takes
 * an entry one list up, to the head. What is then too much in a list goes down, from its tail to
 * the head of the list below, and from the lowest one it leaves. Victims are at the tail of the
 * lowest list that is not empty. */
#include "builtin.h"
#include "order.h"

enum { SEGMENTS = 4 };
_Static_assert((int)SEGMENTS <= (int)QUEUED_LISTS, "a list for each segment");

static int64_t segment(const struct lethe_evict *e) {
  return e->limit >= SEGMENTS || e->exact ? e->limit / SEGMENTS : 1;
}

static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  return r->size <= (e->exact ? segment(e) : e->limit); /* else it goes into the lowest list */
}

/* The lowest list with room for it, or SEGMENTS. */
static unsigned with_room(struct lethe_evict *e, int64_t size) {
  unsigned q = 0;
  while (q < SEGMENTS && list_at(e, q)->used > segment(e) - size) q++;
  return q;
}

static bool full(struct lethe_evict *e, const struct lethe_evict_request *r) {
  (void)r;
  return e->surplus;
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  unsigned q = with_room(e, r->size);
  list_push(e, q < SEGMENTS ? q : 0, slot);
  return LETHE_OK;
}

/* What is too much in that list and those below goes down; out of the lowest one, once something
 * has come into it from above. */
static void cascade(struct lethe_evict *e, unsigned q) {
  for (; q > 0; q--) {
    struct list *l = list_at(e, q);
    while (l->used > segment(e) && l->tail) {
      list_move(e, q - 1, l->tail);
      if (q == 1) e->surplus = list_at(e, 0)->used > segment(e);
    }
  }
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  unsigned q = lethe_evict_at(e, slot)->queue;
  if (q == SEGMENTS - 1) {
    list_to_head(e, list_at(e, q), slot);
  } else {
    list_move(e, q + 1, slot);
    cascade(e, q + 1);
  }
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  unsigned q = 0;
  (void)r;
  while (q < SEGMENTS - 1 && !list_at(e, q)->tail) q++;
  return list_at(e, q)->tail;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  queued_leave(e, slot, evicted);
  if (list_at(e, 0)->used <= segment(e) || !list_at(e, 0)->tail) e->surplus = false;
}

static void resize(struct lethe_evict *e) { cascade(e, SEGMENTS - 1); }

const struct lethe_evict_ops evict_slru = {.name = "slru",
                                           .size = sizeof(struct queued),
                                           .node = sizeof(struct lethe_evict_node),
                                           .admit = admit,
                                           .full = full,
                                           .insert = insert,
                                           .hit = hit,
                                           .victim = victim,
                                           .leave = leave,
                                           .resize = resize,
                                           QUEUED_OPS};
