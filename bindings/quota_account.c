/* SPDX-License-Identifier: MIT
 * Accounts and weak accounts for lethe.core.quota. An object holds the account's id, and a strong
 * one a count of it too; the account may end before they do. */
#include <string.h>

#include "quota_parts.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- names ----------------------------------------------------------------------------------- */

struct quota_name *quota_name_new(const char *text) {
  size_t n = strlen(text) + 1;
  struct quota_name *name = n > 1 ? lethe_malloc(mem, sizeof *name + n) : NULL;
  if (!name) return NULL;
  name->refs = 1;
  memcpy(name->text, text, n);
  return name;
}

struct quota_name *quota_name_get(struct quota_name *n) {
  if (n) n->refs++;
  return n;
}

void quota_name_put(struct quota_name *n) {
  if (n && --n->refs == 0) lethe_free(mem, n, sizeof *n + strlen(n->text) + 1);
}

/* ---- objects --------------------------------------------------------------------------------- */

static void label_account(void *what, char *buf, size_t n) {
  struct account_ref *a = what;
  strncpy(buf, quota_name_text(a->name), n - 1);
}

static void free_ref(struct account_ref *a) {
  quota_port_put(a->port);
  quota_name_put(a->name);
  lethe_free(mem, a, sizeof *a);
}

static void end_account(struct lethe_state *s, void *what, bool closed) {
  struct account_ref *a = what;
  (void)s;
  int64_t bytes = lethe_quota_account_close(a->port->t, a->id);
  if (!closed) quota_collected(a->port, "quota.Account", a->id, quota_name_text(a->name), bytes);
  free_ref(a);
}

static void end_weak(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  free_ref(what);
}

/* An object of class c; 1, or nil, m, code without memory. The box is made first: it may raise. */
static int push_ref(lua_State *L, const struct lethe_class *c, struct account_ref from) {
  struct lethe_box *b = lethe_box_new(L, c, 0);
  struct account_ref *a = lethe_malloc(mem, sizeof *a);
  if (!a) return lethe_fail(L, LETHE_ENOMEM);
  *a = from;
  a->port->refs++;
  quota_name_get(a->name);
  lethe_box_hold(L, b, a);
  return 1;
}

/* One handle on the account is counted and becomes the object's; without memory it is given
 * back. */
static int push_taken(lua_State *L) {
  return push_ref(L, &quota_account_class, *(struct account_ref *)lua_touserdata(L, 1));
}

/* An account's object: takes one handle that is already counted. The name is counted once more. */
static int push_account(lua_State *L, struct port *p, uint64_t id, struct quota_name *name) {
  struct account_ref from = {p, id, name};
  lua_pushcfunction(L, push_taken);
  lua_pushlightuserdata(L, &from);
  int rc = lua_pcall(L, 1, 1, 0);
  if (rc == LUA_OK && !lua_isnil(L, -1)) return 1;
  lethe_quota_account_close(p->t, id);
  if (rc != LUA_OK) return lua_error(L);
  return lethe_fail(L, LETHE_ENOMEM);
}

int quota_push_weak(lua_State *L, struct port *p, uint64_t id, struct quota_name *name) {
  return push_ref(L, &quota_weak_class, (struct account_ref){p, id, name});
}

static struct account_ref *check_account(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_account_class)->what;
}

/* Methods that both classes have. */
static struct account_ref *check_any(lua_State *L) {
  lethe_safepoint(L);
  const struct lethe_class *c = &quota_account_class;
  if (luaL_testudata(L, 1, quota_weak_class.name)) c = &quota_weak_class;
  return lethe_check(L, 1, c)->what;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* The parent at stack index i as an id: 0 for none, and on a noop tracker, whose accounts are all
 * alike. LETHE_EFOREIGN for another tracker's. */
static int parent_at(lua_State *L, int i, struct lethe_quota *t, uint64_t *id) {
  *id = 0;
  if (lua_isnoneornil(L, i) || lethe_quota_is_noop(t)) return LETHE_OK;
  struct account_ref *a = lethe_check(L, i, &quota_account_class)->what;
  if (a->port->t != t) return LETHE_EFOREIGN;
  *id = a->id;
  return LETHE_OK;
}

/* The account itself, into a reference that has its port and name. */
static int make(struct account_ref *a, struct lethe_quota_account_config *c, uint64_t parent) {
  c->name = a->name ? a->name->text : NULL;
  return lethe_quota_account_new(a->port->t, c, parent, &a->id);
}

/* account(tracker, name | nil, max | nil, reserve | nil, priority | nil, parent | nil) */
static int l_account(lua_State *L) {
  struct port *p;
  struct lethe_quota *t = quota_check_tracker(L, &p);
  const char *text = luaL_optstring(L, 2, "");
  struct lethe_quota_account_config c = {.max = luaL_optinteger(L, 3, LETHE_QUOTA_NO_LIMIT),
                                         .reserve = luaL_optinteger(L, 4, 0),
                                         .priority = (int32_t)luaL_optinteger(L, 5, 0)};
  uint64_t parent;
  int rc = parent_at(L, 6, t, &parent);
  if (rc) return lethe_fail(L, rc);
  struct lethe_box *b = lethe_box_new(L, &quota_account_class, 0);
  struct account_ref *a = lethe_zalloc(mem, sizeof *a);
  if (!a) return lethe_fail(L, LETHE_ENOMEM);
  a->port = p;
  a->name = quota_name_new(text);
  rc = *text && !a->name ? LETHE_ENOMEM : make(a, &c, parent);
  if (rc) {
    quota_name_put(a->name);
    lethe_free(mem, a, sizeof *a);
    return lethe_fail(L, rc);
  }
  p->refs++;
  lethe_box_hold(L, b, a);
  return 1;
}

static int l_clone(lua_State *L) {
  struct account_ref *a = check_account(L);
  lethe_quota_account_clone(a->port->t, a->id);
  return push_account(L, a->port, a->id, a->name);
}

static int l_weak(lua_State *L) {
  struct account_ref *a = check_account(L);
  return quota_push_weak(L, a->port, a->id, a->name);
}

static int l_upgrade(lua_State *L) {
  lethe_safepoint(L);
  struct account_ref *a = lethe_check(L, 1, &quota_weak_class)->what;
  int rc = lethe_quota_account_upgrade(a->port->t, a->id);
  if (rc) return lethe_fail(L, rc);
  return push_account(L, a->port, a->id, a->name);
}

static int l_add_parent(lua_State *L) {
  struct account_ref *a = check_account(L);
  struct account_ref *parent = lethe_check(L, 2, &quota_account_class)->what;
  bool noop = lethe_quota_is_noop(a->port->t);
  if (a->port->t != parent->port->t && !noop) return lethe_fail(L, LETHE_EFOREIGN);
  int rc = noop ? LETHE_OK : lethe_quota_account_add_parent(a->port->t, a->id, parent->id);
  lethe_settle(L);
  if (rc) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Of an account that ended too. */
static int l_name(lua_State *L) {
  struct account_ref *a = check_any(L);
  if (a->name)
    lua_pushstring(L, a->name->text);
  else
    lua_pushnil(L);
  return 1;
}

/* The account's own bytes; 0 once it ended. */
static int l_used(lua_State *L) {
  struct account_ref *a = check_any(L);
  struct lethe_quota_account_info info;
  int rc = lethe_quota_account_read(a->port->t, a->id, &info);
  lua_pushinteger(L, rc == LETHE_OK ? info.used : 0);
  return 1;
}

static int l_id(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_any(L)->id);
  return 1;
}

static int l_tracker(lua_State *L) {
  quota_push_tracker(L, check_any(L)->port);
  return 1;
}

static struct account_ref *ref_at(lua_State *L, int i) {
  struct lethe_box *b = luaL_testudata(L, i, quota_account_class.name);
  if (!b) b = luaL_testudata(L, i, quota_weak_class.name);
  return b ? b->what : NULL;
}

/* Objects of one account are equal, weak ones too. Those of a noop tracker stand for none. */
static int l_equal(lua_State *L) {
  const struct account_ref *a = ref_at(L, 1), *b = ref_at(L, 2);
  bool same = lua_rawequal(L, 1, 2);
  if (a && b && a->id) same = a->port->t == b->port->t && a->id == b->id;
  lua_pushboolean(L, same);
  return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg account_methods[] = {
    {"clone", l_clone}, {"weak", l_weak}, {"add_parent", l_add_parent}, {"name", l_name},
    {"used", l_used},   {"id", l_id},     {"tracker", l_tracker},       {NULL, NULL}};
static const luaL_Reg weak_methods[] = {{"upgrade", l_upgrade}, {"name", l_name},
                                        {"used", l_used},       {"id", l_id},
                                        {"tracker", l_tracker}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__eq", l_equal}, {NULL, NULL}};

/* ---- in other states ------------------------------------------------------------------------- */

/* A handle on an account in a message. */
struct shared_account {
  struct lethe_quota *t; /* counted, and so is the account */
  uint64_t id;
  struct quota_name *name; /* its own: names are counted within a state */
};

static void drop_account(void *shared) {
  struct shared_account *k = shared;
  lethe_quota_account_close(k->t, k->id);
  lethe_quota_put(k->t);
  quota_name_put(k->name);
  lethe_free(mem, k, sizeof *k);
}

static void *share_account(void *what) {
  struct account_ref *a = what;
  struct shared_account *k = lethe_malloc(mem, sizeof *k);
  if (!k) return NULL;
  *k = (struct shared_account){lethe_quota_get(a->port->t), a->id, NULL};
  lethe_quota_account_clone(k->t, k->id);
  if (!a->name) return k;
  k->name = quota_name_new(a->name->text);
  if (k->name) return k;
  drop_account(k);
  return NULL;
}

/* (port, shared): what it pushes counts the account once more. */
static int push_received(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  struct shared_account *k = lua_touserdata(L, 2);
  struct quota_name *name = k->name ? quota_name_new(k->name->text) : NULL;
  if (k->name && !name) return lethe_nomemory(L);
  lethe_quota_account_clone(k->t, k->id);
  struct account_ref from = {p, k->id, name};
  lua_pushcfunction(L, push_taken);
  lua_pushlightuserdata(L, &from);
  int rc = lua_pcall(L, 1, 1, 0);
  quota_name_put(name);
  if (rc == LUA_OK && !lua_isnil(L, -1)) return 1;
  lethe_quota_account_close(k->t, k->id);
  return rc != LUA_OK ? lua_error(L) : lethe_nomemory(L);
}

static void receive_account(lua_State *L, void *shared) {
  struct shared_account *k = shared;
  struct port *p = quota_port(L, k->t, lethe_default_loop(L));
  if (!p) {
    lethe_nomemory(L);
    return;
  }
  lua_pushcfunction(L, push_received);
  lua_pushlightuserdata(L, p);
  lua_pushlightuserdata(L, k);
  int rc = lua_pcall(L, 2, 1, 0);
  quota_port_put(p);
  if (rc != LUA_OK) lua_error(L);
}

/* ---- opening --------------------------------------------------------------------------------- */

const struct lethe_class quota_account_class = {.name = "lethe.quota.Account",
                                                .end = end_account,
                                                .label = label_account,
                                                .leaks = true,
                                                .methods = account_methods,
                                                .metamethods = metamethods,
                                                .share = share_account,
                                                .drop = drop_account,
                                                .receive = receive_account};
const struct lethe_class quota_weak_class = {.name = "lethe.quota.WeakAccount",
                                             .end = end_weak,
                                             .label = label_account,
                                             .methods = weak_methods,
                                             .metamethods = metamethods};

void quota_open_account(lua_State *L) {
  static const luaL_Reg functions[] = {{"account", l_account}, {NULL, NULL}};
  lethe_class(L, &quota_account_class);
  lethe_class(L, &quota_weak_class);
  luaL_setfuncs(L, functions, 0);
}
