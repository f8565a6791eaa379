/* SPDX-License-Identifier: MIT
 * Waiting a little before trying again: pauses that double, and once they are long, the
 * processor is given away. Never waits for anybody, so a loop that uses it is as lock-free as
 * without. */
#ifndef LETHE_BACKOFF_H
#define LETHE_BACKOFF_H

#include <sched.h>
#include <stdint.h>

enum { LETHE_BACKOFF_PAUSES = 128 }; /* the most in one go: some microseconds */

/* Tells the processor that this thread spins. */
static inline void lethe_cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

static inline void lethe_thread_yield(void) { sched_yield(); }

/* Starts as {0}; so does a new contest. */
struct lethe_backoff {
  uint32_t pauses;
};

/* After a failed attempt. */
static inline void lethe_backoff(struct lethe_backoff *b) {
  if (b->pauses >= LETHE_BACKOFF_PAUSES) {
    lethe_thread_yield();
    return;
  }
  b->pauses = b->pauses ? b->pauses * 2 : 1;
  for (uint32_t i = 0; i < b->pauses; i++) lethe_cpu_pause();
}

#endif
