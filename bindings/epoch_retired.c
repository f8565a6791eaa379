/* SPDX-License-Identifier: MIT
 * Retired Lua values. What the manager gets is a node; whoever frees it, on whichever thread, sends
 * it home: into the inbox of the state that retired the value, which runs the destructor at its
 * next safe point. The inbox outlives its state until the last node is freed; a node that finds the
 * state gone is only memory.
 *
 * Nodes: on the stack `head` from any thread; everything else is the state's own. A destructor is
 * taken off before it is called, so it runs once, whatever it does. */
#include <pthread.h>

#include "epoch_parts.h"
#include "lethe/list.h"
#include "lethe/ref.h"
#include "object.h"
#include "stop.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct inbox;

struct node {
  struct lethe_list alive; /* in the order of retiring, until its destructor has run */
  struct node *next;       /* on the stack, or among the spare ones */
  struct inbox *inbox;
  struct lethe_epoch *manager; /* borrowed; held while it is away */
  int side;                    /* away: of the manager; else -1 */
  lua_Integer slot; /* its value is values[2 * slot - 1], its destructor values[2 * slot] */
};

enum { SPARES = 256, ROUNDS = 100 };

struct inbox {
  struct lethe_ref refs; /* the state, the nodes under way, a message under way */
  _Atomic(struct node *) head;
  _Atomic bool posted;
  struct lethe_message message;
  struct lethe_loop *loop;
  pthread_t owner;
  struct lethe_settler settler;
  struct lethe_state *state;
  struct lethe_list alive;
  struct node *spare;
  unsigned spares;
  lua_Integer slots;
};

/* It was freed on another thread, and its destructor has run, or never will. */
static void is_back(struct node *n) {
  lethe_epoch_back(n->manager, n->side);
  n->side = -1;
}

static struct node gone;                       /* head: the state has ended */
static char key_inbox, key_object, key_values; /* registry */

static void inbox_put(struct inbox *in) {
  if (!lethe_ref_put(&in->refs)) return;
  lethe_loop_put(in->loop);
  lethe_free(mem, in, sizeof *in);
}

/* ---- the way home: any thread ---------------------------------------------------------------- */

/* The turn that this message is delivered in ends with a safe point. */
static void on_message(struct lethe_message *m, bool closed) {
  struct inbox *in = lethe_container_of(m, struct inbox, message);
  (void)closed;
  store_rel(&in->posted, false);
  inbox_put(in);
}

/* Wakes the state's loop. The caller holds a reference. */
static void wake(struct inbox *in) {
  if (swap_acqrel(&in->posted, true)) return;
  lethe_ref_get(&in->refs);
  if (lethe_loop_post(in->loop, &in->message)) return;
  store_rel(&in->posted, false);
  inbox_put(in);
}

/* What the manager calls when the value can be freed. */
static void come_home(void *object, void *ud) {
  struct node *n = object;
  struct inbox *in = ud;
  bool foreign = !pthread_equal(in->owner, pthread_self());
  if (foreign) lethe_ref_get(&in->refs); /* the node's own reference goes with the node */
  n->side = foreign ? lethe_epoch_away(n->manager) : -1;
  struct node *head = load_acq(&in->head);
  do {
    if (head == &gone) {
      is_back(n);
      lethe_free(mem, n, sizeof *n);
      inbox_put(in);
      break;
    }
    n->next = head;
    /* release: pairs with the owner's exchange */
  } while (!atomic_compare_exchange_weak_explicit(&in->head, &head, n, memory_order_acq_rel,
                                                  memory_order_acquire));
  if (foreign) {
    if (head == NULL) wake(in);
    inbox_put(in);
  }
}

/* ---- at home --------------------------------------------------------------------------------- */

static struct inbox *inbox_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_inbox);
  struct inbox *in = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return in;
}

static void recycle(struct inbox *in, struct node *n) {
  if (in->spares < SPARES) {
    n->next = in->spare;
    in->spare = n;
    in->spares++;
  } else {
    lethe_free(mem, n, sizeof *n); /* its slot is not used again */
  }
}

/* Takes what has come home off the stack, into the order in which it came. */
static struct node *take_all(struct inbox *in, struct node *leave) {
  struct node *n = swap_acqrel(&in->head, leave), *first = NULL, *next;
  for (; n; n = next) {
    next = n->next;
    n->next = first;
    first = n;
  }
  return first;
}

/* values[i], pushed, and gone from there. */
static void take_value(lua_State *L, int values, lua_Integer i) {
  lua_rawgeti(L, values, i);
  lua_pushnil(L);
  lua_rawseti(L, values, i);
}

/* Runs the destructor of a value, unless it has run. Its errors are reported; it must not wait, as
 * no callback of a reclamation may. */
static void destroy(lua_State *L, struct lethe_state *s, struct node *n) {
  if (lethe_list_empty(&n->alive)) return;
  lethe_list_remove(&n->alive);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_values);
  int values = lua_gettop(L);
  take_value(L, values, 2 * n->slot);
  take_value(L, values, 2 * n->slot - 1);
  if (lua_isnil(L, -2)) {
    lua_pop(L, 2);
  } else {
    unsigned held = lethe_stop_let();
    s->no_wait++;
    lethe_call_reported(L, 1, 0);
    s->no_wait--;
    lethe_stop_hold(held);
  }
  lua_pop(L, 1);
}

/* What is there as it begins: what destructors free in turn is for their own reclaims, and for the
 * next safe point. */
static void drain(lua_State *L, struct inbox *in) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  struct node *n = take_all(in, NULL), *next;
  for (; n; n = next) {
    next = n->next;
    destroy(L, in->state, n);
    is_back(n);
    recycle(in, n);
    inbox_put(in);
  }
}

void epoch_drain(lua_State *L) { drain(L, inbox_of(L)); }

/* A safe point: pins whose coroutine is gone end too. */
static bool pending(struct lethe_settler *self) {
  struct inbox *in = lethe_container_of(self, struct inbox, settler);
  epoch_sweep_all(in->state);
  struct node *head = load_rlx(&in->head);
  return head && head != &gone;
}

static void deliver(struct lethe_settler *self, lua_State *L) {
  drain(L, lethe_container_of(self, struct inbox, settler));
}

/* ---- retiring -------------------------------------------------------------------------------- */

static struct node *spare_node(lua_State *L, struct inbox *in) {
  if (!in->spare) {
    struct node *n = lethe_zalloc(mem, sizeof *n);
    if (!n) lethe_nomemory(L);
    n->inbox = in;
    n->slot = ++in->slots;
    recycle(in, n);
  }
  return in->spare;
}

/* The node stays among the spare ones until nothing can raise any more. */
void epoch_retire_value(lua_State *L, struct epoch_section *s, size_t bytes) {
  struct inbox *in = inbox_of(L);
  struct node *n = spare_node(L, in);
  lua_Integer slot = n->slot;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_values);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, 2 * slot - 1);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, 2 * slot);
  in->spare = n->next;
  in->spares--;
  n->manager = s->port->m;
  n->side = -1;
  lethe_list_push(&in->alive, &n->alive);
  lethe_ref_get(&in->refs);
  if (lethe_epoch_retire(s->rec, n, come_home, in, bytes) != LETHE_OK) {
    lethe_list_remove(&n->alive);
    recycle(in, n);
    inbox_put(in);
    lua_pushnil(L);
    lua_rawseti(L, -2, 2 * slot);
    lua_pushnil(L);
    lua_rawseti(L, -2, 2 * slot - 1);
    lethe_nomemory(L);
  }
  epoch_changed(L, s->port);
  lua_pop(L, 1);
}

/* ---- the end of the state -------------------------------------------------------------------- */

/* Runs what is alive, oldest first, and then what was retired by that; not for ever. */
static void destroy_all(lua_State *L, struct inbox *in) {
  for (int i = 0; i < ROUNDS && !lethe_list_empty(&in->alive); i++) {
    struct lethe_list *last = in->alive.prev, *node;
    do {
      node = in->alive.next;
      destroy(L, in->state, lethe_container_of(node, struct node, alive));
    } while (node != last && !lethe_list_empty(&in->alive));
  }
}

void epoch_end_state(lua_State *L) {
  struct inbox *in = inbox_of(L);
  if (!in || !lua_checkstack(L, LUA_MINSTACK)) return;
  destroy_all(L, in);
  drain(L, in);
}

static void unlink_settler(struct inbox *in) {
  struct lethe_settler **link = &in->state->settlers;
  while (*link != &in->settler) link = &(*link)->next;
  *link = in->settler.next;
}

/* lua_close has finalized everything, but values can still be touched. */
static void end_inbox(struct lethe_state *s, void *what, bool closed) {
  struct inbox *in = what;
  (void)closed;
  unlink_settler(in);
  if (lua_checkstack(s->main, LUA_MINSTACK)) {
    lethe_end_young(s->main);
    destroy_all(s->main, in);
  }
  lua_pushboolean(s->main, 0);
  lua_rawsetp(s->main, LUA_REGISTRYINDEX, &key_inbox);
  while (lethe_list_shift(&in->alive)) {
  }
  struct node *n = take_all(in, &gone),
              *next; /* from now on a node may be freed by whoever has it */
  for (; n; n = next) {
    next = n->next;
    is_back(n);
    lethe_free(mem, n, sizeof *n);
    inbox_put(in);
  }
  while ((n = in->spare) != NULL) {
    in->spare = n->next;
    lethe_free(mem, n, sizeof *n);
  }
  inbox_put(in);
}

/* Of one object in each state, which no program sees. */
static const struct lethe_class inbox_class = {.name = "lethe.epoch.inbox", .end = end_inbox};

static struct inbox *inbox_new(lua_State *L) {
  struct inbox *in = lethe_zalloc(mem, sizeof *in);
  if (!in) return NULL;
  lethe_ref_init(&in->refs);
  in->state = lethe_state(L);
  in->loop = lethe_loop_get(in->state->loop);
  in->owner = pthread_self();
  in->message.run = on_message;
  in->settler = (struct lethe_settler){in->state->settlers, pending, deliver};
  in->state->settlers = &in->settler;
  lethe_list_init(&in->alive);
  return in;
}

void epoch_open_retired(lua_State *L) {
  if (inbox_of(L)) return;
  lethe_default_loop(L);
  lethe_new_table(L, &key_values, NULL);
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_inbox);
  lethe_class(L, &inbox_class);
  struct lethe_box *b = lethe_box_new(L, &inbox_class, 0);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_object);
  struct inbox *in = inbox_new(L);
  if (!in) lethe_nomemory(L);
  lethe_box_hold(L, b, in);
  lua_pushlightuserdata(L, in);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_inbox); /* the key is there: no allocation */
  lua_pop(L, 1);
}
