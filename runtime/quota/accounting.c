/* SPDX-License-Identifier: MIT
 * The sums: every byte that a participant holds is in its account, in the accounts above and in the
 * tracker, and changes in all of them at once (I2 to I4). Beside them what follows from the sums:
 * size classes, which make the largest accounts an index look-up, the pressure level, and how large
 * a handle's cache may be. */
#include "quota_internal.h"

/* ---- size classes ---------------------------------------------------------------------------- */

/* 0 for nothing, else one more than the position of the highest bit. */
static uint8_t class_of(int64_t used) {
  return used <= 0 ? 0 : (uint8_t)(64 - __builtin_clzll((unsigned long long)used));
}

void quota_unclass(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  if (!a->class) return;
  if (a->class_next) account_at(t, a->class_next)->class_prev = a->class_prev;
  if (a->class_prev)
    account_at(t, a->class_prev)->class_next = a->class_next;
  else
    t->classes[a->class - 1] = a->class_next;
  a->class_prev = a->class_next = 0;
  a->class = 0;
}

void quota_reclass(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  uint8_t class = class_of(a->used);
  if (a->class == class + 1) return;
  quota_unclass(t, s);
  a->class = (uint8_t)(class + 1);
  a->class_next = t->classes[class];
  if (a->class_next) account_at(t, a->class_next)->class_prev = s;
  t->classes[class] = s;
}

/* ---- pressure -------------------------------------------------------------------------------- */

static double pressure(const struct lethe_quota *t) {
  if (t->used <= t->low_water) return 0;
  if (t->used >= t->max) return 1;
  return (double)(t->used - t->low_water) / (double)(t->max - t->low_water);
}

/* Levels are left 0.05 lower than they are entered, so that a sum at a boundary does not flutter. */
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

void quota_update_level(struct lethe_quota *t) {
  double value = pressure(t);
  enum lethe_quota_level level = level_at(value, t->level);
  if (level == t->level) return;
  t->level = level;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_PRESSURE, 0);
  if (!e) return;
  e->level = level;
  e->value = value;
}

/* ---- the sums -------------------------------------------------------------------------------- */

static void change(struct lethe_quota *t, struct participant *p, int64_t n) {
  slot_t s = p->account;
  struct account *a = account_at(t, s);
  p->used += n;
  a->used += n;
  t->used += n;
  if (a->used > a->peak) a->peak = a->used;
  if (t->used > t->peak) t->peak = t->used;
  quota_reclass(t, s);
  if (a->x && a->x->up) {
    quota_walk_up(t, s);
    for (slot_t above = quota_up(t, s); above; above = quota_up(t, above))
      account_at(t, above)->x->below += n;
  }
  quota_update_level(t);
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

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* min(16 KiB, m / (8 x handles)) over every max m above the handle. */
uint32_t quota_cap(const struct lethe_quota *t, slot_t s) {
  struct lethe_quota *w = (struct lethe_quota *)t; /* a walk only writes its own links */
  int64_t cap = LETHE_QUOTA_CACHE;
  cap = least(cap, t->max / (8 * (int64_t)(t->handles ? t->handles : 1)));
  const struct account *a = account_at(t, s);
  if (!a->x) return (uint32_t)cap;
  quota_walk_up(w, s);
  for (slot_t above = s; above; above = quota_up(t, above)) {
    const struct extra *x = account_at(t, above)->x;
    if (x->max != LETHE_QUOTA_NO_LIMIT)
      cap = least(cap, x->max / (8 * (int64_t)(x->handles ? x->handles : 1)));
  }
  return (uint32_t)cap;
}
