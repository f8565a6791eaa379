/* SPDX-License-Identifier: MIT
 * libFuzzer: the input is a program for the quota tracker's core. Each byte says what is done next,
 * by the program or inside the callback that is called next: accounts, handles, claims, waits,
 * passes, answers now or later, deletion of the member, the end of the tracker, and requests for
 * memory that fail. After each step the sums agree, and each participant has what it claimed and
 * did not release; in the end nothing is left. */
#include <stdio.h>
#include <string.h>

#include "../c/harness/alloc.h"
#include "harness/require.h"
#include "lethe/quota.h"

enum { ACCOUNTS = 8, PARTS = 8, HANDLES = 3, WAITS = 4, KIB = 1024, DEPTH = 3 };

struct part {
  struct lethe_quota_handle h[HANDLES];
  bool open[HANDLES];
  unsigned done; /* counts what was done with it */
  int64_t claimed;
  struct lethe_quota_call *call;
};

struct wait {
  struct lethe_quota_wait wait;
  bool waiting;
  struct part *part;
  int64_t n;
};

static struct {
  const uint8_t *data;
  size_t size;
  struct test_alloc memory;
  struct lethe_loop *loop;
  struct lethe_quota *t;
  struct lethe_quota_member *m;
  uint64_t accounts[ACCOUNTS];
  struct part parts[PARTS];
  struct wait waits[WAITS];
  struct lethe_quota_manual manual;
  bool asked_by_hand;
  int depth;
} f;

static unsigned next(unsigned n) {
  if (f.size == 0) return 0;
  f.size--;
  return *f.data++ % n;
}

static void steps(unsigned n);

/* ---- callbacks: each may go on with the program ---------------------------------------------- */

static void nest(void) {
  if (f.depth >= DEPTH) return;
  f.depth++;
  steps(next(4));
  f.depth--;
}

static int oldest(void *member_ud, uint64_t id, void *ud, double *age) {
  (void)member_ud;
  (void)id;
  (void)ud;
  unsigned says = next(8);
  *age = next(16);
  if (says == 7) nest();
  return says == 6 ? -1 : says > 1;
}

static void reclaim(void *member_ud, uint64_t id, void *ud,
                    const struct lethe_quota_request *request, struct lethe_quota_call *call) {
  struct part *p = ud;
  (void)member_ud;
  (void)id;
  (void)request;
  if (next(4) == 0) nest();
  if (p->open[0] && next(2)) {
    int64_t n = p->claimed / 2;
    p->done++;
    p->claimed -= n;
    lethe_quota_release(&p->h[0], n);
  }
  if (!p->call && next(4) == 0)
    p->call = call;
  else
    lethe_quota_answer(call, next(2));
}

static void collapsed(void *member_ud, uint64_t id, void *ud) {
  (void)member_ud;
  (void)ud;
  if (next(4) == 0) lethe_quota_buried(f.t, id);
  if (next(4) == 0) nest();
}

static const struct lethe_quota_member_ops ops = {oldest, reclaim, collapsed};

static void on_event(void *ud, const struct lethe_quota_event *e) {
  (void)ud;
  (void)e;
  if (next(32) == 1) nest();
}

static void on_wait(struct lethe_quota_wait *w, int code) {
  struct wait *x = lethe_container_of(w, struct wait, wait);
  x->waiting = false;
  if (code == LETHE_OK) x->part->claimed += x->n;
}

static void on_manual(struct lethe_quota_manual *m, int64_t freed) {
  (void)m;
  (void)freed;
  f.asked_by_hand = false;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static struct part *any_part(void) { return &f.parts[next(PARTS)]; }
static int64_t bytes(void) { return (int64_t)next(256) * (next(2) ? 97 : 4 * KIB); }

static void accounts(void) {
  uint64_t *a = &f.accounts[next(ACCOUNTS)], b = f.accounts[next(ACCOUNTS)];
  struct lethe_quota_account_config c = {.max = LETHE_QUOTA_NO_LIMIT};
  unsigned what = next(8);
  if (!*a && what > 5) return;
  if (!*a) {
    if (next(3) == 0) c.max = bytes() + 1;
    if (next(4) == 0) c.reserve = bytes();
    c.priority = (int32_t)next(3);
    if (next(2)) c.name = "n";
    if (lethe_quota_account_new(f.t, &c, next(2) ? b : 0, a)) *a = 0;
  } else if (what < 3) {
    if (b) lethe_quota_account_add_parent(f.t, *a, b);
  } else if (what < 5) {
    uint64_t closes = *a;
    *a = 0; /* before: an event of it may go on with the program */
    lethe_quota_account_close(f.t, closes);
  }
}

static void open_or_close(void) {
  struct part *p = any_part();
  unsigned k = next(HANDLES);
  uint64_t id, a = f.accounts[next(ACCOUNTS)];
  bool none = !p->open[0] && !p->open[1] && !p->open[2];
  if (none && a && f.m && !p->call) {
    p->done++;
    p->claimed = 0;
    p->open[0] = true;
    if (lethe_quota_handle_open(&p->h[0], f.m, a, p, next(8) == 0, &id))
      p->open[0] = false;
    else if (next(4) == 0)
      lethe_quota_watch(f.t, id);
  } else if (p->open[k]) {
    p->open[k] = false;
    lethe_quota_handle_close(&p->h[k]);
  } else if (p->open[0]) {
    p->open[k] = true;
    lethe_quota_handle_clone(&p->h[k], &p->h[0]);
  }
}

/* An event of the claim may have used the claimed already, or ended the participant and begun the
 * next: then the tracker's word is the sum to go on with. */
static void has_claimed(struct part *p, int64_t n, unsigned done) {
  if (p->done == done) {
    p->claimed += n;
    return;
  }
  for (int k = 0; k < HANDLES; k++)
    if (p->open[k]) p->claimed = lethe_quota_handle_used(&p->h[k]);
}

static void claim_or_release(bool claims) {
  struct part *p = any_part();
  unsigned k = next(HANDLES);
  int64_t n = bytes();
  if (!p->open[k]) return;
  if (claims) {
    unsigned done = ++p->done;
    if (lethe_quota_claim(&p->h[k], n) == LETHE_OK) has_claimed(p, n, done);
  } else {
    p->done++;
    p->claimed -= n < p->claimed ? n : p->claimed; /* before: what follows may look at it */
    lethe_quota_release(&p->h[k], n);
  }
}

static void wait_or_cancel(void) {
  struct wait *x = &f.waits[next(WAITS)];
  struct part *p = any_part();
  if (x->waiting) {
    if (lethe_quota_wait_cancel(&x->wait)) x->waiting = false;
  } else if (p->open[0]) {
    x->part = p;
    x->n = bytes();
    x->waiting = true;
    unsigned done = ++p->done;
    int rc = lethe_quota_claim_wait(&p->h[0], x->n, &x->wait, on_wait);
    if (rc != 1) x->waiting = false;
    if (rc == LETHE_OK) has_claimed(p, x->n, done);
  }
}

static void ask_by_hand(void) {
  if (f.asked_by_hand) return;
  f.asked_by_hand = true;
  lethe_quota_reclaim(f.t, &f.manual, f.loop, bytes(), on_manual);
}

static void answer(void) {
  struct part *p = any_part();
  struct lethe_quota_call *call = p->call;
  p->call = NULL;
  if (call) lethe_quota_answer(call, next(2));
}

static void close_all_handles(void) {
  for (struct part *p = f.parts; p < f.parts + PARTS; p++)
    for (int k = 0; k < HANDLES; k++) {
      bool closes = p->open[k];
      p->open[k] = false;
      if (closes) lethe_quota_handle_close(&p->h[k]);
    }
}

static void change_member(void) {
  if (f.m) {
    struct lethe_quota_member *m = f.m;
    close_all_handles();
    if (f.m != m) return; /* an event came first */
    f.m = NULL;
    lethe_quota_member_delete(m);
  } else if (lethe_quota_member_new(&f.m, f.t, f.loop, &ops, NULL)) {
    f.m = NULL;
  }
}

static void configure(void) {
  const char *why;
  struct lethe_quota_change c = {.set_max = true, .to.max = 100 * KIB + bytes()};
  struct lethe_quota_policy *p =
      lethe_quota_policy_builtin(&lethe_alloc_libc, lethe_quota_policy_names[next(5)], f.t);
  c.policy = p;
  lethe_quota_configure(f.t, &c, &why);
  lethe_quota_policy_put(p);
}

static void look(void) {
  struct lethe_quota_planned planned[4];
  struct lethe_quota_account_info info[4];
  size_t n;
  uint32_t cursor = 0;
  lethe_quota_plan(f.t, f.m, bytes(), planned, 4, &n);
  lethe_quota_top(f.t, info, 4);
  while (lethe_quota_next_account(f.t, &cursor, info)) continue;
}

static void rare(void) {
  unsigned k = next(HANDLES);
  struct part *p = any_part();
  switch (next(10)) {
  case 0:
    if (next(4) == 3) lethe_quota_shutdown(f.t);
    break;
  case 1:
    if (p->open[k]) lethe_quota_handle_destroy(&p->h[k]);
    break;
  case 2:
    configure();
    break;
  case 3:
    change_member();
    break;
  case 4:
    test_alloc_fail(&f.memory, 1 + next(8));
    break;
  case 5:
    lethe_quota_mute(f.t);
    break;
  case 6:
    lethe_quota_listen(f.t, on_event, NULL);
    break;
  default:
    look();
  }
}

static void one_step(void) {
  switch (next(16)) {
  case 0:
  case 1:
    accounts();
    break;
  case 2:
  case 3:
    open_or_close();
    break;
  case 4:
  case 5:
  case 6:
    claim_or_release(true);
    break;
  case 7:
  case 8:
    claim_or_release(false);
    break;
  case 9:
    wait_or_cancel();
    break;
  case 10:
    ask_by_hand();
    break;
  case 11:
    answer();
    break;
  case 12:
    rare();
    break;
  case 13:
    lethe_loop_advance(f.loop, next(64) / 8.0);
    break;
  default:
    lethe_loop_turn(f.loop);
  }
}

static void steps(unsigned n) {
  for (; n > 0 && f.size > 0; n--) one_step();
}

/* ---- the run --------------------------------------------------------------------------------- */

static void check(void) {
  char why[200];
  int rc = lethe_quota_check(f.t, why, sizeof why);
  if (rc) fprintf(stderr, "%s\n", why);
  REQUIRE(rc == LETHE_OK);
}

/* Where no wait is between its grant and its answer. */
static void check_claims(void) {
  for (struct wait *x = f.waits; x < f.waits + WAITS; x++)
    if (x->waiting) return;
  for (struct part *p = f.parts; p < f.parts + PARTS; p++)
    for (int k = 0; k < HANDLES; k++) {
      if (!p->open[k]) continue;
      bool lives = lethe_quota_handle_state(&p->h[k]) == LETHE_OK;
      REQUIRE(lethe_quota_handle_used(&p->h[k]) == (lives ? p->claimed : 0));
    }
}

static void begin(void) {
  struct lethe_quota_config c = {.max = 256 * KIB, .low_water = -1, .deadline = 1};
  const char *why;
  test_alloc_init(&f.memory);
  REQUIRE(lethe_loop_new(&f.loop, &lethe_alloc_libc, LETHE_CLOCK_VIRTUAL, NULL) == 0);
  REQUIRE(lethe_quota_new(&f.t, &f.memory.alloc, &c, on_event, NULL, &why) == 0);
  REQUIRE(lethe_quota_member_new(&f.m, f.t, f.loop, &ops, NULL) == 0);
}

static void turn_all(void) {
  for (int i = 0; lethe_loop_ready(f.loop); i++) {
    REQUIRE(i < 100000);
    lethe_loop_turn(f.loop);
  }
}

static void end(void) {
  f.size = 0;
  test_alloc_fail(&f.memory, 0);
  for (struct part *p = f.parts; p < f.parts + PARTS; p++) {
    struct lethe_quota_call *call = p->call;
    p->call = NULL;
    if (call) lethe_quota_answer(call, false);
  }
  turn_all();
  close_all_handles();
  turn_all();
  for (struct part *p = f.parts; p < f.parts + PARTS; p++)
    if (p->call) lethe_quota_answer(p->call, false);
  for (int i = 0; i < ACCOUNTS; i++)
    if (f.accounts[i]) lethe_quota_account_close(f.t, f.accounts[i]);
  check();
  REQUIRE(lethe_quota_used(f.t) == 0);
  if (f.m) lethe_quota_member_delete(f.m);
  turn_all();
  for (struct wait *x = f.waits; x < f.waits + WAITS; x++) REQUIRE(!x->waiting);
  REQUIRE(!f.asked_by_hand);
  lethe_quota_put(f.t);
  lethe_loop_close(f.loop);
  lethe_loop_put(f.loop);
  REQUIRE(f.memory.blocks == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memset(&f, 0, sizeof f);
  f.data = data;
  f.size = size;
  begin();
  while (f.size > 0) {
    one_step();
    check();
    check_claims();
  }
  end();
  return 0;
}
