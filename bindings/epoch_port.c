/* SPDX-License-Identifier: MIT
 * Ports and sections: which record a coroutine's pins are on, and what becomes of pins whose
 * coroutine waits, ends or is collected. */
#include "epoch_parts.h"
#include "lethe/epoch_section.h"
#include "object.h"

char epoch_key_owners, epoch_key_held, epoch_key_guards, epoch_key_managers;
static char key_ports; /* registry: the first port of the state, in a userdata */

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- sections -------------------------------------------------------------------------------- */

static struct epoch_section *section_new(struct epoch_port *p) {
  struct epoch_section *s = lethe_zalloc(mem, sizeof *s);
  if (!s) return NULL;
  s->port = p;
  s->rec = p->rec;
  s->refs = 1;
  return s;
}

void epoch_section_put(struct epoch_section *s) {
  if (--s->refs == 0) lethe_free(mem, s, sizeof *s);
}

/* registry[key][s] = nil, which allocates nothing. */
static void forget_beside(lua_State *L, char *key, struct epoch_section *s) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, s);
  lua_pop(L, 1);
}

/* The port lets go of it; guards that a script still has find it empty. */
static void section_drop(struct epoch_section *s) {
  lua_State *L = s->port->state->main;
  if (lua_checkstack(L, 4)) {
    forget_beside(L, &epoch_key_owners, s);
    forget_beside(L, &epoch_key_held, s);
    forget_beside(L, &epoch_key_guards, s);
  }
  s->port = NULL;
  s->depth = 0;
  s->rec = NULL;
  epoch_section_put(s);
}

static bool is_shared(const struct epoch_port *p, const struct lethe_epoch_rec *r) {
  bool shared = r == p->rec;
  for (const struct epoch_section *s = p->aside; s; s = s->next) shared = shared || s->rec == r;
  return shared;
}

/* A section that stood aside has unpinned. */
static void section_over(struct epoch_section *s) {
  struct epoch_port *p = s->port;
  struct lethe_epoch_rec *rec = s->rec;
  struct epoch_section **link = &p->aside;
  while (*link != s) link = &(*link)->next;
  *link = s->next;
  section_drop(s);
  if (!is_shared(p, rec)) lethe_epoch_join(rec, p->rec);
}

bool epoch_unwind(struct epoch_section *s, uint32_t depth) {
  bool sound = true;
  while (s->depth > depth) {
    s->depth--;
    if (!lethe_epoch_unpin(s->rec)) sound = false;
  }
  if (s->depth == 0 && s != s->port->current) section_over(s);
  return sound;
}

/* The current section, pinned, moves aside with its record. Without memory, or when the manager is
 * closed, the two share the record: then they are only ejected together. */
static bool set_aside(struct epoch_port *p) {
  struct epoch_section *old = p->current, *s = section_new(p);
  if (!s) return false;
  if (lethe_epoch_split(p->rec, &p->rec) == LETHE_OK) s->rec = p->rec;
  old->next = p->aside;
  p->aside = old;
  p->current = s;
  return true;
}

/* ---- coroutines ------------------------------------------------------------------------------ */

/* A coroutine is known by its address, and an address may be another's tomorrow. So whoever pinned
 * last is held until the next safe point: until then nobody takes its place, and a pin need only
 * compare. After it the coroutine is known weakly, and may be collected. */
void epoch_hold(lua_State *L, struct epoch_section *s) {
  static char *const keys[] = {&epoch_key_owners, &epoch_key_held};
  for (int i = 0; i < 2; i++) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, keys[i]);
    lua_pushthread(L);
    lua_rawsetp(L, -2, s);
    lua_pop(L, 1);
  }
  s->L = L;
  s->held = true;
}

static void let_go(lua_State *L, struct epoch_section *s) {
  if (!s->held || s->L == L) return;
  forget_beside(L, &epoch_key_held, s);
  s->held = false;
}

/* Whether the coroutine that pinned can still unpin: it is there, and has not ended. */
static bool owner_lives(lua_State *L, const struct epoch_section *s) {
  lua_Debug ar;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &epoch_key_owners);
  lua_rawgetp(L, -1, s);
  lua_State *co = lua_tothread(L, -1);
  lua_pop(L, 2);
  if (!co) return false;
  if (co == L || lua_status(co) == LUA_YIELD) return true;
  return lua_status(co) == LUA_OK &&
         (lua_getstack(co, 0, &ar) || lua_gettop(co) > 0 || co == s->port->state->main);
}

void epoch_sweep(lua_State *L, struct epoch_port *p) {
  if (!p->current || !lua_checkstack(L, 4)) return;
  for (struct epoch_section *s = p->aside, *next; s; s = next) {
    next = s->next;
    if (owner_lives(L, s))
      let_go(L, s);
    else
      epoch_unwind(s, 0);
  }
  struct epoch_section *s = p->current;
  if (s->depth > 0 && !owner_lives(L, s)) epoch_unwind(s, 0);
  let_go(L, s);
}

struct epoch_section *epoch_pinned(lua_State *L, struct epoch_port *p) {
  if (!p->current) return NULL;
  if (p->current->depth > 0 && p->current->L == L) return p->current;
  for (struct epoch_section *s = p->aside; s; s = s->next)
    if (s->L == L) return s;
  return NULL;
}

struct epoch_section *epoch_here_slow(lua_State *L, struct epoch_port *p) {
  struct epoch_section *s = epoch_pinned(L, p);
  if (s && !owner_lives(L, s)) s = NULL; /* another coroutine in the same place */
  if (s) return s;
  epoch_sweep(L, p);
  if (p->current->depth > 0) set_aside(p);
  return p->current;
}

void epoch_changed(lua_State *L, const struct epoch_port *p) {
  for (struct epoch_port *each = *p->all; each; each = each->next) {
    struct epoch_section *s = epoch_pinned(L, each);
    if (s) s->changes++;
  }
}

/* The calling coroutine is about to wait: what it has pinned moves aside. */
static void before_wait(lua_State *L, struct epoch_port *p) {
  struct epoch_section *s = p->current;
  if (s && s->depth > 0 && s->L == L) set_aside(p);
}

/* ---- records --------------------------------------------------------------------------------- */

int epoch_attend(struct epoch_port *p) {
  if (p->rec) return LETHE_OK;
  struct epoch_section *s = section_new(p);
  if (!s) return LETHE_ENOMEM;
  int rc = lethe_epoch_register(p->m, &p->rec);
  if (rc) {
    p->rec = NULL;
    lethe_free(mem, s, sizeof *s);
    return rc;
  }
  s->rec = p->rec;
  p->current = s;
  return LETHE_OK;
}

/* A state that is closed by another thread than its own has lost its records: they are that
 * one's. */
void epoch_port_leave(struct epoch_port *p) {
  struct epoch_section *s;
  struct lethe_epoch_rec *rec = p->rec;
  if (!rec) return;
  bool mine = lethe_epoch_current(p->m) == rec;
  while ((s = p->aside) != NULL) {
    if (mine) {
      epoch_unwind(s, 0);
    } else {
      p->aside = s->next;
      section_drop(s);
    }
  }
  s = p->current;
  p->current = NULL;
  p->rec = NULL;
  section_drop(s);
  if (mine) lethe_epoch_unregister(rec);
}

void epoch_each_record(struct epoch_port *p, void (*fn)(struct lethe_epoch_rec *r, void *ud),
                       void *ud) {
  if (!p->rec) return;
  fn(p->rec, ud);
  for (struct epoch_section *s = p->aside; s; s = s->next) {
    bool seen = s->rec == p->rec;
    for (struct epoch_section *t = p->aside; t != s; t = t->next) seen = seen || t->rec == s->rec;
    if (!seen) fn(s->rec, ud);
  }
}

/* ---- ports ----------------------------------------------------------------------------------- */

static struct epoch_port **ports_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_ports);
  struct epoch_port **first = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return first;
}

struct epoch_port *epoch_port(lua_State *L, struct lethe_epoch *m) {
  struct epoch_port **first = ports_of(L), *p = *first;
  while (p && p->m != m) p = p->next;
  if (!p) {
    p = lethe_zalloc(mem, sizeof *p);
    if (!p) return NULL;
    p->state = lethe_state(L);
    p->m = lethe_epoch_get(m);
    p->next = *first;
    p->all = first;
    *first = p;
  }
  p->refs++;
  return p;
}

void epoch_port_put(struct epoch_port *p) {
  if (--p->refs > 0) return;
  struct epoch_port **link = ports_of(p->state->main);
  while (*link != p) link = &(*link)->next;
  *link = p->next;
  epoch_port_leave(p);
  lethe_epoch_put(p->m);
  lethe_free(mem, p, sizeof *p);
}

/* On the main thread: whoever else runs is alive, and will be held again by its next pin. */
void epoch_sweep_all(struct lethe_state *s) {
  for (struct epoch_port *p = *ports_of(s->main); p; p = p->next) epoch_sweep(s->main, p);
}

/* wait(): the calling task is about to */
static int l_wait(lua_State *L) {
  for (struct epoch_port *p = *ports_of(L); p; p = p->next) {
    before_wait(L, p);
    if (p->aside) epoch_sweep(lethe_state(L)->main, p);
  }
  return 0;
}

static void open_table(lua_State *L, char *key, const char *mode) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TNIL) lethe_new_table(L, key, mode);
  lua_pop(L, 1);
}

void epoch_open_port(lua_State *L) {
  static const luaL_Reg functions[] = {{"wait", l_wait}, {NULL, NULL}};
  open_table(L, &epoch_key_owners, "v");
  open_table(L, &epoch_key_held, NULL);
  open_table(L, &epoch_key_guards, NULL);
  open_table(L, &epoch_key_managers, "v");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_ports) == LUA_TNIL) {
    *(struct epoch_port **)lua_newuserdatauv(L, sizeof(struct epoch_port *), 0) = NULL;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_ports);
  }
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
