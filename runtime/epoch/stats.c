/* SPDX-License-Identifier: MIT
 * What can be read of a manager and its records while they work, and what must be true when they do
 * not. */
#include "epoch_internal.h"

/* ---- statistics ----------------------------------------------------------------------------- */

void lethe_epoch_read_stats(struct lethe_epoch *m, struct lethe_epoch_stats *out) {
  *out = (struct lethe_epoch_stats){.epoch = load_acq(&m->global),
                                    .safe_epoch = lethe_epoch_safe(m),
                                    .advances = load_rlx(&m->advances),
                                    .ejections = load_rlx(&m->ejections),
                                    .fences = load_rlx(&m->fences)};
  pthread_mutex_lock(&m->lock);
  out->threads = m->threads;
  out->retired = m->past_retired;
  out->reclaimed = m->past_reclaimed;
  out->hardened = m->past_hardened;
  for (struct lethe_epoch_bag *bag = m->orphans.first; bag; bag = bag->next) {
    out->orphans += bag_left(bag);
    out->limbo_bytes += bag->bytes;
  }
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    out->retired += load_rlx(&l->retired);
    out->reclaimed += load_rlx(&l->reclaimed);
    out->hardened += load_rlx(&l->hardened);
    out->limbo_bytes += load_rlx(&l->bytes);
    out->limbo += epoch_held(l);
  }
  pthread_mutex_unlock(&m->lock);
  out->limbo += out->orphans;
}

/* A pin's age counts from when somebody first looked: pinning itself reads no clock. The flag in
 * the word tells this pin from the one seen before; the owner's next store takes it away. */
static double pinned_for(struct lethe_epoch_limbo *l, uint64_t word) {
  double now = lethe_clock_monotonic();
  if (!(word & LETHE_EPOCH_SEEN)) {
    atomic_compare_exchange_strong_explicit(&l->rec->word, &word, word | LETHE_EPOCH_SEEN,
                                            memory_order_relaxed, memory_order_relaxed);
    l->seen_at = now;
  }
  return now - l->seen_at;
}

static void read_record(struct lethe_epoch_limbo *l, struct lethe_epoch_rec_stats *out) {
  uint64_t word = load_acq(&l->rec->word), held = epoch_held(l), peak = load_rlx(&l->peak);
  uint64_t own = held - load_rlx(&l->foreign);
  *out =
      (struct lethe_epoch_rec_stats){.pinned = word != 0,
                                     .neutralized = word != 0 && word <= load_acq(&l->rec->ejected),
                                     .hard = (word & LETHE_EPOCH_HARD) != 0,
                                     .extra = l->extra,
                                     .epoch = word >> LETHE_EPOCH_SHIFT,
                                     .limbo = held,
                                     .peak = own > peak && own <= held ? own : peak,
                                     .retired = load_rlx(&l->retired),
                                     .reclaimed = load_rlx(&l->reclaimed),
                                     .limbo_bytes = load_rlx(&l->bytes),
                                     .pinned_for = word ? pinned_for(l, word) : 0};
}

uint32_t lethe_epoch_records(struct lethe_epoch *m, struct lethe_epoch_rec_stats *out, uint32_t n) {
  uint32_t found = 0;
  pthread_mutex_lock(&m->lock);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    if (!load_acq(&l->in_use)) continue;
    if (found < n) read_record(l, &out[found]);
    found++;
  }
  pthread_mutex_unlock(&m->lock);
  return found;
}

/* ---- validity ------------------------------------------------------------------------------- */

static bool bags_are_valid(const struct bags *bags, uint64_t now, uint64_t *held, int64_t *bytes) {
  uint32_t n = 0;
  const struct lethe_epoch_bag *last = NULL;
  for (const struct lethe_epoch_bag *bag = bags->first; bag; last = bag, bag = bag->next, n++) {
    if (bag->kept > bag->done || bag->done > bag->n || bag->n > bag->room) return false;
    if (bag->first > bag->last || bag->stamp < bag->first || bag->stamp > now) return false;
    *held += bag_left(bag);
    *bytes += bag->bytes;
  }
  return n == bags->n && last == bags->last;
}

static bool record_is_valid(const struct lethe_epoch_limbo *l, uint64_t now) {
  uint64_t held = 0;
  int64_t bytes = 0;
  uint32_t spares = 0;
  if (!bags_are_valid(&l->sealed, now, &held, &bytes)) return false;
  for (const struct lethe_epoch_bag *bag = l->sealed.first; bag && bag->next; bag = bag->next)
    if (bag->stamp > bag->next->stamp) return false;
  if (!bags_are_valid(&l->kept, now, &held, &bytes)) return false;
  if (l->open) {
    held += bag_left(l->open);
    bytes += l->open->bytes;
  }
  for (const struct lethe_epoch_bag *bag = l->spare; bag; bag = bag->next) spares++;
  const struct lethe_epoch_rec *r = l->rec;
  uint64_t word = load_rlx(&r->word);
  return spares == l->spares && held == epoch_held(l) && load_rlx(&l->foreign) <= held &&
         bytes == load_rlx(&l->bytes) && load_rlx(&r->confirmed) <= load_rlx(&r->ejected) &&
         (word != 0) == (r->nest > 0) && word >> LETHE_EPOCH_SHIFT <= now &&
         (load_rlx(&l->in_use) || (word == 0 && held == 0));
}

bool lethe_epoch_is_valid(struct lethe_epoch *m) {
  uint64_t now = load_acq(&m->global), held = 0;
  int64_t bytes = 0;
  bool valid = bags_are_valid(&m->orphans, now, &held, &bytes);
  uint32_t threads = 0;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l && valid; l = l->next_record) {
    valid = record_is_valid(l, now);
    threads += load_rlx(&l->in_use) && !l->extra;
  }
  return valid && threads == m->threads && m->orphans.n == load_rlx(&m->orphan_bags);
}
