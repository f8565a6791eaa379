/* SPDX-License-Identifier: MIT
 * What is retired by others: orphans, bags of idle owners, grace periods and barriers. */
#include <sched.h>

#include "epoch_internal.h"

/* ---- moving bags ---------------------------------------------------------------------------- */

/* From one record's limbo into the orphans, or into another's; its objects are counted there. */
static void give(struct lethe_epoch_limbo *from, struct bags *to, struct bags *bags) {
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(bags)) != NULL) {
    store_rlx(&from->moved, load_rlx(&from->moved) - bag_left(bag));
    store_rlx(&from->bytes, load_rlx(&from->bytes) - bag->bytes);
    if (bag->foreign) store_rlx(&from->foreign, load_rlx(&from->foreign) - bag_left(bag));
    bags_push(to, bag);
  }
}

/* The thief's side of epoch_enter. Whoever was in before the fence is waited for: so all it retired
 * was unlinked before the fence, too, as sealing wants it (I2). */
bool epoch_steal(struct lethe_epoch_limbo *from, bool wait) {
  struct lethe_epoch *m = from->rec->manager;
#if LETHE_TSAN
  store_seq(&from->stop, 1);
#else
  store_rlx(&from->stop, 1);
#endif
  lethe_fence_heavy();
  bool free = load_acq(&from->busy) == 0;
  while (!free && wait) {
    sched_yield();
    free = load_acq(&from->busy) == 0;
  }
  if (free) {
    epoch_seal(from);
    give(from, &m->orphans, &from->sealed);
    give(from, &m->orphans, &from->kept);
    store_rlx(&m->orphan_bags, m->orphans.n);
  }
  store_rel(&from->stop, 0);
  return free;
}

/* The owner holds the lock, which keeps thieves out. */
static void adopt(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(&m->orphans)) != NULL) {
    store_rlx(&l->moved, load_rlx(&l->moved) + bag_left(bag));
    store_rlx(&l->bytes, load_rlx(&l->bytes) + bag->bytes);
    store_rlx(&l->foreign, load_rlx(&l->foreign) + bag_left(bag));
    bag->foreign = true;
    bags_insert(&l->sealed, bag);
  }
  store_rlx(&m->orphan_bags, 0);
}

void epoch_adopt(struct lethe_epoch_limbo *l, bool wait) {
  struct lethe_epoch *m = l->rec->manager;
  if (load_rlx(&m->orphan_bags) == 0) return;
  if (wait)
    pthread_mutex_lock(&m->lock);
  else if (pthread_mutex_trylock(&m->lock) != 0)
    return;
  adopt(l);
  pthread_mutex_unlock(&m->lock);
}

/* A thread that merely waits for a processor comes on sooner than that. */
#define IDLE_SECONDS 0.1

void epoch_steal_idle(struct lethe_epoch *m, const struct lethe_epoch_limbo *but) {
  double now = lethe_clock_monotonic();
  if (pthread_mutex_trylock(&m->lock) != 0) return;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t retired = load_rlx(&l->retired);
    if (l == but || !load_acq(&l->in_use) || epoch_held(l) == 0) continue;
    if (retired != l->seen_retired) {
      l->seen_retired = retired;
      l->idle_since = now;
    } else if (now - l->idle_since >= IDLE_SECONDS) {
      epoch_steal(l, false);
    }
  }
  pthread_mutex_unlock(&m->lock);
}

/* ---- grace periods -------------------------------------------------------------------------- */

uint64_t lethe_epoch_start_poll(struct lethe_epoch *m) {
  epoch_fence(m, lethe_epoch_current(m) != NULL);
  return load_acq(&m->global) + 2;
}

static bool passed(struct lethe_epoch *m, uint64_t cookie) { return epoch_bound(m) >= cookie; }

/* Towards `epoch`, two steps at most; in manual mode no further. */
static void push_to(struct lethe_epoch *m, uint64_t epoch) {
  for (int i = 0; i < 2 && load_acq(&m->global) < epoch; i++) {
    if (m->mode == LETHE_EPOCH_AUTO)
      epoch_push(m, 1, false);
    else
      lethe_epoch_advance(m);
  }
}

bool lethe_epoch_poll(struct lethe_epoch *m, uint64_t cookie) {
  if (m->mode == LETHE_EPOCH_AUTO) push_to(m, cookie);
  return passed(m, cookie);
}

/* ---- barriers ------------------------------------------------------------------------------- */

/* Bags that may hold objects from before the cookie: the epoch that frees the last one, or 0. */
static uint64_t awaited(const struct bags *bags, uint64_t cookie, uint64_t most) {
  for (const struct lethe_epoch_bag *bag = bags->first; bag; bag = bag->next)
    if (bag->first + 2 <= cookie && bag->stamp + 2 > most) most = bag->stamp + 2;
  return most;
}

/* Makes all bags this record's, so that what idle threads hold is freed, too. *left: the epoch that
 * frees what was there before the cookie, or 0 if there is nothing of that. False: somebody's
 * destructors are running. All this is true at one moment, as others that gather must wait. */
static bool gather(struct lethe_epoch *m, struct lethe_epoch_limbo *mine, uint64_t cookie,
                   uint64_t *left) {
  bool quiet = true;
  epoch_fence(m, true); /* for the open bag; the others' are fenced by stealing */
  pthread_mutex_lock(&m->lock);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    if (!load_acq(&l->in_use)) continue;
    if (l != mine) epoch_steal(l, true);
    if (load_acq(&l->freeing)) quiet = false;
  }
  adopt(mine);
  epoch_seal(mine);
  *left = awaited(&mine->sealed, cookie, awaited(&mine->kept, cookie, 0));
  pthread_mutex_unlock(&m->lock);
  return quiet;
}

bool lethe_epoch_barrier_step(struct lethe_epoch *m, struct lethe_epoch_rec *r, uint64_t cookie) {
  size_t freed;
  uint64_t left;
  push_to(m, cookie);
  if (!passed(m, cookie)) return false;
  bool quiet = gather(m, r->limbo, cookie, &left);
  if (left == 0) return quiet;
  push_to(m, left);
  if (!epoch_free_ready(r->limbo, epoch_bound(m), &freed)) return false;
  return gather(m, r->limbo, cookie, &left) && left == 0;
}

/* ---- what is left to other threads ----------------------------------------------------------- */

/* Whoever calls holds the manager, or is the one that ends it. */
int lethe_epoch_away(struct lethe_epoch *m) {
  if (load_rlx(&m->refs.count) == 0) return -1;
  lethe_epoch_get(m);
  int side = (int)(load_acq(&m->flips) & 1);
  add_acqrel(&m->away[side], 1);
  return side;
}

void lethe_epoch_back(struct lethe_epoch *m, int side) {
  if (side < 0) return;
  sub_acqrel(&m->away[side], 1);
  lethe_epoch_put(m);
}

/* Who flips once waits for the side that it turned from. A later flip found that side empty. */
bool lethe_epoch_barrier_turn(struct lethe_epoch *m, uint64_t *turn) {
  pthread_mutex_lock(&m->lock);
  uint64_t flips = load_rlx(&m->flips);
  if (*turn == 0 && load_acq(&m->away[(flips + 1) & 1]) == 0) {
    *turn = ++flips;
    store_rel(&m->flips, flips);
  }
  bool done = *turn != 0 && (flips > *turn || load_acq(&m->away[(*turn + 1) & 1]) == 0);
  done = done || m->forked;
  pthread_mutex_unlock(&m->lock);
  return done;
}
