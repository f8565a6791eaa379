/* SPDX-License-Identifier: MIT
 * wtinylfu, W-TinyLFU (Einziger, Friedman and Manes, 2017): an LRU window of one percent for
 * newcomers; what leaves it is let into the main part only if it was accessed more often than what
 * it would drive out. That part is an LRU in two, probation and protected, a hit in the former
 * leading to the latter, which has four fifths.
 *
 * How often a key was accessed, also before it came, is told by a sketch: four cells of a table for
 * each key, each counting up to 15; the least of them is the answer. After ten accesses for each
 * entry that there may be, all counts are halved, so that what was asked for long ago pales. The
 * sketch is as large as entries are many, whatever they weigh, and grows with them.
 *
 * I1 width is a power of 2; a table that grows is repeated in its new part, so every key finds its
 *    cells. */
#include <string.h>

#include "builtin.h"
#include "order.h"

enum { WINDOW, PROBATION, PROTECTED };
enum { CELLS = 8, HASHES = 4, MOST = 15, SAMPLE = 10 }; /* cells and accesses for each entry */

struct wtinylfu {
  struct queued q;
  uint8_t *cells;
  uint32_t width;
  uint64_t counted;    /* accesses since the counts were halved */
  uint32_t driven_out; /* the last victim, if it is one for */
  uint64_t contender;  /* this one of the window */
};

static struct wtinylfu *self(struct lethe_evict *e) { return (struct wtinylfu *)(void *)e; }
static int64_t window_limit(const struct lethe_evict *e) {
  return e->limit >= 100 ? e->limit / 100 : 1;
}
static int64_t protected_limit(const struct lethe_evict *e) {
  int64_t main = e->limit - window_limit(e);
  return main / 5 * 4 + main % 5 * 4 / 5;
}

/* ---- the sketch ------------------------------------------------------------------------------ */

static int reserve(struct lethe_evict *e, uint32_t room) {
  struct wtinylfu *w = self(e);
  uint64_t width = (uint64_t)room * CELLS;
  uint8_t *cells = width <= UINT32_MAX ? lethe_malloc(e->alloc, (size_t)width) : NULL;
  if (!cells) return width <= UINT32_MAX ? LETHE_ENOMEM : LETHE_OK; /* keeps the one it has */
  if (!w->width) memset(cells, 0, (size_t)width);
  for (size_t at = 0; w->width && at < width; at += w->width) /* keeps I1 */
    memcpy(cells + at, w->cells, w->width);
  lethe_free(e->alloc, w->cells, w->width);
  w->cells = cells;
  w->width = (uint32_t)width;
  return LETHE_OK;
}

static uint64_t mix(uint64_t key) {
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return key ^ key >> 32;
}

static uint8_t *cell(const struct wtinylfu *w, uint64_t hash, unsigned i) {
  uint32_t step = (uint32_t)(hash >> 32) | 1;
  return &w->cells[((uint32_t)hash + i * step) & (w->width - 1)];
}

static unsigned estimate(const struct wtinylfu *w, uint64_t key) {
  uint64_t hash = mix(key);
  unsigned least = MOST;
  for (unsigned i = 0; i < HASHES; i++) {
    unsigned count = *cell(w, hash, i);
    if (count < least) least = count;
  }
  return least;
}

static void count(struct wtinylfu *w, uint64_t key) {
  uint64_t hash = mix(key);
  for (unsigned i = 0; i < HASHES; i++) {
    uint8_t *c = cell(w, hash, i);
    if (*c < MOST) ++*c;
  }
  if (++w->counted < (uint64_t)w->width / CELLS * SAMPLE) return;
  for (uint32_t i = 0; i < w->width; i++) w->cells[i] >>= 1;
  w->counted /= 2;
}

/* ---- the policy ------------------------------------------------------------------------------ */

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  struct list *window = list_at(e, WINDOW);
  count(self(e), r->key);
  list_push(e, WINDOW, slot);
  while (window->used > window_limit(e) && window->tail) list_move(e, PROBATION, window->tail);
  return LETHE_OK;
}

static void calm(struct lethe_evict *e) {
  struct list *l = list_at(e, PROTECTED);
  while (l->used > protected_limit(e) && l->tail) list_move(e, PROBATION, l->tail);
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  count(self(e), n->key);
  if (n->queue == PROBATION) {
    list_move(e, PROTECTED, slot);
    calm(e);
  } else {
    list_to_head(e, list_at(e, n->queue), slot);
  }
}

/* If the window overflows, its tail contends with the main part's; the newcomer itself does not. */
static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct wtinylfu *w = self(e);
  const struct list *window = list_at(e, WINDOW);
  uint32_t probation = list_at(e, PROBATION)->tail, contender = window->tail;
  uint32_t main = probation ? probation : list_at(e, PROTECTED)->tail;
  w->driven_out = 0;
  if (!main || !contender) return main ? main : contender;
  if (window->used <= window_limit(e) - (r ? r->size : 0)) return main;
  if (estimate(w, lethe_evict_at(e, contender)->key) <= estimate(w, lethe_evict_at(e, main)->key))
    return contender;
  w->driven_out = main;
  w->contender = lethe_evict_handle(e, contender);
  return main;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct wtinylfu *w = self(e);
  const struct lethe_evict_node *c = lethe_evict_get(e, w->contender);
  list_remove(e, slot);
  if (slot != w->driven_out) return;
  w->driven_out = 0;
  if (evicted && c && c->queue == WINDOW && !c->refused)
    list_move(e, PROBATION, (uint32_t)w->contender);
}

static void resize(struct lethe_evict *e) {
  struct list *window = list_at(e, WINDOW);
  calm(e);
  while (window->used > window_limit(e) && window->tail) list_move(e, PROBATION, window->tail);
}

static void forget(struct lethe_evict *e) {
  struct wtinylfu *w = self(e);
  if (w->cells) memset(w->cells, 0, w->width);
  w->counted = 0;
}

static void destroy(struct lethe_evict *e) { lethe_free(e->alloc, self(e)->cells, self(e)->width); }

const struct lethe_evict_ops evict_wtinylfu = {.name = "wtinylfu",
                                               .size = sizeof(struct wtinylfu),
                                               .node = sizeof(struct lethe_evict_node),
                                               .destroy = destroy,
                                               .reserve = reserve,
                                               .insert = insert,
                                               .hit = hit,
                                               .victim = victim,
                                               .leave = leave,
                                               .resize = resize,
                                               .forget = forget,
                                               QUEUED_OPS};
