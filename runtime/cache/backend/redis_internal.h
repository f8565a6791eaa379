/* SPDX-License-Identifier: MIT
 * What the files of the Redis backend share: redis.c knows operations and answers, redis_node.c
 * connections, redis_cluster.c which node has which key. */
#ifndef LETHE_REDIS_INTERNAL_H
#define LETHE_REDIS_INTERNAL_H

#include <hiredis/async.h>

#include "backend_internal.h"

enum {
  REDIS_HOST_MAX = 256,
  REDIS_SLOTS = 16384,
  REDIS_NODES = 255, /* a slot's node is a byte */
  REDIS_HOPS = 16    /* redirects of one operation */
};

struct redis;

struct redis_node {
  struct redis *redis;
  char host[REDIS_HOST_MAX];
  int port;
  unsigned index;
  redisAsyncContext *context; /* NULL: not connected */
  bool connected;             /* and it is up */
  bool refused;               /* the last attempt came to nothing */
  bool fence;                 /* something sent on the connection before was not answered */
  char why[128], address[64]; /* address: of this end of the connection, or of the one before */
  struct event *reads, *writes;
  struct lethe_list waiting; /* operations, until it is connected */
  struct lethe_list sent;    /* struct redis_command, in order */
};

/* On a connection, until its answer comes or the connection goes; that may be after the operation
 * ran into its timeout. */
struct redis_command {
  struct lethe_list node;
  struct redis_node *at;
  struct lethe_backend_op *op; /* NULL: nobody waits any more */
};

struct redis {
  struct lethe_backend base;
  struct lethe_loop *loop;
  struct lethe_timer guard; /* tells when the loop closes */
  bool ended;               /* it has */
  double timeout;
  char *prefix; /* with braces, if it is a hash tag */
  size_t prefix_length;
  struct redis_node *nodes[REDIS_NODES];
  unsigned n_nodes;
  uint8_t *slots; /* slot -> index of its node; NULL: all on the first */
  char *key;      /* room for one */
  size_t key_room;
  struct lethe_redis_stats stats;
};

/* ---- redis.c --------------------------------------------------------------------------------- */

/* Sends an operation on a connection that is up; it fails where that cannot be. */
void redis_send(struct redis_node *node, struct lethe_backend_op *op);
/* To the node that has its key. */
void redis_route(struct redis *r, struct lethe_backend_op *op);

/* ---- redis_node.c ---------------------------------------------------------------------------- */

struct redis_node *redis_node_new(struct redis *r, const char *host, size_t length, int port);
void redis_node_free(struct redis_node *node);
/* Sends it, now or once there is a connection. */
void redis_node_take(struct redis_node *node, struct lethe_backend_op *op);
/* Reads whatever has come. */
void redis_node_read(struct redis_node *node);
/* Drops the connection: what was sent is lost. */
void redis_node_drop(struct redis_node *node);

/* ---- redis_cluster.c ------------------------------------------------------------------------- */

struct redis_node *redis_node_of(struct redis *r, const char *key, size_t n);
/* Where the error answer sends it: "MOVED 3999 host:port", also noted, or "ASK ...". NULL: it is no
 * such answer, or there is no memory for the node. */
struct redis_node *redis_redirect(struct redis_node *from, const char *text, bool *asking);
/* The node cannot be reached: its slots are asked for at the first one again. False for that
 * one. */
bool redis_forget_node(struct redis_node *node);

#endif
