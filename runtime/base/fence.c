/* SPDX-License-Identifier: MIT
 * The asymmetric fence on membarrier(2), private expedited flavour, with its fallback. */
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lethe/atomic.h"

_Atomic bool lethe_fence_asymmetric = false;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void detect(void) {
  bool granted = syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  store_rel(&lethe_fence_asymmetric, granted);
}

void lethe_fence_init(void) { pthread_once(&once, detect); }

/* A filter came after lethe_fence_init, and refuses what was granted. Light fences are full ones
 * from now on; but a thread may have passed one just before, with its store still on the way to
 * memory. No store stays there for as long as a nap. */
static _Atomic bool giving_up;

static void nap(void) {
  struct timespec time = {0, 2000000};
  nanosleep(&time, NULL);
}

static void give_up(void) {
  store_seq(&giving_up, true);
  store_seq(&lethe_fence_asymmetric, false);
  nap();
  store_rel(&giving_up, false);
}

void lethe_fence_heavy(void) {
  if (load_rlx(&lethe_fence_asymmetric)) {
    if (syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) return;
    give_up();
  } else if (load_acq(&giving_up)) {
    nap();
  }
#if !LETHE_TSAN
  atomic_thread_fence(memory_order_seq_cst);
#endif
}
