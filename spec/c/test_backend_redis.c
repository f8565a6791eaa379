/* SPDX-License-Identifier: MIT
 * The Redis backend against servers that are played by the test: what goes over the wire in which
 * order, answers that are late, wrong, redirected or never come, connections that are cut off. The
 * loop's clock is virtual, so a timeout is exact. */
#include "harness/redis.h"

/* Turns until the operation has ended, with that code and, of a load, that value. */
static void ends(struct place *p, struct test_op *t, int rc, const char *value) {
  for (int i = 0; i < 2000 && !t->ended; i++) {
    turn(p);
    if (!t->ended) usleep(500);
  }
  assert_int_equal(t->ended, 1);
  assert_int_equal(t->op.rc, rc);
  if (value) {
    assert_int_equal(t->op.size, strlen(value));
    assert_memory_equal(t->op.value, value, strlen(value));
  } else {
    assert_null(t->op.value);
  }
  lethe_backend_value_free(&t->op);
}

static void load(struct place *p, struct test_op *t, const char *key) {
  start_load(p->redis, p->loop, t, text_key(key));
}

static struct lethe_redis_stats stats_of(struct place *p) {
  struct lethe_redis_stats stats;
  lethe_redis_read_stats(p->redis, &stats);
  return stats;
}

/* ---- commands and answers -------------------------------------------------------------------- */

static void nothing_waits_for_the_answer_to_another(void **state) {
  struct place p;
  struct test_op a, b, c, d;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &a, "a");
  start_flush(p.redis, p.loop, &b, number_key(-7), "x y", 3);
  start_barrier(p.redis, p.loop, &c);
  load(&p, &d, "");
  expect(&p, s, "GET p:a");
  expect(&p, s, "SET p:-7 x y");
  expect(&p, s, "PING");
  expect(&p, s, "GET p:");
  answer(s, "$2\r\nAA\r\n+OK\r\n+PO");
  ends(&p, &a, LETHE_OK, "AA");
  ends(&p, &b, LETHE_OK, NULL);
  turn(&p);
  assert_int_equal(c.ended, 0);
  answer(s, "NG\r\n$-1\r\n");
  ends(&p, &c, LETHE_OK, NULL);
  ends(&p, &d, LETHE_ENOTFOUND, NULL);
  assert_int_equal(stats_of(&p).connections, 1);
  close_place(&p);
}

static void errors_and_wrong_answers_end_their_operation(void **state) {
  struct place p;
  struct test_op a, b, c;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &a, "a");
  load(&p, &b, "b");
  load(&p, &c, "c");
  for (int i = 0; i < 3; i++) command(&p, s);
  answer(s, "-WRONGTYPE no string\r\n:12\r\n$0\r\n\r\n");
  ends(&p, &a, LETHE_ESYSTEM, NULL);
  assert_string_equal(a.op.message, "Redis says: WRONGTYPE no string");
  ends(&p, &b, LETHE_ESYSTEM, NULL);
  ends(&p, &c, LETHE_OK, "");
  close_place(&p);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void one_runs_into_its_timeout_the_others_live(void **state) {
  struct place p;
  struct test_op a, b, c;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &a, "a");
  expect(&p, s, "GET p:a");
  lethe_loop_advance(p.loop, 3);
  load(&p, &b, "b");
  expect(&p, s, "GET p:b");
  lethe_loop_advance(p.loop, 0.9);
  assert_int_equal(a.ended, 0);
  lethe_loop_advance(p.loop, 0.1);
  ends(&p, &a, LETHE_ETIMEOUT, NULL);
  assert_int_equal(b.ended, 0);
  load(&p, &c, "c");
  expect(&p, s, "GET p:c");
  answer(s, "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"); /* the first one is for nobody */
  ends(&p, &b, LETHE_OK, "b");
  ends(&p, &c, LETHE_OK, "c");
  assert_int_equal(stats_of(&p).connections, 1);
  assert_int_equal(stats_of(&p).timeouts, 1);
  close_place(&p);
}

/* More answers have come than one read takes. */
static void what_has_come_is_in_time(void **state) {
  enum { N = 64, SIZE = 4096 };
  static struct test_op ops[N];
  static char value[SIZE + 64];
  struct place p;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  for (int i = 0; i < N; i++) load(&p, &ops[i], "k");
  for (int i = 0; i < N; i++) expect(&p, s, "GET p:k");
  snprintf(value, sizeof value, "$%d\r\n%*s\r\n", SIZE, SIZE, "x");
  for (int i = 0; i < N; i++) answer(s, value);
  lethe_loop_advance(p.loop, 5); /* one timer after the other, each due */
  for (int i = 0; i < N; i++) {
    assert_int_equal(ops[i].ended, 1);
    assert_int_equal(ops[i].op.rc, LETHE_OK);
    lethe_backend_value_free(&ops[i].op);
  }
  close_place(&p);
}

static void a_server_that_is_not_ready_is_asked_again(void **state) {
  struct place p;
  struct test_op a;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &a, "a");
  for (int i = 0; i < 3; i++) {
    expect(&p, s, "GET p:a");
    answer(s, "-LOADING Redis is loading the dataset in memory\r\n");
    for (int k = 0; k < 20; k++) {
      turn(&p);
      usleep(200);
    }
    assert_false(readable(s->fd, 0));
    lethe_loop_advance(p.loop, 0.05);
  }
  expect(&p, s, "GET p:a");
  answer(s, "-LOADING still\r\n");
  turn(&p);
  lethe_loop_advance(p.loop, 3.85); /* its own timeout holds */
  ends(&p, &a, LETHE_ETIMEOUT, NULL);
  close_place(&p);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void what_was_under_way_is_sent_on_the_next_connection(void **state) {
  struct place p;
  struct test_op a, b, late;
  char kill[64];
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &late, "late");
  expect(&p, s, "GET p:late");
  struct sockaddr_in peer;
  socklen_t n = sizeof peer;
  getpeername(s->fd, (struct sockaddr *)&peer, &n);
  snprintf(kill, sizeof kill, "CLIENT KILL ADDR 127.0.0.1:%d", ntohs(peer.sin_port));
  lethe_loop_advance(p.loop, 4);
  ends(&p, &late, LETHE_ETIMEOUT, NULL);
  start_flush(p.redis, p.loop, &a, text_key("a"), "1", 1);
  start_flush(p.redis, p.loop, &b, text_key("b"), "2", 1);
  expect(&p, s, "SET p:a 1");
  hang_up(s);
  /* First the server forgets what else it may have of the old one; then in the same order. */
  expect(&p, s, kill);
  expect(&p, s, "SET p:a 1");
  expect(&p, s, "SET p:b 2");
  answer(s, "-ERR No such client\r\n+OK\r\n+OK\r\n");
  ends(&p, &a, LETHE_OK, NULL);
  ends(&p, &b, LETHE_OK, NULL);
  assert_int_equal(stats_of(&p).connections, 2);
  close_place(&p);
}

static void lost_twice_is_unavailable(void **state) {
  struct place p;
  struct test_op a, b;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  load(&p, &a, "a");
  expect(&p, s, "GET p:a");
  hang_up(s);
  command(&p, s);
  expect(&p, s, "GET p:a");
  answer(s, "SSH-2.0-of another kind\r\n"); /* no Redis answers so */
  ends(&p, &a, LETHE_EUNAVAILABLE, NULL);
  hang_up(s);
  load(&p, &b, "b"); /* the next one connects again */
  command(&p, s);
  expect(&p, s, "GET p:b");
  answer(s, "+OK\r\n$1\r\nb\r\n");
  ends(&p, &b, LETHE_OK, "b");
  close_place(&p);
}

static void nobody_listens(void **state) {
  struct place p;
  struct test_op a, b;
  (void)state;
  open_place(&p);
  close_server(&p.servers[0]);
  load(&p, &a, "a");
  load(&p, &b, "b");
  assert_int_equal(a.ended + b.ended, 0);
  ends(&p, &a, LETHE_EUNAVAILABLE, NULL);
  ends(&p, &b, LETHE_EUNAVAILABLE, NULL);
  assert_non_null(strstr(a.op.message, "no Redis at 127.0.0.1:"));
  close_place(&p);
}

/* No Redis: whatever comes in goes out again. */
static void an_echo_is_no_server(void **state) {
  struct place p;
  struct test_op a, b, c;
  (void)state;
  open_place(&p);
  struct server *s = &p.servers[0];
  start_flush(p.redis, p.loop, &a, text_key("a"), "1", 1);
  load(&p, &b, "b");
  start_barrier(p.redis, p.loop, &c);
  for (int i = 0; i < 3; i++) command(&p, s);
  answer(s, "*3\r\n$3\r\nSET\r\n$3\r\np:a\r\n$1\r\n1\r\n");
  answer(s, "*2\r\n$3\r\nGET\r\n$3\r\np:b\r\n*1\r\n$4\r\nPING\r\n");
  ends(&p, &a, LETHE_ESYSTEM, NULL);
  ends(&p, &b, LETHE_ESYSTEM, NULL);
  ends(&p, &c, LETHE_ESYSTEM, NULL);
  close_place(&p);
}

static void a_connection_that_never_comes_about_times_out(void **state) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct place p;
  struct test_op op;
  int full[4];
  (void)state;
  open_place(&p);
  assert_int_equal(listen(p.servers[0].listens, 0), 0);
  a.sin_port = htons((uint16_t)p.servers[0].port);
  for (int i = 0; i < 4; i++) { /* the listener's queue is full now: SYNs are dropped */
    full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)connect(full[i], (struct sockaddr *)&a, sizeof a);
  }
  load(&p, &op, "a");
  turn(&p);
  lethe_loop_advance(p.loop, 4);
  ends(&p, &op, LETHE_ETIMEOUT, NULL);
  for (int i = 0; i < 4; i++) close(full[i]);
  close_place(&p);
}

static void a_loop_that_closes_ends_all(void **state) {
  struct place p;
  struct test_op a, b, c;
  (void)state;
  open_place(&p);
  struct lethe_loop *other = make_loop(LETHE_CLOCK_VIRTUAL, p.loop);
  load(&p, &a, "a");
  expect(&p, &p.servers[0], "GET p:a");
  start_load(p.redis, other, &b, text_key("b"));
  start_load(p.redis, other, &c, text_key("c"));
  lethe_loop_close(other); /* its own alone */
  assert_true(b.ended == 1 && b.closed && b.op.rc == LETHE_ECLOSED && c.ended == 1);
  lethe_loop_put(other);
  other = make_loop(LETHE_CLOCK_VIRTUAL, p.loop);
  start_load(p.redis, other, &b, text_key("b"));
  assert_int_equal(a.ended, 0);
  lethe_loop_close(p.loop); /* that of the connection: everybody's */
  assert_true(a.ended == 1 && a.closed);
  lethe_loop_turn(other);
  assert_true(b.ended == 1 && !b.closed && b.op.rc == LETHE_ECLOSED);
  start_load(p.redis, other, &c, text_key("c"));
  lethe_loop_turn(other);
  assert_true(c.ended == 1 && c.op.rc == LETHE_ECLOSED);
  end_loop(other);
  close_place(&p);
}

/* ---- clusters -------------------------------------------------------------------------------- */

static void redirect(struct place *p, struct server *from, const char *how, int slot,
                     const struct server *to) {
  char text[80];
  (void)p;
  snprintf(text, sizeof text, "-%s %d 127.0.0.1:%d\r\n", how, slot, to->port);
  answer(from, text);
}

/* The slots are those of the cluster specification: of "p:{foo}" it is that of "foo", 12182. */
static void moved_is_followed_and_remembered_by_slot(void **state) {
  struct place p;
  struct test_op a, b, c, d;
  (void)state;
  open_place(&p);
  struct server *first = &p.servers[0], *second = &p.servers[1];
  load(&p, &a, "{foo}");
  expect(&p, first, "GET p:{foo}");
  redirect(&p, first, "MOVED", 12182, second);
  expect(&p, second, "GET p:{foo}");
  answer(second, "$1\r\na\r\n");
  ends(&p, &a, LETHE_OK, "a");
  load(&p, &b, "{foo}bar");
  expect(&p, second, "GET p:{foo}bar"); /* it knows */
  answer(second, "$1\r\nb\r\n");
  ends(&p, &b, LETHE_OK, "b");
  load(&p, &c, "{bar}"); /* 5061 */
  expect(&p, first, "GET p:{bar}");
  answer(first, "-MOVED 5061 :"); /* the same host as the one that says so */
  char port[16];
  snprintf(port, sizeof port, "%d\r\n", p.servers[2].port);
  answer(first, port);
  expect(&p, &p.servers[2], "GET p:{bar}");
  answer(&p.servers[2], "$1\r\nc\r\n");
  ends(&p, &c, LETHE_OK, "c");
  start_barrier(p.redis, p.loop, &d); /* asks them all */
  for (int i = 0; i < SERVERS; i++) {
    expect(&p, &p.servers[i], "PING");
    assert_int_equal(d.ended, 0);
    answer(&p.servers[i], "+PONG\r\n");
  }
  ends(&p, &d, LETHE_OK, NULL);
  assert_int_equal(stats_of(&p).nodes, 3);
  close_place(&p);
}

static void ask_is_followed_once(void **state) {
  struct place p;
  struct test_op a, b;
  (void)state;
  open_place(&p);
  struct server *first = &p.servers[0], *second = &p.servers[1];
  load(&p, &a, "{foo}");
  expect(&p, first, "GET p:{foo}");
  redirect(&p, first, "ASK", 12182, second);
  expect(&p, second, "ASKING");
  expect(&p, second, "GET p:{foo}");
  answer(second, "+OK\r\n-TRYAGAIN on its way\r\n");
  turn(&p);
  for (int i = 0; i < 50 && !readable(first->fd, 0); i++) {
    usleep(1000);
    lethe_loop_advance(p.loop, 0.01);
  }
  expect(&p, first, "GET p:{foo}");
  answer(first, "$1\r\na\r\n");
  ends(&p, &a, LETHE_OK, "a");
  load(&p, &b, "{foo}");
  expect(&p, first, "GET p:{foo}");
  answer(first, "$-1\r\n");
  ends(&p, &b, LETHE_ENOTFOUND, NULL);
  close_place(&p);
}

static void nodes_that_send_each_other_on_are_left(void **state) {
  struct place p;
  struct test_op a;
  int hops = 0;
  (void)state;
  open_place(&p);
  load(&p, &a, "{foo}");
  for (; hops < 100; hops++) {
    struct server *at = &p.servers[hops % 2], *to = &p.servers[(hops + 1) % 2];
    expect(&p, at, "GET p:{foo}");
    redirect(&p, at, "MOVED", 12182, to);
    for (int i = 0; i < 20 && !a.ended && !readable(to->fd >= 0 ? to->fd : to->listens, 1); i++)
      turn(&p);
    if (a.ended) break;
  }
  assert_int_equal(hops, 16);
  ends(&p, &a, LETHE_ESYSTEM, NULL);
  close_place(&p);
}

static void a_node_that_is_gone_is_asked_for_at_the_first(void **state) {
  struct place p;
  struct test_op a, b;
  (void)state;
  open_place(&p);
  struct server *first = &p.servers[0], *second = &p.servers[1], *third = &p.servers[2];
  load(&p, &a, "{foo}");
  expect(&p, first, "GET p:{foo}");
  redirect(&p, first, "MOVED", 12182, second);
  expect(&p, second, "GET p:{foo}");
  answer(second, "$1\r\na\r\n");
  ends(&p, &a, LETHE_OK, "a");
  close_server(second);
  load(&p, &b, "{foo}");
  expect(&p, first, "GET p:{foo}");
  redirect(&p, first, "MOVED", 12182, third);
  expect(&p, third, "GET p:{foo}");
  answer(third, "$1\r\nb\r\n");
  ends(&p, &b, LETHE_OK, "b");
  close_place(&p);
}

static void redirects_that_make_no_sense_are_errors(void **state) {
  static const char *const texts[] = {"MOVED",          "MOVED 1",       "MOVED 1 nowhere",
                                      "MOVED 1 host:0", "ASK 1 h:70000", "MOVED x y z"};
  struct place p;
  (void)state;
  open_place(&p);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct test_op a;
    char text[80];
    load(&p, &a, "a");
    expect(&p, &p.servers[0], "GET p:a");
    snprintf(text, sizeof text, "-%s\r\n", texts[i]);
    answer(&p.servers[0], text);
    ends(&p, &a, LETHE_ESYSTEM, NULL);
  }
  close_place(&p);
}

/* ---- allocations ----------------------------------------------------------------------------- */

/* The n-th allocation of ours fails, for every n. (hiredis has its own, and ends the process.) */
static void any_one_allocation_may_fail(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct place p;
    struct test_op a;
    open_place(&p);
    lethe_backend_put(p.redis);
    p.redis = NULL;
    test_alloc_fail(&p.alloc, n);
    int rc = make_redis(&p);
    assert_true(rc == LETHE_OK || rc == LETHE_ENOMEM);
    for (int i = 0; rc == LETHE_OK && i < 2; i++) {
      load(&p, &a, "{foo}");
      struct server *at = &p.servers[0];
      while (!a.ended) {
        turn(&p);
        if (a.ended) break;
        for (int k = 0; k < SERVERS; k++)
          if (p.servers[k].fd < 0 && readable(p.servers[k].listens, 0))
            accept_one(&p, &p.servers[k]);
        for (int k = 0; k < SERVERS; k++)
          if (p.servers[k].fd >= 0 && readable(p.servers[k].fd, 1)) at = &p.servers[k];
        if (at->fd < 0 || !readable(at->fd, 1)) continue;
        command(&p, at);
        if (at == &p.servers[0])
          redirect(&p, at, "MOVED", 12182, &p.servers[1]);
        else
          answer(at, "$1\r\na\r\n");
      }
      assert_true(a.op.rc == LETHE_OK || p.alloc.failed);
      lethe_backend_value_free(&a.op);
    }
    bool failed = p.alloc.failed > 0;
    close_place(&p);
    if (!failed) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_waits_for_the_answer_to_another),
      cmocka_unit_test(errors_and_wrong_answers_end_their_operation),
      cmocka_unit_test(one_runs_into_its_timeout_the_others_live),
      cmocka_unit_test(what_has_come_is_in_time),
      cmocka_unit_test(a_server_that_is_not_ready_is_asked_again),
      cmocka_unit_test(what_was_under_way_is_sent_on_the_next_connection),
      cmocka_unit_test(lost_twice_is_unavailable),
      cmocka_unit_test(nobody_listens),
      cmocka_unit_test(an_echo_is_no_server),
      cmocka_unit_test(a_connection_that_never_comes_about_times_out),
      cmocka_unit_test(a_loop_that_closes_ends_all),
      cmocka_unit_test(moved_is_followed_and_remembered_by_slot),
      cmocka_unit_test(ask_is_followed_once),
      cmocka_unit_test(nodes_that_send_each_other_on_are_left),
      cmocka_unit_test(a_node_that_is_gone_is_asked_for_at_the_first),
      cmocka_unit_test(redirects_that_make_no_sense_are_errors),
      cmocka_unit_test(any_one_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
