/* SPDX-License-Identifier: MIT
 * Freeing what is safe: a few objects at a time, never one that a hazard shows, never inside
 * itself.
 *
 * Objects are taken off their bag first and freed after, with nothing held; so a destructor may
 * retire, reclaim or unregister, and whoever steals the bag meanwhile finds them gone. */
#include "epoch_internal.h"

/* ---- hazards -------------------------------------------------------------------------------- */

/* Puts the object among those that are kept, in front. */
static void keep(struct lethe_epoch_bag *bag, const void *object) {
  for (uint32_t i = bag->kept; object && i < bag->n; i++) {
    if (bag->of[i].object != object) continue;
    struct retired r = bag->of[i];
    bag->of[i] = bag->of[bag->kept];
    bag->of[bag->kept++] = r;
    return;
  }
}

/* Keeps I6. Only who is ejected can still touch what may be freed by now (I3), and its hazards are
 * there to see (I4). */
static void look_at_hazards(const struct lethe_epoch *m, struct lethe_epoch_bag *bag) {
  bag->looked_at = true;
  if (load_acq(&m->ejections) > 0)
    for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
      if (!epoch_counted_out(l->rec)) continue;
      for (int i = 0; i < LETHE_EPOCH_HAZARDS; i++) keep(bag, load_acq(&l->rec->hazard[i]));
    }
  bag->done = bag->kept;
}

/* ---- taking objects ------------------------------------------------------------------------- */

/* Nothing is left in the first sealed bag but what is kept. */
static void finish(struct lethe_epoch_limbo *l) {
  struct lethe_epoch_bag *bag = bags_shift(&l->sealed);
  if (bag->kept == 0) {
    epoch_recycle(l->rec->manager, l, bag);
    return;
  }
  bag->n = bag->kept;
  bag->done = bag->kept = 0;
  bag->looked_at = false;
  bags_push(&l->kept, bag);
}

/* What is freed soon was often written last on another processor, and the allocator writes into it:
 * it is fetched ahead, to be written, while other objects are freed. */
enum { AHEAD = 4 };

static inline void fetch(const void *object) {
#if defined(__x86_64__)
  __asm__ volatile("prefetchw (%0)" : : "r"(object));
#else
  __builtin_prefetch(object, 1);
#endif
}

/* How many. */
static uint32_t take_from(struct lethe_epoch_bag *bag, struct chunk *out, uint32_t n) {
  uint32_t done = bag->done;
  while (out->n < n && bag->done < bag->n) {
    const struct retired *r = &bag->of[bag->done++];
    if (bag->done + AHEAD <= bag->n) fetch(r[AHEAD].object);
    out->of[out->n++] = *r;
    bag->bytes -= (int64_t)r->bytes;
    out->bytes += (int64_t)r->bytes;
  }
  return bag->done - done;
}

void epoch_take(struct lethe_epoch_limbo *l, struct chunk *out, uint32_t n, uint64_t bound) {
  struct lethe_epoch_bag *bag;
  out->n = 0;
  out->bytes = 0;
  while (out->n < n && (bag = l->sealed.first) != NULL && bag->stamp + 2 <= bound) {
    if (!bag->looked_at) look_at_hazards(l->rec->manager, bag);
    uint32_t taken = take_from(bag, out, n);
    if (bag->foreign) store_rlx(&l->foreign, load_rlx(&l->foreign) - taken);
    if (bag->done == bag->n) finish(l);
  }
  store_rel(&l->reclaimed, load_rlx(&l->reclaimed) + out->n); /* pairs with epoch_held */
  if (out->bytes) store_rlx(&l->bytes, load_rlx(&l->bytes) - out->bytes);
}

void epoch_call(struct lethe_epoch *m, const struct chunk *chunk) {
  if (chunk->bytes && m->charge) m->charge(m->charge_ud, -chunk->bytes);
  for (uint32_t i = 0; i < chunk->n; i++)
    if (chunk->of[i].fn) chunk->of[i].fn(chunk->of[i].object, chunk->of[i].ud);
}

bool epoch_free_ready(struct lethe_epoch_limbo *l, uint64_t bound, size_t *freed) {
  struct chunk chunk;
  *freed = 0;
  if (load_rlx(&l->freeing)) return true; /* a destructor reclaims: the outer call goes on */
  store_rlx(&l->freeing, true);
  epoch_enter(l);
  epoch_note_peak(l);
  bags_merge(&l->sealed, &l->kept);
  epoch_leave(l);
  do {
    epoch_enter(l);
    epoch_take(l, &chunk, EPOCH_CHUNK, bound);
    epoch_leave(l);
    epoch_call(l->rec->manager, &chunk);
    *freed += chunk.n;
  } while (chunk.n > 0 && !l->leaving);
  return epoch_freed(l);
}

/* Of a manager that nobody uses any more. */
void epoch_free_all(struct lethe_epoch *m, struct bags *bags) {
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(bags)) != NULL) {
    struct chunk chunk;
    do {
      chunk.n = 0;
      chunk.bytes = 0;
      while (bag->kept > 0 && chunk.n < EPOCH_CHUNK) {
        const struct retired *r = &bag->of[--bag->kept];
        chunk.of[chunk.n++] = *r;
        bag->bytes -= (int64_t)r->bytes;
        chunk.bytes += (int64_t)r->bytes;
      }
      take_from(bag, &chunk, EPOCH_CHUNK);
      epoch_call(m, &chunk);
    } while (chunk.n > 0);
    epoch_bag_free(m, bag);
  }
}

/* ---- calls ---------------------------------------------------------------------------------- */

size_t lethe_epoch_reclaim_below(struct lethe_epoch_rec *r, uint64_t safe) {
  struct lethe_epoch_limbo *l = r->limbo;
  bool automatic = r->manager->mode == LETHE_EPOCH_AUTO;
  uint64_t bound = automatic ? load_acq(&r->manager->global) : safe;
  size_t freed;
  epoch_adopt(l, true);
  epoch_enter(l);
  epoch_seal_old(l, bound);
  epoch_leave(l);
  epoch_free_ready(l, bound, &freed);
  return freed;
}

size_t lethe_epoch_reclaim(struct lethe_epoch_rec *r) {
  return lethe_epoch_reclaim_below(r, epoch_bound(r->manager));
}

size_t lethe_epoch_flush(struct lethe_epoch_rec *r) {
  struct lethe_epoch_limbo *l = r->limbo;
  struct lethe_epoch *m = r->manager;
  bool automatic = m->mode == LETHE_EPOCH_AUTO;
  size_t freed;
  epoch_adopt(l, true);
  uint64_t now = epoch_fence(m, true);
  epoch_enter(l);
  epoch_seal(l);
  epoch_leave(l);
  if (automatic && epoch_try_advance(m, now)) epoch_push(m, 1, true);
  epoch_free_ready(l, epoch_bound(m), &freed);
  return freed;
}
