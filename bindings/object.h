/* SPDX-License-Identifier: MIT
 * What object.c, state.c and base.c share among themselves; other bindings include common.h alone. */
#ifndef LETHE_BINDINGS_OBJECT_H
#define LETHE_BINDINGS_OBJECT_H

#include "common.h"

/* Keys of the Lua registry: addresses, so that nothing of a script's can meet them. */
extern char lethe_key_state, lethe_key_class, lethe_key_live, lethe_key_leaks, lethe_key_traces,
    lethe_key_on_error, lethe_key_on_leak, lethe_key_prepare, lethe_key_shared;

/* base.class(name, methods, finish, leaks) -> new(insides [, label]), insides(object): a class made
 * in Lua. `finish(insides, closed)` ends it, at close (true) or at the safe point after its death. */
int lethe_base_class(lua_State *L);
/* Acts on the state's end: what is noted, then what is still alive. */
void lethe_end_all(struct lethe_state *s);

#endif
