/* SPDX-License-Identifier: MIT
 * Dens: where the scripted policies of a state go when the last reference to them goes, on whatever
 * thread. Their functions stand in the registry of the state; only the state may take them out,
 * which it does when it settles. A den outlives its state while scripts of it are about. */
#include "quota_script.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct den {
  struct lethe_ref refs; /* the state's, and one of each script */
  struct lethe_settler settler;
  pthread_mutex_t lock; /* guards what follows */
  struct lethe_list dead;
  bool ended; /* the state is over, and its registry with it */
};

static char key_den;

struct den *quota_den_get(struct den *d) {
  lethe_ref_get(&d->refs);
  return d;
}

void quota_den_put(struct den *d) {
  if (!lethe_ref_put(&d->refs)) return;
  pthread_mutex_destroy(&d->lock);
  lethe_free(mem, d, sizeof *d);
}

bool quota_den_take(struct den *d, struct script *s) {
  pthread_mutex_lock(&d->lock);
  bool taken = !d->ended;
  if (taken) lethe_list_push(&d->dead, &s->node);
  pthread_mutex_unlock(&d->lock);
  return taken;
}

/* ---- on the state's thread ------------------------------------------------------------------- */

static struct script *next_dead(struct den *d) {
  pthread_mutex_lock(&d->lock);
  struct lethe_list *node = lethe_list_shift(&d->dead);
  pthread_mutex_unlock(&d->lock);
  return node ? lethe_container_of(node, struct script, node) : NULL;
}

static bool any_dead(struct lethe_settler *self) {
  struct den *d = lethe_container_of(self, struct den, settler);
  pthread_mutex_lock(&d->lock);
  bool any = !lethe_list_empty(&d->dead);
  pthread_mutex_unlock(&d->lock);
  return any;
}

static void bury_dead(struct lethe_settler *self, lua_State *L) {
  struct den *d = lethe_container_of(self, struct den, settler);
  for (struct script *s; (s = next_dead(d)) != NULL;) quota_script_end(s, L);
}

static void end_den(struct lethe_state *state, void *what, bool closed) {
  struct den *d = what;
  struct lethe_settler **link = &state->settlers;
  (void)closed;
  while (*link != &d->settler) link = &(*link)->next;
  *link = d->settler.next;
  pthread_mutex_lock(&d->lock);
  d->ended = true;
  pthread_mutex_unlock(&d->lock);
  for (struct script *s; (s = next_dead(d)) != NULL;) quota_script_end(s, NULL);
  quota_den_put(d);
}

static const struct lethe_class den_class = {.name = "lethe.quota.scripts", .end = end_den};

/* The den in the registry, or NULL. */
static struct den *find(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_den);
  struct lethe_box *b = lethe_test(L, -1, &den_class);
  lua_pop(L, 1);
  return b ? b->what : NULL;
}

/* The box is in its place before there is anything to hold; what may raise comes first. */
static struct den *make(lua_State *L) {
  struct lethe_box *b = lethe_box_new(L, &den_class, 0);
  struct lethe_state *state = lethe_state(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_den);
  struct den *d = lethe_zalloc(mem, sizeof *d);
  if (!d) lethe_nomemory(L);
  lethe_ref_init(&d->refs);
  pthread_mutex_init(&d->lock, NULL);
  lethe_list_init(&d->dead);
  d->settler = (struct lethe_settler){state->settlers, any_dead, bury_dead};
  state->settlers = &d->settler;
  lethe_box_hold(L, b, d);
  return d;
}

int quota_den_open(lua_State *L) {
  lethe_class(L, &den_class);
  struct den *d = find(L);
  lua_pushlightuserdata(L, d ? d : make(L));
  return 1;
}
