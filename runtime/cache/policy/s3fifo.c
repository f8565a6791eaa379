/* SPDX-License-Identifier: MIT
 * s3fifo (Yang et al., SOSP 2023): three fifos. Newcomers go through a small one, a tenth of the
 * limit, so that what is asked for once leaves soon; what was hit twice there goes on to the main
 * one when its turn comes; of what leaves the small one the key is remembered for as long as nine
 * tenths of the limit last. A miss on such a key forgets it and enters main. In main, what was hit
 * is reinserted.
 *
 * Hits only count. A newcomer as large as the small fifo makes room and is not stored: the
 * published simulator does so. In a live cache it goes to main. */
#include "builtin.h"
#include "ghost.h"
#include "order.h"

enum { SMALL, MAIN };
enum { PROMOTE = 2, MOST = 3 };

struct s3fifo {
  struct queued q;
  struct ghost ghost;
};

struct s3fifo_node {
  struct lethe_evict_node node;
  uint32_t hits;
};

static struct ghost *ghost_of(struct lethe_evict *e) {
  return &((struct s3fifo *)(void *)e)->ghost;
}
static uint32_t *hits_of(const struct lethe_evict *e, uint32_t slot) {
  return &((struct s3fifo_node *)(void *)lethe_evict_at(e, slot))->hits;
}
static int64_t small_limit(const struct lethe_evict *e) { return e->limit / 10; }
static int64_t ghost_limit(const struct lethe_evict *e) {
  return e->limit / 10 * 9 + e->limit % 10 * 9 / 10;
}

static int init(struct lethe_evict *e, void *arg) {
  (void)arg;
  ghost_init(ghost_of(e), e->alloc);
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) { ghost_destroy(ghost_of(e)); }

static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  r->found = ghost_take(ghost_of(e), r->key);
  return r->size <= (e->exact ? small_limit(e) : e->limit);
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  bool large = r->size >= small_limit(e);
  if (large && !r->found && e->exact) return LETHE_ELIMIT;
  list_push(e, large || r->found ? MAIN : SMALL, slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  uint32_t *hits = hits_of(e, slot);
  *hits += *hits < UINT32_MAX;
}

/* A hit in main is worth one more round, and at most MOST of them count. */
static uint32_t main_victim(struct lethe_evict *e) {
  struct list *l = list_at(e, MAIN);
  while (l->tail && *hits_of(e, l->tail) > 0) {
    uint32_t *hits = hits_of(e, l->tail);
    *hits = (*hits < MOST ? *hits : MOST) - 1;
    list_to_head(e, l, l->tail);
  }
  return l->tail;
}

static uint32_t small_victim(struct lethe_evict *e) {
  struct list *l = list_at(e, SMALL);
  while (l->tail && *hits_of(e, l->tail) >= PROMOTE) {
    *hits_of(e, l->tail) = 0;
    list_move(e, MAIN, l->tail);
  }
  return l->tail;
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  bool from_main = list_at(e, MAIN)->used > e->limit - small_limit(e);
  uint32_t slot = from_main ? main_victim(e) : 0;
  (void)r;
  if (!slot) slot = small_victim(e);
  return slot ? slot : main_victim(e); /* where all that was in the small one has gone on */
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  if (evicted && n->queue == SMALL && n->size <= ghost_limit(e)) {
    ghost_trim(ghost_of(e), SIZE_MAX, ghost_limit(e) - n->size);
    ghost_add(ghost_of(e), n->key, n->size);
  }
  list_remove(e, slot);
}

static void resize(struct lethe_evict *e) { ghost_trim(ghost_of(e), SIZE_MAX, ghost_limit(e)); }
static void forget(struct lethe_evict *e) { ghost_trim(ghost_of(e), 0, 0); }

const struct lethe_evict_ops evict_s3fifo = {.name = "s3fifo",
                                             .size = sizeof(struct s3fifo),
                                             .node = sizeof(struct s3fifo_node),
                                             .init = init,
                                             .destroy = destroy,
                                             .admit = admit,
                                             .insert = insert,
                                             .hit = hit,
                                             .victim = victim,
                                             .leave = leave,
                                             .resize = resize,
                                             .forget = forget,
                                             QUEUED_OPS};
