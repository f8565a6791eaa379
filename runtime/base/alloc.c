/* SPDX-License-Identifier: MIT
 * The allocator of the C library in the injected shape, zeroed blocks and growing arrays. */
#include <stdlib.h>
#include <string.h>

#include "lethe/base.h"

static void *libc_realloc(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud;
  (void)osize;
  if (nsize == 0) {
    free(p);
    return NULL;
  }
  bool grows = p == NULL || nsize > osize;
  if (grows && lethe_fault(LETHE_FAULT_ALLOC)) return NULL;
  void *q = realloc(p, nsize);
  /* cppcheck-suppress memleak */
  return q || grows ? q : p; /* shrinking never fails: the larger block serves as well */
}

const struct lethe_alloc lethe_alloc_libc = {libc_realloc, NULL};

void *lethe_zalloc(const struct lethe_alloc *a, size_t n) {
  void *p = lethe_malloc(a, n);
  if (p) memset(p, 0, n);
  return p;
}

int lethe_grow(const struct lethe_alloc *a, void **array, size_t *room, size_t need, size_t item) {
  if (need <= *room) return LETHE_OK;
  if (need > SIZE_MAX / 2 / item) return LETHE_ENOMEM; /* doubling past it may wrap around */
  size_t more = *room ? *room * 2 : 8;
  while (more < need) more *= 2;
  void *p = a->realloc(a->ud, *array, *room * item, more * item);
  if (!p) return LETHE_ENOMEM;
  *array = p;
  *room = more;
  return LETHE_OK;
}
