/* SPDX-License-Identifier: MIT
 * Registry keys of the quota binding, and what its files give each other. */
#ifndef LETHE_BINDINGS_QUOTA_PARTS_H
#define LETHE_BINDINGS_QUOTA_PARTS_H

#include "quota.h"

/* All by port (light userdata). holders: participant id -> what its participations keep ({ object
 * }), weak; trackers: the Tracker, weak; loops: the Loop that the tracker was made with. */
extern char quota_key_holders, quota_key_upcalls, quota_key_trackers, quota_key_ports,
    quota_key_loops;

/* The parts of lethe.core.quota, each adding what it has to the module's table on top and to the
 * classes. */
void quota_open_port(lua_State *L);
void quota_open_upcalls(lua_State *L);
void quota_open_account(lua_State *L);
void quota_open_participation(lua_State *L);
void quota_open_report(lua_State *L);
void quota_open_events(lua_State *L);

/* How a pass asks the participants of a port. */
extern const struct lethe_quota_member_ops quota_member_ops;
/* The settler's functions of a port with events, and what becomes of events that nobody heard. */
bool quota_events_pending(struct lethe_settler *self);
void quota_events_deliver(struct lethe_settler *self, lua_State *L);
/* The tracker is closed: the port lets go of on_event once it has heard all. */
void quota_events_close(lua_State *L, struct port *p);
void quota_events_drop(struct port *p);
void quota_events_woken(struct lethe_message *m, bool closed);

/* upcalls[name] of lua/lethe/quota.lua, pushed. */
void quota_push_upcall(lua_State *L, const char *name);
/* The Loop object that the port was made with, or nil. */
void quota_push_loop(lua_State *L, struct port *p);
void quota_port_loop(lua_State *L, struct port *p, int i);
/* The port of the object at `arg`, or NULL for what has none. */
struct port *quota_port_of(lua_State *L, int arg);
/* Remembers what the participations of a participant keep, the value at stack index `holder`. May
 * raise. */
void quota_hold(lua_State *L, struct port *p, uint64_t participant, int holder);
/* What quota_hold remembers, pushed; nil once the participations are gone. */
void quota_push_holder(lua_State *L, struct port *p, uint64_t participant);
/* The tracker of the object at 1; raises for a closed one. */
struct lethe_quota *quota_check_tracker(lua_State *L, struct port **port);
/* The n largest accounts as a list. */
void quota_push_top(lua_State *L, struct port *p, size_t n);

#endif
