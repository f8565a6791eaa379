/* SPDX-License-Identifier: MIT
 * What backends are measured against: threads that do nothing but pread and pwrite blocks of a
 * file, and hiredis on an event base of its own, on the connection of a redis-server that is
 * started here and ends with the bench. */
#ifndef SPEC_BENCH_BACKEND_PEERS_H
#define SPEC_BENCH_BACKEND_PEERS_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/adapters/libevent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

static inline void bare_must(bool good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

/* ---- threads on a file ----------------------------------------------------------------------- */

enum { BARE_MOST_THREADS = 16 };

/* Blocks 0 to n - 1 are shared out by a counter; the threads stay between runs. */
struct bare_pool {
  pthread_barrier_t start, finish;
  pthread_t threads[BARE_MOST_THREADS];
  int size, fd;
  size_t block;
  bool writes, ends;
  long n;
  _Atomic long next;
};

static inline void bare_work(struct bare_pool *p, char *own) {
  for (long i; (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->n;) {
    off_t at = (off_t)i * (off_t)p->block;
    ssize_t done = p->writes ? pwrite(p->fd, own, p->block, at) : pread(p->fd, own, p->block, at);
    bare_must(done == (ssize_t)p->block, "a bare block");
  }
}

static inline void *bare_thread(void *ud) {
  struct bare_pool *p = ud;
  char *own = calloc(1, p->block);
  bare_must(own != NULL, "a bare block's memory");
  for (;;) {
    pthread_barrier_wait(&p->start);
    if (p->ends) break;
    bare_work(p, own);
    pthread_barrier_wait(&p->finish);
  }
  free(own);
  return NULL;
}

static inline void bare_pool_open(struct bare_pool *p, int size, int fd, size_t block) {
  *p = (struct bare_pool){.size = size, .fd = fd, .block = block};
  pthread_barrier_init(&p->start, NULL, (unsigned)size + 1);
  pthread_barrier_init(&p->finish, NULL, (unsigned)size + 1);
  for (int i = 0; i < size; i++)
    bare_must(pthread_create(&p->threads[i], NULL, bare_thread, p) == 0, "a bare thread");
}

static inline void bare_pool_run(struct bare_pool *p, bool writes, long n) {
  p->writes = writes;
  p->n = n;
  atomic_store(&p->next, 0);
  pthread_barrier_wait(&p->start);
  pthread_barrier_wait(&p->finish);
}

static inline void bare_pool_close(struct bare_pool *p) {
  p->ends = true;
  pthread_barrier_wait(&p->start);
  for (int i = 0; i < p->size; i++) pthread_join(p->threads[i], NULL);
  pthread_barrier_destroy(&p->start);
  pthread_barrier_destroy(&p->finish);
}

/* ---- a server -------------------------------------------------------------------------------- */

struct bare_server {
  pid_t pid;
  int port;
};

/* A port of the loopback that was free just now. */
static inline int bare_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bare_must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
                getsockname(fd, (struct sockaddr *)&a, &n) == 0,
            "a free port");
  close(fd);
  return ntohs(a.sin_port);
}

static inline void bare_server_become(int port) {
  char text[8];
  int nowhere = open("/dev/null", O_WRONLY);
  snprintf(text, sizeof text, "%d", port);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(nowhere, STDOUT_FILENO);
  execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", text, "--save", "",
         "--appendonly", "no", (char *)NULL);
  _exit(127);
}

/* False where there is no redis-server, or where it does not answer within ten seconds. */
static inline bool bare_server_open(struct bare_server *s) {
  s->port = bare_port();
  s->pid = fork();
  if (s->pid == 0) bare_server_become(s->port);
  bare_must(s->pid > 0, "fork");
  for (int i = 0; i < 1000; i++) {
    redisContext *c = redisConnect("127.0.0.1", s->port);
    bool there = c && !c->err;
    if (c) redisFree(c);
    if (there) return true;
    if (waitpid(s->pid, NULL, WNOHANG) == s->pid) return false;
    usleep(10000);
  }
  kill(s->pid, SIGKILL);
  waitpid(s->pid, NULL, 0);
  return false;
}

static inline void bare_server_close(struct bare_server *s) {
  kill(s->pid, SIGKILL);
  waitpid(s->pid, NULL, 0);
}

/* ---- hiredis --------------------------------------------------------------------------------- */

struct bare_redis {
  struct event_base *base;
  redisAsyncContext *context;
  long answers, good;
};

static inline void bare_answered(redisAsyncContext *context, void *answer, void *ud) {
  const redisReply *reply = answer;
  struct bare_redis *r = ud;
  (void)context;
  r->answers++;
  r->good += reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
}

static inline void bare_redis_open(struct bare_redis *r, int port) {
  *r = (struct bare_redis){.base = event_base_new()};
  r->context = redisAsyncConnect("127.0.0.1", port);
  bare_must(r->base && r->context && !r->context->err &&
                redisLibeventAttach(r->context, r->base) == REDIS_OK,
            "hiredis");
}

/* Keys 0 to n - 1, all commands down the connection before the first answer is waited for. */
static inline void bare_redis_run(struct bare_redis *r, const void *data, size_t size, long n) {
  r->answers = r->good = 0;
  for (long i = 0; i < n; i++) {
    char key[32];
    int length = snprintf(key, sizeof key, "bench:%ld", i);
    const char *words[3] = {data ? "SET" : "GET", key, data};
    size_t lengths[3] = {3, (size_t)length, size};
    redisAsyncCommandArgv(r->context, bare_answered, r, data ? 3 : 2, words, lengths);
  }
  while (r->answers < n) event_base_loop(r->base, EVLOOP_ONCE);
  bare_must(r->good == n, "an answer of Redis");
}

static inline void bare_redis_close(struct bare_redis *r) {
  redisAsyncFree(r->context);
  event_base_free(r->base);
}

#endif
