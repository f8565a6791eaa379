/* SPDX-License-Identifier: MIT
 * The web server of a loop, from its peer's side of the socket: what is answered, what is refused,
 * who is cut off, and that it may end at any moment. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/http.h"

static struct lethe_loop *loop;
static struct lethe_http *server;
static struct test_alloc memory;

/* What the server's `answer` does with a request. */
static enum { ECHO, KEEP, STOP } manner;
static struct lethe_http_request *kept;
static int asked;

static void answer(void *ud, struct lethe_http_request *r, const char *path) {
  (void)ud;
  asked++;
  if (manner == ECHO) {
    lethe_http_reply(r, 200, "text/plain", path, strlen(path));
  } else if (manner == KEEP) {
    kept = r;
  } else {
    lethe_http_stop(server);
    server = NULL;
  }
}

static void serve(double seconds) {
  test_alloc_init(&memory);
  manner = ECHO;
  asked = 0;
  assert_int_equal(lethe_loop_new(&loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL), LETHE_OK);
  assert_int_equal(lethe_http_start(&server, &memory.alloc, loop, 0, seconds, answer, NULL),
                   LETHE_OK);
  assert_true(lethe_http_port(server) > 0);
}

static void finish(void) {
  if (server) lethe_http_stop(server);
  server = NULL;
  assert_false(lethe_loop_alive(loop) && lethe_loop_turn(loop) == 0);
  lethe_loop_close(loop);
  lethe_loop_put(loop);
  assert_int_equal(memory.blocks, 0);
}

/* ---- a client -------------------------------------------------------------------------------- */

static int dial(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(lethe_http_port(server))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void say(int fd, const char *text) {
  assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the peer has closed; what came is in `got`. */
static char got[65536];
static void hear(int fd) {
  size_t n = 0;
  for (;;) {
    ssize_t k = recv(fd, got + n, sizeof got - 1 - n, 0);
    if (k > 0) n += (size_t)k;
    if (k == 0 || (k < 0 && errno != EAGAIN)) break;
    if (k < 0) {
      lethe_loop_block(&loop, 1);
      lethe_loop_turn(loop);
    }
  }
  got[n] = '\0';
  close(fd);
}

static int ask(const char *text) {
  int fd = dial(), status = 0;
  say(fd, text);
  hear(fd);
  sscanf(got, "HTTP/1.%*d %d", &status);
  return status;
}

static const char *body(void) {
  const char *at = strstr(got, "\r\n\r\n");
  return at ? at + 4 : "";
}

/* ---- what is answered ------------------------------------------------------------------------ */

static void a_get_is_answered(void **state) {
  (void)state;
  serve(0);
  assert_int_equal(ask("GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
  assert_string_equal(body(), "/metrics");
  assert_non_null(strstr(got, "Cache-Control: no-store"));
  assert_non_null(strstr(got, "Connection: close"));
  assert_int_equal(ask("GET / HTTP/1.0\r\nHost: 127.0.0.1:80\r\n\r\n"), 200);
  assert_int_equal(ask("GET / HTTP/1.1\r\nhost: LOCALHOST:65535\r\n\r\n"), 200);
  assert_int_equal(ask("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"), 200);
  finish();
}

static void many_at_once_and_in_pieces(void **state) {
  enum { CLIENTS = 50 };
  int fds[CLIENTS];
  (void)state;
  serve(0);
  for (int i = 0; i < CLIENTS; i++) fds[i] = dial();
  for (int i = 0; i < CLIENTS; i++) say(fds[i], "GET /a HTTP/1.1\r\nHo");
  for (int i = 0; i < 3; i++) lethe_loop_turn(loop);
  for (int i = 0; i < CLIENTS; i++) say(fds[i], "st: localhost\r\n\r\n");
  for (int i = 0; i < CLIENTS; i++) {
    hear(fds[i]);
    assert_string_equal(body(), "/a");
  }
  assert_int_equal(asked, CLIENTS);
  finish();
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void foreign_hosts_are_refused(void **state) {
  static const char *const hosts[] = {"example.org",      "localhost.example.org",
                                      "127.0.0.1.nip.io", "localhost:",
                                      "localhost:80x",    "",
                                      "127.0.0.10",       "[::1]x"};
  char text[200];
  (void)state;
  serve(0);
  for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);
    if (ask(text) != 403) fail_msg("%s: %s", hosts[i], got);
  }
  assert_int_equal(ask("GET / HTTP/1.0\r\n\r\n"), 403);
  assert_int_equal(ask("GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n"), 403);
  assert_int_equal(asked, 0);
  finish();
}

static void other_methods_are_refused(void **state) {
  static const char *const methods[] = {"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"};
  char text[200];
  (void)state;
  serve(0);
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: localhost\r\n\r\n", methods[i]);
    if (ask(text) != 405) fail_msg("%s: %s", methods[i], got);
    assert_non_null(strstr(got, "Allow: GET"));
  }
  assert_int_equal(ask("PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na=b"), 405);
  assert_int_equal(asked, 0);
  finish();
}

static void large_requests_are_cut_off(void **state) {
  static char text[4 * LETHE_HTTP_HEADERS];
  (void)state;
  serve(0);
  int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
  memset(text + n, 'x', 2 * LETHE_HTTP_HEADERS);
  strcpy(text + n + 2 * LETHE_HTTP_HEADERS, "\r\n\r\n");
  int status = ask(text);
  assert_true(status == 0 || (status >= 400 && status < 500));
  snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
           LETHE_HTTP_BODY + 1);
  status = ask(text);
  assert_true(status == 0 || (status >= 400 && status < 500));
  status = ask("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody");
  assert_true(status == 0 || (status >= 400 && status < 500));
  status = ask("nonsense\r\n\r\n");
  assert_true(status == 0 || (status >= 400 && status < 500));
  assert_int_equal(asked, 0);
  finish();
}

/* ---- who is slow, and who leaves ------------------------------------------------------------- */

static void who_says_nothing_is_cut_off(void **state) {
  (void)state;
  serve(0.03);
  hear(dial());
  assert_int_equal(asked, 0);
  finish();
}

/* Each byte begins evhttp's timeout anew; the connection's own goes on. */
static void who_goes_on_slowly_is_cut_off(void **state) {
  (void)state;
  serve(0.05);
  int fd = dial(), said = 0;
  say(fd, "GET / HTTP/1.1\r\nX: ");
  while (recv(fd, got, sizeof got, 0) != 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1) {
    usleep(2000);
    lethe_loop_turn(loop);
    assert_true(++said < 5000);
  }
  close(fd);
  assert_int_equal(asked, 0);
  finish();
}

static void who_leaves_before_the_reply_costs_nothing(void **state) {
  (void)state;
  serve(0.02);
  manner = KEEP;
  int fd = dial();
  say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (asked == 0) lethe_loop_turn(loop);
  close(fd);
  usleep(30000); /* its deadline passes, too */
  for (int i = 0; i < 5; i++) lethe_loop_turn(loop);
  lethe_http_reply(kept, 200, "text/plain", "late", 4);
  for (int i = 0; i < 5; i++) lethe_loop_turn(loop);
  finish();
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void it_may_stop_inside_an_answer(void **state) {
  (void)state;
  serve(0);
  manner = STOP;
  int fd = dial(), other = dial();
  say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  say(other, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  for (int i = 0; i < 1000 && asked == 0; i++) lethe_loop_turn(loop);
  assert_int_equal(asked, 1);
  hear(fd);
  hear(other);
  finish();
}

static void it_may_stop_with_requests_under_way(void **state) {
  (void)state;
  serve(0);
  manner = KEEP;
  int first = dial(), second = dial(), third = dial();
  say(first, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (asked == 0) lethe_loop_turn(loop);
  say(second, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  say(third, "GET / HT");
  lethe_http_stop(server);
  server = NULL;
  close(first);
  close(second);
  close(third);
  finish();
}

static void its_loop_may_close_first(void **state) {
  (void)state;
  serve(0);
  manner = KEEP;
  int fd = dial();
  say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (asked == 0) lethe_loop_turn(loop);
  lethe_loop_close(loop);
  lethe_http_stop(server);
  server = NULL;
  lethe_loop_put(loop);
  close(fd);
  assert_int_equal(memory.blocks, 0);
}

static void a_port_is_taken_once(void **state) {
  (void)state;
  serve(0);
  struct lethe_http *other;
  uint16_t port = lethe_http_port(server);
  assert_int_equal(lethe_http_start(&other, &memory.alloc, loop, port, 0, answer, NULL),
                   LETHE_EINUSE);
  assert_true(lethe_loop_alive(loop));
  lethe_http_stop(server);
  assert_false(lethe_loop_alive(loop));
  assert_int_equal(lethe_http_start(&server, &memory.alloc, loop, port, 0, answer, NULL), LETHE_OK);
  lethe_loop_close(loop);
  assert_int_equal(lethe_http_start(&other, &memory.alloc, loop, 0, 0, answer, NULL),
                   LETHE_ECLOSED);
  lethe_http_stop(server);
  server = NULL;
  lethe_loop_put(loop);
}

/* Whatever allocation fails, a request is answered, refused or cut off, and nothing is lost. */
static void any_allocation_may_fail(void **state) {
  (void)state;
  bool through = false;
  for (uint64_t n = 1; !through; n++) {
    test_alloc_init(&memory);
    manner = ECHO;
    assert_int_equal(lethe_loop_new(&loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL), LETHE_OK);
    test_alloc_fail(&memory, n);
    int rc = lethe_http_start(&server, &memory.alloc, loop, 0, 0, answer, NULL);
    if (rc == LETHE_OK) {
      int status = ask("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
      assert_true(status == 200 || status == 503);
      through = memory.failed == 0;
      memory.fail_at = 0;
      assert_int_equal(ask("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    } else {
      assert_int_equal(rc, LETHE_ENOMEM);
      server = NULL;
    }
    finish();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_get_is_answered),
      cmocka_unit_test(many_at_once_and_in_pieces),
      cmocka_unit_test(foreign_hosts_are_refused),
      cmocka_unit_test(other_methods_are_refused),
      cmocka_unit_test(large_requests_are_cut_off),
      cmocka_unit_test(who_says_nothing_is_cut_off),
      cmocka_unit_test(who_goes_on_slowly_is_cut_off),
      cmocka_unit_test(who_leaves_before_the_reply_costs_nothing),
      cmocka_unit_test(it_may_stop_inside_an_answer),
      cmocka_unit_test(it_may_stop_with_requests_under_way),
      cmocka_unit_test(its_loop_may_close_first),
      cmocka_unit_test(a_port_is_taken_once),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("loop http", tests, NULL, NULL);
}
