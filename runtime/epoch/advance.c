/* SPDX-License-Identifier: MIT
 * Moving the epoch: who is at which, when G may advance, and ejecting whoever holds it back. */
#include "epoch_internal.h"

uint64_t lethe_epoch_now(const struct lethe_epoch *m) { return load_acq(&m->global); }

/* With one record there is nobody to fence against: a record that comes later pins after it registered,
 * which takes the lock. */
void epoch_fence(struct lethe_epoch *m) {
  if (load_acq(&m->in_use) < 2) {
    atomic_thread_fence(memory_order_seq_cst);
    return;
  }
  add_rlx(&m->fences, 1);
  lethe_fence_heavy();
}

/* Acquire: pairs with the release store of unpin, so that what the section read is over. */
uint64_t epoch_shown(const struct lethe_epoch_rec *r) {
#if LETHE_TSAN
  uint64_t word = atomic_fetch_add_explicit((_Atomic uint64_t *)&r->word, 0, memory_order_seq_cst);
#else
  uint64_t word = load_acq(&r->word);
#endif
  if (word == 0 || load_acq(&r->confirmed) == word) return 0;
  return word >> LETHE_EPOCH_SHIFT;
}

uint64_t lethe_epoch_safe(struct lethe_epoch *m) {
  uint64_t safe = load_acq(&m->global);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t epoch = epoch_shown(l->rec);
    if (epoch && epoch < safe) safe = epoch;
  }
  return safe;
}

/* Keeps I1. */
bool epoch_try_advance(struct lethe_epoch *m) {
  uint64_t now = load_acq(&m->global);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t epoch = epoch_shown(l->rec);
    if (epoch && epoch != now) return false;
  }
  if (!atomic_compare_exchange_strong_explicit(&m->global, &now, now + 1, memory_order_acq_rel,
                                               memory_order_acquire))
    return true; /* somebody else did */
  add_rlx(&m->advances, 1);
  return true;
}

uint64_t lethe_epoch_advance(struct lethe_epoch *m) {
  if (m->mode == LETHE_EPOCH_AUTO) {
    epoch_fence(m);
    epoch_try_advance(m);
    return load_acq(&m->global);
  }
  add_rlx(&m->advances, 1);
  return add_acqrel(&m->global, 1) + 1;
}

/* Flags every pinned record below `bound`; one fence for all; then they count no more (I4). */
static uint32_t eject_below(struct lethe_epoch *m, const struct lethe_epoch_rec *but,
                            uint64_t bound) {
  uint32_t n = 0;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t word = load_acq(&l->rec->word);
    if (l->rec == but || word == 0 || word >> LETHE_EPOCH_SHIFT >= bound) continue;
    if (load_acq(&l->rec->confirmed) == word) continue;
    store_seq(&l->rec->ejected, word);
    n++;
  }
  if (n == 0) return 0;
  add_rlx(&m->fences, 1);
  lethe_fence_heavy();
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t ejected = load_acq(&l->rec->ejected);
    if (l->rec != but && ejected != 0 && ejected >> LETHE_EPOCH_SHIFT < bound)
      store_rel(&l->rec->confirmed, ejected);
  }
  add_rlx(&m->ejections, n);
  return n;
}

uint32_t lethe_epoch_neutralize(struct lethe_epoch *m, const struct lethe_epoch_rec *but,
                                uint64_t lag) {
  uint64_t now = load_acq(&m->global);
  return now > lag ? eject_below(m, but, now - lag) : 0;
}

uint32_t epoch_eject_blockers(struct lethe_epoch *m, const struct lethe_epoch_rec *but) {
  return eject_below(m, but, load_acq(&m->global));
}
