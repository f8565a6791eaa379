/* SPDX-License-Identifier: MIT
 * Arrays that grow a chunk at a time and never move: what a pass fills under the lock would be
 * copied whole, with a million accounts for milliseconds, each time it doubled.
 *
 * The items' type is the caller's: it gives their size where one is made, and their type where one
 * is looked at. */
#ifndef LETHE_QUOTA_VEC_H
#define LETHE_QUOTA_VEC_H

#include "lethe/base.h"

enum { VEC_CHUNK = 256 }; /* items */

struct vec {
  void **chunks;
  size_t n;          /* items */
  size_t made, room; /* chunks that exist, and that the array of them holds */
};

#define VEC_AT(v, type, i) (&((type *)(v)->chunks[(i) / VEC_CHUNK])[(i) % VEC_CHUNK])

/* One item more, last, not initialized. LETHE_ENOMEM leaves all as it was. */
static inline int vec_add(const struct lethe_alloc *a, struct vec *v, size_t item) {
  if (v->n == v->made * VEC_CHUNK) {
    void *array = v->chunks, *chunk;
    if (lethe_grow(a, &array, &v->room, v->made + 1, sizeof *v->chunks)) return LETHE_ENOMEM;
    v->chunks = array;
    if (!(chunk = lethe_malloc(a, item * VEC_CHUNK))) return LETHE_ENOMEM;
    v->chunks[v->made++] = chunk;
  }
  v->n++;
  return LETHE_OK;
}

static inline int vec_push_id(const struct lethe_alloc *a, struct vec *v, uint64_t id) {
  int rc = vec_add(a, v, sizeof id);
  if (rc == LETHE_OK) *VEC_AT(v, uint64_t, v->n - 1) = id;
  return rc;
}

static inline uint64_t vec_id(const struct vec *v, size_t i) { return *VEC_AT(v, uint64_t, i); }

static inline void vec_free(const struct lethe_alloc *a, struct vec *v, size_t item) {
  for (size_t i = 0; i < v->made; i++) lethe_free(a, v->chunks[i], item * VEC_CHUNK);
  lethe_free(a, v->chunks, v->room * sizeof *v->chunks);
  *v = (struct vec){0};
}

#endif
