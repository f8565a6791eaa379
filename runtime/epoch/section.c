/* SPDX-License-Identifier: MIT
 * Splitting a pinned record off its thread, and joining it again. Whoever scans the records sees
 * the pin in one and the same place all the time; what changes places are the bags, which only
 * owners and thieves touch, and these hold the lock. */
#include "epoch_internal.h"
#include "lethe/epoch_section.h"

/* Bags, spare ones too, and what is counted with them. `to` is empty but for spare ones. */
static void move_limbo(struct lethe_epoch_limbo *to, struct lethe_epoch_limbo *from) {
  to->open = from->open;
  from->open = NULL;
  bags_merge(&to->sealed, &from->sealed);
  bags_merge(&to->kept, &from->kept);
  store_rlx(&to->moved, load_rlx(&from->moved));
  store_rlx(&to->bytes, load_rlx(&from->bytes));
  store_rlx(&to->retired, load_rlx(&from->retired));
  store_rlx(&to->reclaimed, load_rlx(&from->reclaimed));
  store_rlx(&to->peak, load_rlx(&from->peak));
  store_rlx(&to->foreign, load_rlx(&from->foreign));
  store_rlx(&from->moved, 0);
  store_rlx(&from->foreign, 0);
  store_rlx(&from->bytes, 0);
  store_rlx(&from->retired, 0);
  store_rlx(&from->reclaimed, 0);
  store_rlx(&from->peak, 0);
  to->seals = from->seals;
  to->calls = from->calls;
  to->seen_retired = from->seen_retired;
  from->seals = from->calls = 0;
  from->seen_retired = 0;
}

int lethe_epoch_split(struct lethe_epoch_rec *r, struct lethe_epoch_rec **out) {
  struct lethe_epoch *m = r->manager;
  struct lethe_epoch_rec *thread;
  int rc = lethe_epoch_register_extra(m, &thread);
  if (rc) return rc;
  pthread_mutex_lock(&m->lock);
  move_limbo(thread->limbo, r->limbo);
  r->limbo->extra = true;
  thread->limbo->extra = false;
  pthread_mutex_unlock(&m->lock);
  *out = thread;
  return LETHE_OK;
}

/* By way of the orphans: another thread may be faster, which is as good. */
void lethe_epoch_join(struct lethe_epoch_rec *extra, struct lethe_epoch_rec *mine) {
  bool any = lethe_epoch_held(extra) > 0;
  lethe_epoch_unregister(extra);
  if (any) epoch_adopt(mine->limbo, true);
}

uint64_t lethe_epoch_held(const struct lethe_epoch_rec *r) { return epoch_held(r->limbo); }
