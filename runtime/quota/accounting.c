/* SPDX-License-Identifier: MIT
 * The sums: every byte that a participant holds is in its account, in the accounts above and in the
 * tracker, and changes in all of them at once (I2 to I4). Beside them what follows from the sums:
 * size classes, which make the largest accounts an index look-up, the pressure level, and how large
 * a handle's cache may be. */
#include "quota_internal.h"

/* ---- size classes ---------------------------------------------------------------------------- */

static uint8_t class_of(const struct account *a) { return quota_class_of(a->used); }

void quota_class_remove(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  if (a->class_next) account_at(t, a->class_next)->class_prev = a->class_prev;
  if (a->class_prev)
    account_at(t, a->class_prev)->class_next = a->class_next;
  else
    t->classes[class_of(a)] = a->class_next;
  a->class_prev = a->class_next = 0;
}

void quota_class_add(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  a->class_next = t->classes[class_of(a)];
  if (a->class_next) account_at(t, a->class_next)->class_prev = s;
  t->classes[class_of(a)] = s;
}

/* ---- pressure -------------------------------------------------------------------------------- */

static double pressure(const struct lethe_quota *t) {
  if (t->used <= t->low_water) return 0;
  if (t->used >= t->max) return 1;
  return (double)(t->used - t->low_water) / (double)(t->max - t->low_water);
}

/* Levels are left 0.05 lower than they are entered, so that a sum at a boundary does not
 * flutter. */
static enum lethe_quota_level level_at(double value, enum lethe_quota_level now) {
  static const double enter[] = {0, 0, 0.5, 1};
  int level = LETHE_QUOTA_NORMAL;
  if (value > 0) level = LETHE_QUOTA_SOFT;
  for (int l = LETHE_QUOTA_HIGH; l <= LETHE_QUOTA_CRITICAL; l++) {
    double bound = l <= (int)now ? enter[l] - 0.05 : enter[l];
    if (value >= bound) level = l;
  }
  return (enum lethe_quota_level)level;
}

double lethe_quota_pressure(struct lethe_quota *t, enum lethe_quota_level *level) {
  quota_lock(t);
  double value = t->noop ? 0 : pressure(t);
  *level = t->level;
  quota_unlock(t);
  return value;
}

static void look_at_level(struct lethe_quota *t) {
  double value = pressure(t);
  enum lethe_quota_level level = level_at(value, t->level);
  if (level == t->level) return;
  t->level = level;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_PRESSURE, 0);
  if (!e) return;
  e->level = level;
  e->value = value;
}

/* Far below low water, where nearly every change is, there is nothing to look at. */
static inline void update_level(struct lethe_quota *t) {
  if (t->level != LETHE_QUOTA_NORMAL || t->used > t->low_water) look_at_level(t);
}

void quota_update_level(struct lethe_quota *t) { update_level(t); }

/* ---- the sums -------------------------------------------------------------------------------- */

static inline void change(struct lethe_quota *t, struct participant *p, int64_t n) {
  slot_t s = p->account;
  struct account *a = account_at(t, s);
  bool moves = class_of(a) != quota_class_of(a->used + n);
  if (moves) quota_class_remove(t, s);
  p->used += n;
  a->used += n;
  t->used += n;
  if (moves) quota_class_add(t, s);
  if (a->used > a->peak) a->peak = a->used;
  if (t->used > t->peak) t->peak = t->used;
  if (a->x) {
    quota_walk_up(t, s);
    if (n > 0) a->x->stuck = false;
    for (slot_t above = quota_up(t, s); above; above = quota_up(t, above)) {
      struct extra *x = account_at(t, above)->x;
      x->below += n;
      if (n > 0) x->stuck = false;
    }
  }
  update_level(t);
}

void quota_charge(struct lethe_quota *t, struct participant *p, int64_t n) {
  if (n == 0) return;
  change(t, p, n);
  if (t->pass.id) quota_arrive(t, p->account);
}

void quota_uncharge(struct lethe_quota *t, struct participant *p, int64_t n) {
  if (n == 0) return;
  if (p->state == CONDEMNED) {
    p->used -= n;
    t->condemned -= n;
    return;
  }
  change(t, p, -n);
  if (!lethe_list_empty(&t->waits)) quota_serve(t);
}

/* ---- caches ---------------------------------------------------------------------------------- */

/* min(cap, m / (8 x handles)); most often the first, and then nothing is divided. */
static int64_t cap_within(int64_t cap, int64_t max, uint64_t handles) {
  int64_t n = 8 * (int64_t)(handles ? handles : 1);
  return max / cap >= n ? cap : max / n;
}

/* min(16 KiB, m / (8 x handles)) over every max m above the handle. */
uint32_t quota_cap_below(const struct lethe_quota *t, slot_t s) {
  struct lethe_quota *w = (struct lethe_quota *)t; /* a walk only writes its own links */
  int64_t cap = cap_within(LETHE_QUOTA_CACHE, t->max, t->handles);
  const struct account *a = account_at(t, s);
  if (!a->x) return (uint32_t)cap;
  quota_walk_up(w, s);
  for (slot_t above = s; above && cap > 0; above = quota_up(t, above)) {
    const struct extra *x = account_at(t, above)->x;
    if (x->max != LETHE_QUOTA_NO_LIMIT) cap = cap_within(cap, x->max, x->handles);
  }
  return (uint32_t)cap;
}
