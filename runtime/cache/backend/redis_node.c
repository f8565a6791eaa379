/* SPDX-License-Identifier: MIT
 * Connections: hiredis on the events of the loop's base. A lost connection is never mended: the
 * next one is a new context.
 *
 * What libevent calls here sends, reads and ends operations, whose ends are messages to their
 * loops: nobody else's code runs inside. hiredis frees a context by itself where a connection
 * fails, but never without calling `cleanup`; so whoever let it read or write looks at
 * node->context after. */
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "redis_internal.h"

/* ---- hiredis's hooks ------------------------------------------------------------------------- */

static void add_read(void *ud) { event_add(((struct redis_node *)ud)->reads, NULL); }
static void del_read(void *ud) { event_del(((struct redis_node *)ud)->reads); }
static void add_write(void *ud) { event_add(((struct redis_node *)ud)->writes, NULL); }
static void del_write(void *ud) { event_del(((struct redis_node *)ud)->writes); }

static void free_events(struct redis_node *node) {
  if (node->reads) event_free(node->reads);
  if (node->writes) event_free(node->writes);
  node->reads = node->writes = NULL;
}

static void cleanup(void *ud) {
  struct redis_node *node = ud;
  free_events(node);
  node->context = NULL;
  node->connected = false;
}

/* The address of an end, as the server calls it; empty where it cannot be told. */
static void address_of(char *text, size_t room, int fd,
                       int (*get)(int fd, struct sockaddr *a, socklen_t *n)) {
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  char host[INET6_ADDRSTRLEN], port[8];
  text[0] = '\0';
  if (get(fd, (struct sockaddr *)&a, &n) != 0) return;
  if (getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  snprintf(text, room, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void refuse(struct redis_node *node, const char *why) {
  node->connected = false;
  node->refused = true;
  snprintf(node->why, sizeof node->why, "%s", why);
}

/* A server that was stalled may still have writes of the connection before in its buffers: before
 * anything else it is told to forget that one. Whatever it answers to that is of no concern. A port
 * of this host that nobody listens on may come to be connected with itself. */
static void on_connect(const redisAsyncContext *context, int status) {
  struct redis_node *node = context->data;
  char address[sizeof node->address], other[sizeof node->address];
  if (status != REDIS_OK) {
    refuse(node, context->c.errstr);
    return;
  }
  address_of(address, sizeof address, context->c.fd, getsockname);
  address_of(other, sizeof other, context->c.fd, getpeername);
  if (address[0] && strcmp(address, other) == 0) {
    refuse(node, "nobody listens");
    return;
  }
  node->connected = true;
  node->refused = false;
  node->redis->stats.connections++;
  if (node->fence && node->address[0] && strcmp(node->address, address) != 0)
    redisAsyncCommand(node->context, NULL, NULL, "CLIENT KILL ADDR %s", node->address);
  node->fence = false;
  memcpy(node->address, address, sizeof address);
}

static void settle(struct redis_node *node);

static void on_readable(evutil_socket_t fd, short what, void *ud) {
  struct redis_node *node = ud;
  (void)fd;
  (void)what;
  redisAsyncHandleRead(node->context);
  settle(node);
}

static void on_writable(evutil_socket_t fd, short what, void *ud) {
  struct redis_node *node = ud;
  (void)fd;
  (void)what;
  redisAsyncHandleWrite(node->context);
  settle(node);
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* Nobody here gives a connection up because it is slow. The system does when the other side does
 * not acknowledge what is sent. */
static void set_options(const struct redis_node *node, int fd) {
  double silence = node->redis->timeout * 4 < 10 ? 10 : node->redis->timeout * 4;
  unsigned ms = silence < 3600 ? (unsigned)(silence * 1000) : 3600000;
  int on = 1, seconds = (int)(ms / 3000);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

static bool attach(struct redis_node *node, redisAsyncContext *context) {
  struct event_base *events = lethe_loop_events(node->redis->loop);
  int fd = context->c.fd;
  if (lethe_fault(LETHE_FAULT_ALLOC)) return false;
  node->reads = event_new(events, fd, EV_READ | EV_PERSIST, on_readable, node);
  node->writes = event_new(events, fd, EV_WRITE | EV_PERSIST, on_writable, node);
  if (!node->reads || !node->writes) return false;
  set_options(node, fd);
  context->data = node;
  context->ev.data = node;
  context->ev.addRead = add_read;
  context->ev.delRead = del_read;
  context->ev.addWrite = add_write;
  context->ev.delWrite = del_write;
  context->ev.cleanup = cleanup;
  node->context = context;
  redisAsyncSetConnectCallback(context, on_connect); /* waits to be writable */
  return true;
}

/* Afterwards it is under way, or `refused` says that it came to nothing at once. */
static void connect_node(struct redis_node *node) {
  redisAsyncContext *context = redisAsyncConnect(node->host, node->port);
  node->refused = true;
  snprintf(node->why, sizeof node->why, "%s", "not enough memory");
  if (!context) return;
  if (context->err)
    snprintf(node->why, sizeof node->why, "%s", context->errstr);
  else if (attach(node, context))
    node->refused = false;
  if (node->refused) {
    free_events(node);
    redisAsyncFree(context);
  }
}

/* Those that wait for a node that cannot be reached: another may know who has their keys now. */
static void refuse_waiting(struct redis_node *node) {
  struct lethe_list waiting;
  lethe_list_move(&waiting, &node->waiting);
  bool elsewhere = redis_forget_node(node);
  for (struct lethe_list *n; (n = lethe_list_shift(&waiting)) != NULL;) {
    struct lethe_backend_op *op = lethe_container_of(n, struct lethe_backend_op, node);
    op->at = NULL;
    if (elsewhere && op->kind != LETHE_BACKEND_BARRIER && op->hops++ < REDIS_HOPS)
      redis_route(node->redis, op);
    else
      lethe_op_fail(op, LETHE_EUNAVAILABLE, "no Redis at %.100s:%d: %s", node->host, node->port,
                    node->why);
  }
}

/* After anything that may have cost the connection: connects again if operations wait. */
static void settle(struct redis_node *node) {
  if (node->connected) {
    struct lethe_list waiting;
    lethe_list_move(&waiting, &node->waiting);
    for (struct lethe_list *n; (n = lethe_list_shift(&waiting)) != NULL;)
      redis_send(node, lethe_container_of(n, struct lethe_backend_op, node));
    return;
  }
  if (node->context && node->refused) redis_node_drop(node);
  if (node->context || lethe_list_empty(&node->waiting)) return;
  if (!node->refused) connect_node(node);
  if (node->refused) refuse_waiting(node);
}

void redis_node_take(struct redis_node *node, struct lethe_backend_op *op) {
  op->at = node;
  op->busy = false;
  if (node->connected) {
    redis_send(node, op);
    return;
  }
  lethe_list_push(&node->waiting, &op->node);
  if (node->context) return;
  node->refused = false;
  settle(node);
}

/* ---- reading and ending ---------------------------------------------------------------------- */

/* A turn reads a part; here it is all that has come. */
void redis_node_read(struct redis_node *node) {
  while (node->context && node->connected) {
    struct pollfd p = {.fd = node->context->c.fd, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0) break;
    redisAsyncHandleRead(node->context);
  }
  settle(node);
}

void redis_node_drop(struct redis_node *node) {
  redisAsyncContext *context = node->context;
  if (context) redisAsyncFree(context);
}

struct redis_node *redis_node_new(struct redis *r, const char *host, size_t length, int port) {
  if (r->n_nodes == REDIS_NODES || length >= REDIS_HOST_MAX) return NULL;
  struct redis_node *node = lethe_zalloc(r->base.alloc, sizeof *node);
  if (!node) return NULL;
  node->redis = r;
  node->port = port;
  node->index = r->n_nodes;
  memcpy(node->host, host, length);
  lethe_list_init(&node->waiting);
  lethe_list_init(&node->sent);
  r->nodes[r->n_nodes++] = node;
  return node;
}

void redis_node_free(struct redis_node *node) {
  redis_node_drop(node);
  lethe_free(node->redis->base.alloc, node, sizeof *node);
}
