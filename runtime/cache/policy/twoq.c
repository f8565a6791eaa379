/* SPDX-License-Identifier: MIT
 * twoq, 2Q (Johnson and Shasha, VLDB 1994): a fifo for what was asked for once (in, a quarter of
 * the limit), an LRU for what was asked for again after it had left that (main, the rest), and
 * between them the keys of what left (out, half the limit).
 *
 * A hit in `in` changes nothing: accesses that come close together count as one. A miss on a key in
 * `out` forgets it there and takes it into main, where room is made for it even if `in` has some.
 * Else the victim is in's tail as long as `in` has more than its share. */
#include "builtin.h"
#include "ghost.h"
#include "order.h"

enum { IN, MAIN };

struct twoq {
  struct queued q;
  struct ghost out;
};

static struct ghost *out_of(struct lethe_evict *e) { return &((struct twoq *)(void *)e)->out; }
static int64_t in_limit(const struct lethe_evict *e) { return e->limit / 4; }
static int64_t main_limit(const struct lethe_evict *e) { return e->limit - e->limit / 4; }

static int init(struct lethe_evict *e, void *arg) {
  (void)arg;
  ghost_init(out_of(e), e->alloc);
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) { ghost_destroy(out_of(e)); }

/* What is too large for `in` has no business here, or, in a live cache, goes to main. */
static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  bool large = r->size > in_limit(e);
  r->found = ghost_take(out_of(e), r->key);
  if (large && !e->exact) r->found = 1;
  return r->size <= (e->exact ? in_limit(e) : e->limit);
}

static bool no_room_in_main(struct lethe_evict *e, const struct lethe_evict_request *r) {
  return r && r->found && list_at(e, MAIN)->tail &&
         list_at(e, MAIN)->used > main_limit(e) - r->size;
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  list_push(e, r->found ? MAIN : IN, slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  if (lethe_evict_at(e, slot)->queue == MAIN) list_to_head(e, list_at(e, MAIN), slot);
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  uint32_t in = list_at(e, IN)->tail, main = list_at(e, MAIN)->tail;
  bool crowded = !r || r->size > e->limit - e->used; /* else it is main alone that is */
  if (!main || (in && crowded && list_at(e, IN)->used > in_limit(e))) return in;
  return main;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  if (evicted && n->queue == IN && n->size <= e->limit / 2) {
    ghost_trim(out_of(e), SIZE_MAX, e->limit / 2 - n->size);
    ghost_add(out_of(e), n->key, n->size);
  }
  list_remove(e, slot);
}

static void resize(struct lethe_evict *e) { ghost_trim(out_of(e), SIZE_MAX, e->limit / 2); }
static void forget(struct lethe_evict *e) { ghost_trim(out_of(e), 0, 0); }

const struct lethe_evict_ops evict_twoq = {.name = "twoq",
                                           .size = sizeof(struct twoq),
                                           .node = sizeof(struct lethe_evict_node),
                                           .init = init,
                                           .destroy = destroy,
                                           .admit = admit,
                                           .full = no_room_in_main,
                                           .insert = insert,
                                           .hit = hit,
                                           .victim = victim,
                                           .leave = leave,
                                           .resize = resize,
                                           .forget = forget,
                                           QUEUED_OPS};
