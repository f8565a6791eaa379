/* SPDX-License-Identifier: MIT
 * Backends: where a cache's values come from and go to, as bytes. A file of blocks, a Redis server
 * or cluster, memory, and one that does to another whatever can go wrong.
 *
 * A backend does one thing at a time for each operation that is started on it: it loads a key,
 * flushes a value to a key, or passes a barrier. An operation never blocks its thread and never
 * ends inside the call that starts it: its `done` runs from its loop. Operations on one key happen
 * in the order in which they were started; others in any. A barrier covers what was flushed, and
 * answered, before it was started: once it is passed, that is as durable as the store makes
 * anything.
 *
 *   struct lethe_backend *b;
 *   int rc = lethe_file_new(&b, a, pool, &(struct lethe_file_config){.path = p, .block = 4096});
 *   op->kind = LETHE_BACKEND_LOAD; op->key.number = 7; op->done = loaded;
 *   lethe_backend_start(b, loop, op);      ... loaded(op, false): op->rc, op->value, op->size
 *   lethe_backend_value_free(op);
 *   lethe_backend_put(b);
 *
 * Nobody may take an operation back: whoever lost interest lets it end. A flush that ends with an
 * error, or that ran into its timeout, may have happened, in part or altogether, or may still.
 *
 * Synchronization: a backend belongs to the thread that turns its operations' loops. Files work in
 * the pool's threads; what those share with the loop's is behind a lock of the file's. A loop that
 * closes waits for what is in the pool. */
#ifndef LETHE_BACKEND_H
#define LETHE_BACKEND_H

#include <pthread.h>
#include <sys/types.h>

#include "lethe/cache.h"
#include "lethe/loop.h"
#include "lethe/pool.h"

struct lethe_backend;

/* ---- operations ------------------------------------------------------------------------------ */

enum lethe_backend_kind { LETHE_BACKEND_LOAD, LETHE_BACKEND_FLUSH, LETHE_BACKEND_BARRIER };

/* An integer, or `length` bytes of text. */
struct lethe_backend_key {
  const char *text; /* NULL: the key is `number` */
  size_t length;
  int64_t number;
};

/* Zeroed by the caller, who fills in the first part; it stays where it is, and what it points to
 * stays valid, until done has run. */
struct lethe_backend_op {
  enum lethe_backend_kind kind;
  struct lethe_backend_key key;
  const void *data; /* of a flush */
  size_t size;      /* of data; of a load that went well: of value */
  /* Once, from a turn of the loop, or from its end (closed). */
  void (*done)(struct lethe_backend_op *op, bool closed);

  int rc;            /* 0, LETHE_ENOTFOUND of a load, or what went wrong */
  char message[160]; /* where it went wrong: for people */
  void *value;       /* of a load, until lethe_backend_value_free */

  /* What follows is the backend's. */
  struct lethe_backend *backend;
  struct lethe_loop *loop;
  struct lethe_message end;
  struct lethe_timer timer;
  struct lethe_list node, turn;
  struct lethe_job job;
  const struct lethe_alloc *alloc; /* that value is from */
  void *at;                        /* where it is there, or what it waits for */
  pthread_t thread;
  double deadline;
  unsigned hops;
  bool busy, landed, again, asking, late;
};

/* Starts it; false, and nothing has happened, where the loop is closed. */
LETHE_API bool lethe_backend_start(struct lethe_backend *b, struct lethe_loop *loop,
                                   struct lethe_backend_op *op);
/* Gives back what a load brought, if anything. */
LETHE_API void lethe_backend_value_free(struct lethe_backend_op *op);

/* Counted references; an operation under way holds one. What a backend holds goes with the last. */
LETHE_API struct lethe_backend *lethe_backend_get(struct lethe_backend *b);
LETHE_API void lethe_backend_put(struct lethe_backend *b);

/* As what a cache asks: a backend with one reference, which holds b. Loaded values are bytes; a
 * value without bytes cannot be flushed. Nothing is done when a value is evicted. */
LETHE_API int lethe_backend_for_cache(struct lethe_cache_backend **out, struct lethe_backend *b);

/* ---- files ----------------------------------------------------------------------------------- */

/* The calls that a file is made of, as the system's; a test puts its own here. */
struct lethe_file_io {
  ssize_t (*pread)(int fd, void *buf, size_t n, off_t offset);
  ssize_t (*pwrite)(int fd, const void *buf, size_t n, off_t offset);
  int (*fdatasync)(int fd);
};

struct lethe_file_config {
  const char *path;
  size_t block;                   /* bytes; a key is the number of a block, from 0 */
  bool create;                    /* makes the file if it is not there */
  unsigned queue;                 /* operations that may be in the pool at once; 0: 64 */
  const struct lethe_file_io *io; /* NULL: the system's */
};

/* Loading a block past the end finds nothing; of a block that the end cuts off the rest is zeros. A
 * barrier is an fdatasync, the first one of a file that was made also makes its name durable. Once
 * a barrier has failed all later ones do: the system may have dropped what it could not write, and
 * would not say so again.
 * LETHE_EINVAL (a block of 0 bytes), LETHE_ENOTFOUND, LETHE_EUNWRITABLE, LETHE_ESYSTEM,
 * LETHE_ENOMEM. The pool must outlive the file and its operations. */
LETHE_API int lethe_file_new(struct lethe_backend **out, const struct lethe_alloc *a,
                             struct lethe_pool *pool, const struct lethe_file_config *config);

/* ---- Redis ----------------------------------------------------------------------------------- */

struct lethe_redis_config {
  const char *host; /* NULL: 127.0.0.1 */
  int port;         /* 0: 6379 */
  const char *prefix;
  size_t prefix_length;
  bool hash_tag;  /* keys are {prefix}key, so that a cluster keeps them on one node */
  double timeout; /* seconds for one operation, connecting included; 0: 5 */
};

/* Connects with the first operation, and again whenever the connection was lost. All commands go
 * down one connection (of a cluster: one to each node), none waiting for the answer to another,
 * each with a timer of its own. What was under way when a connection is lost is sent once more on
 * the next; LETHE_EUNAVAILABLE where there is none. A slow answer ends its own operation alone,
 * with LETHE_ETIMEOUT: the connection stays, for what was written on it could otherwise happen
 * after what is written on the next. MOVED and ASK are followed.
 * `loop` is any of the thread's; the connections end with it. */
LETHE_API int lethe_redis_new(struct lethe_backend **out, const struct lethe_alloc *a,
                              struct lethe_loop *loop, const struct lethe_redis_config *config);

struct lethe_redis_stats {
  uint64_t connections; /* that came about, so far */
  uint64_t commands, redirects, timeouts;
  unsigned nodes; /* that it knows */
};
LETHE_API void lethe_redis_read_stats(struct lethe_backend *b, struct lethe_redis_stats *out);

/* ---- memory ---------------------------------------------------------------------------------- */

LETHE_API int lethe_memory_new(struct lethe_backend **out, const struct lethe_alloc *a);
/* What is stored under the key, or NULL; valid until its next flush. */
LETHE_API const void *lethe_memory_peek(struct lethe_backend *b,
                                        const struct lethe_backend_key *key, size_t *size);

/* ---- faults ---------------------------------------------------------------------------------- */

enum lethe_faulty_action {
  LETHE_FAULTY_PASS,
  LETHE_FAULTY_FAIL,   /* nothing happens, it fails */
  LETHE_FAULTY_TEAR,   /* the first half of what is flushed is written, and it fails */
  LETHE_FAULTY_CANCEL, /* it happens, its answer is lost: it ends as cancelled */
  LETHE_FAULTY_CRASH,  /* it and all after it fail, and nothing happens any more */
  LETHE_FAULTY_DELAY   /* it happens, `seconds` later */
};

struct lethe_faulty_step {
  uint64_t call; /* which one, counted from 1 */
  enum lethe_faulty_action action;
  double seconds;
};

/* A call as it was passed on. The moments count what began and ended, one each. */
struct lethe_faulty_record {
  uint64_t call, begun, ended; /* ended 0: under way */
  enum lethe_backend_kind kind;
  enum lethe_faulty_action action;
  struct lethe_backend_key key;
  const void *data; /* of a flush: what was to be written */
  size_t size;
  int rc;
};

/* Around `inner`, which it holds. The steps are copied. */
LETHE_API int lethe_faulty_new(struct lethe_backend **out, const struct lethe_alloc *a,
                               struct lethe_backend *inner, const struct lethe_faulty_step *steps,
                               size_t n);
/* Every call so far, in order; valid until the next one. */
LETHE_API const struct lethe_faulty_record *lethe_faulty_log(struct lethe_backend *b, size_t *n);

#endif
