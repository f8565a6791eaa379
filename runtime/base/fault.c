/* SPDX-License-Identifier: MIT
 * Fault points of test builds: a countdown for each point. The one place with process-wide mutable
 * state; it exists only where LETHE_FAULTS is defined. */
#include "lethe/base.h"

#ifdef LETHE_FAULTS
#include <stdatomic.h>

static struct { _Atomic uint64_t passed, fail_at; } points[LETHE_FAULT_COUNT];

static _Thread_local bool forbidden;

void lethe_fault_forbid(bool forbid) { forbidden = forbid; }

void lethe_fault_check(void) {
  if (forbidden) __builtin_trap();
}

bool lethe_fault(enum lethe_fault point) {
  lethe_fault_check();
  uint64_t n = atomic_fetch_add_explicit(&points[point].passed, 1, memory_order_relaxed) + 1;
  return n == atomic_load_explicit(&points[point].fail_at, memory_order_relaxed);
}

void lethe_fault_arm(enum lethe_fault point, uint64_t n) {
  atomic_store_explicit(&points[point].fail_at, 0, memory_order_relaxed);
  atomic_store_explicit(&points[point].passed, 0, memory_order_relaxed);
  atomic_store_explicit(&points[point].fail_at, n, memory_order_relaxed);
}

uint64_t lethe_fault_passed(enum lethe_fault point) {
  return atomic_load_explicit(&points[point].passed, memory_order_relaxed);
}
#else
typedef int lethe_no_faults_in_this_build; /* ISO C wants a declaration in every file */
#endif
