/* SPDX-License-Identifier: MIT
 * Messages: Lua values copied out of one state and into another, or kept outside of any.
 *
 * A value is packed into one block of bytes: nil, booleans, numbers, strings, and tables of these,
 * with cycles and sharing kept (metatables are not looked at), and objects of lethe's that may be
 * shared (a tracker, a channel), each of which becomes a counted reference in the block. Whatever
 * else is met raises an error that names the path to it ("message.list[3].fn is a function"). A
 * packed block belongs to no state: any thread may unpack it, once or often, or free it.
 *
 *   struct lethe_packed *p = lethe_pack(L, 2, "message", true);
 *   lethe_unpack(L, p);   lethe_packed_free(p);
 *
 * The bytes: the values, then each table's contents in the order in which tables were met, so that
 * neither packing nor unpacking recurses. Of one value that is no table and no object, equal bytes
 * mean the same type and the same value. */
#ifndef LETHE_BINDINGS_MESSAGE_H
#define LETHE_BINDINGS_MESSAGE_H

#include "channel.h"
#include "common.h"

/* One counted reference: of an object whose class has share, drop and receive. */
struct lethe_handle {
  const struct lethe_class *class;
  void *shared;
};

struct lethe_packed {
  struct lethe_item item;    /* so that a channel can carry it */
  size_t n;                  /* bytes */
  size_t handles;            /* counted references among them */
  size_t values, tables;     /* how many values it unpacks to; tables in them */
  struct lethe_handle *list; /* the references, behind the bytes */
  unsigned char bytes[];
};

/* The value at `index`; `what` begins the paths of errors. `objects`: lethe's objects may be in it.
 * Raises for what cannot go, and "not enough memory"; then nothing is held. */
struct lethe_packed *lethe_pack(lua_State *L, int index, const char *what, bool objects);
/* The same for n values from `index` on, to be unpacked as n values. An error is said to be at the
 * stack level `level` (1: the caller of the running C function); if `what` ends in "#" each value's
 * number follows it. */
struct lethe_packed *lethe_pack_all(lua_State *L, int index, int n, const char *what, bool objects,
                                    int level);
/* A string, outside of any state; NULL without memory. */
struct lethe_packed *lethe_pack_text(const char *text, size_t n);
/* Pushes the value (values); returns how many. May raise; the block stays the caller's. */
int lethe_unpack(lua_State *L, const struct lethe_packed *p);
void lethe_packed_free(struct lethe_packed *p);
/* Pushes the one value, no table and no object, that is in these bytes of a block. */
void lethe_unpack_plain(lua_State *L, const unsigned char *bytes);

static inline struct lethe_packed *lethe_packed_of(struct lethe_item *item) {
  return lethe_container_of(item, struct lethe_packed, item);
}

#endif
