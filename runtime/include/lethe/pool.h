/* SPDX-License-Identifier: MIT
 * A small pool of threads for calls that block (file reads, fsync): a loop never does them itself.
 *
 * A job is work for a pool thread and a message for the loop that wants the answer. The pool starts
 * threads as jobs come, up to its size; they end with it. Jobs start in order of submission, on
 * whichever thread is free. Pool threads take no signals.
 *
 *   lethe_pool_new(&pool, alloc, 4)
 *   lethe_pool_submit(pool, loop, &job, work, done)     work(&job) in a thread of the pool's, then
 *                                                       done(&job, false) in a turn of the loop
 *   lethe_pool_delete(pool)
 *
 * A loop does not wait for its jobs when it closes: whoever submits keeps a job's memory valid
 * until done has run, past the loop's end if need be. So a job that outlived its loop ends in the
 * pool's thread, with done(job, closed = true), which may then only give back its memory. */
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
  void (*done)(struct lethe_job *job, bool closed); /* in the loop's thread; closed: in either */
};

LETHE_API int lethe_pool_new(struct lethe_pool **out, const struct lethe_alloc *a, unsigned size);
/* Waits for the jobs that were submitted; their answers are posted. Nobody submits any more. */
LETHE_API void lethe_pool_delete(struct lethe_pool *pool);
/* From the loop's thread. The loop stays alive until done has run. LETHE_ETHREAD when there is no
 * thread at all to run it; then nothing has happened. */
LETHE_API int lethe_pool_submit(struct lethe_pool *pool, struct lethe_loop *loop,
                                struct lethe_job *job, void (*work)(struct lethe_job *job),
                                void (*done)(struct lethe_job *job, bool closed));

#endif
