/* SPDX-License-Identifier: MIT
 * on_dead: the maps whose dead are to be told, and the telling, from a loop's turn or from cleanup.
 *
 * A death finds its map in C, where nothing can be allocated: the map joins the home's list. At the
 * end of the safe point, or of the call, a settler puts the map's object into a chain through user
 * values, which keeps it alive until its dead are told, and posts the default loop a message. */
#include "stop.h"
#include "weakmap.h"

static char key_poster;

void weak_notify(void *port) {
  struct weak_port *p = port;
  lethe_list_remove(&p->due);
  lethe_list_push(&p->home->due, &p->due);
}

/* The map's object, if it has not been found dead itself, to the head of the chain. */
static void chain(lua_State *L, struct weak_port *p) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_maps);
  if (lua_rawgetp(L, -1, p) == LUA_TUSERDATA) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
    lua_setiuservalue(L, -2, WEAK_NEXT);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
    lua_pop(L, 1);
  } else {
    lua_pop(L, 2);
  }
}

static bool pending(struct lethe_settler *self) {
  return !lethe_list_empty(&lethe_container_of(self, struct weak_home, settler)->due);
}

static void post(struct lethe_settler *self, lua_State *L) {
  struct weak_home *h = lethe_container_of(self, struct weak_home, settler);
  struct lethe_list *node;
  while ((node = lethe_list_shift(&h->due)) != NULL)
    chain(L, lethe_container_of(node, struct weak_port, due));
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_poster) == LUA_TFUNCTION) lua_call(L, 0, 0);
}

int weak_poster(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_poster);
  return 0;
}

/* ---- telling --------------------------------------------------------------------------------- */

struct telling {
  struct lethe_weak_key key;
  bool begun;
};

static int call_with_key(lua_State *L) { /* on_dead, telling */
  struct telling *t = lua_touserdata(L, 2);
  lua_settop(L, 1);
  weak_push_key(L, &t->key);
  t->begun = true;
  lua_call(L, 1, 0);
  return 0;
}

/* Of the map at `map`. False if there was no memory to begin the call with. */
static bool tell_one(lua_State *L, int map, const struct lethe_weak_dead *d) {
  struct telling t = {.begun = false};
  lethe_weak_dead_key(d, &t.key);
  lua_pushcfunction(L, lethe_traceback);
  lua_pushcfunction(L, call_with_key);
  lua_getiuservalue(L, map, WEAK_ON_DEAD);
  lua_pushlightuserdata(L, &t);
  unsigned held = lethe_stop_let();
  int rc = lua_pcall(L, 2, 0, -4);
  lethe_stop_hold(held);
  lua_remove(L, rc == LUA_OK ? -1 : -2);
  if (rc != LUA_OK && t.begun)
    lethe_report(L, false);
  else if (rc != LUA_OK)
    lua_pop(L, 1);
  return rc == LUA_OK || t.begun;
}

/* Those that are there when it begins. What dies meanwhile, and what could not be begun, is told
 * another time, and so is what a call of cleanup in a callback finds: calls do not nest without
 * end. The callback may close the map. */
void weak_tell(lua_State *L, int map) {
  struct lethe_box *b = lua_touserdata(L, map);
  struct weak_port *p = b->what;
  if (!p || p->telling || lethe_class_of(L, map) != &weak_map_class) return;
  struct lethe_weakmap *m = lethe_weakmap_get_ref(p->map);
  size_t n = lua_checkstack(L, LUA_MINSTACK) ? lethe_weakmap_dead_len(m) : 0;
  struct lethe_weak_dead *d;
  p->telling = true;
  while (n-- > 0 && b->what && (d = lethe_weakmap_dead(m)) != NULL) {
    if (tell_one(L, map, d)) {
      lethe_weak_dead_free(m, d);
    } else {
      lethe_weak_dead_back(m, d);
      break;
    }
  }
  if (b->what) p->telling = false;
  if (b->what && lethe_weakmap_dead_len(m) > 0) weak_notify(p);
  lethe_weakmap_put_ref(m);
}

/* Takes the chain, which is latest first, and turns it round: its head is on top, or false. */
static void take_chain(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
  lua_pushboolean(L, 0);
  while (lua_isuserdata(L, -2)) { /* rest, turned */
    lua_getiuservalue(L, -2, WEAK_NEXT);
    lua_insert(L, -3); /* rest', at, turned */
    lua_setiuservalue(L, -2, WEAK_NEXT);
  }
  lua_remove(L, -2);
}

int weak_deliver(lua_State *L) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return 0;
  take_chain(L);
  while (lua_isuserdata(L, -1)) {
    lua_getiuservalue(L, -1, WEAK_NEXT);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, WEAK_NEXT);
    weak_tell(L, lua_gettop(L));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return 0;
}

static void in_turn(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
  bool any = lua_isuserdata(L, -1);
  lua_pop(L, 1);
  if (any) weak_deliver(L);
}

void weak_open_dead(struct weak_home *h) {
  h->settler = (struct lethe_settler){h->state->settlers, pending, post};
  h->state->settlers = &h->settler;
  h->state->in_turn = in_turn;
}
