/* SPDX-License-Identifier: MIT
 * What the backends share: their common beginning, and how an operation ends. */
#ifndef LETHE_BACKEND_INTERNAL_H
#define LETHE_BACKEND_INTERNAL_H

#include "lethe/backend.h"
#include "lethe/ref.h"

struct lethe_backend_class {
  /* Begins an operation. Whatever becomes of it, lethe_op_end is called for it once. */
  void (*start)(struct lethe_backend *b, struct lethe_backend_op *op);
  /* The operation's loop closes: out of every list, with op->rc; it is ended after that. False
   * where it ends by itself while the loop closes. NULL where no operation waits for anything. */
  bool (*forget)(struct lethe_backend *b, struct lethe_backend_op *op);
  /* The last reference was put. */
  void (*free)(struct lethe_backend *b);
};

struct lethe_backend {
  const struct lethe_backend_class *class;
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
};

void lethe_backend_init(struct lethe_backend *b, const struct lethe_backend_class *class,
                        const struct lethe_alloc *a);

/* The operation is over, with op->rc; done runs from its loop's next turn. */
void lethe_op_end(struct lethe_backend_op *op);
/* The same at once, where a message of the loop's is being run already, or the loop has closed. */
void lethe_op_end_now(struct lethe_backend_op *op, bool closed);
/* It is over because it went wrong; the message is cut off where there is no more room. */
void lethe_op_fail(struct lethe_backend_op *op, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Only notes what went wrong. */
void lethe_op_wrong(struct lethe_backend_op *op, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A copy of `n` bytes becomes the value, and op->rc says whether there was memory for it. */
void lethe_op_value(struct lethe_backend_op *op, const void *bytes, size_t n);

/* How a key is called in messages. */
struct lethe_op_key {
  char text[48];
};
struct lethe_op_key lethe_op_key(const struct lethe_backend_key *key);

#endif
