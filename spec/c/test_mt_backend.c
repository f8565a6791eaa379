/* SPDX-License-Identifier: MIT
 * The file backend on its pool: calls that do a part, are interrupted or fail at the n-th, the
 * order on one block, the bound of the queue, loops that close meanwhile. Runs under
 * ThreadSanitizer too. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/backend.h"
#include "harness/random.h"

#include "lethe/atomic.h"

enum { BLOCK = 1024 };

/* ---- the system, as a test wants it ---------------------------------------------------------- */

/* What the calls do, for the one file of a test. In threads of the pool. */
static struct {
  _Atomic int calls;   /* reads, writes and syncs so far */
  _Atomic int fail_at; /* the call that fails; 0: none */
  int error;           /* with which errno */
  bool pieces;         /* one byte to a third at a time, every second call interrupted */
  bool zero;           /* writes write nothing */
  _Atomic int inside;
  _Atomic bool crowded; /* there were more than two at once */
  _Atomic bool gate;    /* nobody gets through while it is closed */
  pthread_t loops;      /* the thread that must never come here */
  _Atomic bool came;
} sys;

static bool enter(void) {
  int n = add_rlx(&sys.calls, 1) + 1;
  if (add_rlx(&sys.inside, 1) + 1 > 2) store_rlx(&sys.crowded, true);
  if (pthread_equal(pthread_self(), sys.loops)) store_rlx(&sys.came, true);
  while (load_acq(&sys.gate)) usleep(100);
  sub_acqrel(&sys.inside, 1);
  if (n == load_rlx(&sys.fail_at)) {
    errno = sys.error;
    return false;
  }
  if (sys.pieces && n % 2) {
    errno = EINTR;
    return false;
  }
  return true;
}

static ssize_t test_pread(int fd, void *buf, size_t n, off_t offset) {
  return enter() ? pread(fd, buf, sys.pieces && n > 2 ? n / 3 : n, offset) : -1;
}
static ssize_t test_pwrite(int fd, const void *buf, size_t n, off_t offset) {
  if (!enter()) return -1;
  return sys.zero ? 0 : pwrite(fd, buf, sys.pieces && n > 2 ? n / 3 : n, offset);
}
static int test_fdatasync(int fd) { return enter() ? fdatasync(fd) : -1; }

static const struct lethe_file_io io = {test_pread, test_pwrite, test_fdatasync};

/* ---- a place --------------------------------------------------------------------------------- */

struct place {
  struct test_alloc alloc;
  struct lethe_loop *loop;
  struct lethe_pool *pool;
  struct lethe_backend *file;
  char path[64];
  char block[BLOCK + 1];
};

static void reset(void) {
  store_rlx(&sys.calls, 0);
  store_rlx(&sys.fail_at, 0);
  store_rlx(&sys.inside, 0);
  store_rlx(&sys.crowded, false);
  store_rlx(&sys.gate, false);
  store_rlx(&sys.came, false);
  sys.error = EIO;
  sys.pieces = sys.zero = false;
  sys.loops = pthread_self();
}

static int open_file(struct place *p, unsigned queue) {
  return lethe_file_new(
      &p->file, &p->alloc.alloc, p->pool,
      &(struct lethe_file_config){.path = p->path, .block = BLOCK, .queue = queue, .io = &io});
}

static void open_place(struct place *p, unsigned queue) {
  reset();
  test_alloc_init(&p->alloc);
  p->loop = make_loop(LETHE_CLOCK_REAL, NULL);
  assert_int_equal(lethe_pool_new(&p->pool, &lethe_alloc_libc, 4), LETHE_OK);
  strcpy(p->path, "/tmp/lethe-backend-XXXXXX");
  int fd = mkstemp(p->path);
  assert_true(fd >= 0);
  close(fd);
  assert_int_equal(open_file(p, queue), LETHE_OK);
}

/* Whatever a test did, no call ran in the loop's thread, and nothing is kept. */
static void close_place(struct place *p) {
  if (p->file) lethe_backend_put(p->file);
  if (p->loop) end_loop(p->loop);
  lethe_pool_delete(p->pool);
  unlink(p->path);
  assert_false(load_rlx(&sys.came));
  assert_int_equal(p->alloc.blocks, 0);
  assert_int_equal(p->alloc.bytes, 0);
}

static const char *filled(struct place *p, char c) {
  memset(p->block, c, BLOCK);
  return p->block;
}

static int flush(struct place *p, int64_t k, char c) {
  return do_flush(p->file, p->loop, number_key(k), filled(p, c), BLOCK);
}

/* The block's bytes if they are all the same, 0 where there are none, else '?'; '!' of a
 * failure. */
static char load(struct place *p, int64_t k) {
  char out[BLOCK + 1];
  int rc = do_load(p->file, p->loop, number_key(k), out, sizeof out);
  if (rc == LETHE_ENOTFOUND) return 0;
  if (rc != LETHE_OK) return '!';
  for (int i = 1; i < BLOCK; i++)
    if (out[i] != out[0]) return '?';
  return out[0];
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void parts_and_interruptions_make_a_whole(void **state) {
  struct place p;
  (void)state;
  open_place(&p, 0);
  sys.pieces = true;
  for (int i = 0; i < 5; i++) assert_int_equal(flush(&p, i, (char)('a' + i)), LETHE_OK);
  assert_int_equal(do_barrier(p.file, p.loop), LETHE_OK);
  for (int i = 0; i < 5; i++) assert_int_equal(load(&p, i), 'a' + i);
  assert_int_equal(load(&p, 5), 0);
  assert_true(load_rlx(&sys.calls) > 50);
  close_place(&p);
}

static void a_write_of_nothing_is_a_failure(void **state) {
  struct place p;
  (void)state;
  open_place(&p, 0);
  sys.zero = true;
  assert_int_equal(flush(&p, 0, 'a'), LETHE_ESYSTEM);
  sys.zero = false;
  assert_int_equal(flush(&p, 0, 'a'), LETHE_OK);
  close_place(&p);
}

static void a_full_device_is_called_full(void **state) {
  struct place p;
  struct test_op t;
  (void)state;
  open_place(&p, 0);
  sys.error = ENOSPC;
  store_rlx(&sys.fail_at, 1);
  start_flush(p.file, p.loop, &t, number_key(9), filled(&p, 'a'), BLOCK);
  run_loop(p.loop);
  assert_int_equal(t.op.rc, LETHE_EFULL);
  assert_non_null(strstr(t.op.message, "cannot write block 9: No space left on device (/tmp/"));
  close_place(&p);
}

/* A fixed series of calls, the n-th of which fails: it is told, and only its operation is hurt. */
static void any_one_call_may_fail(void **state) {
  (void)state;
  for (int n = 1;; n++) {
    struct place p;
    bool synced, failed;
    open_place(&p, 0);
    store_rlx(&sys.fail_at, n);
    int wrong = 0;
    for (int i = 0; i < 4; i++) {
      failed = flush(&p, i, (char)('a' + i)) != LETHE_OK;
      if (failed) assert_int_equal(flush(&p, i, (char)('a' + i)), LETHE_OK);
      wrong += failed;
    }
    synced = do_barrier(p.file, p.loop) == LETHE_OK;
    for (int i = 0; i < 4; i++) {
      char c = load(&p, i);
      if (c == '!') {
        wrong++;
        c = load(&p, i);
      }
      assert_int_equal(c, 'a' + i);
    }
    /* What a failed barrier lost nobody would tell again. */
    bool again = do_barrier(p.file, p.loop) == LETHE_OK;
    assert_true(synced || !again);
    wrong += !again;
    close_place(&p);
    assert_int_equal(wrong, n <= 10 ? 1 : 0);
    if (wrong == 0) break;
  }
}

static void writes_to_one_block_do_not_overtake_each_other(void **state) {
  enum { N = 300, KEYS = 7 };
  static struct test_op ops[N];
  static char data[N][BLOCK];
  struct place p;
  char last[KEYS] = {0};
  struct test_random r = test_seed("order of writes");
  (void)state;
  open_place(&p, 5);
  for (int i = 0; i < N; i++) {
    /* keys that meet in one turn of the file's, and keys that do not */
    int k = (int)test_below(&r, KEYS);
    last[k] = (char)('A' + i % 50);
    memset(data[i], last[k], BLOCK);
    start_flush(p.file, p.loop, &ops[i], number_key(k % 3 ? k : k * 256), data[i], BLOCK);
  }
  run_loop(p.loop);
  for (int i = 0; i < N; i++) assert_int_equal(ops[i].op.rc, LETHE_OK);
  for (int k = 0; k < KEYS; k++)
    if (last[k]) assert_int_equal(load(&p, k % 3 ? k : k * 256), last[k]);
  close_place(&p);
}

static void no_more_than_the_queue_is_in_the_pool(void **state) {
  enum { N = 40 };
  static struct test_op ops[N];
  struct place p;
  (void)state;
  open_place(&p, 2);
  store_rlx(&sys.gate, true);
  for (int i = 0; i < N; i++) start_load(p.file, p.loop, &ops[i], number_key(i));
  for (int i = 0; i < 20; i++) {
    lethe_loop_turn(p.loop);
    usleep(200);
  }
  assert_true(load_rlx(&sys.calls) <= 2);
  store_rel(&sys.gate, false);
  run_loop(p.loop);
  assert_int_equal(load_rlx(&sys.calls), N);
  assert_false(load_rlx(&sys.crowded));
  for (int i = 0; i < N; i++) assert_int_equal(ops[i].op.rc, LETHE_ENOTFOUND);
  close_place(&p);
}

/* Those in the pool are waited for, those that were not there yet end as closed. */
static void a_loop_that_closes_waits_for_what_is_in_the_pool(void **state) {
  enum { N = 6 };
  static struct test_op ops[N];
  struct place p;
  (void)state;
  open_place(&p, 3);
  filled(&p, 'c');
  for (int i = 0; i < N; i++) start_flush(p.file, p.loop, &ops[i], number_key(i), p.block, BLOCK);
  lethe_backend_put(p.file); /* the operations hold it */
  p.file = NULL;
  end_loop(p.loop);
  p.loop = NULL;
  int written = 0;
  for (int i = 0; i < N; i++) {
    assert_int_equal(ops[i].ended, 1);
    assert_true(ops[i].closed);
    if (ops[i].op.rc == LETHE_OK)
      written++;
    else
      assert_int_equal(ops[i].op.rc, LETHE_ECLOSED);
  }
  assert_true(written >= 3);
  close_place(&p);
}

static void on_gate(struct lethe_timer *t) {
  (void)t;
  store_rel(&sys.gate, false);
}

/* Two loops of one thread share a file; what one of them waited for goes to the other. */
static void another_loop_goes_on_when_one_has_closed(void **state) {
  struct place p;
  struct test_op first[3], second[3];
  struct lethe_timer timer = {0};
  (void)state;
  open_place(&p, 1);
  struct lethe_loop *other = make_loop(LETHE_CLOCK_REAL, p.loop);
  for (int i = 0; i < 3; i++) {
    start_load(p.file, other, &second[i], number_key(i));
    start_load(p.file, p.loop, &first[i], number_key(i));
  }
  end_loop(other);
  for (int i = 0; i < 3; i++) assert_int_equal(second[i].ended, 1);
  store_rlx(&sys.gate, true);
  lethe_timer_start(p.loop, &timer, 0.005, 0, on_gate);
  run_loop(p.loop);
  for (int i = 0; i < 3; i++) assert_int_equal(first[i].op.rc, LETHE_ENOTFOUND);
  close_place(&p);
}

static void a_closed_loop_is_refused(void **state) {
  struct place p;
  struct test_op t = {.op = {.kind = LETHE_BACKEND_BARRIER, .done = test_op_done}};
  (void)state;
  open_place(&p, 0);
  struct lethe_loop *other = make_loop(LETHE_CLOCK_VIRTUAL, p.loop);
  lethe_loop_close(other);
  assert_false(lethe_backend_start(p.file, other, &t.op));
  assert_int_equal(t.ended, 0);
  lethe_loop_put(other);
  close_place(&p);
}

static void what_is_no_block_is_refused(void **state) {
  struct place p;
  char out[BLOCK + 1];
  (void)state;
  open_place(&p, 0);
  assert_int_equal(do_load(p.file, p.loop, text_key("x"), out, sizeof out), LETHE_EINVAL);
  assert_int_equal(do_load(p.file, p.loop, number_key(-1), out, sizeof out), LETHE_EINVAL);
  assert_int_equal(do_load(p.file, p.loop, number_key(INT64_MAX), out, sizeof out), LETHE_EINVAL);
  assert_int_equal(do_flush(p.file, p.loop, number_key(1), "short", 5), LETHE_EINVAL);
  assert_int_equal(load_rlx(&sys.calls), 0);
  close_place(&p);
}

static void a_new_file_is_durable_with_its_name(void **state) {
  struct place p;
  struct stat st;
  (void)state;
  open_place(&p, 0);
  lethe_backend_put(p.file);
  unlink(p.path);
  assert_int_equal(open_file(&p, 0), LETHE_ENOTFOUND);
  struct lethe_file_config config = {.path = p.path, .block = BLOCK, .create = true, .io = &io};
  assert_int_equal(lethe_file_new(&p.file, &p.alloc.alloc, p.pool, &config), LETHE_OK);
  assert_int_equal(flush(&p, 2, 'x'), LETHE_OK);
  assert_int_equal(do_barrier(p.file, p.loop), LETHE_OK);
  assert_int_equal(do_barrier(p.file, p.loop), LETHE_OK);
  assert_int_equal(stat(p.path, &st), 0);
  assert_int_equal(st.st_size, 3 * BLOCK);
  config.block = 0;
  assert_int_equal(lethe_file_new(&p.file, &p.alloc.alloc, p.pool, &config), LETHE_EINVAL);
  close_place(&p);
}

/* The n-th allocation of everything fails, for every n. */
static void any_one_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct place p;
    open_place(&p, 0);
    lethe_backend_put(p.file);
    p.file = NULL;
    test_alloc_fail(&p.alloc, n);
    int rc = open_file(&p, 0);
    if (rc == LETHE_OK) {
      assert_int_equal(flush(&p, 0, 'a'), LETHE_OK); /* a flush allocates nothing */
      char c = load(&p, 0);
      assert_int_equal(c, p.alloc.failed ? '!' : 'a');
      if (c == '!') assert_int_equal(load(&p, 0), 'a');
    } else {
      assert_int_equal(rc, LETHE_ENOMEM);
    }
    bool failed = p.alloc.failed > 0;
    close_place(&p);
    if (!failed) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts_and_interruptions_make_a_whole),
      cmocka_unit_test(a_write_of_nothing_is_a_failure),
      cmocka_unit_test(a_full_device_is_called_full),
      cmocka_unit_test(any_one_call_may_fail),
      cmocka_unit_test(writes_to_one_block_do_not_overtake_each_other),
      cmocka_unit_test(no_more_than_the_queue_is_in_the_pool),
      cmocka_unit_test(a_loop_that_closes_waits_for_what_is_in_the_pool),
      cmocka_unit_test(another_loop_goes_on_when_one_has_closed),
      cmocka_unit_test(a_closed_loop_is_refused),
      cmocka_unit_test(what_is_no_block_is_refused),
      cmocka_unit_test(a_new_file_is_durable_with_its_name),
      cmocka_unit_test(any_one_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
