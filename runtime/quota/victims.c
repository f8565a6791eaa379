/* SPDX-License-Identifier: MIT
 * One victim: who is asked for memory, and what follows from the answers.
 *
 * The victim takes along every account below it that its reserve does not protect. All their
 * participants are asked at the same time. One that answers "stays" goes on living; one that
 * collapses, fails, or lets the deadline pass is condemned: its bytes leave the sums now and are
 * watched until they are really gone. An account ends when one of its participants collapsed and
 * none stays; one without participants ends with the victim. */
#include "quota_internal.h"

static void breathe_if_due(struct lethe_quota *t) {
  if (t->visited >= LETHE_QUOTA_SLICE) quota_breathe(t);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static int find_family(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  int rc = quota_tree_begin(t, &p->family, p->victim.account);
  while (rc == LETHE_OK && (rc = quota_tree_grow(t, &p->family)) == 1) {
    quota_breathe(t);
    rc = p->id == id ? LETHE_OK : LETHE_ECLOSED;
  }
  p->prey.n = 0;
  return rc;
}

static struct prey *prey_of(const struct lethe_quota *t, size_t i) {
  return VEC_AT(&t->pass.prey, struct prey, i);
}

static struct prey look_at(const struct lethe_quota *t, size_t i) {
  const struct pass *p = &t->pass;
  const struct account *a = account_find(t, vec_id(&p->family.v, i));
  if (!a) return (struct prey){.spared = true};
  int64_t reserve = a->x ? a->x->reserve : 0;
  bool spared = i > 0 && !p->degraded && reserve > 0 && a->used <= reserve;
  return (struct prey){.before = a->used, .spared = spared};
}

/* A request for every participant of one account. */
static void prepare(struct lethe_quota *t, size_t i) {
  struct pass *p = &t->pass;
  struct cursor c;
  uint32_t id = p->id;
  bool more = true;
  quota_cursor_account(t, &c, (slot_t)vec_id(&p->family.v, i));
  while (more && p->id == id) {
    slot_t s = quota_cursor_next(t, &c, &more);
    if (!s && more) quota_breathe(t);
    if (!s) continue;
    more = true;
    if (participant_at(t, s)->flags & EXACT) continue;
    if (quota_call_add(t, s, i) == LETHE_OK) prey_of(t, i)->asked = true;
  }
  quota_cursor_close(&c);
}

static void prepare_all(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  for (size_t i = 0; p->id == id && i < p->family.v.n; i++) {
    breathe_if_due(t);
    if (p->id != id) return;
    quota_visit(t, 1);
    if (vec_add(t->alloc, &p->prey, sizeof(struct prey))) return; /* the rest is not asked */
    *prey_of(t, i) = look_at(t, i);
    if (!prey_of(t, i)->spared) prepare(t, i);
  }
}

/* What is older than the next victim's oldest may go before anything of that one does. */
static double next_oldest(const struct lethe_quota *t) {
  double oldest = t->pass.heap.n ? VEC_AT(&t->pass.heap, struct ranked, 0)->oldest : NAN;
  return isinf(oldest) ? NAN : oldest;
}

/* False: the victim is gone, or not worth asking any more. */
static bool prepare_victim(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  p->outstanding = 0;
  bool worth = quota_candidate(t, p->victim.account, p->degraded, false, &p->victim_was);
  p->victim_was.tried = p->victim.tried;
  p->victim_was.freed = p->victim.freed;
  if (!worth || p->id != id || !quota_in_scope(t, (slot_t)p->victim.account)) return false;
  if (find_family(t) != LETHE_OK || p->id != id) return false;
  prepare_all(t);
  return p->id == id && !lethe_list_empty(&p->calls);
}

/* Then it goes back among the candidates first. */
static bool is_touched(struct lethe_quota *t) {
  const struct account *a = account_find(t, t->pass.victim.account);
  if (!a || !a->x || a->x->touched != t->pass.id) return false;
  a->x->touched = 0;
  return true;
}

void quota_victim_ask(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  if (is_touched(t)) {
    p->again = p->victim;
    p->phase = CHOOSE;
    return;
  }
  if (!prepare_victim(t)) {
    if (p->id == id) p->phase = CHOOSE;
    return;
  }
  struct lethe_quota_request request = {.goal = quota_pass_needs(t),
                                        .older_than = next_oldest(t),
                                        .deadline = t->deadline,
                                        .reason = p->reason};
  p->victim_began = quota_now(t);
  p->phase = RECLAIMING;
  quota_wait_at_most(t, t->deadline);
  quota_calls_issue(t, &request);
}

/* ---- settling -------------------------------------------------------------------------------- */

static void condemn(struct lethe_quota *t, slot_t s) {
  const struct participant *q = participant_at(t, s);
  uint64_t id = lethe_slab_id(q, s), account = account_id_of(q);
  uint16_t member = q->member;
  quota_participant_condemn(t, s);
  quota_bury(t, id, account);
  quota_collapsed(t, member, id);
}

static void take_answer(struct lethe_quota *t, const struct lethe_quota_call *call) {
  const struct participant *q = lethe_slab_find(&t->participants, call->participant);
  struct prey *prey = prey_of(t, call->prey);
  if (call->answered && call->stays) {
    prey->stays = true;
    return;
  }
  prey->collapsed = true;
  if (q && q->state == LIVE) condemn(t, (slot_t)call->participant); /* else it ended itself */
}

static void take_answers(struct lethe_quota *t) {
  struct lethe_list *node;
  while ((node = lethe_list_shift(&t->pass.calls)) != NULL) {
    struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
    if (!call->answered) t->pass.outstanding--;
    take_answer(t, call);
    quota_call_put(call);
    quota_visit(t, 1);
    breathe_if_due(t);
  }
}

static bool ends(const struct lethe_quota *t, const struct prey *prey) {
  if (prey->spared) return false;
  if (!prey->asked) prey = prey_of(t, 0);
  return prey->collapsed && !prey->stays;
}

/* Whoever is left in an account that ends goes the way of those that collapsed. */
static void end_account(struct lethe_quota *t, uint64_t account) {
  uint32_t id = t->pass.id;
  for (const struct account *a; (a = account_find(t, account)) && a->participants;) {
    condemn(t, a->participants);
    quota_visit(t, 1);
    breathe_if_due(t);
    if (t->pass.id != id) return;
  }
  if (account_find(t, account)) quota_account_end(t, (slot_t)account);
}

/* From the far end: an account without children costs those above it nothing to lose. */
static void end_accounts(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  for (size_t i = p->prey.n; p->id == id && i-- > 0;) {
    if (ends(t, prey_of(t, i))) end_account(t, vec_id(&p->family.v, i));
    quota_visit(t, 1);
    breathe_if_due(t);
  }
}

/* The bytes that all of the family gave. Who was taken along and lives on is another than it was
 * when it was ranked. */
static int64_t freed_of(struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  uint32_t id = p->id;
  int64_t freed = 0;
  for (size_t i = 0; p->id == id && i < p->prey.n; i++) {
    const struct account *a = account_find(t, vec_id(&p->family.v, i));
    const struct prey *prey = prey_of(t, i);
    if (!a || prey->asked) freed += prey->before - (a ? a->used : 0);
    if (a && a->x && prey->asked) a->x->touched = id;
    quota_visit(t, 1);
    breathe_if_due(t);
  }
  return freed > 0 ? freed : 0;
}

static void report(struct lethe_quota *t, int64_t freed) {
  struct pass *p = &t->pass;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_VICTIM, p->victim.account);
  p->freed += freed;
  p->victims++;
  p->victim_freed = freed;
  p->tell_victim = true;
  t->freed += freed;
  t->victims++;
  if (!e) return;
  e->bytes = freed;
  e->value = p->victim.score;
  e->reason = p->reason;
  for (size_t i = 0; i < sizeof e->name; i++) e->name[i] = p->victim_was.info.name[i];
}

/* What it took, for candidates' cost; and it is ranked again if it gave something. */
static void remember(struct lethe_quota *t, int64_t freed) {
  struct pass *p = &t->pass;
  if (!account_find(t, p->victim.account)) return;
  struct extra *x = quota_extra(t, (slot_t)p->victim.account);
  if (x) {
    x->reclaims++;
    x->reclaim_seconds += quota_now(t) - p->victim_began;
    x->reclaim_bytes += freed;
  }
  if (x) x->touched = 0; /* ranked anew, or not at all */
  if (freed == 0) return;
  p->again = p->victim;
  p->again.tried++;
  p->again.freed += freed;
}

void quota_victim_settle(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  lethe_timer_stop(&t->timer);
  take_answers(t);
  if (p->id == id) end_accounts(t);
  int64_t freed = p->id == id ? freed_of(t) : 0;
  if (p->id == id) {
    report(t, freed);
    remember(t, freed);
    p->phase = CHOOSE;
  }
  quota_tell_collapsed(t);
}
