/* SPDX-License-Identifier: MIT
 * The sandbox: an allocator with a cap, and a state whose library was built by lethe.sandbox and
 * whose ways out were then removed.
 *
 * The state is made in three protected steps: the libraries that lethe.sandbox is built from (io,
 * os and debug are not even opened); package.path and the embedded modules of the maker's state;
 * then the environment, after which package, require and the first step's globals are dropped. */
#include <stdio.h>
#include <string.h>

#include "sandbox.h"
#include "sandbox_library.h"
#include "sandbox_toll.h"

struct lethe_sandbox {
  lua_State *L;
  size_t used, cap;
  struct lethe_alloc alloc;
  lua_CFunction more;              /* see lethe_sandbox_options */
  struct sandbox_library *library; /* being noted while it is made */
  struct sandbox_toll toll;
};

enum {
  SLOTS = 64 + 8,       /* of the stack: what callers may rely on, and the results of a load */
  LARGE_BLOCK = 256,    /* blocks from this size on are charged */
  NODE = 24,            /* bytes of one node of a table */
  UNITS_PER_NODE = 8,   /* instructions for moving one element */
  COPIED_PER_UNIT = 32, /* bytes copied, or looked through, for one instruction */
  PARSE = 4             /* instructions for each byte of source */
};

static char key_env; /* its address: the environment, in the state's registry */

/* ---- memory ---------------------------------------------------------------------------------- */

/* What a block tells of work that was no instruction. `kind` is Lua's word on a new block:
 *   a long string: its bytes were copied, by concat or by a library function;
 *   the hash part of a table, 2^n nodes of 24 bytes: elements were moved into it one by one;
 *   a block "resized" to the size it has: the array part of a table, looked through for a rehash.
 * Other blocks depend on when the collector ran (stacks, the table of strings). Growth is not
 * charged: it doubles, so it was paid by what filled it. False: nothing is left to pay a new
 * one. */
static bool charge_block(bool fresh, size_t kind, size_t osize, size_t nsize) {
  size_t nodes = nsize / NODE, cost = 0;
  if (nsize < LARGE_BLOCK) return true;
  if (fresh && kind == LUA_TSTRING)
    cost = nsize / COPIED_PER_UNIT;
  else if (fresh && kind == 0 && nodes * NODE == nsize && (nodes & (nodes - 1)) == 0)
    cost = nodes * UNITS_PER_NODE;
  else if (!fresh && osize == nsize)
    cost = nsize / COPIED_PER_UNIT;
  return lethe_meter_note((int64_t)cost) || !fresh;
}

static void *allocate(void *ud, void *p, size_t osize, size_t nsize) {
  struct lethe_sandbox *sb = ud;
  size_t kind = osize;
  if (!p) osize = 0;
  if (nsize == 0) {
    if (osize >= TOLL_LONG) sandbox_toll_freed(&sb->toll, p);
    lethe_free(&sb->alloc, p, osize);
    sb->used -= osize;
    return NULL;
  }
  if (!charge_block(!p, kind, osize, nsize)) return NULL;
  if (nsize > osize && nsize - osize > sb->cap - sb->used) {
    lethe_meter_note((int64_t)(sb->used / COPIED_PER_UNIT)); /* a full collection follows */
    return NULL;
  }
  void *q = sb->alloc.realloc(sb->alloc.ud, p, osize, nsize);
  if (!q) return NULL;
  sb->used = sb->used - osize + nsize;
  if (nsize >= TOLL_LONG) {
    if (!p && kind == LUA_TSTRING)
      sandbox_toll_string(&sb->toll, q, nsize);
    else
      sandbox_toll_block(&sb->toll, nsize);
  }
  return q;
}

const size_t *lethe_sandbox_longest(lua_State *L) {
  void *ud;
  return lua_getallocf(L, &ud) == allocate ? &((struct lethe_sandbox *)ud)->toll.longest : NULL;
}

/* ---- functions of the library that are C ----------------------------------------------------- */

static int l_charge(lua_State *L) {
  lethe_meter_charge(L, lua_tointeger(L, 1));
  return 0;
}

/* After pcall caught an error: Lua has looked at every frame of the stack to shrink it. */
static int l_caught(lua_State *L) {
  lua_Debug ar;
  int depth = 1;
  while (lua_getstack(L, depth, &ar) && depth < 1 << 24) depth *= 2;
  lethe_meter_charge(L, depth);
  return 0;
}

/* ---- modules --------------------------------------------------------------------------------- */

struct source {
  FILE *file;
  char buffer[1024];
};

static const char *read_source(lua_State *L, void *ud, size_t *n) {
  struct source *s = ud;
  (void)L;
  *n = fread(s->buffer, 1, sizeof s->buffer, s->file);
  return *n ? s->buffer : NULL;
}

/* A searcher for package.path that names chunks after the module, so that no message of the sandbox
 * shows a path of this machine. */
static int l_searcher(lua_State *L) {
  struct source s;
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  luaL_gsub(L, lua_tostring(L, 1), ".", "/");
  lua_pushfstring(L, "@%s.lua", lua_tostring(L, 2));
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, 4, "searchpath");
  lua_pushvalue(L, 1);
  lua_getfield(L, 4, "path");
  lua_call(L, 2, 2);
  if (lua_isnil(L, 5)) return 1; /* and the next searcher's turn */
  s.file = fopen(lua_tostring(L, 5), "rb");
  if (!s.file) return luaL_error(L, "cannot open %s", lua_tostring(L, 3) + 1);
  int status = lua_load(L, read_source, &s, lua_tostring(L, 3), "t");
  fclose(s.file);
  if (status != LUA_OK) return lua_error(L);
  return 1;
}

/* package.searchers[2], the one for Lua files, becomes ours. */
static void set_searcher(lua_State *L) {
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, -1, "searchers");
  lua_pushcfunction(L, l_searcher);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}

/* ---- making one ------------------------------------------------------------------------------ */

static int open_libraries(lua_State *L) {
  static const luaL_Reg libraries[] = {
      {LUA_GNAME, luaopen_base},          {LUA_LOADLIBNAME, luaopen_package},
      {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
      {LUA_STRLIBNAME, luaopen_string},   {LUA_MATHLIBNAME, luaopen_math},
      {LUA_UTF8LIBNAME, luaopen_utf8}};
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
    lua_pop(L, 1);
  }
  return 0;
}

/* Runs in `from`, so that what is raised there ends here. */
static int prepare(lua_State *from) {
  lua_pushinteger(from, lethe_newstate_prepare(from, lua_touserdata(from, 1)));
  return 1;
}

static int prepare_protected(lua_State *from, lua_State *L) {
  int status = LUA_ERRMEM;
  if (!lua_checkstack(from, LUA_MINSTACK)) return status;
  lua_pushcfunction(from, prepare);
  lua_pushlightuserdata(from, L);
  if (lua_pcall(from, 1, 1, 0) == LUA_OK) status = (int)lua_tointeger(from, -1);
  lua_pop(from, 1);
  return status;
}

/* Only Lua's own libraries stay in the list of loaded modules, where error messages look up the
 * names of functions; package and require go from the old globals. */
static void drop_ways_out(lua_State *L) {
  static const char *const kept[] = {LUA_GNAME,      LUA_COLIBNAME,   LUA_TABLIBNAME,
                                     LUA_STRLIBNAME, LUA_MATHLIBNAME, LUA_UTF8LIBNAME};
  lua_newtable(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    lua_getfield(L, -1, kept[i]);
    lua_setfield(L, -3, kept[i]);
  }
  lua_pop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushnil(L);
  lua_setglobal(L, LUA_LOADLIBNAME);
  lua_pushnil(L);
  lua_setglobal(L, "require");
}

static int build(lua_State *L) {
  struct lethe_sandbox *sb = lua_touserdata(L, 1);
  lua_settop(L, 0);
  set_searcher(L);
  if (!sb->more) sandbox_library_search(L, sb->library);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe.sandbox");
  lua_call(L, 1, 1); /* 1: the module */
  lua_getfield(L, 1, "build");
  lua_pushcfunction(L, l_charge);
  lua_createtable(L, 0, 3);
  lua_pushcfunction(L, l_caught);
  lua_setfield(L, -2, "caught");
  if (lethe_sandbox_longest(L)) {
    sandbox_toll_walks(L, &sb->toll);
    lua_pushvalue(L, -2);
    lua_setglobal(L, "next"); /* where messages look up what a function is called */
    lua_pushvalue(L, -1);
    lua_setglobal(L, "pairs");
    lua_setfield(L, -3, "pairs");
    lua_setfield(L, -2, "next");
  }
  lua_call(L, 2, 1); /* 2: the environment */
  lua_getfield(L, 1, "adopt");
  lua_pushvalue(L, 2);
  lua_pushcfunction(L, l_charge);
  lua_call(L, 2, 0);
  if (sb->more) {
    luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 1); /* gone with the old globals */
    lua_pushcfunction(L, sb->more);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 0);
    lua_settop(L, 2);
  }
  drop_ways_out(L);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_env);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  /* Kept so that it exists: Lua makes it where nothing may be raised any more. */
  lua_pushliteral(L, "error in error handling");
  lua_setfield(L, LUA_REGISTRYINDEX, "lethe.sandbox.error");
  lua_gc(L, LUA_GCCOLLECT);
  sb->toll.widest = 0; /* what the library has */
  return 0;
}

static int make(lua_State *from, struct lethe_sandbox *sb) {
  lua_State *L = sb->L;
  if (!sb->more) sb->library = sandbox_library_new();
  lua_pushcfunction(L, open_libraries);
  int status = lua_pcall(L, 0, 0, 0);
  if (status == LUA_OK) status = prepare_protected(from, L);
  if (status == LUA_OK) {
    lua_pushcfunction(L, build);
    lua_pushlightuserdata(L, sb);
    status = lua_pcall(L, 1, 0, 0);
  }
  (status == LUA_OK ? sandbox_library_keep : sandbox_library_drop)(sb->library);
  sb->library = NULL;
  if (status == LUA_OK && !lua_checkstack(L, SLOTS)) status = LUA_ERRMEM;
  return status;
}

struct lethe_sandbox *lethe_sandbox_open(lua_State *from, const struct lethe_sandbox_options *o,
                                         char *err, size_t errsize) {
  const struct lethe_alloc *alloc = o->alloc ? o->alloc : &lethe_alloc_libc;
  struct lethe_sandbox *sb = lethe_zalloc(alloc, sizeof *sb);
  int status = LUA_ERRMEM;
  if (sb) {
    sb->cap = o->cap ? o->cap : LETHE_SANDBOX_MEMORY;
    sb->alloc = *alloc;
    sb->more = o->more;
    sb->L = o->allocate ? lua_newstate(o->allocate, o->ud) : lua_newstate(allocate, sb);
    if (sb->L) status = make(from, sb);
  }
  if (status == LUA_OK) return sb;
  const char *message = sb && sb->L ? lua_tostring(sb->L, -1) : NULL;
  if (errsize) snprintf(err, errsize, "%s", message ? message : "not enough memory");
  if (sb) lethe_sandbox_delete(sb);
  return NULL;
}

struct lethe_sandbox *lethe_sandbox_new(lua_State *from, size_t cap, char *err, size_t errsize) {
  return lethe_sandbox_open(from, &(struct lethe_sandbox_options){.cap = cap}, err, errsize);
}

void lethe_sandbox_delete(struct lethe_sandbox *sb) {
  if (!sb) return;
  struct lethe_alloc alloc = sb->alloc;
  if (sb->L) lua_close(sb->L);
  lethe_free(&alloc, sb, sizeof *sb);
}

/* ---- using one ------------------------------------------------------------------------------- */

lua_State *lethe_sandbox_state(struct lethe_sandbox *sb) { return sb->L; }

size_t lethe_sandbox_bytes(const struct lethe_sandbox *sb) { return sb->used; }

struct chunk {
  const char *text, *name;
  size_t len;
};

/* The chunk's name in messages: "@dir/file.lua" becomes "@file.lua". */
static void push_name(lua_State *L, const char *name) {
  const char *slash = strrchr(name, '/');
  if ((*name == '@' || *name == '=') && slash)
    lua_pushfstring(L, "%c%s", *name, slash + 1);
  else
    lua_pushstring(L, name);
}

static int run_chunk(lua_State *L) {
  const struct chunk *c = lua_touserdata(L, 1);
  lethe_meter_charge(L, (int64_t)c->len * PARSE);
  push_name(L, c->name);
  if (luaL_loadbufferx(L, c->text, c->len, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_env);
  lua_setupvalue(L, -2, 1);
  lua_call(L, 0, 1);
  return 1;
}

int lethe_sandbox_load(struct lethe_sandbox *sb, const char *text, size_t len,
                       const char *chunkname, struct lethe_meter *m) {
  struct chunk c = {.text = text, .name = chunkname, .len = len};
  struct lethe_meter unlimited;
  if (!lua_checkstack(sb->L, SLOTS)) {
    lua_pushliteral(sb->L, "not enough memory"); /* a string that is there already */
    return LUA_ERRMEM;
  }
  lethe_meter_init(&unlimited, INT64_MAX);
  lua_pushcfunction(sb->L, run_chunk);
  lua_pushlightuserdata(sb->L, &c);
  return lethe_meter_pcall(sb->L, 1, 1, m ? m : &unlimited);
}
