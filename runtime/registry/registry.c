/* SPDX-License-Identifier: MIT
 * Finalization registry. The dead-set is a list threaded through the slots themselves, so noting a
 * death writes three words; taking sorts that list with a merge sort on the links. */
#include "lethe/registry.h"

struct slot {
  uint32_t generation;
  uint32_t next; /* dead: the next dead slot */
  void *what;
  const void *kind;
  uint64_t serial : 63, dead : 1; /* serial: how many were added before; the order of deaths */
};

static struct slot *at(const struct lethe_registry *r, uint32_t slot) {
  return lethe_slab_slot(&r->slots, slot);
}

void lethe_registry_init(struct lethe_registry *r, const struct lethe_alloc *a) {
  *r = (struct lethe_registry){0};
  lethe_slab_init(&r->slots, a, sizeof(struct slot));
}

void lethe_registry_destroy(struct lethe_registry *r) { lethe_slab_destroy(&r->slots); }

uint64_t lethe_registry_add(struct lethe_registry *r, void *what, const void *kind) {
  uint64_t id;
  struct slot *s = lethe_slab_take(&r->slots, &id);
  if (!s) return 0;
  s->what = what;
  s->kind = kind;
  s->serial = r->registered++ & (UINT64_MAX >> 1);
  return id;
}

void lethe_registry_hold(struct lethe_registry *r, uint64_t id, void *what) {
  struct slot *s = lethe_slab_find(&r->slots, id);
  if (s) s->what = what;
}

void lethe_registry_rename(struct lethe_registry *r, uint64_t id, const void *kind) {
  struct slot *s = lethe_slab_find(&r->slots, id);
  if (s) s->kind = kind;
}

bool lethe_registry_remove(struct lethe_registry *r, uint64_t id) {
  struct slot *s = lethe_slab_find(&r->slots, id);
  if (!s || s->dead) return false;
  lethe_slab_give(&r->slots, id);
  return true;
}

bool lethe_registry_note(struct lethe_registry *r, uint64_t id) {
  struct slot *s = lethe_slab_find(&r->slots, id);
  if (!s || s->dead) return false;
  s->dead = true;
  s->next = r->dead_head;
  r->dead_head = (uint32_t)id;
  r->dead++;
  r->finalized++;
  return true;
}

void lethe_registry_note_all(struct lethe_registry *r) {
  for (uint32_t i = 1; i < r->slots.slots; i++) {
    struct slot *s = lethe_slab_used(&r->slots, i);
    if (s) lethe_registry_note(r, lethe_slab_id(s, i));
  }
}

static uint32_t merge(struct lethe_registry *r, uint32_t a, uint32_t b) {
  uint32_t head = 0, *tail = &head;
  while (a && b) {
    uint32_t *least = at(r, a)->serial < at(r, b)->serial ? &a : &b;
    *tail = *least;
    tail = &at(r, *least)->next;
    *least = *tail;
  }
  *tail = a ? a : b;
  return head;
}

/* Bottom-up merge sort of the links; run i holds 2^i slots or none. */
static uint32_t sorted(struct lethe_registry *r, uint32_t list) {
  uint32_t runs[33] = {0};
  while (list) {
    uint32_t one = list, i = 0;
    list = at(r, one)->next;
    at(r, one)->next = 0;
    for (; runs[i]; i++) {
      one = merge(r, runs[i], one);
      runs[i] = 0;
    }
    runs[i] = one;
  }
  for (int i = 0; i < 33; i++) list = merge(r, list, runs[i]);
  return list;
}

/* The batch leaves the dead-set before anything is called, so fn may note and take itself: what
 * dies meanwhile belongs to the next take. */
size_t lethe_registry_take(struct lethe_registry *r,
                           void (*fn)(void *ud, uint64_t id, void *what, const void *kind),
                           void *ud) {
  uint32_t slot = sorted(r, r->dead_head);
  size_t n = 0;
  r->dead_head = 0;
  while (slot) {
    struct slot *s = at(r, slot), copy = *s;
    uint64_t id = lethe_slab_id(s, slot);
    lethe_slab_give(&r->slots, id);
    r->dead--;
    r->taken++;
    n++;
    fn(ud, id, copy.what, copy.kind);
    slot = copy.next;
  }
  return n;
}
