/* SPDX-License-Identifier: MIT
 * What the files of the epoch binding give each other. */
#ifndef LETHE_BINDINGS_EPOCH_PARTS_H
#define LETHE_BINDINGS_EPOCH_PARTS_H

#include "epoch.h"

extern const struct lethe_class epoch_manager_class, epoch_handle_class, epoch_guard_class;

/* Registry tables: owners[section] = the coroutine that pinned last, weak; held[section] = the same
 * where it is held; guards[section] = its first Guard; managers[m] = the Manager, weak. */
extern char epoch_key_owners, epoch_key_held, epoch_key_guards, epoch_key_managers;

/* Each adds what it has to the module's table on top. */
void epoch_open_port(lua_State *L);
void epoch_open_handle(lua_State *L);
void epoch_open_guard(lua_State *L); /* after the handle */
void epoch_open_retired(lua_State *L);

/* L is about to pin on the section, which is free: it is held from now on. May raise. */
void epoch_hold(lua_State *L, struct epoch_section *s);
/* The section of L if it is pinned, else NULL. */
struct epoch_section *epoch_pinned(lua_State *L, struct epoch_port *p);
/* Ends pins of a section down to `depth`; false: they had been neutralized. */
bool epoch_unwind(struct epoch_section *s, uint32_t depth);
void epoch_section_put(struct epoch_section *s);
/* Calls fn for each record of the port: the thread's and those aside. */
void epoch_each_record(struct epoch_port *p, void (*fn)(struct lethe_epoch_rec *r, void *ud),
                       void *ud);

enum { EPOCH_CACHED = 4 }; /* levels whose Guards are user values of the Handle */

bool epoch_is_callable(lua_State *L, int i);
/* The arguments of retire, (self, value, destructor | nil [, bytes]): the bytes. Between this and
 * epoch_retire_at, which pushes its result, no finalizer may run. */
size_t epoch_check_retired(lua_State *L);
int epoch_retire_at(lua_State *L, struct epoch_section *s, size_t bytes);
/* Retires the value at stack index 2 with the destructor at 3 (nil: none) on the section. May raise
 * before anything is retired. */
void epoch_retire_value(lua_State *L, struct epoch_section *s, size_t bytes);

/* Limbo bytes under an account. A charge is also the manager's allocator: it goes when the manager
 * has freed the last of its memory. */
struct epoch_charge;
struct epoch_charge *epoch_charge_new(lua_State *L, int account, int *rc);
void epoch_charge_bytes(void *charge, int64_t by);
const struct lethe_alloc *epoch_charge_alloc(struct epoch_charge *c);
/* Of a charge whose manager was not made. */
void epoch_charge_delete(struct epoch_charge *c);

#endif
