/* SPDX-License-Identifier: MIT
 * What the files of states, objects and classes share. Other bindings stand on common.h; a few need
 * something from here beside. */
#ifndef LETHE_BINDINGS_OBJECT_H
#define LETHE_BINDINGS_OBJECT_H

#include "common.h"

/* Keys of the Lua registry: addresses, so that nothing of a script's can meet them. */
extern char lethe_key_state, lethe_key_class, lethe_key_live, lethe_key_leaks, lethe_key_traces,
    lethe_key_on_error, lethe_key_on_leak, lethe_key_prepare, lethe_key_shared, lethe_key_young,
    lethe_key_closing, lethe_key_probe, lethe_key_watched;

/* base.class(name, methods, finish, leaks, close_only, watched) -> new(insides [, label]),
 * insides(object): a class made in Lua. `finish(insides, closed)` ends it, at close (true) or,
 * unless close_only, at the safe point after its death. */
int lethe_base_class(lua_State *L);
/* watched() -> list, labels: the living objects of watched classes, in the order of their slots,
 * and what their labels say. */
int lethe_watched(lua_State *L);
/* Raises at the caller of the Lua method that calls this C function: its self is closed, or no
 * object of the class. */
int lethe_bad_self(lua_State *L, const char *class, bool closed);
/* registry[key] = a new table, weak in `mode` ("k", "v") if that is given. */
void lethe_new_table(lua_State *L, char *key, const char *mode);
/* Empties the boxes that Lua gave no finalizer, at the state's end. */
void lethe_end_young(lua_State *L);
/* What finalizers that have returned made is the collector's like any other object. */
void lethe_free_young(lua_State *L);
/* Removes table[slot] of one of the tables by slot. Nothing is allocated. */
void lethe_drop_by_slot(lua_State *L, char *key, uint64_t id);
/* Calls the finisher of a class made in Lua with the insides, which it pops. */
void lethe_finish(lua_State *L, const struct lethe_class *c, bool closed);
/* True inside a finalizer, and so anywhere in lua_close. */
bool lethe_in_finalizer(lua_State *L);
/* Its end is left to the next safe point, as that of an object that was closed. */
void lethe_end_later(struct lethe_state *s, uint64_t id, const struct lethe_class *c);
/* Acts on the state's end: what is noted, then what is still alive. */
void lethe_end_all(struct lethe_state *s);

#endif
