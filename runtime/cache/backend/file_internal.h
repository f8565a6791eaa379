/* SPDX-License-Identifier: MIT
 * What file.c, which runs in loops' threads, and file_io.c, which runs in the pool's, share. */
#ifndef LETHE_FILE_INTERNAL_H
#define LETHE_FILE_INTERNAL_H

#include <pthread.h>

#include "backend_internal.h"

enum { FILE_TURNS = 256, FILE_QUEUE = 64, FILE_BLOCK_MAX = 1 << 30 };

struct file {
  struct lethe_backend base;
  struct lethe_pool *pool;
  struct lethe_file_io io;
  int fd;
  size_t block;
  int64_t blocks; /* keys are below */
  char *path, *folder;

  /* The loop's thread: */
  struct lethe_list ready, turns[FILE_TURNS];
  unsigned active, queue;

  pthread_mutex_t lock; /* guards what follows, and `landed` of operations */
  pthread_cond_t landing;
  bool made;  /* and its name is not durable yet */
  int broken; /* the errno of the barrier that failed, for good */
};

extern const struct lethe_file_io file_system_io;

/* Opens f->path; a LETHE_E* code. */
int file_open(struct file *f, bool create);
void file_close(struct file *f);
/* Does what the operation says, in a thread of the pool; writes op->rc, its message and value. */
void file_work(struct file *f, struct lethe_backend_op *op);

#endif
