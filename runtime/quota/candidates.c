/* SPDX-License-Identifier: MIT
 * Candidates: snapshots of accounts, their ranking in a heap, and the plan of a pass.
 *
 * Gathering goes over the accounts in slices: under the lock at most 64 participants are looked at,
 * outside it the policy scores that batch. Only the score and the id stay; a candidate is looked at
 * again when its turn comes. */
#include "quota_internal.h"

enum { BATCH = 32 };

/* ---- walking the participants of a pass -------------------------------------------------------- */

void quota_visited(struct lethe_quota *t, uint32_t participants) {
  if (participants > t->longest_hold) t->longest_hold = participants;
}

void quota_cursor_reset(struct cursor *c) { *c = (struct cursor){.slot = 1}; }

static slot_t next_in_slab(struct lethe_quota *t, struct cursor *c, uint32_t *left) {
  for (; c->slot < t->participants.slots && *left > 0; --*left) {
    struct participant *p = lethe_slab_used(&t->participants, c->slot++);
    if (p && p->state == LIVE) return c->slot - 1;
  }
  return 0;
}

/* The participant after `last` in an account; the first when there was none, or when it is gone. */
slot_t quota_next_in_account(struct lethe_quota *t, uint64_t account, struct cursor *c) {
  struct account *a = account_find(t, account);
  if (!a) return 0;
  if (c->last == 0) return a->participants;
  struct participant *p = lethe_slab_find(&t->participants, c->last);
  if (p && p->state == LIVE) return p->next;
  return c->lost++ < t->participants.slots ? a->participants : 0;
}

static slot_t next_in_tree(struct lethe_quota *t, struct cursor *c, uint32_t *left) {
  while (c->account < t->pass.tree_n && *left > 0) {
    slot_t s = quota_next_in_account(t, t->pass.tree[c->account], c);
    --*left;
    if (s) {
      c->last = lethe_slab_id(participant_at(t, s), s);
      return s;
    }
    c->account++;
    c->last = 0;
  }
  return 0;
}

slot_t quota_cursor_next(struct lethe_quota *t, struct cursor *c, uint32_t *left) {
  slot_t s = t->pass.scope ? next_in_tree(t, c, left) : next_in_slab(t, c, left);
  quota_visited(t, LETHE_QUOTA_SLICE - *left);
  return s;
}

/* pass.tree: the account and all below it. */
int quota_tree_of(struct lethe_quota *t, slot_t root) {
  struct pass *p = &t->pass;
  p->tree_n = 0;
  quota_walk_down(t, root);
  for (slot_t s = root; s; s = quota_down(t, s)) {
    void *array = p->tree;
    if (lethe_grow(t->alloc, &array, &p->tree_room, p->tree_n + 1, sizeof *p->tree))
      return LETHE_ENOMEM;
    p->tree = array;
    p->tree[p->tree_n++] = lethe_slab_id(account_at(t, s), s);
  }
  return LETHE_OK;
}

/* ---- snapshots -------------------------------------------------------------------------------- */

/* Adds up to a slice of participants to the snapshot; false at the end. */
static bool look_at(struct lethe_quota *t, uint64_t account, struct cursor *c,
                    struct lethe_quota_account_info *info) {
  uint32_t n = 0;
  for (; n < LETHE_QUOTA_SLICE; n++) {
    slot_t s = quota_next_in_account(t, account, c);
    if (!s) break;
    const struct participant *p = participant_at(t, s);
    c->last = lethe_slab_id(p, s);
    if (p->flags & EXACT) continue;
    info->participants++;
    if (p->flags & TOLD)
      info->oldest = fmin(info->oldest, p->age);
    else if (p->flags & ASKED && p->used > (int64_t)p->refs * LETHE_QUOTA_CACHE)
      info->oldest = -INFINITY; /* says that it has nothing, but its accounting disagrees */
  }
  quota_visited(t, n);
  return n == LETHE_QUOTA_SLICE;
}

static void copy_account(const struct lethe_quota *t, slot_t s, struct lethe_quota_candidate *out) {
  const struct account *a = account_at(t, s);
  const struct extra *x = a->x;
  struct lethe_quota_account_info *i = &out->info;
  i->account = lethe_slab_id(a, s);
  i->used = a->used;
  i->peak = a->peak;
  i->limit = LETHE_QUOTA_NO_LIMIT;
  if (!x) return;
  for (size_t n = 0; x->name && n < sizeof i->name - 1 && x->name[n]; n++) i->name[n] = x->name[n];
  i->limit = x->max;
  i->reserve = x->reserve;
  i->priority = x->priority;
  i->children_used = x->below;
  i->reclaims = x->reclaims;
  if (x->reclaim_bytes > 0) out->cost = x->reclaim_seconds / (double)x->reclaim_bytes;
}

bool quota_candidate(struct lethe_quota *t, uint64_t account, bool degraded,
                     struct lethe_quota_candidate *out) {
  struct cursor c;
  quota_cursor_reset(&c);
  *out = (struct lethe_quota_candidate){.info.oldest = INFINITY, .degraded = degraded};
  while (look_at(t, account, &c, &out->info)) {
    quota_unlock(t); /* an account of many: others may have the lock */
    quota_lock(t);
  }
  if (!account_find(t, account) || out->info.participants == 0 || out->info.oldest == INFINITY)
    return false;
  copy_account(t, (slot_t)account, out);
  if (!degraded && out->info.reserve > 0 && out->info.used <= out->info.reserve) return false;
  out->age = quota_now(t) - out->info.oldest;
  return true;
}

/* ---- the heap --------------------------------------------------------------------------------- */

static bool before(const struct lethe_quota *t, const struct ranked *a, const struct ranked *b) {
  if (a->place != b->place) return a->place < b->place;
  if (a->score != b->score) return a->score > b->score;
  if (t->pass.policy && t->pass.policy->then_oldest && a->oldest != b->oldest)
    return a->oldest < b->oldest;
  return a->account < b->account;
}

static int push(struct lethe_quota *t, struct ranked r) {
  struct pass *p = &t->pass;
  void *array = p->heap;
  if (lethe_grow(t->alloc, &array, &p->heap_room, p->heap_n + 1, sizeof *p->heap))
    return LETHE_ENOMEM;
  p->heap = array;
  size_t i = p->heap_n++;
  for (; i > 0 && before(t, &r, &p->heap[(i - 1) / 2]); i = (i - 1) / 2)
    p->heap[i] = p->heap[(i - 1) / 2];
  p->heap[i] = r;
  return LETHE_OK;
}

bool quota_pop(struct lethe_quota *t, struct ranked *out) {
  struct pass *p = &t->pass;
  if (p->heap_n == 0) return false;
  *out = p->heap[0];
  struct ranked last = p->heap[--p->heap_n];
  size_t i = 0, child;
  while ((child = 2 * i + 1) < p->heap_n) {
    if (child + 1 < p->heap_n && before(t, &p->heap[child + 1], &p->heap[child])) child++;
    if (!before(t, &p->heap[child], &last)) break;
    p->heap[i] = p->heap[child];
    i = child;
  }
  p->heap[i] = last;
  return true;
}

/* ---- ranking ---------------------------------------------------------------------------------- */

/* A batch of accounts to be ranked, and what the pass knows of each. */
struct batch {
  struct lethe_quota_candidate *c;
  size_t n, room;
  double scores[BATCH];
};

static bool add(struct lethe_quota *t, struct batch *b, const struct ranked *known) {
  struct lethe_quota_candidate *c = &b->c[b->n];
  if (!quota_candidate(t, known->account, t->pass.degraded, c)) return false;
  c->tried = known->tried;
  c->freed = known->freed;
  b->n++;
  return true;
}

/* It has nothing now: once it claims something it arrives anew. */
static void overlook(struct lethe_quota *t, uint64_t account) {
  struct account *a = account_find(t, account);
  if (a) a->seen = 0;
}

/* The next account that is to be ranked: what stays of a victim, arrivals, the first gathering. */
static bool next_to_rank(struct lethe_quota *t, struct ranked *out, uint32_t *left) {
  struct pass *p = &t->pass;
  *out = p->again;
  p->again.account = 0;
  if (out->account) return true;
  *out = (struct ranked){0};
  if (t->arrivals_n > 0) {
    out->account = t->arrivals[--t->arrivals_n];
    return true;
  }
  if (p->scope) {
    if (!p->scan || p->scan > p->tree_n) return false;
    out->account = p->tree[p->scan++ - 1];
    return true;
  }
  for (; p->scan && p->scan < t->accounts.slots && *left > 0; --*left) {
    struct account *a = lethe_slab_used(&t->accounts, p->scan++);
    if (!a || a->seen == p->stamp) continue;
    a->seen = p->stamp;
    out->account = lethe_slab_id(a, p->scan - 1);
    return true;
  }
  return false;
}

static bool all_ranked(const struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  slot_t end = p->scope ? (slot_t)p->tree_n + 1 : t->accounts.slots;
  return !p->again.account && t->arrivals_n == 0 && (!p->scan || p->scan >= end);
}

/* Scores a batch outside the lock and puts it on the heap; false when the policy failed. */
static bool score(struct lethe_quota *t, struct batch *b) {
  struct lethe_quota_policy *policy = t->pass.policy;
  uint32_t id = t->pass.id;
  if (b->n == 0) return true;
  quota_unlock(t);
  int rc = policy->score(policy, b->c, b->n, b->scores);
  quota_lock(t);
  if (t->pass.id != id) return false;
  if (rc != LETHE_OK) return false;
  for (size_t i = 0; i < b->n; i++) {
    const struct lethe_quota_candidate *c = &b->c[i];
    if (isnan(b->scores[i])) continue;
    push(t, (struct ranked){.score = b->scores[i],
                            .oldest = c->info.oldest,
                            .account = c->info.account,
                            .freed = c->freed,
                            .tried = c->tried});
  }
  b->n = 0;
  policy->message[0] = '\0';
  return true;
}

static void rank_by_score(struct lethe_quota *t) {
  struct lethe_quota_candidate room[BATCH];
  struct batch b = {.c = room, .room = BATCH};
  struct ranked known;
  uint32_t id = t->pass.id;
  while (t->pass.id == id && !all_ranked(t)) {
    uint32_t left = LETHE_QUOTA_SLICE;
    while (b.n < b.room && next_to_rank(t, &known, &left)) {
      if (!add(t, &b, &known)) overlook(t, known.account);
      quota_unlock(t); /* a look at one account is one hold of the lock */
      quota_lock(t);
      if (t->pass.id != id) return;
    }
    if (!score(t, &b)) return;
    quota_unlock(t);
    quota_lock(t);
  }
}

/* An ordering policy sees all candidates at once: those on the heap again, and the new ones. */
static void rank_by_order(struct lethe_quota *t);

void quota_rank(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  p->policy->message[0] = '\0';
  if (t->arrivals_lost) {
    t->arrivals_lost = false;
    p->scan = 1;
  }
  if (p->policy->order)
    rank_by_order(t);
  else
    rank_by_score(t);
  if (p->id == id && !p->policy->message[0]) p->scan = 0;
}

static int add_growing(struct lethe_quota *t, struct batch *b, const struct ranked *known) {
  void *array = b->c;
  if (lethe_grow(t->alloc, &array, &b->room, b->n + 1, sizeof *b->c)) return LETHE_ENOMEM;
  b->c = array;
  if (!add(t, b, known)) overlook(t, known->account);
  return LETHE_OK;
}

static int score_all(struct lethe_quota *t, struct batch *b, struct ranked *rows) {
  struct lethe_quota_policy *policy = t->pass.policy;
  int rc = LETHE_OK;
  quota_unlock(t);
  for (size_t i = 0; i < b->n && rc == LETHE_OK; i += BATCH) {
    size_t n = b->n - i < BATCH ? b->n - i : BATCH;
    rc = policy->score(policy, b->c + i, n, b->scores);
    for (size_t j = 0; j < n && rc == LETHE_OK; j++) rows[i + j].score = b->scores[j];
  }
  quota_lock(t);
  return rc;
}

/* Drops what was spared, sorts the rest by score, lets the policy order it. */
static int order_rows(struct lethe_quota *t, struct batch *b, struct ranked *rows,
                      uint32_t *ranking) {
  struct lethe_quota_policy *policy = t->pass.policy;
  uint32_t id = t->pass.id;
  size_t kept = 0, ranked = 0;
  int rc = policy->score ? score_all(t, b, rows) : LETHE_OK;
  if (rc != LETHE_OK || t->pass.id != id) return rc;
  t->pass.heap_n = 0;
  for (size_t i = 0; i < b->n; i++) {
    if (isnan(rows[i].score)) continue;
    push(t, (struct ranked){.score = rows[i].score,
                            .oldest = b->c[i].info.oldest,
                            .account = b->c[i].info.account,
                            .tried = (uint32_t)i}); /* finds its row again once sorted */
  }
  struct lethe_quota_candidate *sorted = lethe_malloc(t->alloc, (b->n + 1) * sizeof *sorted);
  if (!sorted) return LETHE_ENOMEM;
  struct ranked r;
  while (quota_pop(t, &r)) {
    rows[kept].score = r.score;
    sorted[kept++] = b->c[r.tried];
  }
  quota_unlock(t);
  rc = policy->order(policy, sorted, kept, ranking, &ranked);
  quota_lock(t);
  for (size_t i = 0; rc == LETHE_OK && t->pass.id == id && i < ranked; i++) {
    const struct lethe_quota_candidate *c = &sorted[ranking[i]];
    push(t, (struct ranked){.score = rows[ranking[i]].score,
                            .oldest = c->info.oldest,
                            .account = c->info.account,
                            .freed = c->freed,
                            .tried = c->tried,
                            .place = (uint32_t)i + 1});
  }
  lethe_free(t->alloc, sorted, (b->n + 1) * sizeof *sorted);
  return rc;
}

static void rank_by_order(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct batch b = {0};
  struct ranked known, *rows = NULL;
  uint32_t id = p->id, *ranking = NULL;
  int rc = LETHE_OK;
  while (rc == LETHE_OK && quota_pop(t, &known)) rc = add_growing(t, &b, &known);
  while (rc == LETHE_OK && p->id == id && !all_ranked(t)) {
    uint32_t left = LETHE_QUOTA_SLICE;
    while (rc == LETHE_OK && next_to_rank(t, &known, &left)) rc = add_growing(t, &b, &known);
    quota_unlock(t);
    quota_lock(t);
  }
  size_t n = b.n + 1;
  if (rc == LETHE_OK && p->id == id) {
    rows = lethe_zalloc(t->alloc, n * sizeof *rows);
    ranking = lethe_zalloc(t->alloc, n * sizeof *ranking);
    rc = rows && ranking ? order_rows(t, &b, rows, ranking) : LETHE_ENOMEM;
  }
  if (rc == LETHE_ENOMEM && p->id == id)
    for (size_t i = 0; i < 18; i++) p->policy->message[i] = "not enough memory"[i];
  lethe_free(t->alloc, rows, n * sizeof *rows);
  lethe_free(t->alloc, ranking, n * sizeof *ranking);
  lethe_free(t->alloc, b.c, b.room * sizeof *b.c);
}
