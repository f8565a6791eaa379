/* SPDX-License-Identifier: MIT
 * Runs the executable's chunks as tasks of the default loop, and answers SIGINT.
 *
 * A chunk runs in a coroutine that loop.lua resumes, so SIGINT sets a hook there as well as on the
 * main thread: whichever runs Lua first acts. If that is the main thread, it is turning the loop
 * while the chunk waits; then it ends the chunk's wait, and the hook raises in the chunk. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "program.h"

const char *lethe_program_name = "lethe";

static struct {
  lua_State *main;
  struct lethe_state *state;
  lua_State *volatile task; /* the chunk that runs, from its first turn to its end */
  int status;               /* how the last one ended */
  bool interrupting;        /* "interrupted!" was raised */
  bool interrupted;         /* and it is what ended the chunk */
} program;

/* registry: what belongs to the chunk that runs */
static char key_task, key_thread, key_error, key_below;

/* ---- messages -------------------------------------------------------------------------------- */

void lethe_say_error(lua_State *L, bool named) {
  const char *message = lua_tostring(L, -1);
  if (named) fprintf(stderr, "%s: ", lethe_program_name);
  fprintf(stderr, "%s\n", message ? message : "(no message)");
  fflush(stderr);
  lua_pop(L, 1);
}

static bool is_interrupt(const char *message) {
  static const char text[] = "interrupted!";
  size_t n = strlen(message), m = sizeof text - 1;
  return program.interrupting && n >= m && strcmp(message + n - m, text) == 0;
}

/* Keeps what stands below a chunk's first frame, in the words of a traceback. */
static void note_below(lua_State *co) {
  luaL_traceback(co, co, NULL, 1);
  const char *trace = lua_tostring(co, -1), *frames = strchr(trace, '\n');
  lua_pushstring(co, frames ? frames : "");
  lua_rawsetp(co, LUA_REGISTRYINDEX, &key_below);
  lua_pop(co, 1);
}

/* Ends the traceback on top where the chunk does: what made it a task is no concern of its
 * reader. */
static void cut_trace(lua_State *L) {
  size_t n, m;
  const char *trace = lua_tolstring(L, -1, &n);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_below);
  const char *below = lua_tolstring(L, -1, &m);
  if (below && n > m && strcmp(trace + n - m, below) == 0)
    lua_pushlstring(L, trace, n - m);
  else
    lua_pushvalue(L, -2);
}

/* Error objects speak through __tostring, without a traceback; other messages get one. */
static int message_handler(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (!message) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  program.interrupted = is_interrupt(message);
  /* what ends the main thread's turning while the chunk waits is the end of that wait */
  bool waits = L == program.main && program.task;
  luaL_traceback(L, waits ? program.task : L, message, waits ? 0 : 1);
  if (waits || L == program.task) cut_trace(L);
  return 1;
}

/* lua_pcall with the handler, on the thread L itself. */
static int call(lua_State *L, int nargs, int nresults) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, message_handler);
  lua_insert(L, base);
  int status = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  return status;
}

/* ---- SIGINT ---------------------------------------------------------------------------------- */

enum { EVERYTHING = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT };

static void on_sigint(int number);

/* Without SA_RESTART, so that a blocking read ends, as in lua. */
static void set_action(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

static void unhook(void) {
  lua_sethook(program.main, NULL, 0, 0);
  if (program.task) lua_sethook(program.task, NULL, 0, 0);
  set_action(on_sigint);
}

static void stop_task(lua_State *L, lua_Debug *where) {
  (void)where;
  unhook();
  program.interrupting = true;
  luaL_error(L, "interrupted!");
}

/* The main thread runs Lua: it turns the loop. The task, if there is one, waits. */
static void stop_main(lua_State *L, lua_Debug *where) {
  if (!program.task) {
    stop_task(L, where);
    return;
  }
  lua_sethook(L, NULL, 0, 0);
  int top = lua_gettop(L);
  if (lua_checkstack(L, LUA_MINSTACK) &&
      lua_rawgetp(L, LUA_REGISTRYINDEX, &key_task) == LUA_TUSERDATA &&
      lua_getfield(L, -1, "cancel") == LUA_TFUNCTION) {
    lua_pushvalue(L, -2);
    lua_pcall(L, 1, 0, 0);
  }
  lua_settop(L, top);
}

/* A second one before the first was acted on ends the process. */
static void on_sigint(int number) {
  struct lethe_loop *loop = program.state->loop;
  (void)number;
  set_action(SIG_DFL);
  lua_sethook(program.main, stop_main, EVERYTHING, 1);
  if (program.task) lua_sethook(program.task, stop_task, EVERYTHING, 1);
  if (loop) lethe_loop_interrupt(loop);
}

static bool has_action(void (*handler)(int)) {
  struct sigaction action;
  return sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == handler;
}

/* A script may have put a watch of the loop in its place: that stays. */
void lethe_interrupts_off(void) {
  if (has_action(on_sigint)) set_action(SIG_DFL);
}

void lethe_interrupts_on(void) {
  if (has_action(SIG_DFL) || has_action(SIG_IGN)) set_action(on_sigint);
}

/* ---- chunks as tasks ------------------------------------------------------------------------- */

static int end_body(lua_State *co, int status, lua_KContext context) {
  (void)context;
  lua_pushnil(co);
  lua_rawsetp(co, LUA_REGISTRYINDEX, &key_thread);
  program.task = NULL;
  program.status = status == LUA_YIELD ? LUA_OK : status;
  if (program.status == LUA_OK) return lua_gettop(co) - 1;
  lua_rawsetp(co, LUA_REGISTRYINDEX, &key_error);
  return 0;
}

/* The task's function: called with the chunk and its arguments. */
static int body(lua_State *co) {
  lua_pushthread(co);
  lua_rawsetp(co, LUA_REGISTRYINDEX, &key_thread);
  program.task = co;
  note_below(co);
  lua_pushcfunction(co, message_handler);
  lua_insert(co, 1);
  return end_body(co, lua_pcallk(co, lua_gettop(co) - 2, LUA_MULTRET, 1, 0, end_body), 0);
}

/* Pushes loop.default() and its method. */
static void push_method(lua_State *L, const char *name) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "lethe.loop");
  lua_getfield(L, -1, "default");
  lua_call(L, 0, 1);
  lua_getfield(L, -1, name);
  lua_insert(L, -2);
  lua_remove(L, -3);
  lua_remove(L, -3);
}

static int spawn_and_join(lua_State *L) {
  push_method(L, "spawn");
  lua_pushcfunction(L, body);
  lua_rotate(L, 1, 3);
  lua_call(L, lua_gettop(L) - 1, 1);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_task);
  lua_getfield(L, 1, "join");
  lua_pushvalue(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  lua_getfield(L, 1, "close"); /* else it would be a leak of the script's */
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return lua_gettop(L) - 1;
}

int lethe_run_task(lua_State *L, int nargs) {
  int base = lua_gettop(L) - nargs;
  program.status = LUA_OK;
  program.interrupted = program.interrupting = false;
  lua_pushcfunction(L, spawn_and_join);
  lua_insert(L, base);
  int status = call(L, nargs + 1, LUA_MULTRET);
  if (status != LUA_OK || program.status == LUA_OK) return status;
  lua_settop(L, base - 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_error);
  return program.status;
}

int lethe_run_plain(lua_State *L, int nargs, int nresults) {
  program.interrupted = program.interrupting = false;
  return call(L, nargs, nresults);
}

int lethe_run_loop(lua_State *L) {
  push_method(L, "run");
  lua_call(L, 1, 0);
  return 0;
}

int lethe_run_ready(lua_State *L) {
  enum { TURNS = 1000 }; /* tasks that wake each other for ever do not keep the prompt away */
  for (int i = 0; i < TURNS; i++) {
    push_method(L, "step");
    lua_call(L, 1, 1);
    if (!lua_toboolean(L, -1)) break;
    lua_pop(L, 1);
  }
  return 0;
}

bool lethe_was_interrupted(void) { return program.interrupted; }

lua_Integer lethe_failed_tasks(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "lethe.loop");
  lua_getfield(L, -1, "failures");
  lua_call(L, 0, 1);
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 3);
  return n;
}

/* __close of a value that the main thread holds: os.exit with close = true ends the script's
 * to-be-closed variables, which live on the task's stack, like those of a script run by lua. */
static int close_task(lua_State *L) {
  lua_State *task = program.task;
  program.task = NULL;
  if (task && task != L) lua_resetthread(task);
  return 0;
}

void lethe_program_begin(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe.loop");
  lua_call(L, 1, 0);
  program.main = L;
  program.state = lethe_state(L);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_task);
  lua_setfield(L, -2, "__close");
  lua_setmetatable(L, -2);
  lua_toclose(L, -1);
}
