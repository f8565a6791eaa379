/* SPDX-License-Identifier: MIT
 * Registry keys of the quota binding, and what port and tracker give each other. */
#ifndef LETHE_BINDINGS_QUOTA_KEYS_H
#define LETHE_BINDINGS_QUOTA_KEYS_H

#include "quota.h"

/* holders: participant id -> what its participations keep ({ object }), weak; trackers: port (light) ->
 * Tracker, weak. */
extern char quota_key_holders, quota_key_upcalls, quota_key_trackers, quota_key_ports,
    quota_key_loops;

void quota_open_port(lua_State *L);
void quota_port_loop(lua_State *L, struct port *p, int i);
/* The port of the object at `arg`, or NULL for what has none. */
struct port *quota_port_of(lua_State *L, int arg);
/* The n largest accounts as a list. */
void quota_push_top(lua_State *L, struct port *p, size_t n);

#endif
