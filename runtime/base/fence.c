/* SPDX-License-Identifier: MIT
 * The asymmetric fence on membarrier(2), private expedited flavour, with its fallback. */
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lethe/atomic.h"

bool lethe_fence_asymmetric = false;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void detect(void) {
  lethe_fence_asymmetric =
      syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void lethe_fence_init(void) { pthread_once(&once, detect); }

void lethe_fence_heavy(void) {
  if (lethe_fence_asymmetric &&
      syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
    return;
#if !LETHE_TSAN
  atomic_thread_fence(memory_order_seq_cst);
#endif
}
