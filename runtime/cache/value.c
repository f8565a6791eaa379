/* SPDX-License-Identifier: MIT
 * Values that are bytes, for backends that store bytes and for embedders without values of their
 * own. */
#include <string.h>

#include "lethe/cache.h"

struct bytes {
  struct lethe_cache_value value;
  const struct lethe_alloc *alloc;
  char data[];
};

static void free_bytes(struct lethe_cache_value *v) {
  struct bytes *b = lethe_container_of(v, struct bytes, value);
  lethe_free(b->alloc, b, sizeof *b + v->size);
}

struct lethe_cache_value *lethe_cache_bytes(const struct lethe_alloc *a, const void *data,
                                            size_t n) {
  struct bytes *b = n <= SIZE_MAX - sizeof *b ? lethe_malloc(a, sizeof *b + n) : NULL;
  if (!b) return NULL;
  b->value = (struct lethe_cache_value){1, free_bytes, b->data, n};
  b->alloc = a;
  if (data && n > 0) memcpy(b->data, data, n);
  return &b->value;
}
