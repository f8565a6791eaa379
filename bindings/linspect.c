/* SPDX-License-Identifier: MIT
 * lethe.core.inspect: the web server of lua/lethe/inspect.lua, which says what it answers. */
#include "lethe/http.h"
#include "object.h"

/* An answer that is being made; it may end its server. */
struct answering {
  struct answering *outer;
  bool gone;
};

struct server {
  struct lethe_state *state;
  struct lethe_http *http;
  int answer, self; /* references in the Lua registry: it goes on though nobody keeps it */
  struct answering *now;
};

static void end_server(struct lethe_state *s, void *what, bool closed) {
  struct server *v = what;
  (void)closed;
  for (struct answering *a = v->now; a; a = a->outer) a->gone = true;
  lethe_http_stop(v->http);
  luaL_unref(s->main, LUA_REGISTRYINDEX, v->answer);
  luaL_unref(s->main, LUA_REGISTRYINDEX, v->self);
  lethe_free(&lethe_alloc_libc, v, sizeof *v);
}

static int server_port(lua_State *L);
static const luaL_Reg methods[] = {{"port", server_port}, {NULL, NULL}};
static const struct lethe_class server_class = {
    .name = "lethe.inspect.Server", .end = end_server, .methods = methods};

static int server_port(lua_State *L) {
  struct server *v = lethe_check(L, 1, &server_class)->what;
  lua_pushinteger(L, lethe_http_port(v->http));
  return 1;
}

static void reply(lua_State *L, struct lethe_http_request *r, bool good) {
  size_t n = 0;
  const char *type = lua_tostring(L, -2), *body = lua_tolstring(L, -1, &n);
  if (good && type && body)
    lethe_http_reply(r, (int)lua_tointeger(L, -3), type, body, n);
  else
    lethe_http_reply(r, 500, "text/plain; charset=utf-8", "the answer failed\n", 18);
}

/* answer(path) -> status, type, body */
static void on_request(void *ud, struct lethe_http_request *r, const char *path) {
  struct server *v = ud;
  struct answering here = {.outer = v->now};
  lua_State *L = v->state->turning;
  int top = lua_gettop(L);
  bool good = lua_checkstack(L, LUA_MINSTACK);
  v->now = &here;
  if (good) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, v->answer);
    lua_pushlightuserdata(L, (void *)path);
    good = lethe_call_reported(L, 1, 3);
  }
  if (!here.gone) {
    v->now = here.outer;
    reply(L, r, good && lua_gettop(L) >= top + 3);
  }
  lua_settop(L, top);
}

/* The path as a string, where a want of memory is caught. */
static int call_answer(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_call(L, 1, 3);
  return 3;
}

/* serve(loop, port, answer) -> Server | nil, m, code */
static int l_serve(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_loop *loop = lethe_checkloop(L, 1);
  uint16_t port = (uint16_t)luaL_checkinteger(L, 2);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  lua_pushcclosure(L, call_answer, 1);
  struct lethe_box *b = lethe_box_new(L, &server_class, 0);
  lua_pushvalue(L, -1);
  int self = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 3);
  int answer = luaL_ref(L, LUA_REGISTRYINDEX);
  struct server *v = lethe_zalloc(&lethe_alloc_libc, sizeof *v);
  int rc = LETHE_ENOMEM;
  if (v) {
    *v = (struct server){.state = lethe_state(L), .answer = answer, .self = self};
    rc = lethe_http_start(&v->http, &lethe_alloc_libc, loop, port, 0, on_request, v);
  }
  if (rc == LETHE_OK) {
    lethe_box_hold(L, b, v);
    return 1;
  }
  lethe_free(&lethe_alloc_libc, v, sizeof *v);
  luaL_unref(L, LUA_REGISTRYINDEX, answer);
  luaL_unref(L, LUA_REGISTRYINDEX, self);
  if (rc == LETHE_EINUSE) return lethe_failf(L, rc, "port %d is in use", (int)port);
  return lethe_fail(L, rc);
}

static const luaL_Reg functions[] = {{"serve", l_serve}, {"watched", lethe_watched}, {NULL, NULL}};

int luaopen_lethe_core_inspect(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &server_class);
  luaL_newlib(L, functions);
  lethe_methods(L, &server_class, "methods");
  return 1;
}
