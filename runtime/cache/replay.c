/* SPDX-License-Identifier: MIT
 * Replaying requests: an index from ids to the policy's slots, and the loop around the policy. */
#include "lethe/replay.h"

enum { FIRST_CELLS = 256, AHEAD = 12, NEAR = 4 };

static uint32_t mix(uint64_t id) {
  id = (id ^ id >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return (uint32_t)(id ^ id >> 32);
}

/* ---- the index ------------------------------------------------------------------------------- */

/* The cell of an id, or the empty one where it would be. Cells are never all taken. */
static struct lethe_replay_cell *cell_of(const struct lethe_replay *r, uint64_t id, uint32_t hash) {
  for (size_t i = hash & (r->room - 1);; i = (i + 1) & (r->room - 1)) {
    struct lethe_replay_cell *c = &r->cells[i];
    if (!c->slot) return c;
    if (c->hash == hash && lethe_evict_at(r->policy, c->slot)->key == id) return c;
  }
}

/* The cell of a node that is there. */
static struct lethe_replay_cell *cell_of_slot(const struct lethe_replay *r, uint32_t slot) {
  size_t mask = r->room - 1, i = mix(lethe_evict_at(r->policy, slot)->key) & mask;
  while (r->cells[i].slot != slot) i = (i + 1) & mask;
  return &r->cells[i];
}

static int rehash(struct lethe_replay *r, size_t room) {
  struct lethe_replay_cell *old = r->cells;
  size_t before = r->room;
  struct lethe_replay_cell *cells = lethe_zalloc(r->policy->alloc, room * sizeof *cells);
  if (!cells) return LETHE_ENOMEM;
  r->cells = cells;
  r->room = room;
  for (size_t i = 0; i < before; i++) {
    size_t at = old[i].hash & (room - 1);
    if (!old[i].slot) continue;
    while (cells[at].slot) at = (at + 1) & (room - 1);
    cells[at] = old[i];
  }
  lethe_free(r->policy->alloc, old, before * sizeof *old);
  return LETHE_OK;
}

/* The cell becomes empty, and those after it move up to where they would be without it. */
static void empty(struct lethe_replay *r, struct lethe_replay_cell *cell) {
  size_t mask = r->room - 1, hole = (size_t)(cell - r->cells);
  for (size_t i = (hole + 1) & mask; r->cells[i].slot; i = (i + 1) & mask) {
    size_t home = r->cells[i].hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    r->cells[hole] = r->cells[i];
    hole = i;
  }
  r->cells[hole].slot = 0;
}

/* ---- hints ----------------------------------------------------------------------------------- */

/* gcc takes a function that does nothing but this for one without effect, and leaves out its
 * calls. */
#define HINT static inline __attribute__((always_inline)) void

/* The cell of the node that is next in line, where victims leave a list from its end, is fetched
 * ahead. A wrong guess does no harm. */
HINT expect_victim(const struct lethe_replay *r, uint32_t slot) {
  const struct lethe_evict *e = r->policy;
  if (slot > e->high) return; /* of another structure */
  __builtin_prefetch(&r->cells[mix(lethe_evict_at(e, slot)->key) & (r->room - 1)], 1);
}

/* The node of an id, if it is there, by its cell, which has been fetched. */
HINT expect_hit(const struct lethe_replay *r, uint64_t id) {
  uint32_t slot = r->cells[mix(id) & (r->room - 1)].slot;
  if (slot) __builtin_prefetch(lethe_evict_at(r->policy, slot), 1);
}

/* ---- requests -------------------------------------------------------------------------------- */

static int make_room(struct lethe_replay *r, const struct lethe_evict_request *q) {
  struct lethe_evict *e = r->policy;
  while (lethe_evict_full(e, q)) {
    uint64_t h = lethe_evict_victim(e, q);
    const struct lethe_evict_node *n = lethe_evict_get(e, h);
    if (!n) return LETHE_EPOLICY;
    uint32_t next = n->prev;
    empty(r, cell_of_slot(r, (uint32_t)h));
    lethe_evict_remove(e, h, true);
    expect_victim(r, next);
  }
  return LETHE_OK;
}

static int miss(struct lethe_replay *r, const struct lethe_request *request, uint32_t hash) {
  struct lethe_evict *e = r->policy;
  struct lethe_evict_request q = {
      .key = request->id, .size = r->unit ? 1 : request->size, .cost = request->cost};
  uint64_t handle;
  if (!lethe_evict_admit(e, &q)) return LETHE_OK;
  int code = make_room(r, &q);
  if (code) return code;
  if (e->len + 1 > r->room / 4 && rehash(r, r->room * 2) != LETHE_OK) return LETHE_ENOMEM;
  code = lethe_evict_insert(e, &q, &handle);
  if (code) return code == LETHE_ELIMIT ? LETHE_OK : code;
  *cell_of(r, request->id, hash) = (struct lethe_replay_cell){(uint32_t)handle, hash};
  return LETHE_OK;
}

static int replay_one(struct lethe_replay *r, const struct lethe_request *request) {
  uint32_t hash = mix(request->id);
  const struct lethe_replay_cell *c = cell_of(r, request->id, hash);
  r->policy->next = request->next;
  r->requests++;
  r->bytes += (uint64_t)request->size;
  if (c->slot) {
    lethe_evict_hit(r->policy, lethe_evict_handle(r->policy, c->slot));
    return r->policy->surplus || r->policy->dropped ? make_room(r, NULL) : LETHE_OK;
  }
  r->misses++;
  r->missed += (uint64_t)request->size;
  return miss(r, request, hash);
}

int lethe_replay_run(struct lethe_replay *r, const struct lethe_request *requests, size_t n) {
  int code = LETHE_OK;
  for (size_t i = 0; i < n && code == LETHE_OK; i++) {
    if (i + AHEAD < n) __builtin_prefetch(&r->cells[mix(requests[i + AHEAD].id) & (r->room - 1)]);
    if (i + NEAR < n) expect_hit(r, requests[i + NEAR].id);
    code = replay_one(r, &requests[i]);
  }
  return code;
}

int lethe_replay_resize(struct lethe_replay *r, int64_t limit) {
  lethe_evict_resize(r->policy, limit);
  return make_room(r, NULL);
}

/* ---- making one ------------------------------------------------------------------------------ */

int lethe_replay_new(struct lethe_replay **out, struct lethe_evict *policy, bool unit) {
  struct lethe_replay *r = lethe_zalloc(policy->alloc, sizeof *r);
  if (!r) return LETHE_ENOMEM;
  r->policy = policy;
  r->unit = unit;
  if (rehash(r, FIRST_CELLS) != LETHE_OK) {
    lethe_free(policy->alloc, r, sizeof *r);
    return LETHE_ENOMEM;
  }
  policy->exact = true;
  *out = r;
  return LETHE_OK;
}

void lethe_replay_delete(struct lethe_replay *r) {
  if (!r) return;
  const struct lethe_alloc *a = r->policy->alloc;
  lethe_evict_delete(r->policy);
  lethe_free(a, r->cells, r->room * sizeof *r->cells);
  lethe_free(a, r, sizeof *r);
}

/* ---- when a key comes next ------------------------------------------------------------------- */

/* From the end: where each id was seen last. */
int lethe_replay_fill_next(struct lethe_request *requests, size_t n, const struct lethe_alloc *a) {
  size_t room = FIRST_CELLS;
  while (room / 2 < n) room *= 2;
  size_t *seen = lethe_zalloc(a, room * sizeof *seen); /* 1 + an index */
  if (!seen) return LETHE_ENOMEM;
  for (size_t i = n; i-- > 0;) {
    size_t at = mix(requests[i].id) & (room - 1);
    while (seen[at] && requests[seen[at] - 1].id != requests[i].id) at = (at + 1) & (room - 1);
    requests[i].next = seen[at] ? (int64_t)seen[at] : -1;
    seen[at] = i + 1;
  }
  lethe_free(a, seen, room * sizeof *seen);
  return LETHE_OK;
}
