/* SPDX-License-Identifier: MIT
 * The sandbox's library, compiled once. */
#include <string.h>

#include "common.h"
#include "lethe/atomic.h"
#include "sandbox_library.h"

struct module {
  struct module *next;
  char *name, *bytes;
  size_t n, room;
};

struct sandbox_library {
  char *path; /* where Lua looked for it */
  struct module *modules;
  bool whole; /* nothing could not be noted */
};

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static _Atomic(struct sandbox_library *) kept;

/* ---- noting ---------------------------------------------------------------------------------- */

static void free_text(char *s) {
  if (s) lethe_free(mem, s, strlen(s) + 1);
}

static char *copy_text(const char *s) {
  char *copy = lethe_malloc(mem, strlen(s) + 1);
  return copy ? strcpy(copy, s) : NULL;
}

struct sandbox_library *sandbox_library_new(void) {
  if (load_acq(&kept)) return NULL;
  struct sandbox_library *l = lethe_zalloc(mem, sizeof *l);
  if (l) l->whole = true;
  return l;
}

void sandbox_library_drop(struct sandbox_library *own) {
  if (!own) return;
  for (struct module *m = own->modules, *next; m; m = next) {
    next = m->next;
    free_text(m->name);
    lethe_free(mem, m->bytes, m->room);
    lethe_free(mem, m, sizeof *m);
  }
  free_text(own->path);
  lethe_free(mem, own, sizeof *own);
}

void sandbox_library_keep(struct sandbox_library *own) {
  struct sandbox_library *none = NULL;
  if (!own) return;
  if (!own->whole || !own->path || !atomic_compare_exchange_strong(&kept, &none, own))
    sandbox_library_drop(own);
}

static int write_bytes(lua_State *L, const void *p, size_t n, void *ud) {
  struct module *m = ud;
  void *bytes = m->bytes;
  (void)L;
  if (lethe_grow(mem, &bytes, &m->room, m->n + n, 1) != LETHE_OK) return LETHE_ENOMEM;
  m->bytes = bytes;
  if (n) memcpy(m->bytes + m->n, p, n);
  m->n += n;
  return LETHE_OK;
}

/* The function on top. What is C, or has no room here, makes a library that is not kept. */
static void note(lua_State *L, struct sandbox_library *own, const char *name) {
  struct module *m = lethe_zalloc(mem, sizeof *m);
  own->whole = own->whole && m && !lua_iscfunction(L, -1);
  if (!m) return;
  m->next = own->modules;
  own->modules = m;
  m->name = copy_text(name);
  if (own->whole) own->whole = m->name && lua_dump(L, write_bytes, m, 0) == 0;
}

/* ---- searching ------------------------------------------------------------------------------- */

/* Upvalues: the searchers, the library that is being made. */
static int search_others(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  for (lua_Integer i = 2; lua_rawgeti(L, lua_upvalueindex(1), i) != LUA_TNIL; i++) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 2);
    if (lua_isfunction(L, 2)) {
      lua_pushvalue(L, 2);
      note(L, lua_touserdata(L, lua_upvalueindex(2)), name);
      lua_settop(L, 3);
      return 2;
    }
    lua_settop(L, 1);
  }
  return 0; /* and the others say why not */
}

static int search_kept(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct sandbox_library *l = load_acq(&kept);
  const struct module *m = l->modules;
  while (m && strcmp(m->name, name) != 0) m = m->next;
  if (!m) return 0;
  if (luaL_loadbufferx(L, m->bytes, m->n, name, "b") != LUA_OK) return lua_error(L);
  lua_pushliteral(L, ":kept:");
  return 2;
}

/* The searcher on top becomes the first of those at `searchers`. */
static void put_first(lua_State *L, int searchers) {
  for (lua_Integer i = luaL_len(L, searchers); i >= 1; i--) {
    lua_rawgeti(L, searchers, i);
    lua_rawseti(L, searchers, i + 1);
  }
  lua_rawseti(L, searchers, 1);
}

void sandbox_library_search(lua_State *L, struct sandbox_library *own) {
  const struct sandbox_library *l = load_acq(&kept);
  int top = lua_gettop(L);
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, top + 1, "path");
  lua_getfield(L, top + 1, "searchers");
  const char *path = luaL_checkstring(L, top + 2);
  if (l && strcmp(l->path, path) == 0) {
    lua_pushcfunction(L, search_kept);
    put_first(L, top + 3);
  } else if (own) {
    own->path = copy_text(path);
    lua_pushvalue(L, top + 3);
    lua_pushlightuserdata(L, own);
    lua_pushcclosure(L, search_others, 2);
    put_first(L, top + 3);
  }
  lua_settop(L, top);
}
