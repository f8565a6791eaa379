/* SPDX-License-Identifier: MIT
 * Atomic operations whose names carry their order, and the asymmetric fence.
 *
 * An asymmetric fence splits a full fence in two unequal halves: the side that runs a million times
 * more often pays a compiler barrier (lethe_fence_light), the rare side pays membarrier(2)
 * (lethe_fence_heavy), which interrupts every running thread of the process with a full fence.
 * Where the kernel refuses membarrier both sides pay a full fence. ThreadSanitizer knows neither
 * kind of fence: under it the protocols that use them take sequentially consistent operations
 * (LETHE_TSAN), which is also the portable reading of what they mean. */
#ifndef LETHE_ATOMIC_H
#define LETHE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lethe/base.h"

#if defined(__SANITIZE_THREAD__)
#define LETHE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LETHE_TSAN 1
#endif
#endif
#ifndef LETHE_TSAN
#define LETHE_TSAN 0
#endif

#define load_rlx(p) atomic_load_explicit((p), memory_order_relaxed)
#define load_acq(p) atomic_load_explicit((p), memory_order_acquire)
#define load_seq(p) atomic_load_explicit((p), memory_order_seq_cst)
#define store_rlx(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_rel(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define store_seq(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
#define add_rlx(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define add_acqrel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define sub_acqrel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define swap_acqrel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2, "pointers must be lock-free");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit words must be lock-free");

/* True once lethe_fence_init found membarrier(2), which is before any engine exists, and as long as
 * the kernel does not refuse it. */
LETHE_API extern _Atomic bool lethe_fence_asymmetric;
/* Idempotent; every engine that uses the pair calls it when it is made. */
LETHE_API void lethe_fence_init(void);
LETHE_API void lethe_fence_heavy(void);

static inline void lethe_fence_light(void) {
#if !LETHE_TSAN
  if (__builtin_expect(!load_rlx(&lethe_fence_asymmetric), 0))
    atomic_thread_fence(memory_order_seq_cst);
#endif
  atomic_signal_fence(memory_order_seq_cst);
}

#endif
