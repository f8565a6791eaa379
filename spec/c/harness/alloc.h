/* SPDX-License-Identifier: MIT
 * An allocator for tests: it counts blocks and bytes, checks that every caller tells the true size
 * of the block it gives back, and fails the n-th request that needs memory, or all from it on. */
#ifndef SPEC_HARNESS_ALLOC_H
#define SPEC_HARNESS_ALLOC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lethe/base.h"

struct test_alloc {
  struct lethe_alloc alloc; /* what engines are given; ud is this struct */
  size_t bytes, blocks;     /* held now */
  uint64_t requests;        /* that needed memory, so far */
  uint64_t fail_at;         /* the request that fails; 0 = none */
  bool sticky;              /* and all after it too */
  uint64_t failed;
};

union test_block {
  size_t size;
  max_align_t align;
};

static inline void *counted_realloc(void *ud, void *p, size_t osize, size_t nsize) {
  struct test_alloc *t = ud;
  union test_block *old = p ? (union test_block *)p - 1 : NULL;
  if (old && old->size != osize) {
    fprintf(stderr, "a block of %zu bytes was called one of %zu\n", old->size, osize);
    abort();
  }
  if (nsize == 0) {
    if (old) {
      t->bytes -= osize;
      t->blocks--;
      free(old);
    }
    return NULL;
  }
  if (!old || nsize > osize) {
    uint64_t n = ++t->requests;
    if (t->fail_at && (n == t->fail_at || (t->sticky && n > t->fail_at))) {
      t->failed++;
      return NULL;
    }
  }
  union test_block *b = realloc(old, sizeof *b + nsize);
  if (!b) abort();
  t->blocks += old ? 0 : 1;
  t->bytes += nsize - (old ? osize : 0);
  b->size = nsize;
  return b + 1;
}

/* It stays where it is: engines keep its address. */
static inline void test_alloc_init(struct test_alloc *t) {
  *t = (struct test_alloc){.alloc = {counted_realloc, t}};
}

/* The n-th request from now fails, once; 0 = none. */
static inline void test_alloc_fail(struct test_alloc *t, uint64_t n) {
  t->requests = t->failed = 0;
  t->fail_at = n;
}

#endif
