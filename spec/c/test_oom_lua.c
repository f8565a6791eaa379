/* SPDX-License-Identifier: MIT
 * Lua scripts under want of memory and under a collector that never rests.
 *
 *   test_oom_lua                    every spec/data/oom/x.lua, or those that OOM_SCRIPTS lists, in
 *                                   every mode, as cmocka tests
 *   test_oom_lua MODE SCRIPT...     these, one line each, then "N passed, N failed"
 *
 * Modes: `lua` fails the n-th allocation of Lua's, for n = 1, 2, ... until the script comes
 * through, once together with its repetition after Lua's emergency collection, once with all that
 * follow; `c` fails the n-th allocation of the engines' (in builds with fault points); `gc`
 * collects at every allocation, in either way.
 *
 * A script is run in a fresh state for each n. It may return two functions: the first is what
 * fails, the second, called when memory is back, must find everything in order. Each must end well
 * or with "not enough memory", and so must whatever goes to lethe.on_error; lua_close must give
 * back every byte. A script that calls `begin()` is swept twice, counting from its start and from
 * there; `got(call())` raises what the call failed with. Past the 300th every 17th is tried, with
 * LETHE_WORK=10 every one. Run it from the repository's root. */
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/unit.h"

#include "common.h"

enum mode { MODE_LUA, MODE_C, MODE_GC };
static const char *const mode_names[] = {"lua", "c", "gc", NULL};

/* ---- Lua's allocator ------------------------------------------------------------------------- */

struct memory {
  size_t bytes, blocks;
  uint64_t requests; /* that needed memory, since it was armed */
  uint64_t fail_at;  /* 0: none */
  bool sticky;       /* all from it on fail, else it and the next */
  bool armed;
  bool failed;
};

static void *lua_memory(void *ud, void *p, size_t osize, size_t nsize) {
  struct memory *m = ud;
  if (nsize == 0) {
    if (p) {
      m->bytes -= osize;
      m->blocks--;
    }
    free(p);
    return NULL;
  }
  if (m->armed && (!p || nsize > osize)) {
    uint64_t n = ++m->requests;
    if (m->fail_at && (n == m->fail_at || n == m->fail_at + 1 || (m->sticky && n > m->fail_at))) {
      m->failed = true;
      return NULL;
    }
  }
  void *q = realloc(p, nsize);
  if (!q) abort();
  m->bytes += nsize - (p ? osize : 0);
  m->blocks += p ? 0 : 1;
  return q;
}

/* ---- modules, compiled once ------------------------------------------------------------------ */

static struct module {
  char name[64];
  char *code;
  size_t size;
} modules[512];

static int write_code(lua_State *L, const void *p, size_t n, void *ud) {
  struct module *m = ud;
  (void)L;
  m->code = realloc(m->code, m->size + n);
  memcpy(m->code + m->size, p, n);
  m->size += n;
  return 0;
}

static bool compile(struct module *m, const char *form) {
  char path[128], file[96];
  snprintf(file, sizeof file, "%s", m->name);
  for (char *c = file; *c; c++)
    if (*c == '.') *c = '/';
  snprintf(path, sizeof path, form, file);
  lua_State *L = luaL_newstate();
  bool found = luaL_loadfile(L, path) == LUA_OK;
  if (found) lua_dump(L, write_code, m, 0);
  lua_close(L);
  return found;
}

static struct module *find_or_compile(const char *name) {
  struct module *m = modules;
  for (; m->name[0]; m++)
    if (strcmp(m->name, name) == 0) return m;
  snprintf(m->name, sizeof m->name, "%s", name);
  if (compile(m, "lua/%s.lua") || compile(m, "lua/%s/init.lua") || compile(m, "%s.lua")) return m;
  m->name[0] = '\0';
  return NULL;
}

/* Workers come by on threads of their own. */
static const struct module *find_module(const char *name) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  const struct module *m = find_or_compile(name);
  pthread_mutex_unlock(&lock);
  return m;
}

static int search_compiled(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct module *m = find_module(name);
  if (!m) return 0;
  if (luaL_loadbufferx(L, m->code, m->size, name, "b") != LUA_OK) return lua_error(L);
  return 1;
}

/* ---- one run --------------------------------------------------------------------------------- */

struct run {
  enum mode mode;
  uint64_t fail_at;
  bool sticky;
  bool from_begin; /* counts from begin() on, else from the start */
  struct memory memory;
  bool armed;
  bool began; /* begin() was called */
  bool hit;   /* the n-th was reached */
  char wrong[2000];
};

static struct run *current;

static void arm(struct run *r, bool on) {
  r->memory.armed = on && r->mode == MODE_LUA;
  if (on) {
    r->memory.requests = 0;
    r->memory.fail_at = r->fail_at;
    r->memory.sticky = r->sticky;
  }
#ifdef LETHE_FAULTS
  if (r->mode == MODE_C && r->armed && lethe_fault_passed(LETHE_FAULT_ALLOC) >= r->fail_at)
    r->hit = true;
  if (r->mode == MODE_C) lethe_fault_arm(LETHE_FAULT_ALLOC, on ? r->fail_at : 0);
#endif
  if (r->memory.failed) r->hit = true;
  r->armed = on;
}

static void complain(const char *what, const char *message) {
  if (!current->wrong[0])
    snprintf(current->wrong, sizeof current->wrong, "%s: %s", what, message ? message : "?");
}

static bool is_want_of_memory(const char *message) {
  return message && strstr(message, "not enough memory") != NULL;
}

/* lethe.on_error of the script's state */
static int l_reported(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (!is_want_of_memory(message)) complain("reported", message);
  return 0;
}

/* got(value, message, code) -> value: what a call fails with is raised */
static int l_got(lua_State *L) {
  bool failed = lua_isnoneornil(L, 1) && !lua_isnoneornil(L, 3);
  lua_settop(L, failed ? 2 : 1);
  return failed ? lua_error(L) : 1;
}

static int l_begin(lua_State *L) {
  (void)L;
  current->began = true;
  if (current->from_begin) arm(current, true);
  return 0;
}

/* The modules, in the script's state and in those of its workers. */
static int install(lua_State *L) {
  static const luaL_Reg preload[] = {{"lethe.core.backend", luaopen_lethe_core_backend},
                                     {"lethe.core.base", luaopen_lethe_core_base},
                                     {"lethe.core.cache", luaopen_lethe_core_cache},
                                     {"lethe.core.epoch", luaopen_lethe_core_epoch},
                                     {"lethe.core.evict", luaopen_lethe_core_evict},
                                     {"lethe.core.sim", luaopen_lethe_core_sim},
                                     {"lethe.core.loop", luaopen_lethe_core_loop},
                                     {"lethe.core.policy", luaopen_lethe_core_policy},
                                     {"lethe.core.quota", luaopen_lethe_core_quota},
                                     {"lethe.core.shared", luaopen_lethe_core_shared},
                                     {"lethe.core.slots", luaopen_lethe_core_slots},
                                     {"lethe.core.vat", luaopen_lethe_core_vat},
                                     {"lethe.core.weakmap", luaopen_lethe_core_weakmap},
                                     {"lethe.core.worker", luaopen_lethe_core_worker},
                                     {NULL, NULL}};
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, preload, 0);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  lua_pushcfunction(L, search_compiled);
  lua_rawseti(L, -2, 2);
  return 0;
}

static int open_state(lua_State *L) {
  luaL_openlibs(L);
  lua_pushcfunction(L, install);
  lua_call(L, 0, 0);
  lethe_set_prepare(L, install);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "on_error");
  lua_pushcfunction(L, l_reported);
  lua_call(L, 1, 0);
  lua_register(L, "begin", l_begin);
  lua_register(L, "got", l_got);
  return 0;
}

static void restless(lua_State *L, bool generations) {
  if (generations)
    lua_gc(L, LUA_GCGEN, 1, 1);
  else
    lua_gc(L, LUA_GCINC, 1, 1000, 0);
  lua_gc(L, LUA_GCCOLLECT);
}

/* Calls the function on top, which must end well or, if it may, for want of memory. */
static bool call(lua_State *L, const char *what, int nresults, bool may_fail) {
  int rc = lua_pcall(L, 0, nresults, 0);
  if (rc == LUA_OK) return true;
  const char *message = lua_tostring(L, -1);
  if (!may_fail || !is_want_of_memory(message)) complain(what, message);
  lua_pop(L, 1);
  return false;
}

static void run_script(struct run *r, const struct module *script) {
  current = r;
  lua_State *L = lua_newstate(lua_memory, &r->memory);
  lua_pushcfunction(L, open_state);
  bool may_fail = r->mode != MODE_GC;
  if (call(L, "set-up", 0, false)) {
    if (r->mode == MODE_GC) restless(L, r->sticky);
    luaL_loadbufferx(L, script->code, script->size, script->name, "b");
    if (!r->from_begin) arm(r, true);
    bool ok = call(L, "script", 2, may_fail);
    if (ok) {
      lua_pushvalue(L, -2);
      if (lua_isfunction(L, -1))
        call(L, "script", 0, may_fail);
      else
        lua_pop(L, 1);
      arm(r, false);
      if (lua_isfunction(L, -1)) call(L, "check", 0, false);
    }
    arm(r, false);
  }
  lua_close(L);
  if (r->memory.bytes || r->memory.blocks) complain("lua_close", "memory is not given back");
}

/* ---- silence --------------------------------------------------------------------------------- */

/* Where even lethe.on_error cannot be called for want of memory a line goes to stderr, thousands of
 * times here. Sanitizers go on speaking through the old one. */
void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static int loud = -1, quiet = -1;

static void hush(bool on) {
  if (loud < 0) {
    loud = dup(2);
    quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (__sanitizer_set_report_fd) __sanitizer_set_report_fd((void *)(intptr_t)loud);
  }
  fflush(stderr);
  dup2(on ? quiet : loud, 2);
}

/* ---- sweeps ---------------------------------------------------------------------------------- */

static uint64_t work(void) {
  const char *text = getenv("LETHE_WORK");
  double n = text ? strtod(text, NULL) : 1;
  return n < 1 ? 1 : (uint64_t)n;
}

static bool try_one(struct run *r, enum mode mode, const struct module *script, uint64_t n,
                    bool sticky, bool from_begin) {
  *r = (struct run){.mode = mode, .fail_at = n, .sticky = sticky, .from_begin = from_begin};
  hush(true);
  alarm(60); /* it hangs */
  run_script(r, script);
  alarm(0);
  hush(false);
  if (!r->wrong[0]) return true;
  printf("# %s, %s, %llu%s%s: %s\n", script->name, mode_names[mode], (unsigned long long)n,
         sticky ? " and all after it" : "", from_begin ? " from begin()" : "", r->wrong);
  return false;
}

/* Until one is not reached any more. */
static bool sweep(enum mode mode, const struct module *script, bool sticky, bool from_begin) {
  struct run r;
  uint64_t step = work() >= 10 ? 1 : 17;
  for (uint64_t n = 1;; n += n < 300 ? 1 : step) {
    if (!try_one(&r, mode, script, n, sticky, from_begin)) return false;
    if (r.hit) continue;
    printf("# %s, %s%s%s: comes through at the %llu-th\n", script->name, mode_names[mode],
           sticky ? ", and all after it" : "", from_begin ? ", from begin()" : "",
           (unsigned long long)n);
    return true;
  }
}

static bool run_mode(enum mode mode, const char *path) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)strcspn(path, "."), path);
  const struct module *script = find_module(name);
  struct run r;
  if (!script) {
    printf("# %s: cannot be loaded\n", path);
    return false;
  }
  if (!try_one(&r, mode, script, 0, false, false)) return false;
  if (mode == MODE_GC) return try_one(&r, mode, script, 0, true, false);
#ifndef LETHE_FAULTS
  if (mode == MODE_C) return true;
#endif
  for (int from_begin = 0; from_begin <= r.began; from_begin++)
    for (int sticky = 0; sticky <= (mode == MODE_LUA); sticky++)
      if (!sweep(mode, script, sticky, from_begin)) return false;
  return true;
}

/* ---- as a test ------------------------------------------------------------------------------- */

struct job {
  enum mode mode;
  const char *path;
};

static void test_job(void **state) {
  const struct job *job = *state;
  assert_true(run_mode(job->mode, job->path));
}

#define MOST_SCRIPTS 64

static int run_all(char *const *scripts, size_t count) {
  static struct CMUnitTest tests[3 * MOST_SCRIPTS];
  static struct job jobs[3 * MOST_SCRIPTS];
  static char names[3 * MOST_SCRIPTS][128];
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    for (enum mode mode = MODE_LUA; mode <= MODE_GC; mode++, n++) {
      jobs[n] = (struct job){mode, scripts[i]};
      snprintf(names[n], sizeof names[n], "%s, %s", scripts[i], mode_names[mode]);
      tests[n] = (struct CMUnitTest){names[n], test_job, NULL, NULL, &jobs[n]};
    }
  }
  return _cmocka_run_group_tests("want of memory", tests, n, NULL, NULL);
}

/* The words of OOM_SCRIPTS, else what is in the folder. */
static int all_scripts(void) {
  const char *const given = getenv("OOM_SCRIPTS");
  glob_t found = {0};
  int rc = 0, failed = 1;
  char *words = strdup(given ? given : "spec/data/oom/*.lua"), *rest = words, *word;
  for (int flags = 0; rc == 0 && (word = strsep(&rest, " ")); flags = GLOB_APPEND)
    rc = glob(word, flags, NULL, &found);
  if (rc != 0)
    fprintf(stderr, "no %s: run this from the repository's root\n", word);
  else if (found.gl_pathc > MOST_SCRIPTS)
    fprintf(stderr, "more than %d scripts\n", MOST_SCRIPTS);
  else
    failed = run_all(found.gl_pathv, found.gl_pathc);
  globfree(&found);
  free(words);
  return failed;
}

int main(int argc, char **argv) {
  int mode = 0, failed = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc < 2) return all_scripts();
  while (mode_names[mode] && strcmp(mode_names[mode], argv[1]) != 0) mode++;
  if (!mode_names[mode] || argc < 3) {
    fprintf(stderr, "usage: %s [lua|c|gc SCRIPT...]\n", argv[0]);
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    bool ok = run_mode((enum mode)mode, argv[i]);
    printf("%s %s\n", ok ? "ok" : "FAILED", argv[i]);
    failed += ok ? 0 : 1;
  }
  printf("%d passed, %d failed\n", argc - 2 - failed, failed);
  return failed > 0;
}
