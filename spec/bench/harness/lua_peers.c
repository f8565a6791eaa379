/* SPDX-License-Identifier: MIT
 * What lua_shared.lua measures against: an empty method that checks its object by its metatable's
 * address; a Lua table behind a pthread mutex, with the least that a C function can do (no check of
 * its object, no copy of the value, nobody else at the lock); and a message handed to a second
 * thread and back through two condition variables. The bench compiles it. */
#include <lauxlib.h>
#include <pthread.h>
#include <stdbool.h>

/* ---- an empty method ------------------------------------------------------------------------- */

static const void *metatable; /* of the one state that runs this */

static int yes(lua_State *L) {
  if (!lua_touserdata(L, 1) || !lua_getmetatable(L, 1) || lua_topointer(L, -1) != metatable)
    return luaL_argerror(L, 1, "no object");
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  return 1;
}

static void push_empty(lua_State *L) {
  lua_newuserdatauv(L, 16, 0);
  lua_createtable(L, 0, 1);
  metatable = lua_topointer(L, -1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, yes);
  lua_setfield(L, -2, "yes");
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

/* ---- a table and its lock -------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* get(k), set(k, v): the table is the upvalue. */
static int locked_get(lua_State *L) {
  lua_settop(L, 1);
  pthread_mutex_lock(&lock);
  lua_rawget(L, lua_upvalueindex(1));
  pthread_mutex_unlock(&lock);
  return 1;
}

static int locked_set(lua_State *L) {
  lua_settop(L, 2);
  pthread_mutex_lock(&lock);
  lua_rawset(L, lua_upvalueindex(1));
  pthread_mutex_unlock(&lock);
  return 0;
}

/* ---- a message ------------------------------------------------------------------------------- */

static struct {
  pthread_cond_t there, back;
  bool asked;
  long left;
} game = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

static void *answer(void *unused) {
  (void)unused;
  pthread_mutex_lock(&lock);
  while (game.left > 0) {
    while (!game.asked) pthread_cond_wait(&game.there, &lock);
    game.asked = false;
    game.left--;
    pthread_cond_signal(&game.back);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

/* ping(n): n times there and back. */
static int ping(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  pthread_t thread;
  game.left = (long)n;
  if (pthread_create(&thread, NULL, answer, NULL)) return luaL_error(L, "no thread");
  pthread_mutex_lock(&lock);
  for (lua_Integer i = 0; i < n; i++) {
    game.asked = true;
    pthread_cond_signal(&game.there);
    while (game.asked) pthread_cond_wait(&game.back, &lock);
  }
  pthread_mutex_unlock(&lock);
  pthread_join(thread, NULL);
  return 0;
}

/* get, set, ping, an object with an empty method `yes` */
int luaopen_peers(lua_State *L);
int luaopen_peers(lua_State *L) {
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, locked_get, 1);
  lua_insert(L, -2);
  lua_pushcclosure(L, locked_set, 1);
  lua_pushcfunction(L, ping);
  push_empty(L);
  return 4;
}
