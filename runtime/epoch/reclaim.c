/* SPDX-License-Identifier: MIT
 * Freeing what is safe: a few objects at a time, never one that a hazard shows, never inside itself.
 *
 * Objects are taken off their bag first and freed after, with nothing held; so a destructor may retire,
 * reclaim or unregister, and whoever steals the bag meanwhile finds them gone. */
#include "epoch_internal.h"

enum { CHUNK = 32 };

/* ---- hazards ---------------------------------------------------------------------------------- */

/* Only records that are ejected need their hazards looked at: the others hold the epoch (I3, I4). */
static bool hazardous(const struct lethe_epoch *m, const void *object) {
  if (load_acq(&m->ejections) == 0) return false;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record)
    if (load_acq(&l->rec->hazard) == object) return true;
  return false;
}

/* ---- taking objects --------------------------------------------------------------------------- */

/* The next bag that may be freed, or NULL. One that only keeps what hazards show goes to the end. */
static struct lethe_epoch_bag *ready(struct lethe_epoch *m, struct lethe_epoch_limbo *l,
                                     uint64_t safe, uint32_t *tries) {
  while (l->sealed.first && epoch_can_free(m, l->sealed.first, safe)) {
    struct lethe_epoch_bag *bag = l->sealed.first;
    if (bag->done < bag->n) return bag;
    bags_shift(&l->sealed);
    if (bag->kept == 0) {
      epoch_recycle(m, l, bag);
      continue;
    }
    bag->n = bag->kept;
    bag->done = bag->kept = 0;
    bags_push(&l->sealed, bag);
    if ((*tries)-- == 0) return NULL;
  }
  return NULL;
}

/* Up to n objects that nobody can touch any more. The caller is entered. */
static uint32_t take(struct lethe_epoch_limbo *l, struct retired *out, uint32_t n, uint64_t safe) {
  struct lethe_epoch *m = l->rec->manager;
  uint32_t taken = 0, tries = l->sealed.n;
  struct lethe_epoch_bag *bag;
  while (taken < n && (bag = ready(m, l, safe, &tries)) != NULL) {
    while (taken < n && bag->done < bag->n) {
      struct retired r = bag->of[bag->done++];
      if (r.object && hazardous(m, r.object))
        bag->of[bag->kept++] = r;
      else
        out[taken++] = r;
    }
  }
  return taken;
}

static void call(const struct retired *r) {
  if (r->fn) r->fn(r->object, r->ud);
}

/* The bytes of n objects that leave the limbo. Entered. */
static int64_t count(struct lethe_epoch_limbo *l, const struct retired *r, uint32_t n) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) bytes += (int64_t)r[i].bytes;
  add_rlx(&l->reclaimed, n);
  store_rlx(&l->held, load_rlx(&l->held) - n);
  store_rlx(&l->bytes, load_rlx(&l->bytes) - bytes);
  return bytes;
}

size_t epoch_free_some(struct lethe_epoch_limbo *l, size_t budget, uint64_t safe) {
  struct lethe_epoch *m = l->rec->manager;
  struct retired chunk[CHUNK];
  size_t freed = 0;
  if (load_rlx(&l->freeing)) return 0; /* a destructor reclaims: the outer call goes on */
  store_rel(&l->freeing, true);
  while (freed < budget) {
    uint32_t want = budget - freed < CHUNK ? (uint32_t)(budget - freed) : CHUNK;
    epoch_enter(l);
    uint32_t n = take(l, chunk, want, safe);
    int64_t bytes = count(l, chunk, n);
    epoch_leave(l);
    if (n == 0) break;
    if (bytes && m->charge) m->charge(m->charge_ud, -bytes);
    for (uint32_t i = 0; i < n; i++) call(&chunk[i]);
    freed += n;
  }
  store_rel(&l->freeing, false);
  return freed;
}

void epoch_free_all(struct lethe_epoch *m, struct bags *bags) {
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(bags)) != NULL) {
    for (uint32_t i = 0; i < bag->kept; i++) call(&bag->of[i]);
    for (uint32_t i = bag->done; i < bag->n; i++) {
      if (m->charge && bag->of[i].bytes) m->charge(m->charge_ud, -(int64_t)bag->of[i].bytes);
      call(&bag->of[i]);
    }
    epoch_bag_free(m, bag);
  }
}

/* ---- bags of others --------------------------------------------------------------------------- */

static uint32_t left_in(const struct lethe_epoch_bag *bag) { return bag->n - bag->done + bag->kept; }

static int64_t bytes_in(const struct lethe_epoch_bag *bag) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < bag->kept; i++) bytes += (int64_t)bag->of[i].bytes;
  for (uint32_t i = bag->done; i < bag->n; i++) bytes += (int64_t)bag->of[i].bytes;
  return bytes;
}

/* The thief's side of epoch_enter. */
void epoch_steal(struct lethe_epoch_limbo *from, struct bags *to) {
  struct lethe_epoch_bag *bag;
#if LETHE_TSAN
  store_seq(&from->stop, 1);
#else
  store_rlx(&from->stop, 1);
#endif
  lethe_fence_heavy();
  while (load_acq(&from->busy)) sched_yield();
  epoch_seal(from, true);
  while ((bag = bags_shift(&from->sealed)) != NULL) {
    store_rlx(&from->held, load_rlx(&from->held) - left_in(bag));
    store_rlx(&from->bytes, load_rlx(&from->bytes) - bytes_in(bag));
    bags_push(to, bag);
  }
  store_rel(&from->stop, 0);
}

void epoch_adopt(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  struct lethe_epoch_bag *bag;
  struct bags orphans = {0};
  if (load_rlx(&m->orphan_bags) == 0) return;
  pthread_mutex_lock(&m->lock);
  bags_move(&orphans, &m->orphans);
  store_rlx(&m->orphan_bags, 0);
  pthread_mutex_unlock(&m->lock);
  epoch_enter(l);
  while ((bag = bags_shift(&orphans)) != NULL) {
    store_rlx(&l->held, load_rlx(&l->held) + left_in(bag));
    store_rlx(&l->bytes, load_rlx(&l->bytes) + bytes_in(bag));
    bags_push(&l->sealed, bag);
  }
  epoch_leave(l);
}

/* ---- calls ------------------------------------------------------------------------------------ */

size_t lethe_epoch_reclaim_below(struct lethe_epoch_rec *r, uint64_t safe) {
  struct lethe_epoch_limbo *l = r->limbo;
  epoch_adopt(l);
  if (r->manager->mode == LETHE_EPOCH_MANUAL) {
    epoch_enter(l);
    if (l->open && epoch_can_free(r->manager, l->open, safe)) epoch_seal(l, true);
    epoch_leave(l);
  }
  return epoch_free_some(l, SIZE_MAX, safe);
}

size_t lethe_epoch_reclaim(struct lethe_epoch_rec *r) {
  return lethe_epoch_reclaim_below(r, lethe_epoch_safe(r->manager));
}

size_t lethe_epoch_flush(struct lethe_epoch_rec *r) {
  struct lethe_epoch_limbo *l = r->limbo;
  struct lethe_epoch *m = r->manager;
  epoch_adopt(l);
  epoch_fence(m);
  epoch_enter(l);
  epoch_seal(l, true);
  epoch_leave(l);
  if (m->mode == LETHE_EPOCH_AUTO)
    for (int i = 0; i < 2 && epoch_try_advance(m); i++) {
    }
  return epoch_free_some(l, SIZE_MAX, lethe_epoch_safe(m));
}

/* ---- grace periods ----------------------------------------------------------------------------- */

uint64_t lethe_epoch_start_poll(struct lethe_epoch *m) {
  epoch_fence(m);
  return load_acq(&m->global) + 2;
}

bool lethe_epoch_poll(struct lethe_epoch *m, uint64_t cookie) {
  return (m->mode == LETHE_EPOCH_AUTO ? load_acq(&m->global) : lethe_epoch_safe(m)) >= cookie;
}

/* Steals everything, so that what idle threads hold is freed too. */
static bool steal_all(struct lethe_epoch *m, struct lethe_epoch_limbo *l) {
  bool quiet = true;
  pthread_mutex_lock(&m->lock);
  for (struct lethe_epoch_limbo *i = epoch_first(m); i; i = i->next_record) {
    if (i == l || !load_acq(&i->in_use)) continue;
    epoch_steal(i, &m->orphans);
    if (load_acq(&i->freeing)) quiet = false; /* a destructor of its is running now */
  }
  store_rlx(&m->orphan_bags, m->orphans.n);
  pthread_mutex_unlock(&m->lock);
  return quiet;
}

static bool any_before(struct lethe_epoch_limbo *l, uint64_t cookie) {
  bool any = false;
  epoch_enter(l);
  for (struct lethe_epoch_bag *bag = l->sealed.first; bag && !any; bag = bag->next)
    any = bag->stamp + 2 <= cookie && left_in(bag) > 0;
  epoch_leave(l);
  return any;
}

bool lethe_epoch_barrier_step(struct lethe_epoch *m, struct lethe_epoch_rec *r, uint64_t cookie) {
  bool quiet = steal_all(m, r->limbo);
  epoch_adopt(r->limbo);
  epoch_enter(r->limbo);
  epoch_seal(r->limbo, false);
  epoch_leave(r->limbo);
  for (int i = 0; i < 2 && !lethe_epoch_poll(m, cookie); i++) {
    if (m->mode == LETHE_EPOCH_AUTO)
      epoch_try_advance(m);
    else
      lethe_epoch_advance(m);
  }
  epoch_free_some(r->limbo, SIZE_MAX, lethe_epoch_safe(m));
  return quiet && !any_before(r->limbo, cookie);
}
