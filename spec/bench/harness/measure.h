/* SPDX-License-Identifier: MIT
 * Measuring side by side: what is compared runs in turn, round by round, so that whatever else
 * the machine does strikes all alike; a ratio is taken within each round, and the median of
 * those counts. */
#ifndef SPEC_BENCH_MEASURE_H
#define SPEC_BENCH_MEASURE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_ROUNDS = 64 };

static inline double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static inline double wall(void) { return seconds(CLOCK_MONOTONIC); }
static inline double thread_time(void) { return seconds(CLOCK_THREAD_CPUTIME_ID); }

/* LETHE_WORK: 1 unless set; below 1 a bench is short. */
static inline double bench_work(void) {
  const char *text = getenv("LETHE_WORK");
  double work = text ? strtod(text, NULL) : 1;
  return work > 0 ? work : 1;
}
static inline int bench_rounds(int n) { return bench_work() < 1 ? 2 : n; }
static inline long bench_count(double n) {
  double work = bench_work();
  n *= work < 1 ? work : 1;
  return n < 64 ? 64 : (long)n;
}

static inline int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The last median that was taken, and between what the values lay. */
static struct {
  double value, low, high;
  int n;
} bench_last;

static inline double median(const double *values, int n) {
  double sorted[MOST_ROUNDS];
  if (n == 0) return NAN; /* no round was calm; see pair.h */
  memcpy(sorted, values, (size_t)n * sizeof *sorted);
  qsort(sorted, (size_t)n, sizeof *sorted, by_value);
  bench_last.value = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  bench_last.low = sorted[0];
  bench_last.high = sorted[n - 1];
  bench_last.n = n;
  return bench_last.value;
}
/* The median of a[i] / b[i]. */
static inline double median_ratio(const double *a, const double *b, int n) {
  double ratios[MOST_ROUNDS];
  for (int i = 0; i < n; i++) ratios[i] = a[i] / b[i];
  return median(ratios, n);
}

/* ---- figures --------------------------------------------------------------------------------- */

static const char *bench_section = ""; /* what the figures that follow are about */
static unsigned bench_thrown_away;     /* rounds, of the figure that comes next */

/* For the table that `make bench` makes of all benches; see spec/tools/figures.lua. `relation` is
 * "<=", ">=" or "-", where there is no target. */
static inline void bench_figure(const char *what, double value, const char *relation,
                                double target) {
  const char *path = getenv("LETHE_FIGURES"), *bench = getenv("LETHE_BENCH");
  FILE *file = path && *path ? fopen(path, "a") : NULL;
  bool none = isnan(value), one = none || value != bench_last.value; /* no median of rounds */
  if (none) value = 0;
  if (!file) return;
  fprintf(file, "%s\t%s%s%s\t%.9g\t%.9g\t%.9g\t%d\t%s\t%.9g\t%u\n", bench ? bench : "",
          bench_section, *bench_section ? ": " : "", what + strspn(what, " "), value,
          one ? value : bench_last.low, one ? value : bench_last.high,
          none  ? 0
          : one ? 1
                : bench_last.n,
          relation, target, bench_thrown_away);
  fclose(file);
  bench_thrown_away = 0;
}

/* One line; with what was hoped for, and whether it came. */
static inline void no_target(const char *what, double value) {
  bench_figure(what, value, "-", 0);
  printf("  %-58s %8.2f\n", what, value);
}
static inline void at_most(const char *what, double value, double target) {
  bench_figure(what, value, "<=", target);
  printf("  %-58s %8.2f  <= %-7.2f %s\n", what, value, target, value <= target ? "yes" : "NO");
}
static inline void at_least(const char *what, double value, double target) {
  bench_figure(what, value, ">=", target);
  printf("  %-58s %8.2f  >= %-7.2f %s\n", what, value, target, value >= target ? "yes" : "NO");
}

#endif
