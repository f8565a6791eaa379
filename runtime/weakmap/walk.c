/* SPDX-License-Identifier: MIT
 * Walks: from each key to the next, found anew at every step, so that no change of the map concerns
 * them. A walk keeps its own copy of a key of bytes. */
#include <string.h>

#include "weakmap_internal.h"

/* Both numbers, or both bytes. */
static bool alike(const struct lethe_weak_key *a, const struct lethe_weak_key *b) {
  return (a->kind == LETHE_WEAK_BYTES) == (b->kind == LETHE_WEAK_BYTES);
}

/* A copy of the bytes in *room, which grows. */
static int keep(struct lethe_weak_walk *w, struct lethe_weak_key *to,
                const struct lethe_weak_key *from, unsigned char **room, size_t *size) {
  size_t n = from->kind == LETHE_WEAK_BYTES ? from->u.n : 0;
  if (n > *size) {
    unsigned char *p = w->map->alloc->realloc(w->map->alloc->ud, *room, *size, n);
    if (!p) return LETHE_ENOMEM;
    *room = p;
    *size = n;
  }
  if (n) memcpy(*room, from->bytes, n);
  *to = *from;
  to->bytes = *room;
  return LETHE_OK;
}

int lethe_weak_walk_begin(struct lethe_weak_walk *w, struct lethe_weakmap *m,
                          const struct lethe_weak_key *from, const struct lethe_weak_key *to,
                          bool down) {
  *w = (struct lethe_weak_walk){.map = m, .down = down};
  if ((from || to || down) && !m->options.ordered) return LETHE_EINVAL;
  if ((from && lethe_weakmap_accepts(m, from)) || (to && lethe_weakmap_accepts(m, to)))
    return LETHE_EINVAL;
  if (from && to && !alike(from, to)) return LETHE_EINVAL;
  int rc = from ? keep(w, &w->key, from, &w->room, &w->room_size) : LETHE_OK;
  if (!rc && to) rc = keep(w, &w->end, to, &w->end_bytes, &w->end_size);
  w->at = from ? LETHE_WALK_BEFORE : LETHE_WALK_NOWHERE;
  w->bounded = to != NULL;
  if (rc) lethe_weak_walk_end(w);
  return rc;
}

/* The entry after the one that it is at, alive and within the bound, or NULL. */
static struct entry *ahead(struct lethe_weak_walk *w) {
  const struct lethe_weak_key *at = w->at == LETHE_WALK_NOWHERE ? NULL : &w->key;
  struct lethe_weak_key k;
  bool strictly = w->at == LETHE_WALK_AT;
  struct entry *e = NULL;
  if (!at || weak_accepts(w->map, at)) e = weak_next(w->map, at, strictly, w->down);
  for (; e; e = weak_next(w->map, &k, true, w->down)) {
    weak_key_of(e, &k);
    if (!lethe_weak_expired(e->object)) break;
  }
  if (!e || !w->bounded) return e;
  if (!alike(&k, &w->end)) return NULL; /* cleared, and filled anew with the other kind */
  int order = lethe_weak_compare(&k, &w->end);
  return (w->down ? order < 0 : order > 0) ? NULL : e;
}

int lethe_weak_walk_step(struct lethe_weak_walk *w) {
  struct lethe_counted *before = w->object;
  int rc = LETHE_ENOTFOUND;
  struct entry *e;
  w->object = NULL;
  weak_lock(w->map);
  while ((e = ahead(w)) != NULL) {
    struct lethe_weak_key k;
    weak_key_of(e, &k);
    rc = keep(w, &w->key, &k, &w->room, &w->room_size);
    if (rc) break;
    w->at = LETHE_WALK_AT;
    rc = LETHE_ENOTFOUND;
    if (!lethe_weak_upgrade(e->object)) continue; /* it has died since */
    w->object = e->object;
    rc = LETHE_OK;
    break;
  }
  weak_unlock(w->map);
  if (before) lethe_strong_put(before);
  return rc;
}

void lethe_weak_walk_end(struct lethe_weak_walk *w) {
  if (w->object) lethe_strong_put(w->object);
  lethe_free(w->map->alloc, w->room, w->room_size);
  lethe_free(w->map->alloc, w->end_bytes, w->end_size);
  *w = (struct lethe_weak_walk){.map = w->map};
}
