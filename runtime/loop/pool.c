/* SPDX-License-Identifier: MIT
 * The thread pool: one queue, one condition, threads made on demand. */
#include <pthread.h>
#include <signal.h>

#include "lethe/pool.h"

struct lethe_pool {
  const struct lethe_alloc *alloc;
  pthread_mutex_t lock;
  pthread_cond_t more;
  struct lethe_list queue;
  bool ending;
  unsigned size, started, idle, queued;
  pthread_t threads[];
};

static size_t pool_bytes(unsigned size) {
  return sizeof(struct lethe_pool) + size * sizeof(pthread_t);
}

/* Once the message is posted the job is not ours any more. The loop is put after that: until then
 * it is held and cannot go. If it closed, nobody will ever turn it: the job ends here. */
static void finish(struct lethe_job *job) {
  struct lethe_loop *loop = job->loop;
  if (!lethe_loop_post(loop, &job->message)) {
    lethe_loop_release(loop);
    job->done(job, true);
  }
  lethe_loop_put(loop);
}

static void deliver(struct lethe_message *m, bool closed) {
  struct lethe_job *job = lethe_container_of(m, struct lethe_job, message);
  lethe_loop_release(job->loop);
  job->done(job, closed);
}

static void *worker(void *ud) {
  struct lethe_pool *p = ud;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    struct lethe_list *node = lethe_list_shift(&p->queue);
    if (node) {
      p->queued--;
      pthread_mutex_unlock(&p->lock);
      struct lethe_job *job = lethe_container_of(node, struct lethe_job, node);
      job->work(job);
      finish(job);
      pthread_mutex_lock(&p->lock);
    } else if (p->ending) {
      break;
    } else {
      p->idle++;
      pthread_cond_wait(&p->more, &p->lock);
      p->idle--;
    }
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

int lethe_pool_new(struct lethe_pool **out, const struct lethe_alloc *a, unsigned size) {
  if (size == 0) return LETHE_EINVAL;
  struct lethe_pool *p = lethe_zalloc(a, pool_bytes(size));
  if (!p) return LETHE_ENOMEM;
  p->alloc = a;
  p->size = size;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->more, NULL);
  lethe_list_init(&p->queue);
  *out = p;
  return LETHE_OK;
}

void lethe_pool_delete(struct lethe_pool *p) {
  pthread_mutex_lock(&p->lock);
  p->ending = true;
  pthread_cond_broadcast(&p->more);
  pthread_mutex_unlock(&p->lock);
  for (unsigned i = 0; i < p->started; i++) pthread_join(p->threads[i], NULL);
  pthread_cond_destroy(&p->more);
  pthread_mutex_destroy(&p->lock);
  lethe_free(p->alloc, p, pool_bytes(p->size));
}

/* Signals are for the threads that turn loops: a pool thread inherits a mask that blocks them
 * all. */
static bool start_thread(pthread_t *thread, struct lethe_pool *p) {
  sigset_t all, before;
  if (lethe_fault(LETHE_FAULT_THREAD)) return false;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(thread, NULL, worker, p);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc == 0;
}

/* Under the lock: a thread for one more job, if the idle ones do not suffice. */
static bool have_thread(struct lethe_pool *p) {
  if (p->idle > p->queued) return true;
  if (p->started < p->size && start_thread(&p->threads[p->started], p)) p->started++;
  return p->started > 0;
}

int lethe_pool_submit(struct lethe_pool *p, struct lethe_loop *loop, struct lethe_job *job,
                      void (*work)(struct lethe_job *job),
                      void (*done)(struct lethe_job *job, bool closed)) {
  int rc = LETHE_OK;
  job->message.run = deliver;
  job->loop = loop;
  job->work = work;
  job->done = done;
  pthread_mutex_lock(&p->lock);
  if (have_thread(p)) {
    lethe_loop_get(loop);
    lethe_loop_hold(loop);
    lethe_list_push(&p->queue, &job->node);
    p->queued++;
    pthread_cond_signal(&p->more);
  } else {
    rc = LETHE_ETHREAD;
  }
  pthread_mutex_unlock(&p->lock);
  return rc;
}
