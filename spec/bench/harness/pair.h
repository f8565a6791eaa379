/* SPDX-License-Identifier: MIT
 * The bare pair: two threads that count, each for itself. What has two threads is divided by it or
 * measured between two runs of it: a round before and after which the pair takes times that differ
 * by more than a tenth says more of the machine than of what is measured, and is thrown away. What
 * had no calm round at all in the end was not measured. */
#ifndef SPEC_BENCH_PAIR_H
#define SPEC_BENCH_PAIR_H

#include <pthread.h>

#include "measure.h"

static inline void *pair_count(void *ud) {
  volatile long own[16] = {0}; /* a cache line and more */
  for (long i = *(long *)ud; i > 0; i--) own[0]++;
  return NULL;
}

/* Seconds until both are done. */
static inline double bare_pair(void) {
  long n = bench_count(1e7);
  pthread_t other;
  double began = wall();
  if (pthread_create(&other, NULL, pair_count, &n) != 0) abort();
  pair_count(&n);
  pthread_join(other, NULL);
  return wall() - began;
}

/* Whether a round counts, by what the pair took before and after it; counts those that do not. In a
 * short run, which measures nothing, all do. */
static inline bool pair_is_calm(double before, double after) {
  if (fabs(before - after) <= 0.1 * fmin(before, after) || bench_work() < 1) return true;
  bench_thrown_away++;
  return false;
}

/* Whether another round is wanted, with so many that counted: not for ever on a machine that is
 * never calm. */
static inline bool pair_goes_on(int counted, int rounds) {
  return counted < rounds && counted + (int)bench_thrown_away < 5 * rounds;
}

#endif
