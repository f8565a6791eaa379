/* SPDX-License-Identifier: MIT
 * What backends cost beside the least that their work takes: a file of blocks beside bare pread,
 * pwrite and fdatasync by as many threads, memory beside a plain table, Redis beside hiredis on the
 * same server, all commands of a round on their way at once.
 *
 * The file is read and written from the page cache, so that the disk hides nothing of what comes on
 * top of a system call; a barrier reaches the disk, on both sides. Round by round the two take
 * turns. */
#include "harness/measure.h"

#include "harness/backend_peers.h"
#include "harness/weak_peers.h"
#include "lethe/backend.h"

enum { BLOCK = 4096, VALUE = 64, THREADS = 4, ROUNDS = 11, MOST_OPS = 20000 };

static void must(int code) {
  if (code == LETHE_OK) return;
  fprintf(stderr, "%s\n", lethe_strerror(code));
  exit(1);
}

/* ---- operations ------------------------------------------------------------------------------ */

static struct lethe_loop *loop;
static struct lethe_backend_op ops[MOST_OPS];
static long under_way, depth; /* so many at once */
static char block[BLOCK] = "block", value[VALUE] = "value";

static void done(struct lethe_backend_op *op, bool closed) {
  (void)closed;
  if (op->rc != LETHE_OK) fprintf(stderr, "%s\n", op->message);
  must(op->rc);
  lethe_backend_value_free(op);
  under_way--;
}

static void start(struct lethe_backend *b, enum lethe_backend_kind kind, long key, const void *data,
                  size_t size) {
  struct lethe_backend_op *op = &ops[key];
  *op = (struct lethe_backend_op){
      .kind = kind, .key.number = key, .data = data, .size = size, .done = done};
  under_way++;
  if (!lethe_backend_start(b, loop, op)) must(LETHE_ECLOSED);
}

/* Until fewer are under way. */
static void fewer_than(long most) {
  while (under_way >= most)
    if (lethe_loop_turn(loop) == 0 && under_way >= most) lethe_loop_block(&loop, 1);
}
static void all_done(void) { fewer_than(1); }

/* Keys 0 to n - 1, one after the other; data NULL: they are loaded. */
static double run(struct lethe_backend *b, const void *data, size_t size, long n) {
  double began = wall();
  for (long i = 0; i < n; i++) {
    fewer_than(depth);
    start(b, data ? LETHE_BACKEND_FLUSH : LETHE_BACKEND_LOAD, i, data, size);
  }
  all_done();
  return wall() - began;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct row {
  double own[ROUNDS], peer[ROUNDS];
};

static void report(const char *what, const struct row *r, int rounds, long n) {
  char text[100];
  snprintf(text, sizeof text, "%s, us", what);
  printf("  %-58s %8.2f, peer %.2f\n", text, median(r->own, rounds) / (double)n * 1e6,
         median(r->peer, rounds) / (double)n * 1e6);
  no_target(what, median_ratio(r->own, r->peer, rounds));
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct lethe_pool *pool;
static struct bare_pool bare;
static struct lethe_backend *file;

/* The same pool, the same messages back, and nothing else: a job for each block. */
struct bare_job {
  struct lethe_job job;
  long at;
  bool writes;
  char *own;
};
static struct bare_job jobs[MOST_OPS];

static void job_work(struct lethe_job *job) {
  struct bare_job *j = lethe_container_of(job, struct bare_job, job);
  off_t at = (off_t)j->at * BLOCK;
  ssize_t n = j->writes ? pwrite(bare.fd, block, BLOCK, at) : pread(bare.fd, j->own, BLOCK, at);
  bare_must(n == BLOCK, "a block of a job");
}

static void job_done(struct lethe_job *job, bool closed) {
  (void)closed;
  free(lethe_container_of(job, struct bare_job, job)->own);
  under_way--;
}

static double run_jobs(bool writes, long n) {
  double began = wall();
  for (long i = 0; i < n; i++) {
    fewer_than(depth);
    jobs[i] = (struct bare_job){.at = i, .writes = writes, .own = writes ? NULL : malloc(BLOCK)};
    under_way++;
    must(lethe_pool_submit(pool, loop, &jobs[i].job, job_work, job_done));
  }
  all_done();
  return wall() - began;
}

static double run_bare(bool writes, long n) {
  double began = wall();
  bare_pool_run(&bare, writes, n);
  return wall() - began;
}

static void blocks(const char *what, bool writes, long n) {
  static struct row threads, jobs_of;
  char text[100];
  int rounds = bench_rounds(ROUNDS);
  for (int r = 0; r < rounds; r++) {
    threads.own[r] = jobs_of.own[r] = run(file, writes ? block : NULL, BLOCK, n);
    threads.peer[r] = run_bare(writes, n);
    jobs_of.peer[r] = run_jobs(writes, n);
  }
  snprintf(text, sizeof text, "%s over bare threads'", what);
  report(text, &threads, rounds, n);
  snprintf(text, sizeof text, "%s over bare jobs' of its pool", what);
  report(text, &jobs_of, rounds, n);
}

static double own_barrier(long at) {
  double began = wall();
  start(file, LETHE_BACKEND_FLUSH, at, block, BLOCK);
  all_done();
  start(file, LETHE_BACKEND_BARRIER, 0, NULL, 0);
  all_done();
  return wall() - began;
}

static double bare_barrier(long at) {
  double began = wall();
  bare_must(pwrite(bare.fd, block, BLOCK, (off_t)at * BLOCK) == BLOCK, "pwrite");
  bare_must(fdatasync(bare.fd) == 0, "fdatasync");
  return wall() - began;
}

/* A block, and a barrier once it is written. A disk has moods: the two take turns at each block. */
static void barriers(long n) {
  static struct row row;
  int rounds = bench_rounds(ROUNDS);
  for (int r = 0; r < rounds; r++) {
    row.own[r] = row.peer[r] = 0;
    for (long i = 0; i < n; i++) {
      row.own[r] += own_barrier(i);
      row.peer[r] += bare_barrier(i);
    }
  }
  report("store and barrier, alone, over pwrite and fdatasync", &row, rounds, n);
}

static void files(void) {
  char path[] = "/tmp/lethe-bench-XXXXXX";
  int fd = mkstemp(path);
  long n = bench_count(2000);
  bare_must(fd >= 0, path);
  must(lethe_pool_new(&pool, &lethe_alloc_libc, THREADS));
  must(lethe_file_new(&file, &lethe_alloc_libc, pool,
                      &(struct lethe_file_config){.path = path, .block = BLOCK}));
  unlink(path);
  bare_pool_open(&bare, THREADS, fd, BLOCK);
  bench_section = "file";
  depth = 64;
  printf("file, %d threads, blocks of %d bytes, %ld at once\n", THREADS, BLOCK, depth);
  run_bare(true, n);
  blocks("load", false, n);
  blocks("store", true, n);
  barriers(bench_work() < 1 ? 8 : 64);
  lethe_backend_put(file);
  lethe_pool_delete(pool);
  bare_pool_close(&bare);
  close(fd);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static double table_load(const struct peer_table *t, long n) {
  double began = wall();
  for (long i = 0; i < n; i++) {
    void *copy = malloc(VALUE);
    bare_must(copy != NULL, "memory");
    memcpy(copy, peer_table_get(t, i), VALUE);
    __asm__ volatile("" : : "r"(copy) : "memory"); /* somebody might look */
    free(copy);
  }
  return wall() - began;
}

static double table_store(struct peer_table *t, long n) {
  double began = wall();
  for (long i = 0; i < n; i++) {
    void *copy = malloc(VALUE);
    bare_must(copy != NULL, "memory");
    memcpy(copy, value, VALUE);
    free(peer_table_get(t, i));
    peer_table_set(t, i, copy);
  }
  return wall() - began;
}

static void memory(void) {
  static struct row load, store;
  struct lethe_backend *b = NULL;
  struct peer_table table = {NULL, 0, 0};
  int rounds = bench_rounds(ROUNDS);
  long n = bench_count(MOST_OPS);
  depth = 64;
  must(lethe_memory_new(&b, &lethe_alloc_libc));
  run(b, value, VALUE, n);
  table_store(&table, n);
  for (int r = 0; r < rounds; r++) {
    store.own[r] = run(b, value, VALUE, n);
    store.peer[r] = table_store(&table, n);
    load.own[r] = run(b, NULL, 0, n);
    load.peer[r] = table_load(&table, n);
  }
  bench_section = "memory";
  printf("memory, values of %d bytes, %ld at once\n", VALUE, depth);
  report("load over a plain table's, both copy", &load, rounds, n);
  report("store over a plain table's, both copy", &store, rounds, n);
  for (long i = 0; i < n; i++) free(peer_table_get(&table, i));
  peer_table_free(&table);
  lethe_backend_put(b);
}

/* ---- Redis ----------------------------------------------------------------------------------- */

static void compare_redis(struct lethe_backend *b, struct bare_redis *peer, long n) {
  static struct row rows[2];
  int rounds = bench_rounds(ROUNDS);
  depth = n;
  run(b, value, VALUE, n); /* both are connected, all keys there */
  bare_redis_run(peer, value, VALUE, n);
  for (int r = 0; r < rounds; r++) {
    for (int stores = 0; stores < 2; stores++) {
      const void *data = stores ? value : NULL;
      rows[stores].own[r] = run(b, data, VALUE, n);
      double began = wall();
      bare_redis_run(peer, data, VALUE, n);
      rows[stores].peer[r] = wall() - began;
    }
  }
  bench_section = "redis";
  printf("redis, %ld commands at once, values of %d bytes\n", n, VALUE);
  report("load over bare hiredis", &rows[0], rounds, n);
  report("store over bare hiredis", &rows[1], rounds, n);
}

static void redis(void) {
  struct bare_server server;
  struct bare_redis peer;
  struct lethe_backend *b = NULL;
  if (!bare_server_open(&server)) {
    printf("redis: skipped, there is no redis-server\n");
    return;
  }
  must(lethe_redis_new(
      &b, &lethe_alloc_libc, loop,
      &(struct lethe_redis_config){.port = server.port, .prefix = "bench:", .prefix_length = 6}));
  bare_redis_open(&peer, server.port);
  compare_redis(b, &peer, bench_count(5000));
  bare_redis_close(&peer);
  lethe_backend_put(b);
  bare_server_close(&server);
}

int main(void) {
  must(lethe_loop_new(&loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL));
  files();
  memory();
  redis();
  lethe_loop_close(loop);
  lethe_loop_put(loop);
  return 0;
}
