/* SPDX-License-Identifier: MIT
 * Moving the epoch: who is at which, when G may advance, and ejecting whoever holds it back. */
#include "epoch_internal.h"

uint64_t lethe_epoch_now(const struct lethe_epoch *m) { return load_acq(&m->global); }

/* ---- fences --------------------------------------------------------------------------------- */

/* A full fence of this thread, between its stores and the load of G that follows. */
void epoch_fence_full(struct lethe_epoch *m) {
#if LETHE_TSAN
  atomic_fetch_add_explicit(&m->global, 0, memory_order_seq_cst);
#else
  (void)m;
  atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Where light fences are none, a heavy one of whoever registers takes the place of this one; where
 * they are full ones, so is the heavy one, and nothing is saved. */
uint64_t epoch_fence(struct lethe_epoch *m, bool mine) {
  uint64_t now = load_acq(&m->global);
  if (mine && load_rlx(&lethe_fence_asymmetric)) {
    atomic_signal_fence(memory_order_seq_cst);
    if (load_acq(&m->in_use) < 2) return now;
  }
  add_rlx(&m->fences, 1);
  lethe_fence_heavy();
  return now;
}

/* ---- who is where --------------------------------------------------------------------------- */

/* Acquire: pairs with the releases of unpin and show, so that the section before is over. */
static uint64_t word_of(const struct lethe_epoch_rec *r) {
#if LETHE_TSAN
  return atomic_fetch_add_explicit((_Atomic uint64_t *)&r->word, 0, memory_order_seq_cst);
#else
  return load_acq(&r->word);
#endif
}

bool epoch_counted_out(const struct lethe_epoch_rec *r) {
  uint64_t word = word_of(r);
  return word != 0 && word <= load_acq(&r->confirmed); /* pairs with the release of confirm */
}

/* The epoch that counts, or 0. */
static uint64_t shown(const struct lethe_epoch_rec *r) {
  uint64_t word = word_of(r);
  return word == 0 || word <= load_acq(&r->confirmed) ? 0 : word >> LETHE_EPOCH_SHIFT;
}

uint64_t lethe_epoch_safe(struct lethe_epoch *m) {
  uint64_t safe = load_acq(&m->global);
  if (m->mode == LETHE_EPOCH_MANUAL) epoch_fence(m, false); /* it is what objects are freed by */
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t epoch = shown(l->rec);
    if (epoch && epoch < safe) safe = epoch;
  }
  return safe;
}

uint64_t epoch_bound(struct lethe_epoch *m) {
  return m->mode == LETHE_EPOCH_AUTO ? load_acq(&m->global) : lethe_epoch_safe(m);
}

/* ---- advancing ------------------------------------------------------------------------------ */

/* Keeps I1. */
bool epoch_try_advance(struct lethe_epoch *m, uint64_t now) {
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t epoch = shown(l->rec);
    if (epoch && epoch != now) return load_acq(&m->global) != now;
  }
  if (atomic_compare_exchange_strong_explicit(&m->global, &now, now + 1, memory_order_acq_rel,
                                              memory_order_acquire))
    add_rlx(&m->advances, 1);
  return true;
}

void epoch_push(struct lethe_epoch *m, unsigned steps, bool mine) {
  while (steps-- > 0 && epoch_try_advance(m, epoch_fence(m, mine))) {
  }
}

uint64_t lethe_epoch_advance(struct lethe_epoch *m) {
  if (m->mode == LETHE_EPOCH_MANUAL) {
    add_rlx(&m->advances, 1);
    return add_acqrel(&m->global, 1) + 1;
  }
  struct lethe_epoch_rec *mine = lethe_epoch_current(m);
  uint64_t now = epoch_fence(m, mine != NULL);
  if (mine) {
    epoch_enter(mine->limbo);
    epoch_seal(mine->limbo);
    epoch_leave(mine->limbo);
  }
  epoch_try_advance(m, now);
  return load_acq(&m->global);
}

bool lethe_epoch_advance_every(struct lethe_epoch_rec *r, uint32_t n) {
  if (++r->limbo->calls < n) return false;
  r->limbo->calls = 0;
  lethe_epoch_advance(r->manager);
  return true;
}

/* ---- ejecting ------------------------------------------------------------------------------- */

struct ejection {
  uint32_t fresh, n;
  struct {
    struct lethe_epoch_rec *rec;
    uint64_t word;
  } of[32];
};

bool epoch_raise(_Atomic uint64_t *at, uint64_t word) {
  uint64_t old = load_rlx(at);
  while (old < word)
    if (atomic_compare_exchange_weak_explicit(at, &old, word, memory_order_seq_cst,
                                              memory_order_relaxed))
      return true;
  return false;
}

/* What was flagged is counted out (I4), but for who went hard before it could see the flag. The
 * number of ejections is raised first: whoever frees by this one finds it above 0. */
static void confirm(struct lethe_epoch *m, struct ejection *e) {
  add_rlx(&m->ejections, e->fresh);
  add_rlx(&m->fences, 1);
  lethe_fence_heavy();
  for (uint32_t i = 0; i < e->n; i++) {
    uint64_t word = word_of(e->of[i].rec), flagged = e->of[i].word;
    bool same = word >> LETHE_EPOCH_SHIFT == flagged >> LETHE_EPOCH_SHIFT;
    if (!same || !(word & LETHE_EPOCH_HARD)) epoch_raise(&e->of[i].rec->confirmed, flagged);
  }
  e->n = e->fresh = 0;
}

uint32_t epoch_eject(struct lethe_epoch *m, const struct lethe_epoch_rec *but, uint64_t bound,
                     uint32_t *others) {
  struct ejection e = {0};
  uint32_t fresh = 0, all = 0;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    uint64_t word = word_of(l->rec), soft = word | LETHE_EPOCH_SOFT;
    if (l->rec == but || word == 0 || word >> LETHE_EPOCH_SHIFT >= bound) continue;
    if (word <= load_acq(&l->rec->confirmed)) continue;
    if (word & LETHE_EPOCH_HARD) {
      epoch_urge(l, word);
      continue;
    }
    if (epoch_raise(&l->rec->ejected, soft)) {
      e.fresh++;
      fresh++;
    }
    e.of[e.n].rec = l->rec;
    e.of[e.n++].word = soft;
    all++;
    if (e.n == sizeof e.of / sizeof *e.of) confirm(m, &e);
  }
  if (e.n > 0) confirm(m, &e);
  if (others) *others = all;
  return fresh;
}

uint32_t lethe_epoch_neutralize(struct lethe_epoch *m, const struct lethe_epoch_rec *but,
                                uint64_t lag) {
  uint64_t now = load_acq(&m->global);
  return now > lag ? epoch_eject(m, but, now - lag, NULL) : 0;
}

/* ---- pins that are not ejected -------------------------------------------------------------- */

/* As in a guarded read: either the ejector sees, after its fence, that the word is hard, or this
 * sees the flag. */
bool lethe_epoch_harden(struct lethe_epoch_rec *r) {
  if (r->hard == 0) {
    uint64_t soft = load_rlx(&r->word);
    lethe_epoch_show_word(r, soft | LETHE_EPOCH_HARD);
    if (soft <= load_seq(&r->ejected)) {
      lethe_epoch_show_word(r, soft);
      return false;
    }
    store_rlx(&r->limbo->hardened, load_rlx(&r->limbo->hardened) + 1);
  }
  r->hard++;
  return true;
}

void lethe_epoch_soften(struct lethe_epoch_rec *r) {
  if (--r->hard == 0) lethe_epoch_show_word(r, load_rlx(&r->word) & ~(uint64_t)LETHE_EPOCH_HARD);
}
