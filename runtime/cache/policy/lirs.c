/* SPDX-License-Identifier: MIT
 * lirs (Jiang and Zhang, SIGMETRICS 2002): what counts is not when an entry was accessed last, but
 * how much else was accessed between its last two accesses.
 *
 * A stack holds keys by their last access. Entries with short distances (LIR, 99 percent of the
 * limit) are all in it, one of them at its bottom; of the others (HIR) it holds those accessed
 * since that bottom was, among them keys whose entries have left. HIR entries, in the stack or not,
 * stand in a queue of one percent, from which victims come. An access to what is HIR and in the
 * stack makes it LIR, and the bottom of the stack HIR; the stack then ends at the next LIR. So that
 * it stays bounded, what the stack holds is at most twice the limit: keys of entries that left
 * earliest are forgotten first.
 *
 * I1 The bottom of the stack is LIR, or the stack is empty.
 * I2 Each LIR entry has a place in the stack; a HIR entry has one or none; a place without an entry
 *    is in the hash and in the list of places that were left.
 * I3 There are as many buckets as places may be: leaving takes no memory. */
#include <stdio.h>

#include "builtin.h"
#include "order.h"

enum { HIR, LIR };
enum { FIRST_PLACES = 64 };

struct place {
  uint64_t key;
  int64_t size;
  uint32_t above, below;   /* places in the stack; of a free one, above is the next free one */
  uint32_t slot;           /* 0: its entry has left; then what follows links it */
  uint32_t later, earlier; /* to places that were left so */
  uint32_t chain;          /* in its bucket */
};

struct lirs_node {
  struct lethe_evict_node node;
  uint32_t place;
};

struct lirs {
  struct queued q;      /* list LIR has counts and no chain */
  struct place *places; /* 0 is not used, but ends the stack and the list of those left */
  uint32_t *buckets;
  uint32_t room, high, free;
  int64_t used; /* of the stack */
};

static struct lirs *self(struct lethe_evict *e) { return (struct lirs *)(void *)e; }
static uint32_t *place_of(struct lethe_evict *e, uint32_t slot) {
  return &((struct lirs_node *)(void *)lethe_evict_at(e, slot))->place;
}
static int64_t hir_limit(const struct lethe_evict *e) {
  return e->limit >= 100 ? e->limit / 100 : 1;
}
static int64_t lir_limit(const struct lethe_evict *e) { return e->limit - hir_limit(e); }

/* ---- places ---------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const struct lirs *s, uint64_t key) {
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return &s->buckets[(uint32_t)(key >> 32) & (s->room - 1)];
}

static int grow(struct lirs *s) {
  const struct lethe_alloc *a = s->q.e.alloc;
  uint32_t room = s->room ? s->room * 2 : FIRST_PLACES;
  uint32_t *buckets = room ? lethe_zalloc(a, room * sizeof *buckets) : NULL;
  if (!buckets) return LETHE_ENOMEM;
  lethe_fault_allowed();
  void *places =
      a->realloc(a->ud, s->places, s->room * sizeof *s->places, room * sizeof *s->places);
  if (!places) {
    lethe_free(a, buckets, room * sizeof *buckets);
    return LETHE_ENOMEM;
  }
  lethe_free(a, s->buckets, s->room * sizeof *s->buckets);
  s->buckets = buckets; /* keeps I3 */
  s->places = places;
  if (!s->room) s->places[0] = (struct place){0};
  s->room = room;
  for (uint32_t p = s->places[0].later; p; p = s->places[p].later) {
    uint32_t *bucket = bucket_of(s, s->places[p].key);
    s->places[p].chain = *bucket;
    *bucket = p;
  }
  return LETHE_OK;
}

/* There is a place to take. */
static int spare(struct lirs *s) { return s->free || s->high + 1 < s->room ? LETHE_OK : grow(s); }

/* The stack and the list of places that were left are rings through place 0. */
static void link_top(struct lirs *s, uint32_t p) {
  uint32_t top = s->places[0].below;
  s->places[p].above = 0;
  s->places[p].below = top;
  s->places[top].above = s->places[0].below = p;
}

static void unlink_stack(struct lirs *s, uint32_t p) {
  s->places[s->places[p].above].below = s->places[p].below;
  s->places[s->places[p].below].above = s->places[p].above;
}

static uint32_t bottom(const struct lirs *s) { return s->places[0].above; }

static uint32_t *find(const struct lirs *s, uint64_t key) {
  uint32_t *at = bucket_of(s, key);
  while (*at && s->places[*at].key != key) at = &s->places[*at].chain;
  return at;
}

/* On top of the stack, of a spare place. */
static void take_place(struct lirs *s, uint32_t slot) {
  const struct lethe_evict_node *n = lethe_evict_at(&s->q.e, slot);
  uint32_t p = s->free;
  if (p)
    s->free = s->places[p].above;
  else
    p = ++s->high;
  s->places[p] = (struct place){.key = n->key, .size = n->size, .slot = slot};
  link_top(s, p);
  s->used += n->size;
  *place_of(&s->q.e, slot) = p;
}

/* Out of the stack: with an entry or without. */
static void give_place(struct lirs *s, uint32_t p) {
  struct place *place = &s->places[p];
  unlink_stack(s, p);
  s->used -= place->size;
  if (place->slot) {
    *place_of(&s->q.e, place->slot) = 0;
  } else {
    *find(s, place->key) = place->chain;
    s->places[place->later].earlier = place->earlier;
    s->places[place->earlier].later = place->later;
  }
  place->above = s->free;
  s->free = p;
}

/* Its entry leaves, it stays. */
static void leave_place(struct lirs *s, uint32_t p) {
  uint32_t *bucket = bucket_of(s, s->places[p].key), last = s->places[0].earlier;
  struct place *place = &s->places[p];
  place->slot = 0;
  place->chain = *bucket;
  *bucket = p;
  place->later = 0;
  place->earlier = last;
  s->places[last].later = s->places[0].earlier = p;
}

/* keeps I1 */
static void prune(struct lirs *s) {
  uint32_t p;
  while ((p = bottom(s)) != 0) {
    uint32_t slot = s->places[p].slot;
    if (slot && lethe_evict_at(&s->q.e, slot)->queue == LIR) return;
    give_place(s, p);
  }
}

static void forget_oldest(struct lirs *s) {
  int64_t limit = s->q.e.limit;
  while (s->places[0].later && s->used - limit > limit) give_place(s, s->places[0].later);
  prune(s);
}

/* ---- HIR and LIR ----------------------------------------------------------------------------- */

static void count_lir(struct lethe_evict *e, uint32_t slot, int by) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  if (by > 0) n->queue = LIR;
  list_at(e, LIR)->len += (uint32_t)by;
  list_at(e, LIR)->used += by * n->size;
}

/* The bottom of the stack, which is LIR, becomes the last of the queue; a refused one is only
 * counted there. */
static void demote(struct lethe_evict *e) {
  struct lirs *s = self(e);
  uint32_t slot = s->places[bottom(s)].slot;
  count_lir(e, slot, -1);
  give_place(s, bottom(s));
  list_push(e, HIR, slot);
  if (lethe_evict_at(e, slot)->refused) list_unlink(e, list_at(e, HIR), slot);
  prune(s);
}

static void demote_surplus(struct lethe_evict *e) {
  while (list_at(e, LIR)->len && list_at(e, LIR)->used > lir_limit(e)) demote(e);
}

/* ---- the policy ------------------------------------------------------------------------------ */

/* A key of the stack whose entry has left is forgotten there: it comes back as LIR. */
static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  struct lirs *s = self(e);
  uint32_t p = s->room ? *find(s, r->key) : 0;
  if (r->size > e->limit) return false;
  r->found = p != 0;
  if (p) give_place(s, p);
  return true;
}

static bool fits_lir(struct lethe_evict *e, int64_t size) {
  return list_at(e, LIR)->used <= lir_limit(e) - size;
}

/* What comes as HIR has room in the queue. */
static bool full(struct lethe_evict *e, const struct lethe_evict_request *r) {
  if (!r || r->found || fits_lir(e, r->size) || !list_at(e, HIR)->tail) return false;
  return list_at(e, HIR)->used > hir_limit(e) - r->size;
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  struct lirs *s = self(e);
  if (spare(s) != LETHE_OK) return LETHE_ENOMEM;
  take_place(s, slot);
  if (r->found || fits_lir(e, r->size)) {
    count_lir(e, slot, 1);
    demote_surplus(e);
  } else {
    list_push(e, HIR, slot);
  }
  forget_oldest(s);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  struct lirs *s = self(e);
  uint32_t p = *place_of(e, slot);
  if (!p) { /* nor does it come back into the stack by that: so the published simulator counts */
    list_to_head(e, list_at(e, HIR), slot);
    return;
  }
  unlink_stack(s, p);
  link_top(s, p);
  if (lethe_evict_at(e, slot)->queue == HIR) {
    list_remove(e, slot);
    count_lir(e, slot, 1);
    demote_surplus(e);
  }
  prune(s);
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  (void)r;
  while (!list_at(e, HIR)->tail && list_at(e, LIR)->len) demote(e);
  return list_at(e, HIR)->tail;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct lirs *s = self(e);
  uint32_t p = *place_of(e, slot);
  bool hir = lethe_evict_at(e, slot)->queue == HIR;
  if (hir)
    list_remove(e, slot);
  else
    count_lir(e, slot, -1);
  if (p && hir && evicted)
    leave_place(s, p);
  else if (p)
    give_place(s, p);
  prune(s);
}

static void refuse(struct lethe_evict *e, uint32_t slot) {
  if (lethe_evict_at(e, slot)->queue == HIR) queued_refuse(e, slot);
}

static void offer(struct lethe_evict *e, uint32_t slot) {
  if (lethe_evict_at(e, slot)->queue == HIR) queued_offer(e, slot);
}

static void weigh(struct lethe_evict *e, uint32_t slot, int64_t by) {
  uint32_t p = *place_of(e, slot);
  queued_weigh(e, slot, by);
  if (!p) return;
  self(e)->places[p].size += by;
  self(e)->used += by;
}

static void resize(struct lethe_evict *e) {
  if (!self(e)->room) return;
  demote_surplus(e);
  forget_oldest(self(e));
}

static void forget(struct lethe_evict *e) {
  struct lirs *s = self(e);
  while (s->room && s->places[0].later) give_place(s, s->places[0].later);
}

static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  struct lirs *s = self(e);
  for (uint32_t slot = list_at(e, HIR)->tail; slot; slot = lethe_evict_at(e, slot)->prev)
    fn(ud, slot);
  for (uint32_t p = s->room ? bottom(s) : 0; p; p = s->places[p].above) {
    const struct lethe_evict_node *n = lethe_evict_at(e, s->places[p].slot);
    if (s->places[p].slot && n->queue == LIR && !n->refused) fn(ud, s->places[p].slot);
  }
}

static void destroy(struct lethe_evict *e) {
  struct lirs *s = self(e);
  lethe_free(e->alloc, s->places, s->room * sizeof *s->places);
  lethe_free(e->alloc, s->buckets, s->room * sizeof *s->buckets);
}

/* ---- the audit ------------------------------------------------------------------------------- */

struct stack_census {
  uint32_t places, lir, left;
  int64_t used;
  bool sound;
};

static struct stack_census census(const struct lirs *s) {
  const struct lethe_evict *e = &s->q.e;
  struct stack_census c = {.sound = true};
  for (uint32_t p = s->room ? bottom(s) : 0; p && c.places <= s->high; p = s->places[p].above) {
    const struct place *place = &s->places[p];
    const struct lirs_node *n = (const void *)lethe_evict_at(e, place->slot);
    c.places++;
    c.used += place->size;
    c.left += !place->slot;
    c.lir += place->slot && n->node.queue == LIR;
    if (place->slot && (n->place != p || n->node.size != place->size)) c.sound = false;
    if (!place->slot && *find(s, place->key) != p) c.sound = false;
    if (c.places == 1 && !c.lir) c.sound = false; /* I1 */
  }
  for (uint32_t p = s->room ? s->places[0].later : 0; p && c.left; p = s->places[p].later) c.left--;
  return c;
}

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct lirs *s = (const struct lirs *)(const void *)e;
  const struct list *lir = &s->q.lists[LIR];
  struct stack_census c = census(s);
  uint32_t members = 0;
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *node = lethe_evict_at(e, slot);
    members += node->generation & 1 && node->queue == LIR;
  }
  if (!c.sound || c.left || c.used != s->used || c.lir != lir->len || members != lir->len) {
    snprintf(why, n, "stack: %lu places, %lu LIR of %lu, %lld of %lld", (unsigned long)c.places,
             (unsigned long)c.lir, (unsigned long)lir->len, (long long)c.used, (long long)s->used);
    return LETHE_EBROKEN;
  }
  return list_check(e, &s->q.lists[HIR], HIR, why, n);
}

const struct lethe_evict_ops evict_lirs = {.name = "lirs",
                                           .size = sizeof(struct lirs),
                                           .node = sizeof(struct lirs_node),
                                           .destroy = destroy,
                                           .admit = admit,
                                           .full = full,
                                           .insert = insert,
                                           .hit = hit,
                                           .victim = victim,
                                           .leave = leave,
                                           .refuse = refuse,
                                           .offer = offer,
                                           .weigh = weigh,
                                           .resize = resize,
                                           .forget = forget,
                                           .each = each,
                                           .check = check};
