/* SPDX-License-Identifier: MIT
 * The instruction meter: a count and call hook that finds its meter in the thread.
 *
 * How a spent meter stops code (each way was chosen because the plain one has a hole):
 *   M1  A coroutine that can yield is made to yield from the count hook. Nothing in it runs again:
 *       no pcall, no handler, no __close. An error would leave it dead with its hooks off, and
 *       coroutine.wrap then calls its pending __close functions, unseen.
 *   M2  Elsewhere the hook raises the state's own memory error, which lua_error recognizes by its
 *       text. It is the one error for which Lua calls no message handler; a handler would run
 *       inside the hook, with hooks off.
 *   M3  Where M2 strikes in a coroutine (in a comparator, say) it may die as described in M1. So
 *       its topmost frames are first stripped of what could be closed. Stock Lua reaches a frame in
 *       time linear in its depth, so there is an end to that; the sandbox's own wrap needs none of
 *       it, since it closes in Lua.
 *   M4  The call hook sees every call. It charges the start of each coroutine, and after the end it
 *       stops calls at once, while the count hook of a thread may be up to an interval away:
 *       without it, coroutines that start coroutines would multiply. Where the library charges for
 *       each start and each resumption itself (m->charged), it does the same, and there is none. */
#include <stdio.h>
#include <time.h>

#include <lauxlib.h>

#include "meter.h"
#include "sandbox.h"
#include "stop.h"

#define INTERVAL LETHE_METER_CALL
#define MASK (LUA_MASKCOUNT | LUA_MASKCALL)
#define STRIP_FRAMES 1000
#define CLOCK_EVERY 16 /* fires between two looks at the clock, and at the arguments */
#define MANY_ARGUMENTS 64
#define NS_PER_UNIT 100
#define ARGUMENT_COST (CLOCK_EVERY * LETHE_METER_CALL / 6) /* two of them are an instruction */
#define MESSAGE_MAX 1000
#define MEMORY_ERROR "not enough memory"

/* A cache of who runs in this thread: set and put back by lethe_meter_pcall alone. */
static _Thread_local struct lethe_meter *active __attribute__((tls_model("initial-exec")));
static _Thread_local struct lethe_meter *muted; /* active but for a call of lethe_meter_quiet */

struct lethe_meter *lethe_meter_active(void) {
  return active;
}

void lethe_meter_init(struct lethe_meter *m, int64_t budget) {
  *m = (struct lethe_meter){.budget = budget, .left = budget};
}

/* ---- counting -------------------------------------------------------------------------------- */

static void take(struct lethe_meter *m, int64_t n) {
  if (__builtin_sub_overflow(m->left, n, &m->left)) m->left = n > 0 ? INT64_MIN : INT64_MAX;
  if (m->left < 0) m->spent = true;
}

static int64_t ns_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static int64_t now_ns(void) { return ns_of(CLOCK_MONOTONIC); }

/* What is stopped is spent: a state of its own, as a vat's, is reached by no other hook. */
static void look_at_clock(struct lethe_meter *m) {
  if (lethe_stop_due()) m->spent = m->late = true;
  if (!m->until && !m->within) return;
  if (!m->until) m->until = now_ns() + m->within;
  if (now_ns() < m->until) return;
  m->spent = m->late = true;
}

/* What cannot be paid for is not done, so it is not counted either: what is left goes. */
static bool pay(struct lethe_meter *m, int64_t n) {
  if (n > m->left)
    take(m, m->left < 0 ? 0 : m->left + 1);
  else
    take(m, n);
  return !m->spent;
}

/* No instruction takes as long as NS_PER_UNIT by itself, but one that compares long strings may
 * take thousands of times as long. What the thread's own time goes beyond that is charged at this
 * price, which leaves room for a slow machine. It is asked for only where the clock on the wall
 * says that it may be so. */
static void weigh(struct lethe_meter *m) {
  int64_t now = now_ns(), cpu, excess;
  int64_t waited = now - m->seen;
  bool first = m->seen == 0;
  m->seen = now;
  if (first || waited < (int64_t)INTERVAL * NS_PER_UNIT) return;
  cpu = ns_of(CLOCK_THREAD_CPUTIME_ID);
  excess = cpu - m->cpu - (m->cpu_left - m->left) * NS_PER_UNIT;
  if (m->cpu && excess > 0) pay(m, excess / NS_PER_UNIT);
  m->cpu = cpu;
  m->cpu_left = m->left;
}

/* When a call begins, and when it has ended. */
static void begin_weighing(struct lethe_meter *m) {
  m->seen = m->cpu = 0;
  if (!m->longest || !*m->longest) return;
  m->seen = now_ns();
  m->cpu = ns_of(CLOCK_THREAD_CPUTIME_ID);
  m->cpu_left = m->left;
}
static void end_weighing(struct lethe_meter *m) {
  if (m->longest && *m->longest && !m->spent) weigh(m);
}

/* What `f(1, ...)` costs grows with what `...` holds, and it counts as three instructions. Now and
 * then it is looked at whether it holds much, and that is charged for all such calls since. */
static void look_at_arguments(lua_State *L, struct lethe_meter *m, const lua_Debug *ar) {
  int n = MANY_ARGUMENTS;
  while (lua_getlocal(L, ar, -n)) {
    lua_pop(L, 1);
    n *= 2;
  }
  if (n > MANY_ARGUMENTS) pay(m, (int64_t)(n / 2) * ARGUMENT_COST);
}

bool lethe_meter_note(int64_t n) { return !active || pay(active, n); }

void lethe_meter_spend(void) {
  struct lethe_meter *m = active ? active : muted;
  if (m) m->spent = true;
}

/* ---- tracebacks ------------------------------------------------------------------------------ */

/* Where the code is, from a level on, into the meter's room. Nothing is allocated, nothing
 * raised. */
static void trace(lua_State *L, struct lethe_meter *m, int level) {
  lua_Debug ar;
  size_t n = 0;
  if (!m->trace || m->trace[0]) return;
  for (; n + 1 < m->trace_size && lua_getstack(L, level, &ar); level++) {
    char at[96] = "", name[64] = "";
    lua_getinfo(L, "nSl", &ar);
    if (ar.currentline > 0) snprintf(at, sizeof at, "%s:%d: ", ar.short_src, ar.currentline);
    if (ar.name) snprintf(name, sizeof name, " '%s'", ar.name);
    int more = snprintf(m->trace + n, m->trace_size - n, "%s%sin %s%s%s", n ? "\n" : "", at,
                        *ar.what == 'm' ? "the text itself" : "function", name,
                        *ar.what == 'C' ? " of the library" : "");
    n += more < 0 ? 0 : (size_t)more;
  }
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void hook(lua_State *L, lua_Debug *ar);

static void set_interval(lua_State *L, int n) {
  if (lua_gethookcount(L) == n && lua_gethook(L) == hook) return;
  lua_sethook(L, hook, active && active->charged ? LUA_MASKCOUNT : MASK, n);
}

/* M2: no handler sees it. */
static _Noreturn void raise_spent(lua_State *L) {
  lua_pushliteral(L, MEMORY_ERROR);
  lua_error(L);
  __builtin_unreachable();
}

/* M3: what has a __close and could be Lua is taken out of the frames' registers. Userdata stay:
 * theirs are C, and give back what they hold. Temporaries go too; nobody will read them. */
static void strip(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; level < STRIP_FRAMES && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (*ar.what == 'C') continue;
    for (int n = 1; lua_getlocal(L, &ar, n); n++) {
      if (lua_type(L, -1) == LUA_TUSERDATA || luaL_getmetafield(L, -1, "__close") == LUA_TNIL) {
        lua_pop(L, 1);
        continue;
      }
      lua_pop(L, 2);
      lua_pushnil(L);
      lua_setlocal(L, &ar, n);
    }
  }
}

static void stop(lua_State *L, struct lethe_meter *m, int event) {
  trace(L, m, 0);
  set_interval(L, 1);
  if (lua_isyieldable(L)) {
    if (event == LUA_HOOKCOUNT)
      lua_yield(L, 0); /* M1; a call hook cannot, the next instruction will */
    return;
  }
  if (L != m->base) strip(L);
  raise_spent(L);
}

static void hook(lua_State *L, lua_Debug *ar) {
  struct lethe_meter *m = active;
  lua_Debug caller;
  if (!m) return; /* a coroutine made under a meter outlived the call */
  if (ar->event == LUA_HOOKCALL && L == m->base && !m->spent) return; /* as nearly all do */
  if (m->spent) {
    /* nothing more is counted */
  } else if (ar->event == LUA_HOOKCOUNT) {
    take(m, lua_gethookcount(L));
    if (m->longest && *m->longest) weigh(m);
    if (m->fires++ % CLOCK_EVERY == 0) {
      look_at_clock(m);
      if (m->charged) look_at_arguments(L, m, ar);
    }
  } else if (ar->event == LUA_HOOKCALL && L != m->base && !lua_getstack(L, 1, &caller)) {
    take(m, INTERVAL); /* M4: a coroutine starts */
  }
  if (m->spent)
    stop(L, m, ar->event);
  else
    set_interval(L, INTERVAL); /* an earlier meter may have ended in this coroutine */
}

void lethe_meter_charge(lua_State *L, int64_t n) {
  if (!active) return;
  if (pay(active, n)) return;
  trace(L, active, 0);
  set_interval(L, 1);
  raise_spent(L);
}

int lethe_meter_quiet(lua_State *L, int nargs, int nresults) {
  struct lethe_meter *m = active, *outer = muted;
  if (!m) return lua_pcall(L, nargs, nresults, 0);
  active = NULL;
  muted = m;
  int status = lua_pcall(L, nargs, nresults, 0);
  active = m;
  muted = outer;
  lua_sethook(L, hook, MASK, m->spent ? 1 : INTERVAL);
  return status;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int to_string(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* The message handler: whatever was raised becomes a string of bounded length. */
static int message(lua_State *L) {
  size_t n;
  if (active) trace(L, active, 1);
  if (lua_type(L, 1) != LUA_TSTRING) {
    const char *type = luaL_typename(L, 1);
    if (lua_isnumber(L, 1) || luaL_getmetafield(L, 1, "__tostring") != LUA_TNIL) {
      lua_settop(L, 1);
      lua_pushcfunction(L, to_string);
      lua_insert(L, 1);
      if (lua_pcall(L, 1, 1, 0) != LUA_OK) lua_settop(L, 0);
    } else {
      lua_settop(L, 0);
    }
    if (!lua_isstring(L, -1)) lua_pushfstring(L, "(error object is a %s value)", type);
  }
  const char *text = lua_tolstring(L, -1, &n);
  if (n > MESSAGE_MAX) {
    lua_pushlstring(L, text, MESSAGE_MAX);
    lua_pushliteral(L, "...");
    lua_concat(L, 2);
  }
  return 1;
}

static int spent_message(lua_State *L) {
  const struct lethe_meter *m = lua_touserdata(L, 1);
  if (m->late)
    lua_pushliteral(L, "policy passed its deadline");
  else
    lua_pushfstring(L, "policy passed its budget of %I instructions", (LUAI_UACINT)m->budget);
  return 1;
}

/* Drops the stack down to `top` and leaves the message of a spent meter there. */
static int fail_spent(lua_State *L, int top, struct lethe_meter *m) {
  lua_settop(L, top);
  lua_pushcfunction(L, spent_message);
  lua_pushlightuserdata(L, m);
  lua_pcall(L, 1, 1, 0); /* without memory it leaves that message */
  return LUA_ERRRUN;
}

int lethe_meter_pcall(lua_State *L, int nargs, int nresults, struct lethe_meter *m) {
  struct lethe_meter *outer = active;
  lua_State *outer_base = m->base;
  const size_t *outer_longest = m->longest;
  int handler = lua_gettop(L) - nargs, status = LUA_OK;
  int64_t before = m->left;
  lua_Hook old_hook = lua_gethook(L);
  int old_mask = lua_gethookmask(L), old_count = lua_gethookcount(L);

  if (!lua_checkstack(L, 4)) {
    lua_settop(L, handler - 1);
    lua_pushliteral(L, MEMORY_ERROR); /* every state has this string: nothing is allocated */
    return LUA_ERRMEM;
  }
  m->longest = lethe_sandbox_longest(L);
  begin_weighing(m);
  take(m, INTERVAL);
  if (m->until && now_ns() >= m->until) m->spent = m->late = true;
  if (!m->spent) {
    lua_pushcfunction(L, message);
    lua_insert(L, handler);
    active = m;
    m->base = L;
    lua_sethook(L, hook, MASK, INTERVAL);
    status = lua_pcall(L, nargs, nresults, handler);
    end_weighing(m);
    lua_sethook(L, old_hook, old_mask, old_count);
    lethe_stop_rearm(L);
    m->base = outer_base;
    active = outer;
    lua_remove(L, handler);
  }
  m->longest = outer_longest;
  if (m->spent) status = fail_spent(L, handler - 1, m);
  if (outer && outer != m) take(outer, before - m->left);
  return status;
}

/* ---- calls on threads of their own ----------------------------------------------------------- */

int lethe_meter_settle(lua_State *L) {
  lua_pushcfunction(L, message);
  return lua_gettop(L);
}

/* The hook stays set: it costs nothing while nothing runs. Its count begins anew, so that a call
 * which is over within the interval that it has paid for comes to no hook, and each costs what it
 * costs by itself. */
int lethe_meter_run(lua_State *L, int handler, int nargs, int nresults, struct lethe_meter *m) {
  struct lethe_meter *outer = active;
  int status;
  int64_t before = m->left;
  take(m, INTERVAL);
  begin_weighing(m);
  active = m;
  m->base = L;
  lua_sethook(L, hook, m->charged ? LUA_MASKCOUNT : MASK, INTERVAL);
  status = lua_pcall(L, nargs, nresults, handler);
  end_weighing(m);
  m->base = NULL;
  active = outer;
  if (m->spent) status = fail_spent(L, handler, m);
  if (outer) take(outer, before - m->left);
  return status;
}
