/* SPDX-License-Identifier: MIT
 * Retiring: an entry in the open bag; every full bag is sealed, and each retire frees a few objects
 * of older ones, so that nobody ever pays for a whole bag at once. A record that holds too much
 * ejects whoever is in the way. */
#include "epoch_internal.h"

enum {
  FREED_PER_RETIRE = 1,
  FEW_BAGS = 4,      /* with more than these sealed, ... */
  FREED_PER_BAG = 4, /* ... so many more objects are freed per retire for each of them */
  FREED_OF_ORPHANS = 15,
  SEALS_PER_LOOK = 16, /* at idle owners */
  BYTES_SHARE = 4,     /* a bag is sealed at this part of max_limbo */
  ATTEMPTS = 3
};

/* ---- pressure ------------------------------------------------------------------------------- */

static bool heavy(const struct lethe_epoch *m, const struct lethe_epoch_limbo *l) {
  return m->max_limbo > 0 && load_rlx(&l->bytes) > m->max_limbo;
}

static bool is_full(const struct lethe_epoch *m, const struct lethe_epoch_bag *bag) {
  return bag->n == bag->room || (m->max_limbo > 0 && bag->bytes > m->max_limbo / BYTES_SHARE);
}

/* Its own pin keeps the record from going further. */
static bool lags(const struct lethe_epoch_limbo *l) {
  uint64_t word = load_rlx(&l->rec->word);
  return word != 0 && word >> LETHE_EPOCH_SHIFT != load_acq(&l->rec->manager->global);
}

/* Past whoever does not move. Others may pin at an old epoch meanwhile, so it tries again. */
static void eject_and_advance(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  for (int i = 0; i < ATTEMPTS; i++) {
    uint64_t now = load_acq(&m->global);
    uint32_t others;
    epoch_eject(m, l->rec, now, &others);
    if (others == 0 || epoch_try_advance(m, now)) return;
  }
}

/* A bag is full (`sealing`), or too many bytes are in limbo: seals what is full, moves G if that
 * goes, and past whoever does not move once too much is in limbo. */
static void press(struct lethe_epoch_limbo *l, bool sealing) {
  struct lethe_epoch *m = l->rec->manager;
  if (!sealing && lags(l)) return;
  uint64_t now = epoch_fence(m, true);
  epoch_enter(l);
  if (l->open && is_full(m, l->open)) epoch_seal(l);
  if (sealing) bags_merge(&l->sealed, &l->kept);
  bool over = heavy(m, l) || l->sealed.n > LETHE_EPOCH_BAGS;
  epoch_leave(l);
  if (sealing && ++l->seals % SEALS_PER_LOOK == 0) epoch_steal_idle(m, l);
  epoch_adopt(l, false);
  if (!epoch_try_advance(m, now) && over) eject_and_advance(l);
}

/* ---- appending ------------------------------------------------------------------------------ */

/* Entered; there is room. Field by field: a struct that was just written is slow to copy. */
static inline void put(struct lethe_epoch_limbo *l, struct lethe_epoch_bag *bag, uint64_t now,
                       void *object, lethe_epoch_free *fn, void *ud, size_t bytes) {
  struct retired *r = &bag->of[bag->n++];
  r->object = object;
  r->fn = fn;
  r->ud = ud;
  r->bytes = bytes;
  bag->last = now;
  store_rlx(&l->retired, load_rlx(&l->retired) + 1);
  if (bytes == 0) return;
  bag->bytes += (int64_t)bytes;
  store_rlx(&l->bytes, load_rlx(&l->bytes) + (int64_t)bytes);
}

/* G as objects that are unlinked now are to be stamped with. Entered: in auto mode the light fence
 * of that suffices (I2). */
static uint64_t now_for(struct lethe_epoch *m) {
  if (m->mode == LETHE_EPOCH_MANUAL) epoch_fence_full(m);
  return load_acq(&m->global);
}

/* How many objects a retire frees: one for the one that came, so that the allocator hands out
 * what it just got; more the further they fall behind, and those that another left all at once,
 * nearly. */
static uint32_t budget(const struct lethe_epoch_limbo *l) {
  uint32_t n = FREED_PER_RETIRE, bags = l->sealed.n;
  if (bags > FEW_BAGS) n += (bags - FEW_BAGS) * FREED_PER_BAG;
  if (l->sealed.first->foreign) n += FREED_OF_ORPHANS;
  return n < EPOCH_CHUNK ? n : EPOCH_CHUNK;
}

/* Takes what a retire frees. Entered. False: nothing. */
static bool take_some(struct lethe_epoch_limbo *l, struct chunk *chunk, uint64_t now) {
  struct lethe_epoch_bag *bag = l->sealed.first;
  if (!bag || bag->stamp + 2 > now || l->rec->manager->mode == LETHE_EPOCH_MANUAL) return false;
  if (load_rlx(&l->freeing)) return false; /* within a destructor */
  store_rlx(&l->freeing, true);
  epoch_take(l, chunk, budget(l), now);
  return true;
}

int lethe_epoch_retire(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn, void *ud,
                       size_t bytes) {
  struct lethe_epoch_limbo *l = r->limbo;
  struct lethe_epoch *m = r->manager;
  struct chunk chunk;
  epoch_enter(l);
  uint64_t now = now_for(m);
  struct lethe_epoch_bag *bag = l->open;
  if (!bag || bag->n == bag->room || m->mode == LETHE_EPOCH_MANUAL) bag = epoch_room(l, now);
  if (!bag) {
    epoch_leave(l);
    return LETHE_ENOMEM;
  }
  put(l, bag, now, object, fn, ud, bytes);
  bool full = is_full(m, bag), pressing = full || heavy(m, l);
  bool taken = take_some(l, &chunk, now);
  epoch_leave(l);
  if (bytes && m->charge) m->charge(m->charge_ud, (int64_t)bytes);
  if (pressing && m->mode == LETHE_EPOCH_AUTO) press(l, full);
  if (taken) {
    epoch_call(m, &chunk);
    epoch_freed(l);
  }
  return LETHE_OK;
}

/* ---- several at once ------------------------------------------------------------------------ */

static int append_all(struct lethe_epoch_limbo *l, const struct lethe_epoch_garbage *objects,
                      size_t n) {
  struct lethe_epoch *m = l->rec->manager;
  uint64_t now = now_for(m);
  /* One for what is there to be sealed, and as many as n objects fill; then nothing can fail. */
  if (epoch_reserve(l, n / m->bag_size + 2) != LETHE_OK) return LETHE_ENOMEM;
  for (size_t i = 0; i < n; i++) {
    if (!objects[i].object) continue;
    struct lethe_epoch_bag *bag = epoch_room(l, now);
    put(l, bag, now, objects[i].object, objects[i].fn, NULL, 0);
  }
  return LETHE_OK;
}

int lethe_epoch_retire_batch(struct lethe_epoch_rec *r, const struct lethe_epoch_garbage *objects,
                             size_t n) {
  struct lethe_epoch_limbo *l = r->limbo;
  epoch_enter(l);
  uint32_t sealed = l->sealed.n;
  int rc = append_all(l, objects, n);
  bool pressing = l->sealed.n > sealed || (l->open && l->open->n == l->open->room);
  epoch_leave(l);
  if (pressing && r->manager->mode == LETHE_EPOCH_AUTO) press(l, true);
  return rc;
}

/* One bag may be full, and one stolen, whatever n is; in manual mode each epoch wants its own. */
int lethe_epoch_reserve(struct lethe_epoch_rec *r, size_t n) {
  struct lethe_epoch *m = r->manager;
  return epoch_reserve(r->limbo, m->mode == LETHE_EPOCH_AUTO ? n / m->bag_size + 2 : n);
}

/* Room is made first, so that nothing can fail once the swap is done. */
int lethe_epoch_retire_on_cas(struct lethe_epoch_rec *r, _Atomic(void *) *cell, void **expected,
                              void *desired, lethe_epoch_free *fn) {
  int rc = lethe_epoch_reserve(r, 1);
  if (rc) return rc;
  void *old = *expected;
  if (!atomic_compare_exchange_strong_explicit(cell, expected, desired, memory_order_acq_rel,
                                               memory_order_acquire))
    return 0;
  if (old) lethe_epoch_retire(r, old, fn, NULL, 0);
  return 1;
}

int lethe_epoch_retire_on_publish(struct lethe_epoch_rec *r, _Atomic(void *) *cell, void *desired,
                                  lethe_epoch_free *fn) {
  int rc = lethe_epoch_reserve(r, 1);
  if (rc) return rc;
  void *old = load_rlx(cell);
  store_rel(cell, desired); /* pairs with readers' acquire */
  return old ? lethe_epoch_retire(r, old, fn, NULL, 0) : LETHE_OK;
}

int lethe_epoch_retire_and_reclaim(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn,
                                   void *ud, size_t bytes, bool eager, size_t *freed) {
  lethe_epoch_pin(r);
  int rc = lethe_epoch_retire(r, object, fn, ud, bytes);
  lethe_epoch_unpin(r);
  size_t n = rc == LETHE_OK && eager ? lethe_epoch_reclaim(r) : 0;
  if (freed) *freed = n;
  return rc;
}
