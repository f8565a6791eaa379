/* SPDX-License-Identifier: MIT
 * What lshared.c and shared_map.c have in common: the share that an object holds, values as bytes,
 * and the record that a call uses. */
#ifndef LETHE_BINDINGS_SHARED_H
#define LETHE_BINDINGS_SHARED_H

#include "epoch.h"
#include "lethe/shared.h"
#include "message.h"

enum shared_kind { SHARED_MAP, SHARED_QUEUE, SHARED_STACK };

/* A counted share of a structure: by objects, in whatever state, and by messages that carry one. */
struct shared {
  struct lethe_ref refs;
  enum shared_kind kind;
  union {
    struct lethe_map *map;
    struct lethe_queue *queue;
    struct lethe_stack *stack;
  } of;
  struct lethe_epoch *epoch; /* that of the structure, which keeps it */
  struct lethe_list node;    /* of the names */
  char *name;
};

/* What an object holds: its share, the state's port on the manager, and room that its calls use
 * again and again. */
struct shared_handle {
  struct shared *s;
  struct epoch_port *port;
  struct lethe_buffer value, key, packed;
};

extern const struct lethe_class shared_map_class, shared_queue_class, shared_stack_class;

/* shared_map.c */
extern const luaL_Reg shared_map_methods[], shared_map_metamethods[];
void shared_open_map(lua_State *L);

/* What the object at 1 holds; raises for anything else. shared_check is a safe point first,
 * shared_hot is for reads. */
static inline struct shared_handle *shared_hot(lua_State *L, const struct lethe_class *c) {
  struct shared_handle *h = lethe_hot(L, c);
  return h ? h : lethe_check(L, 1, c)->what;
}
struct shared_handle *shared_check(lua_State *L, const struct lethe_class *c);
/* The record that this coroutine's calls use, its thread registered if it was not; NULL and *rc. */
static inline struct lethe_epoch_rec *shared_record(lua_State *L, struct shared_handle *h,
                                                    int *rc) {
  *rc = h->port->rec ? LETHE_OK : epoch_attend(h->port);
  return *rc ? NULL : epoch_here(L, h->port)->rec;
}
/* A stored value: how many tables there are in it, then its bytes as in a message. */
struct shared_value {
  size_t tables;
  unsigned char bytes[];
};
/* The value at `index`, from lethe_alloc_libc; n its size. Raises for what cannot be shared. */
struct shared_value *shared_pack(lua_State *L, int index, size_t *n);
void shared_value_free(struct shared_value *v, size_t n);
/* Pushes the value in h->value. May raise. */
void shared_push(lua_State *L, struct shared_handle *h);
/* Room for n bytes in a buffer of the handle. Raises. */
void shared_room(lua_State *L, struct lethe_buffer *b, size_t n);

#endif
