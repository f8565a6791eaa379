/* SPDX-License-Identifier: MIT
 * lethe.core.shared: what makes the shared structures, names, values as bytes, the queue and the
 * stack. The map's calls are in shared_map.c.
 *
 * Values are packed as messages are, without objects, and live outside of every state. */
#include <pthread.h>
#include <string.h>

#include "shared.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- names ----------------------------------------------------------------------------------- */

/* They belong to the process: workers find each other's maps by them. */
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lethe_list names = {&names, &names};

static struct shared *named(const char *name) {
  LETHE_LIST_EACH(node, &names) {
    struct shared *s = lethe_container_of(node, struct shared, node);
    if (strcmp(s->name, name) == 0) return s;
  }
  return NULL;
}

static void *share_get(void *what) {
  struct shared *s = ((struct shared_handle *)what)->s;
  lethe_ref_get(&s->refs);
  return s;
}

static void share_put(void *shared) {
  struct shared *s = shared;
  if (s->name) pthread_mutex_lock(&names_lock);
  bool last = lethe_ref_put(&s->refs);
  if (last && s->name) lethe_list_remove(&s->node);
  if (s->name) pthread_mutex_unlock(&names_lock);
  if (!last) return;
  switch (s->kind) {
  case SHARED_MAP:
    lethe_map_put_ref(s->of.map);
    break;
  case SHARED_QUEUE:
    lethe_queue_put_ref(s->of.queue);
    break;
  case SHARED_STACK:
    lethe_stack_put_ref(s->of.stack);
    break;
  }
  if (s->name) lethe_free(mem, s->name, strlen(s->name) + 1);
  lethe_free(mem, s, sizeof *s);
}

/* ---- objects --------------------------------------------------------------------------------- */

static void end_handle(struct lethe_state *state, void *what, bool closed) {
  struct shared_handle *h = what;
  (void)state;
  (void)closed;
  lethe_buffer_free(&h->value);
  lethe_buffer_free(&h->key);
  lethe_buffer_free(&h->packed);
  share_put(h->s);
  epoch_port_put(h->port);
  lethe_free(mem, h, sizeof *h);
}

/* An object for a share that is counted for it; *share becomes NULL once the object has it. */
static int make_handle(lua_State *L) {
  struct shared **share = lua_touserdata(L, 1), *s = *share;
  const struct lethe_class *const classes[] = {&shared_map_class, &shared_queue_class,
                                               &shared_stack_class};
  struct lethe_box *b = lethe_box_new(L, classes[s->kind], 0);
  struct epoch_port *port = epoch_port(L, s->epoch);
  struct shared_handle *h = port ? lethe_zalloc(mem, sizeof *h) : NULL;
  if (!h) {
    if (port) epoch_port_put(port);
    return lethe_nomemory(L);
  }
  h->s = s;
  h->port = port;
  *share = NULL;
  lethe_box_hold(L, b, h);
  return 1;
}

static void push_handle(lua_State *L, struct shared *s) {
  lua_pushcfunction(L, make_handle);
  lua_pushlightuserdata(L, &s);
  int rc = lua_pcall(L, 1, 1, 0);
  if (s) share_put(s);
  if (rc != LUA_OK) lua_error(L);
}

/* The message keeps its own count. */
static void receive(lua_State *L, void *shared) {
  struct shared *s = shared;
  lethe_ref_get(&s->refs);
  push_handle(L, s);
}

struct shared_handle *shared_check(lua_State *L, const struct lethe_class *c) {
  lethe_safepoint(L);
  return shared_hot(L, c);
}

/* ---- values ---------------------------------------------------------------------------------- */

struct shared_value *shared_pack(lua_State *L, int index, size_t *n) {
  struct lethe_packed *p = lethe_pack(L, index, "value", false);
  *n = sizeof(struct shared_value) + p->n;
  struct shared_value *v = lethe_malloc(mem, *n);
  if (v) {
    v->tables = p->tables;
    memcpy(v->bytes, p->bytes, p->n);
  }
  lethe_packed_free(p);
  if (!v) lethe_nomemory(L);
  return v;
}

void shared_value_free(struct shared_value *v, size_t n) { lethe_free(mem, v, n); }

void shared_room(lua_State *L, struct lethe_buffer *b, size_t n) {
  if (b->room >= n) return;
  lethe_buffer_free(b);
  b->p = lethe_malloc(mem, n);
  if (!b->p) lethe_nomemory(L);
  b->alloc = mem;
  b->room = n;
}

void shared_push(lua_State *L, struct shared_handle *h) {
  const struct shared_value *v = (void *)h->value.p;
  if (v->tables == 0) {
    lethe_unpack_plain(L, v->bytes);
    return;
  }
  size_t n = h->value.n - sizeof *v;
  shared_room(L, &h->packed, sizeof(struct lethe_packed) + n);
  struct lethe_packed *p = (void *)h->packed.p;
  *p = (struct lethe_packed){.n = n, .values = 1, .tables = v->tables};
  memcpy(p->bytes, v->bytes, n);
  lethe_unpack(L, p);
}

/* ---- queue and stack ------------------------------------------------------------------------- */

static int push_to(lua_State *L, const struct lethe_class *c) {
  struct shared_handle *h = shared_check(L, c);
  size_t n;
  luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "a value expected, got nil");
  struct shared_value *v = shared_pack(L, 2, &n);
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (r)
    rc = h->s->kind == SHARED_QUEUE ? lethe_queue_push(h->s->of.queue, r, v, n)
                                    : lethe_stack_push(h->s->of.stack, r, v, n);
  shared_value_free(v, n);
  if (rc) return lethe_fail(L, rc);
  epoch_changed(L, h->port);
  lua_pushboolean(L, 1);
  return 1;
}

static int pop_from(lua_State *L, const struct lethe_class *c) {
  struct shared_handle *h = shared_check(L, c);
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (r)
    rc = h->s->kind == SHARED_QUEUE ? lethe_queue_pop(h->s->of.queue, r, &h->value)
                                    : lethe_stack_pop(h->s->of.stack, r, &h->value);
  if (rc) return lethe_fail(L, rc);
  epoch_changed(L, h->port);
  shared_push(L, h);
  return 1;
}

static int queue_push(lua_State *L) { return push_to(L, &shared_queue_class); }
static int queue_pop(lua_State *L) { return pop_from(L, &shared_queue_class); }
static int stack_push(lua_State *L) { return push_to(L, &shared_stack_class); }
static int stack_pop(lua_State *L) { return pop_from(L, &shared_stack_class); }

/* ---- making ---------------------------------------------------------------------------------- */

static struct shared *share_new(enum shared_kind kind, struct lethe_epoch *m, uint64_t capacity) {
  struct shared *s = lethe_zalloc(mem, sizeof *s);
  if (!s) return NULL;
  lethe_ref_init(&s->refs);
  lethe_list_init(&s->node);
  s->kind = kind;
  s->epoch = m;
  int rc = kind == SHARED_MAP     ? lethe_map_new(&s->of.map, mem, m)
           : kind == SHARED_QUEUE ? lethe_queue_new(&s->of.queue, mem, m, capacity)
                                  : lethe_stack_new(&s->of.stack, mem, m);
  if (rc == LETHE_OK) return s;
  lethe_free(mem, s, sizeof *s);
  return NULL;
}

/* Gives a share its name: LETHE_EEXISTS, LETHE_ENOMEM. */
static int give_name(struct shared *s, const char *name) {
  size_t n = strlen(name) + 1;
  char *copy = lethe_malloc(mem, n);
  if (!copy) return LETHE_ENOMEM;
  memcpy(copy, name, n);
  pthread_mutex_lock(&names_lock);
  bool taken = named(name) != NULL;
  if (!taken) {
    s->name = copy;
    lethe_list_push(&names, &s->node);
  }
  pthread_mutex_unlock(&names_lock);
  if (taken) lethe_free(mem, copy, n);
  return taken ? LETHE_EEXISTS : LETHE_OK;
}

/* map(manager, name | nil), queue(manager, capacity | 0), stack(manager) */
static int l_map(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_epoch *m = epoch_check_manager(L, 1)->m;
  const char *name = luaL_optstring(L, 2, NULL);
  struct shared *s = share_new(SHARED_MAP, m, 0);
  int rc = !s ? LETHE_ENOMEM : name ? give_name(s, name) : LETHE_OK;
  if (rc && s) share_put(s);
  if (rc == LETHE_EEXISTS) {
    luaL_pushfail(L);
    lua_pushfstring(L, "a map named \"%s\" is there already", name);
    lua_pushstring(L, lethe_errname(rc));
    return 3;
  }
  if (rc) return lethe_fail(L, rc);
  push_handle(L, s);
  return 1;
}

static int l_queue(lua_State *L) {
  lethe_safepoint(L);
  struct shared *s =
      share_new(SHARED_QUEUE, epoch_check_manager(L, 1)->m, (uint64_t)luaL_optinteger(L, 2, 0));
  if (!s) return lethe_fail(L, LETHE_ENOMEM);
  push_handle(L, s);
  return 1;
}

static int l_stack(lua_State *L) {
  lethe_safepoint(L);
  struct shared *s = share_new(SHARED_STACK, epoch_check_manager(L, 1)->m, 0);
  if (!s) return lethe_fail(L, LETHE_ENOMEM);
  push_handle(L, s);
  return 1;
}

/* open(name) -> Map | nil, m, "unknown" */
static int l_open(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lethe_safepoint(L);
  pthread_mutex_lock(&names_lock);
  struct shared *s = named(name);
  if (s) lethe_ref_get(&s->refs);
  pthread_mutex_unlock(&names_lock);
  if (s) {
    push_handle(L, s);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushfstring(L, "no map is named \"%s\"", name);
  lua_pushstring(L, lethe_errname(LETHE_EUNKNOWN));
  return 3;
}

static const luaL_Reg queue_methods[] = {{"push", queue_push}, {"pop", queue_pop}, {NULL, NULL}};
static const luaL_Reg stack_methods[] = {{"push", stack_push}, {"pop", stack_pop}, {NULL, NULL}};

#define SHARED_CLASS(title, own_methods, meta)                                         \
  {                                                                                    \
    .name = "lethe.shared." title, .end = end_handle, .leaks = true, .hot = true,      \
    .share = share_get, .drop = share_put, .receive = receive, .methods = own_methods, \
    .metamethods = meta                                                                \
  }
const struct lethe_class shared_map_class =
    SHARED_CLASS("Map", shared_map_methods, shared_map_metamethods);
const struct lethe_class shared_queue_class = SHARED_CLASS("Queue", queue_methods, NULL);
const struct lethe_class shared_stack_class = SHARED_CLASS("Stack", stack_methods, NULL);

static const luaL_Reg functions[] = {
    {"map", l_map}, {"queue", l_queue}, {"stack", l_stack}, {"open", l_open}, {NULL, NULL}};

int luaopen_lethe_core_shared(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &shared_map_class);
  lethe_class(L, &shared_queue_class);
  lethe_class(L, &shared_stack_class);
  shared_open_map(L);
  luaL_newlib(L, functions);
  return 1;
}
