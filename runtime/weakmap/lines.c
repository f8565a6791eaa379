/* SPDX-License-Identifier: MIT
 * Memory that begins with a cache line, in a block that is as much longer as that may take. How far
 * in it begins stands in the byte before it. */
#include "weakmap_internal.h"

static size_t block_bytes(size_t bytes) { return bytes + WEAK_LINE; }

void *weak_lines_new(const struct lethe_alloc *a, size_t bytes) {
  unsigned char *block = lethe_malloc(a, block_bytes(bytes));
  if (!block) return NULL;
  size_t in = WEAK_LINE - (uintptr_t)block % WEAK_LINE;
  block[in - 1] = (unsigned char)in;
  return block + in;
}

void weak_lines_free(const struct lethe_alloc *a, void *lines, size_t bytes) {
  unsigned char *first = lines;
  lethe_free(a, first - first[-1], block_bytes(bytes));
}
