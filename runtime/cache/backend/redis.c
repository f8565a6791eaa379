/* SPDX-License-Identifier: MIT
 * Redis: operations become commands, answers end operations.
 *
 * An operation has a timer of its own, on its own loop, from its start to its end. It is at one
 * place at a time: it waits for a connection (op->at is the node), it was sent (op->busy, op->at is
 * the command), or it waits to be tried again (op->again), where a server is loading or a slot is
 * on its way.
 *
 * The connection keeps the order in which operations were sent. Where it is lost they are sent on
 * the next one in the same order, each at most once more. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "redis_internal.h"

static const double RETRY = 0.05; /* seconds */

static void on_timer(struct lethe_timer *t);

/* ---- ends ------------------------------------------------------------------------------------ */

/* Out of wherever it is; its command goes on without it. */
static void leave(struct lethe_backend_op *op) {
  lethe_list_remove(&op->node);
  if (op->busy && op->at) ((struct redis_command *)op->at)->op = NULL;
  op->busy = false;
  op->at = NULL;
}

/* A timer that fires long after it was due says that nobody turned the loop: that is not the
 * server's fault, and what was to be sent may not even have been. It is given its time once
 * more. */
static bool give_time(struct redis *r, struct lethe_backend_op *op, double now) {
  if (op->late || now - op->deadline < r->timeout / 8) return false;
  op->late = true;
  op->deadline = now + r->timeout;
  lethe_timer_start(op->loop, &op->timer, r->timeout, 0, on_timer);
  return true;
}

/* The timer fired: to be tried again, or too late. What the socket holds has come in time. */
static void on_timer(struct lethe_timer *t) {
  struct lethe_backend_op *op = lethe_container_of(t, struct lethe_backend_op, timer);
  struct redis *r = (struct redis *)op->backend;
  double now = lethe_loop_now(op->loop);
  if (op->again && now < op->deadline) {
    op->again = false;
    lethe_timer_start(op->loop, t, op->deadline - now, 0, on_timer);
    redis_route(r, op);
    return;
  }
  struct redis_node *node = op->busy ? ((struct redis_command *)op->at)->at : op->at;
  lethe_timer_start(op->loop, t, 0, 0, on_timer); /* it says whether the operation has ended */
  if (node && op->busy) redis_node_read(node);
  if (!t->loop || give_time(r, op, now)) return;
  bool connecting = node && !op->busy && node->context && !node->connected;
  leave(op);
  r->stats.timeouts++;
  lethe_op_fail(op, LETHE_ETIMEOUT, "no answer from Redis within %g s", r->timeout);
  if (connecting && lethe_list_empty(&node->waiting)) redis_node_drop(node);
}

static bool forget(struct lethe_backend *b, struct lethe_backend_op *op) {
  (void)b;
  leave(op);
  lethe_op_wrong(op, LETHE_ECLOSED, "the loop was closed");
  return true;
}

/* The connection went before the answer came. */
static void lost(struct redis_node *node, struct lethe_backend_op *op) {
  if (node->redis->ended) {
    lethe_op_fail(op, LETHE_ECLOSED, "the loop of the connection was closed");
  } else if (op->landed) {
    lethe_op_fail(op, LETHE_EUNAVAILABLE, "the connection to Redis was lost");
  } else {
    op->landed = true; /* on a connection, once: not a third time */
    op->at = node;
    lethe_list_push(&node->waiting, &op->node);
  }
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool starts(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

static void try_again(struct lethe_backend_op *op) {
  double left = op->deadline - lethe_loop_now(op->loop);
  op->again = true;
  op->at = NULL;
  lethe_timer_start(op->loop, &op->timer, left < RETRY ? left : RETRY, 0, on_timer);
}

static void on_error(struct redis_node *node, struct lethe_backend_op *op, const char *text) {
  struct redis *r = node->redis;
  bool asking = false;
  struct redis_node *to = redis_redirect(node, text, &asking);
  if (to && op->hops++ < REDIS_HOPS) {
    r->stats.redirects++;
    op->asking = asking;
    redis_node_take(to, op);
  } else if (starts(text, "TRYAGAIN") || starts(text, "LOADING") || starts(text, "CLUSTERDOWN") ||
             starts(text, "MASTERDOWN")) {
    try_again(op);
  } else {
    lethe_op_fail(op, LETHE_ESYSTEM, "Redis says: %.120s", text);
  }
}

/* A barrier asks one node after the other. */
static void next_node(struct redis *r, struct lethe_backend_op *op) {
  while ((size_t)++op->key.number < r->n_nodes) {
    struct redis_node *node = r->nodes[op->key.number];
    if (!node->connected) continue;
    redis_node_take(node, op);
    return;
  }
  lethe_op_end(op);
}

static void on_value(struct redis_node *node, struct lethe_backend_op *op,
                     const redisReply *reply) {
  bool loads = op->kind == LETHE_BACKEND_LOAD, status = reply->type == REDIS_REPLY_STATUS;
  if (op->kind == LETHE_BACKEND_BARRIER && status) {
    next_node(node->redis, op);
    return;
  }
  if (loads && reply->type == REDIS_REPLY_STRING)
    lethe_op_value(op, reply->str, reply->len);
  else if (loads && reply->type == REDIS_REPLY_NIL)
    op->rc = LETHE_ENOTFOUND;
  else if (loads || !status)
    lethe_op_wrong(op, LETHE_ESYSTEM, "what answers is no Redis");
  lethe_op_end(op);
}

static void on_reply(redisAsyncContext *context, void *answer, void *ud) {
  struct redis_command *command = ud;
  struct redis_node *node = command->at;
  struct lethe_backend_op *op = command->op;
  const redisReply *reply = answer;
  (void)context;
  lethe_list_remove(&command->node);
  lethe_free(node->redis->base.alloc, command, sizeof *command);
  if (!reply) node->fence = true;
  if (!op) return;
  op->busy = false;
  op->at = NULL;
  if (!reply)
    lost(node, op);
  else if (reply->type == REDIS_REPLY_ERROR)
    on_error(node, op, reply->str);
  else
    on_value(node, op, reply);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* The prefix and the key, as bytes; NULL without memory. */
static const char *full_key(struct redis *r, const struct lethe_backend_key *key, size_t *n) {
  char digits[24];
  int length = key->text ? 0 : snprintf(digits, sizeof digits, "%lld", (long long)key->number);
  size_t own = key->text ? key->length : (size_t)length;
  *n = r->prefix_length + own;
  if (lethe_grow(r->base.alloc, (void **)&r->key, &r->key_room, *n + 1, 1) != LETHE_OK) return NULL;
  if (r->prefix_length) memcpy(r->key, r->prefix, r->prefix_length);
  memcpy(r->key + r->prefix_length, key->text ? key->text : digits, own);
  return r->key;
}

static int send_command(struct redis_node *node, struct redis_command *command) {
  const struct lethe_backend_op *op = command->op;
  static const char *const names[] = {"GET", "SET", "PING"};
  static const int counts[] = {2, 3, 1};
  const char *args[3] = {names[op->kind]};
  size_t sizes[3] = {strlen(args[0]), 0, op->size};
  if (op->kind != LETHE_BACKEND_BARRIER) {
    args[1] = full_key(node->redis, &op->key, &sizes[1]);
    if (!args[1]) return LETHE_ENOMEM;
    args[2] = op->data ? op->data : "";
  }
  if (op->asking && redisAsyncCommand(node->context, NULL, NULL, "ASKING") != REDIS_OK)
    return LETHE_EUNAVAILABLE;
  if (redisAsyncCommandArgv(node->context, on_reply, command, counts[op->kind], args, sizes) !=
      REDIS_OK)
    return LETHE_EUNAVAILABLE;
  return LETHE_OK;
}

void redis_send(struct redis_node *node, struct lethe_backend_op *op) {
  const struct lethe_alloc *a = node->redis->base.alloc;
  struct redis_command *command = lethe_zalloc(a, sizeof *command);
  int rc = LETHE_ENOMEM;
  if (command) {
    command->at = node;
    command->op = op;
    rc = send_command(node, command);
  }
  if (rc != LETHE_OK) {
    lethe_free(a, command, sizeof *command);
    op->at = NULL;
    lethe_op_fail(op, rc, "%s", lethe_strerror(rc));
    return;
  }
  lethe_list_push(&node->sent, &command->node);
  node->redis->stats.commands++;
  op->busy = true;
  op->asking = false;
  op->at = command;
}

void redis_route(struct redis *r, struct lethe_backend_op *op) {
  size_t n;
  if (op->kind == LETHE_BACKEND_BARRIER) {
    redis_node_take(r->nodes[op->key.number], op);
    return;
  }
  const char *key = full_key(r, &op->key, &n);
  if (key)
    redis_node_take(redis_node_of(r, key, n), op);
  else
    lethe_op_fail(op, LETHE_ENOMEM, "%s", lethe_strerror(LETHE_ENOMEM));
}

/* ---- the backend ----------------------------------------------------------------------------- */

static void start(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct redis *r = (struct redis *)b;
  if (r->ended) {
    lethe_op_fail(op, LETHE_ECLOSED, "the loop of the connection was closed");
    return;
  }
  if (op->kind == LETHE_BACKEND_BARRIER) op->key.number = 0; /* the node that is asked */
  op->deadline = lethe_loop_now(op->loop) + r->timeout;
  lethe_timer_start(op->loop, &op->timer, r->timeout, 0, on_timer);
  redis_route(r, op);
}

/* The base goes with the loop, so the connections do. */
static void on_loop_closed(struct lethe_timer *t) {
  struct redis *r = lethe_container_of(t, struct redis, guard);
  r->ended = true;
  for (unsigned i = 0; i < r->n_nodes; i++) {
    struct redis_node *node = r->nodes[i];
    redis_node_drop(node);
    for (struct lethe_list *n; (n = lethe_list_shift(&node->waiting)) != NULL;)
      lethe_op_fail(lethe_container_of(n, struct lethe_backend_op, node), LETHE_ECLOSED,
                    "the loop of the connection was closed");
  }
}

static void never(struct lethe_timer *t) { (void)t; }

static void free_redis(struct lethe_backend *b) {
  struct redis *r = (struct redis *)b;
  const struct lethe_alloc *a = r->base.alloc;
  lethe_timer_stop(&r->guard);
  for (unsigned i = 0; i < r->n_nodes; i++) redis_node_free(r->nodes[i]);
  if (r->slots) lethe_free(a, r->slots, REDIS_SLOTS);
  lethe_free(a, r->key, r->key_room);
  if (r->prefix) lethe_free(a, r->prefix, r->prefix_length + 1);
  lethe_loop_sockets(r->loop, -1);
  lethe_loop_put(r->loop);
  lethe_free(a, r, sizeof *r);
}

void lethe_redis_read_stats(struct lethe_backend *b, struct lethe_redis_stats *out) {
  const struct redis *r = (const struct redis *)b;
  *out = r->stats;
  out->nodes = r->n_nodes;
}

static const struct lethe_backend_class redis_class = {
    .start = start, .forget = forget, .free = free_redis};

static bool keep_prefix(struct redis *r, const struct lethe_redis_config *config) {
  size_t n = config->prefix_length + (config->hash_tag ? 2 : 0);
  r->prefix = lethe_malloc(r->base.alloc, n + 1);
  if (!r->prefix) return false;
  r->prefix_length = n;
  snprintf(r->prefix, n + 1, "%s", config->hash_tag ? "{" : "");
  if (config->prefix_length)
    memcpy(r->prefix + config->hash_tag, config->prefix, config->prefix_length);
  if (config->hash_tag) r->prefix[n - 1] = '}';
  return true;
}

int lethe_redis_new(struct lethe_backend **out, const struct lethe_alloc *a,
                    struct lethe_loop *loop, const struct lethe_redis_config *config) {
  const char *host = config->host ? config->host : "127.0.0.1";
  if (strlen(host) >= REDIS_HOST_MAX || config->port < 0 || config->port > 65535 ||
      config->timeout < 0)
    return LETHE_EINVAL;
  struct redis *r = lethe_zalloc(a, sizeof *r);
  if (!r) return LETHE_ENOMEM;
  lethe_backend_init(&r->base, &redis_class, a);
  r->loop = lethe_loop_get(loop);
  lethe_loop_sockets(loop, 1);
  r->timeout = config->timeout > 0 ? config->timeout : 5;
  r->guard = (struct lethe_timer){.idle = true, .closed = on_loop_closed};
  lethe_timer_start(loop, &r->guard, HUGE_VAL, 0, never);
  int rc = r->guard.loop ? LETHE_OK : LETHE_ECLOSED;
  if (rc == LETHE_OK &&
      (!keep_prefix(r, config) ||
       !redis_node_new(r, host, strlen(host), config->port ? config->port : 6379)))
    rc = LETHE_ENOMEM;
  if (rc == LETHE_OK)
    *out = &r->base;
  else
    lethe_backend_put(&r->base);
  return rc;
}
