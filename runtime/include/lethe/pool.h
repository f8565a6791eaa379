/* SPDX-License-Identifier: MIT
 * A small pool of threads for calls that block (file reads, fsync): a loop never does them itself.
 *
 * A job is work for a pool thread and a message for the loop that wants the answer. The pool starts
 * threads as jobs come, up to its size; they end with it. Jobs run in order of submission, on
 * whichever thread is free. */
#ifndef LETHE_POOL_H
#define LETHE_POOL_H

#include "lethe/loop.h"

struct lethe_pool;

/* Lives in the caller's memory until done has run. */
struct lethe_job {
  struct lethe_list node;
  struct lethe_message message;
  struct lethe_loop *loop;
  void (*work)(struct lethe_job *job);              /* in a pool thread */
  void (*done)(struct lethe_job *job, bool closed); /* in the loop's thread; closed: the loop ended */
};

LETHE_API int lethe_pool_new(struct lethe_pool **out, const struct lethe_alloc *a, unsigned size);
/* Waits for the jobs that were submitted; their answers are posted. */
LETHE_API void lethe_pool_delete(struct lethe_pool *pool);
/* From the loop's thread. The loop stays alive until done has run. LETHE_ETHREAD when there is no
 * thread at all to run it; then nothing has happened. */
LETHE_API int lethe_pool_submit(struct lethe_pool *pool, struct lethe_loop *loop,
                                struct lethe_job *job, void (*work)(struct lethe_job *job),
                                void (*done)(struct lethe_job *job, bool closed));

#endif
