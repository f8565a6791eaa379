/* SPDX-License-Identifier: MIT
 * What can be read of a manager and its records while they work. */
#include "epoch_internal.h"

void lethe_epoch_read_stats(struct lethe_epoch *m, struct lethe_epoch_stats *out) {
  *out = (struct lethe_epoch_stats){.epoch = load_acq(&m->global),
                                    .safe_epoch = lethe_epoch_safe(m),
                                    .advances = load_rlx(&m->advances),
                                    .ejections = load_rlx(&m->ejections),
                                    .fences = load_rlx(&m->fences)};
  pthread_mutex_lock(&m->lock);
  out->threads = m->threads;
  for (struct lethe_epoch_bag *bag = m->orphans.first; bag; bag = bag->next)
    out->orphans += bag->n - bag->done + bag->kept;
  pthread_mutex_unlock(&m->lock);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    out->retired += load_rlx(&l->retired);
    out->reclaimed += load_rlx(&l->reclaimed);
    out->limbo_bytes += load_rlx(&l->bytes);
    out->limbo += load_rlx(&l->held);
  }
  out->limbo += out->orphans;
}

/* A pin's age counts from when somebody first looked: pinning itself reads no clock. */
static double pinned_for(struct lethe_epoch_limbo *l, uint64_t word) {
  double now = lethe_clock_monotonic();
  if (l->seen_word != word) {
    l->seen_word = word;
    l->seen_at = now;
  }
  return now - l->seen_at;
}

uint32_t lethe_epoch_records(struct lethe_epoch *m, struct lethe_epoch_rec_stats *out, uint32_t n) {
  uint32_t found = 0;
  pthread_mutex_lock(&m->lock);
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    if (!load_acq(&l->in_use)) continue;
    uint64_t word = load_acq(&l->rec->word);
    if (found < n)
      out[found] = (struct lethe_epoch_rec_stats){
          .pinned = word != 0,
          .neutralized = word != 0 && load_acq(&l->rec->ejected) == word,
          .extra = l->extra,
          .epoch = word >> LETHE_EPOCH_SHIFT,
          .limbo = load_rlx(&l->held),
          .peak = load_rlx(&l->peak),
          .limbo_bytes = load_rlx(&l->bytes),
          .pinned_for = word ? pinned_for(l, word) : 0};
    found++;
  }
  pthread_mutex_unlock(&m->lock);
  return found;
}
