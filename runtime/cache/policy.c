/* SPDX-License-Identifier: MIT
 * What the cache asks of its eviction policy, which counts bytes where these are limited, else
 * entries. While it is asked nobody may call the cache: a policy may be a script. */
#include "cache_internal.h"
#include "lethe/evict_script.h"

static int64_t size_of(const struct lethe_cache *c, const struct lethe_cache_entry *e) {
  return c->weighted ? e->size : 1;
}

static struct lethe_evict_request request(const struct lethe_cache *c,
                                          struct lethe_cache_entry *e) {
  return (struct lethe_evict_request){.key = e->hash,
                                      .size = size_of(c, e),
                                      .cost = (double)e->cost,
                                      .owner = e,
                                      .found = e->p.found};
}

bool cache_policy_admit(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_evict_request r = request(c, e);
  c->deciding++;
  bool worth = lethe_evict_admit(c->policy, &r);
  c->deciding--;
  e->p.found = r.found;
  return worth;
}

bool cache_policy_full(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_evict_request r = request(c, e);
  c->deciding++;
  bool full = lethe_evict_full(c->policy, &r);
  c->deciding--;
  return full;
}

int cache_policy_insert(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_evict_request r = request(c, e);
  c->deciding++;
  e->handle = 0;
  e->refused = false;
  int code = lethe_evict_insert(c->policy, &r, &e->handle);
  c->deciding--;
  if (code == LETHE_OK) cache_note_node(c, e);
  return code;
}

void cache_policy_hit(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->deciding++;
  lethe_evict_hit(c->policy, e->handle);
  c->deciding--;
  if (c->policy->dropped) c->trim = true;
}

struct lethe_cache_entry *cache_policy_victim(struct lethe_cache *c,
                                              struct lethe_cache_entry *into) {
  struct lethe_evict_request r = {0};
  if (into) r = request(c, into);
  c->deciding++;
  uint64_t handle = lethe_evict_victim(c->policy, into ? &r : NULL);
  c->deciding--;
  const struct lethe_evict_node *node = lethe_evict_get(c->policy, handle);
  return node ? node->owner : NULL;
}

void cache_policy_refuse(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->deciding++;
  lethe_evict_refuse(c->policy, e->handle);
  c->deciding--;
  e->refused = true;
}

void cache_policy_offer(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->deciding++;
  lethe_evict_offer(c->policy, e->handle);
  c->deciding--;
  e->refused = false;
}

void cache_policy_resized(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->deciding++;
  if (c->weighted) lethe_evict_weigh(c->policy, e->handle, e->size);
  c->deciding--;
}

void cache_policy_limits(struct lethe_cache *c) {
  c->deciding++;
  lethe_evict_resize(c->policy, c->weighted ? c->max_bytes : c->limit);
  c->deciding--;
}

/* gcc takes a function that does nothing but this for one without effect, and leaves out its
 * calls. */
#define HINT static inline __attribute__((always_inline)) void

/* A node may lie across two lines. */
HINT expect_node(const struct lethe_cache *c, uint32_t slot) {
  if (slot > c->policy->high) return;
  const struct lethe_evict_node *node = lethe_evict_at(c->policy, slot);
  __builtin_prefetch(node, 1);
  __builtin_prefetch((const char *)(node + 1) - 1, 1);
}

/* Whoever stands beside a victim is likely the next: by then it will be near, if what says where it
 * is, its node, is so now; hence the nodes of those after it. Only a hint, whatever the policy
 * keeps there. */
HINT expect(const struct lethe_cache *c, uint32_t slot) {
  if (slot == 0 || slot > c->policy->high) return;
  const struct lethe_evict_node *node = lethe_evict_at(c->policy, slot);
  const char *owner = node->owner;
  expect_node(c, node->next);
  expect_node(c, node->prev);
  for (size_t line = 0; line < 4; line++) __builtin_prefetch(owner + 64 * line, 1);
  __builtin_prefetch(&c->buckets[node->key & (c->nbuckets - 1)], 1);
}

void cache_policy_removed(struct lethe_cache *c, struct lethe_cache_entry *e, bool evicted) {
  const struct lethe_evict_node *node = lethe_evict_get(c->policy, e->handle);
  if (node && evicted) {
    expect(c, node->next);
    expect(c, node->prev);
  }
  c->deciding++;
  lethe_evict_remove(c->policy, e->handle, evicted);
  c->deciding--;
  e->handle = 0;
  e->refused = false;
}

void cache_policy_destroy(struct lethe_cache *c) { lethe_evict_delete(c->policy); }

/* ---- another one ----------------------------------------------------------------------------- */

struct move {
  struct lethe_cache *c;
  struct lethe_evict *to;
  int code;
};

static void copy_node(void *ud, const struct lethe_evict_node *node) {
  struct move *m = ud;
  struct lethe_cache_entry *e = node->owner;
  struct lethe_evict_request r = {node->key, size_of(m->c, e), (double)e->cost, e, 0};
  uint64_t handle;
  if (m->code == LETHE_OK) m->code = lethe_evict_insert(m->to, &r, &handle);
  if (m->code == LETHE_ELIMIT) m->code = LETHE_OK; /* homeless */
}

static void take_handle(void *ud, const struct lethe_evict_node *node) {
  const struct move *m = ud;
  struct lethe_cache_entry *e = node->owner;
  uint32_t slot = (uint32_t)(((const char *)node - m->to->nodes) / m->to->stride);
  e->handle = lethe_evict_handle(m->to, slot);
  cache_note_node(m->c, e);
  lethe_list_remove(&e->aside);
}

/* Those that neither policy knows are homeless by now. */
static void let_go(void *ud, const struct lethe_evict_node *node) {
  struct move *m = ud;
  struct lethe_cache_entry *e = node->owner;
  e->handle = 0;
  e->refused = false;
  lethe_list_remove(&e->aside);
  lethe_list_push(&m->c->homeless, &e->aside);
}

/* Handles stay, and so does what is refused. */
static int swap_heirs(struct lethe_cache *c, struct lethe_evict *policy, int (*moved)(void *ud),
                      void *ud) {
  int code = lethe_evict_script_inherit(policy, c->policy);
  if (code != LETHE_OK) return code;
  code = moved ? moved(ud) : LETHE_OK;
  if (code == LETHE_OK && lethe_evict_script_strikes(policy)) code = LETHE_EPOLICY;
  if (code != LETHE_OK) lethe_evict_script_give_back(policy, c->policy);
  return code;
}

static int swap_copies(struct lethe_cache *c, struct lethe_evict *policy, int (*moved)(void *ud),
                       void *ud) {
  struct move m = {c, policy, LETHE_OK};
  lethe_evict_each(c->policy, copy_node, &m);
  if (m.code == LETHE_OK && moved) m.code = moved(ud);
  if (m.code == LETHE_OK && lethe_evict_script_strikes(policy)) m.code = LETHE_EPOLICY;
  if (m.code != LETHE_OK) {
    lethe_evict_clear(policy);
    return m.code;
  }
  lethe_evict_each(c->policy, let_go, &m);
  lethe_evict_each(policy, take_handle, &m);
  return LETHE_OK;
}

/* What the one before has found out about values on their way means nothing to another. */
static void forget_found(struct lethe_cache *c) {
  for (uint32_t slot = 1; slot < c->entries.slots; slot++) {
    struct lethe_cache_entry *e = lethe_slab_used(&c->entries, slot);
    if (e && e->state == ENTRY_PLACING) e->p.found = 0;
  }
}

int lethe_cache_swap_policy(struct lethe_cache *c, struct lethe_evict *policy,
                            int (*moved)(void *ud), void *ud, struct lethe_evict **before) {
  if (c->closed) return LETHE_ECLOSED;
  if (c->deciding) return LETHE_EINVAL;
  c->deciding++;
  lethe_evict_resize(policy, c->weighted ? c->max_bytes : c->limit);
  int code = swap_heirs(c, policy, moved, ud);
  if (code == LETHE_EINVAL) code = swap_copies(c, policy, moved, ud); /* of another kind */
  if (code == LETHE_OK) {
    *before = c->policy;
    c->policy = policy;
    forget_found(c);
  }
  c->deciding--;
  if (code == LETHE_OK) c->trim = c->room = true;
  cache_pump(c);
  return code;
}

struct lethe_evict *lethe_cache_policy(struct lethe_cache *c) {
  return c->policy;
}
