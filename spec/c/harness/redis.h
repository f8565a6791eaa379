/* SPDX-License-Identifier: MIT
 * Redis servers that a test plays, in the thread of its loop: what a command was, and what is
 * answered to it. */
#ifndef SPEC_HARNESS_REDIS_H
#define SPEC_HARNESS_REDIS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"

/* ---- a server -------------------------------------------------------------------------------- */

struct server {
  int listens, fd; /* fd: the connection, -1 without */
  int port;
};

static inline void open_server(struct server *s) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t n = sizeof a;
  s->listens = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(s->listens, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(s->listens, 8), 0);
  assert_int_equal(getsockname(s->listens, (struct sockaddr *)&a, &n), 0);
  s->port = ntohs(a.sin_port);
  s->fd = -1;
}

static inline void hang_up(struct server *s) {
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
}

static inline void close_server(struct server *s) {
  hang_up(s);
  if (s->listens >= 0) close(s->listens);
  s->listens = -1;
}

/* ---- a place --------------------------------------------------------------------------------- */

enum { SERVERS = 3 };

struct place {
  struct test_alloc alloc;
  struct lethe_loop *loop;
  struct server servers[SERVERS];
  struct lethe_backend *redis;
};

static inline int make_redis(struct place *p) {
  return lethe_redis_new(
      &p->redis, &p->alloc.alloc, p->loop,
      &(struct lethe_redis_config){
          .port = p->servers[0].port, .prefix = "p:", .prefix_length = 2, .timeout = 4});
}

static inline void open_place(struct place *p) {
  test_alloc_init(&p->alloc);
  p->loop = make_loop(LETHE_CLOCK_VIRTUAL, NULL);
  for (int i = 0; i < SERVERS; i++) open_server(&p->servers[i]);
  p->redis = NULL;
  assert_int_equal(make_redis(p), LETHE_OK);
}

static inline void close_place(struct place *p) {
  if (p->redis) lethe_backend_put(p->redis);
  if (p->loop) end_loop(p->loop);
  for (int i = 0; i < SERVERS; i++) close_server(&p->servers[i]);
  assert_int_equal(p->alloc.blocks, 0);
  assert_int_equal(p->alloc.bytes, 0);
}

static inline bool readable(int fd, int ms) {
  struct pollfd f = {.fd = fd, .events = POLLIN};
  return poll(&f, 1, ms) == 1;
}

/* Turns the loop a few times: what can be sent or has come goes through. */
static inline void turn(struct place *p) {
  for (int i = 0; i < 5; i++) lethe_loop_turn(p->loop);
}

static inline void accept_one(struct place *p, struct server *s) {
  for (int i = 0; i < 1000 && !readable(s->listens, 1); i++) turn(p);
  s->fd = accept(s->listens, NULL, NULL);
  assert_true(s->fd >= 0);
  turn(p);
}

static inline char get_byte(struct place *p, struct server *s) {
  char c = 0;
  for (int i = 0; i < 1000 && !readable(s->fd, 1); i++) turn(p);
  assert_int_equal(read(s->fd, &c, 1), 1);
  return c;
}

/* "*2\r\n" -> 2 */
static inline long get_count(struct place *p, struct server *s, char kind) {
  long n = 0;
  assert_int_equal(get_byte(p, s), kind);
  for (char c; (c = get_byte(p, s)) != '\r';) n = n * 10 + (c - '0');
  get_byte(p, s);
  return n;
}

/* The next command, its words with spaces between. */
static inline const char *command(struct place *p, struct server *s) {
  static char text[512];
  size_t at = 0;
  if (s->fd < 0) accept_one(p, s);
  for (long words = get_count(p, s, '*'); words > 0; words--) {
    long n = get_count(p, s, '$');
    for (long i = 0; i < n; i++) text[at++] = get_byte(p, s);
    get_byte(p, s);
    get_byte(p, s);
    text[at++] = words > 1 ? ' ' : '\0';
  }
  return text;
}

#define expect(p, s, text) assert_string_equal(command((p), (s)), (text))

static inline void answer(struct server *s, const char *text) {
  assert_int_equal(write(s->fd, text, strlen(text)), (ssize_t)strlen(text));
}

#endif
