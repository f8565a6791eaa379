/* SPDX-License-Identifier: MIT
 * Random numbers for tests: the seed comes from SEED or is always the same, and it is printed. */
#ifndef SPEC_HARNESS_RANDOM_H
#define SPEC_HARNESS_RANDOM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct test_random {
  uint64_t state;
};

/* splitmix64: any seed will do. */
static inline uint64_t test_next(struct test_random *r) {
  uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* 0 .. n - 1 */
static inline uint64_t test_below(struct test_random *r, uint64_t n) { return test_next(r) % n; }

static inline struct test_random test_seed(const char *what) {
  const char *seed = getenv("SEED");
  struct test_random r = {seed ? strtoull(seed, NULL, 0) : 1};
  printf("%s: SEED=%" PRIu64 "\n", what, r.state);
  return r;
}

#endif
