/* SPDX-License-Identifier: MIT
 * Files of blocks: which operation may go to the thread pool when. What it does there is in
 * file_io.c.
 *
 * Two operations on one block must not overtake each other, so every operation with a key takes its
 * turn in one of a fixed number of queues, by its key; the first of each queue is ready. Of those
 * that are ready at most `queue` are in the pool at once.
 *
 *   F1  an operation is in its turn's queue until it ends; only the first there is in the list
 *       `ready` or in the pool (busy);
 *   F2  `active` counts those in the pool.
 *
 * An operation whose loop closes while it is in the pool is waited for there: it lands, in the
 * pool's thread, and ends in the loop's. */
#include <string.h>

#include "file_internal.h"

static void on_job(struct lethe_job *job) {
  struct lethe_backend_op *op = lethe_container_of(job, struct lethe_backend_op, job);
  file_work((struct file *)op->backend, op);
}

/* In its turn; ready if it is the first. Barriers have no key. */
static void line_up(struct file *f, struct lethe_backend_op *op) {
  bool first = true;
  if (op->kind != LETHE_BACKEND_BARRIER) {
    struct lethe_list *turn = &f->turns[(uint64_t)op->key.number % FILE_TURNS];
    first = lethe_list_empty(turn);
    lethe_list_push(turn, &op->turn);
    op->at = turn;
  }
  if (first) lethe_list_push(&f->ready, &op->node);
}

/* Out of its turn, which makes the next one ready. */
static void leave(struct file *f, struct lethe_backend_op *op) {
  struct lethe_list *turn = op->at;
  bool first = turn && turn->next == &op->turn;
  lethe_list_remove(&op->turn);
  lethe_list_remove(&op->node);
  if (!first || lethe_list_empty(turn)) return;
  struct lethe_backend_op *next = lethe_container_of(turn->next, struct lethe_backend_op, turn);
  lethe_list_push(&f->ready, &next->node);
}

static struct lethe_backend_op *take(struct file *f) {
  struct lethe_list *node = f->active < f->queue ? lethe_list_shift(&f->ready) : NULL;
  if (!node) return NULL;
  struct lethe_backend_op *op = lethe_container_of(node, struct lethe_backend_op, node);
  op->busy = true;
  f->active++;
  return op;
}

static void send(struct file *f);

/* After the pool, in the loop's thread. What has its turn next needs the file, which may go with
 * the operation. */
static void end(struct file *f, struct lethe_backend_op *op, bool closed) {
  lethe_backend_get(&f->base);
  f->active--;
  leave(f, op);
  if (op->rc != LETHE_OK) {
    op->size = f->block;
    lethe_backend_value_free(op);
  }
  lethe_op_end_now(op, closed);
  send(f);
  lethe_backend_put(&f->base);
}

static void on_done(struct lethe_job *job, bool closed) {
  struct lethe_backend_op *op = lethe_container_of(job, struct lethe_backend_op, job);
  struct file *f = (struct file *)op->backend;
  if (!closed || pthread_equal(op->thread, pthread_self())) {
    end(f, op, closed);
    return;
  }
  pthread_mutex_lock(&f->lock);
  op->landed = true;
  pthread_cond_broadcast(&f->landing);
  pthread_mutex_unlock(&f->lock);
}

static void send(struct file *f) {
  for (struct lethe_backend_op *op; (op = take(f)) != NULL;) {
    int rc = lethe_pool_submit(f->pool, op->loop, &op->job, on_job, on_done);
    if (rc == LETHE_OK) continue;
    f->active--;
    leave(f, op);
    lethe_backend_value_free(op);
    lethe_op_fail(op, rc, "%s", lethe_strerror(rc));
  }
}

/* ---- the backend ----------------------------------------------------------------------------- */

static bool is_sound(struct file *f, struct lethe_backend_op *op) {
  if (op->kind == LETHE_BACKEND_BARRIER) return true;
  if (op->key.text || op->key.number < 0 || op->key.number >= f->blocks) {
    lethe_op_fail(op, LETHE_EINVAL, "the key of a file must be the number of a block (got %s)",
                  lethe_op_key(&op->key).text);
    return false;
  }
  if (op->kind == LETHE_BACKEND_FLUSH && op->size != f->block) {
    lethe_op_fail(op, LETHE_EINVAL, "block %lld must be a string of %zu bytes (got %zu)",
                  (long long)op->key.number, f->block, op->size);
    return false;
  }
  return true;
}

static void start(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct file *f = (struct file *)b;
  if (!is_sound(f, op)) return;
  if (op->kind == LETHE_BACKEND_LOAD) {
    op->size = f->block;
    op->value = lethe_malloc(f->base.alloc, f->block);
    if (!op->value) {
      lethe_op_fail(op, LETHE_ENOMEM, "%s", lethe_strerror(LETHE_ENOMEM));
      return;
    }
  }
  op->thread = pthread_self();
  line_up(f, op);
  send(f);
}

static bool forget(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct file *f = (struct file *)b;
  pthread_mutex_lock(&f->lock);
  while (op->busy && !op->landed) pthread_cond_wait(&f->landing, &f->lock);
  pthread_mutex_unlock(&f->lock);
  if (op->busy) f->active--;
  leave(f, op);
  if (!op->busy) lethe_op_wrong(op, LETHE_ECLOSED, "the loop was closed");
  if (op->rc != LETHE_OK) lethe_backend_value_free(op);
  send(f);
  return true;
}

static void free_file(struct lethe_backend *b) {
  struct file *f = (struct file *)b;
  const struct lethe_alloc *a = f->base.alloc;
  file_close(f);
  pthread_cond_destroy(&f->landing);
  pthread_mutex_destroy(&f->lock);
  if (f->folder) lethe_free(a, f->folder, strlen(f->folder) + 1);
  if (f->path) lethe_free(a, f->path, strlen(f->path) + 1);
  lethe_free(a, f, sizeof *f);
}

static const struct lethe_backend_class file_class = {
    .start = start, .forget = forget, .free = free_file};

/* The path, and its folder, which an absolute path under the root or a bare name has too. */
static bool keep_path(struct file *f, const char *path) {
  const struct lethe_alloc *a = f->base.alloc;
  const char *slash = strrchr(path, '/');
  const char *folder = slash ? path : ".";
  size_t n = slash ? (size_t)(slash - path) : 1, whole = strlen(path) + 1;
  if (slash == path) n = 1;
  f->path = lethe_malloc(a, whole);
  if (f->path) memcpy(f->path, path, whole);
  char *copy = f->path ? lethe_malloc(a, n + 1) : NULL;
  if (!copy) return false;
  memcpy(copy, folder, n);
  copy[n] = '\0';
  if (strlen(copy) == n) f->folder = copy;
  return f->folder != NULL;
}

int lethe_file_new(struct lethe_backend **out, const struct lethe_alloc *a, struct lethe_pool *pool,
                   const struct lethe_file_config *config) {
  if (config->block == 0 || config->block > FILE_BLOCK_MAX || !config->path) return LETHE_EINVAL;
  struct file *f = lethe_zalloc(a, sizeof *f);
  if (!f) return LETHE_ENOMEM;
  lethe_backend_init(&f->base, &file_class, a);
  pthread_mutex_init(&f->lock, NULL);
  pthread_cond_init(&f->landing, NULL);
  lethe_list_init(&f->ready);
  for (int i = 0; i < FILE_TURNS; i++) lethe_list_init(&f->turns[i]);
  f->pool = pool;
  f->fd = -1;
  f->io = config->io ? *config->io : file_system_io;
  f->block = config->block;
  f->blocks = INT64_MAX / (int64_t)f->block;
  f->queue = config->queue ? config->queue : FILE_QUEUE;
  int rc = keep_path(f, config->path) ? file_open(f, config->create) : LETHE_ENOMEM;
  if (rc == LETHE_OK)
    *out = &f->base;
  else
    lethe_backend_put(&f->base);
  return rc;
}
