/* SPDX-License-Identifier: MIT
 * Retiring: an entry in the open bag; every full bag is sealed, and from then on each retire frees a
 * few objects of older ones, so that nobody ever pays for a whole bag at once. A record that holds too
 * much ejects whoever is in the way. */
#include "epoch_internal.h"

enum { FREED_PER_RETIRE = 3 };

static bool over_bound(const struct lethe_epoch *m, const struct lethe_epoch_limbo *l) {
  return l->sealed.n > LETHE_EPOCH_BAGS || (m->max_limbo > 0 && load_rlx(&l->bytes) > m->max_limbo);
}

/* The open bag is full, or holds too many bytes: seals it, moves G as far as it goes, and past whoever
 * does not move once too much is in limbo. */
static void full(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  epoch_fence(m);
  epoch_enter(l);
  epoch_seal(l, true);
  epoch_leave(l);
  epoch_adopt(l);
  epoch_try_advance(m);
  if (!over_bound(m, l)) return;
  for (int i = 0; i < 2 && over_bound(m, l); i++) {
    epoch_eject_blockers(m, l->rec);
    epoch_try_advance(m);
    epoch_free_some(l, m->bag_size, 0);
  }
}

/* The open bag with room for n more, or NULL. Entered. */
static struct lethe_epoch_bag *room_for(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  struct lethe_epoch_bag *bag = l->open;
  if (m->mode == LETHE_EPOCH_MANUAL && bag) {
    /* Each object is freed by its own epoch: a bag ends when the epoch moves. */
    if (bag->n > 0 && (bag->n == bag->room || bag->stamp != load_acq(&m->global))) {
      epoch_seal(l, true);
      bag = NULL;
    }
  }
  if (!bag) bag = l->open = epoch_bag_new(m, l);
  return bag;
}

static int append(struct lethe_epoch_limbo *l, const struct retired *r) {
  struct lethe_epoch *m = l->rec->manager;
  epoch_enter(l);
  struct lethe_epoch_bag *bag = room_for(l);
  if (!bag) {
    epoch_leave(l);
    return LETHE_ENOMEM;
  }
  if (bag->n == 0) {
    /* The object is unlinked: the fence makes the epoch read after it the one to wait for. */
    if (m->mode == LETHE_EPOCH_MANUAL) atomic_thread_fence(memory_order_seq_cst);
    bag->stamp = load_acq(&m->global);
  }
  bag->of[bag->n++] = *r;
  uint64_t held = load_rlx(&l->held) + 1;
  store_rlx(&l->held, held);
  if (held > load_rlx(&l->peak)) store_rlx(&l->peak, held);
  store_rlx(&l->retired, load_rlx(&l->retired) + 1);
  if (r->bytes) store_rlx(&l->bytes, load_rlx(&l->bytes) + (int64_t)r->bytes);
  epoch_leave(l);
  if (r->bytes && m->charge) m->charge(m->charge_ud, (int64_t)r->bytes);
  return LETHE_OK;
}

int lethe_epoch_retire(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn, void *ud,
                       size_t bytes) {
  struct lethe_epoch_limbo *l = r->limbo;
  struct lethe_epoch *m = r->manager;
  int rc = append(l, &(struct retired){object, fn, ud, bytes});
  if (rc || m->mode == LETHE_EPOCH_MANUAL) return rc;
  bool heavy = m->max_limbo > 0 && load_rlx(&l->bytes) > m->max_limbo;
  if (l->open && (l->open->n == l->open->room || heavy)) full(l);
  if (l->sealed.first) epoch_free_some(l, FREED_PER_RETIRE, 0);
  return LETHE_OK;
}

/* Bags for n more objects, so that appending them cannot fail. */
static int reserve_bags(struct lethe_epoch_limbo *l, size_t n) {
  struct lethe_epoch *m = l->rec->manager;
  size_t bags = n / m->bag_size + 2;
  int rc = LETHE_OK;
  epoch_enter(l);
  while (rc == LETHE_OK && l->spares < bags) {
    struct lethe_epoch_bag *bag = epoch_bag_fresh(m);
    if (bag) {
      bag->next = l->spare;
      l->spare = bag;
      l->spares++;
    } else {
      rc = LETHE_ENOMEM;
    }
  }
  epoch_leave(l);
  return rc;
}

int lethe_epoch_retire_batch(struct lethe_epoch_rec *r, const struct lethe_epoch_pair_of *objects,
                             size_t n) {
  int rc = reserve_bags(r->limbo, n);
  for (size_t i = 0; rc == LETHE_OK && i < n; i++)
    if (objects[i].object) rc = lethe_epoch_retire(r, objects[i].object, objects[i].fn, NULL, 0);
  return rc;
}

/* Room is made first, so that nothing can fail once the swap is done. */
static int reserve(struct lethe_epoch_limbo *l) {
  epoch_enter(l);
  bool there = room_for(l) != NULL;
  epoch_leave(l);
  return there ? LETHE_OK : LETHE_ENOMEM;
}

int lethe_epoch_retire_on_cas(struct lethe_epoch_rec *r, _Atomic(void *) *cell, void **expected,
                              void *desired, lethe_epoch_free *fn) {
  void *old = *expected;
  int rc = reserve(r->limbo);
  if (rc) return rc;
  if (!atomic_compare_exchange_strong_explicit(cell, expected, desired, memory_order_acq_rel,
                                               memory_order_acquire))
    return 0;
  if (old) lethe_epoch_retire(r, old, fn, NULL, 0);
  return 1;
}

int lethe_epoch_retire_on_publish(struct lethe_epoch_rec *r, _Atomic(void *) *cell, void *desired,
                                  lethe_epoch_free *fn) {
  int rc = reserve(r->limbo);
  if (rc) return rc;
  void *old = load_rlx(cell);
  store_rel(cell, desired); /* pairs with readers' acquire */
  return old ? lethe_epoch_retire(r, old, fn, NULL, 0) : LETHE_OK;
}
