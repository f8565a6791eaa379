/* SPDX-License-Identifier: MIT
 * The slot tables of a vat in a Lua state: what the files lvat_slots*.c share.
 *
 * A Slots object owns a table of slots and, in its user values, the tables that hold or find
 * bodies: Lua values that names stand for. A body whose death must be noted carries a struct
 * slots_body: a presence and a weak collection are such userdata themselves, another value has one
 * in `locals`, which dies with it. Their finalizer is slots_note_body and nothing else. */
#ifndef LETHE_BINDINGS_SLOTS_H
#define LETHE_BINDINGS_SLOTS_H

#include "common.h"
#include "lethe/slots.h"

/* User values of a Slots object. */
enum {
  SLOTS_VALUES = 1, /* slot -> body; weak or not, as the engine has it */
  SLOTS_PRESENCE,   /* the metatable of presences */
  SLOTS_LOCALS,     /* body -> its note, or its slot where nobody notes its death; weak keys */
  SLOTS_NOTE,       /* the metatable of those notes */
  SLOTS_PINS,       /* slot -> body, for whatever holds it */
  SLOTS_INSIDES,    /* what lua/lethe/vat/slots.lua knows of it */
  SLOTS_USERVALUES = SLOTS_INSIDES
};

struct slots_body {
  uint32_t slot, generation;
};

struct slots_port;

/* How deaths come about: the one thing in which engines differ. lvat_slots_engine.c */
struct slots_engine {
  const char *name;
  const char *mode; /* of the table of bodies: "v" where Lua's collector may take them */
  bool sees;        /* it looks at the heap itself, and so can tell who is out of reach */
  /* A finalizer: the collector took that body. */
  void (*gone)(struct slots_port *p, const struct slots_body *body);
  /* collect(self [, slots]) -> callbacks queued; the arguments are at 1 and 2 */
  int (*collect)(lua_State *L, struct slots_port *p);
};
extern const struct slots_engine slots_engine_lua, slots_engine_manual;

struct slots_port {
  struct lethe_slots *table;
  const struct slots_engine *engine;
};

extern const struct lethe_class slots_class;

static inline struct slots_port *slots_check(lua_State *L) {
  return lethe_check(L, 1, &slots_class)->what;
}
/* The name at `arg`; raises for what is none. */
struct lethe_vref slots_checkvref(lua_State *L, int arg);
void slots_pushvref(lua_State *L, const struct slots_port *p, uint32_t slot);
/* Pushes the body of a slot of the Slots object at 1: its type, LUA_TNIL if there is none. */
int slots_pushbody(lua_State *L, uint32_t slot);
/* The slot of the value at `arg` for the Slots object at 1, or 0. */
uint32_t slots_slotof(lua_State *L, int arg);
/* Pushes a metatable for bodies of the Slots object at 1; their deaths are noted if it is
 * watched. */
void slots_newmetatable(lua_State *L, const char *name, bool watched);
/* The slot of the name, or the number of a slot, at `arg`; raises where nothing is known of it. */
uint32_t slots_checkslot(lua_State *L, const struct slots_port *p, int arg);
/* What lua/lethe/vat/slots*.lua call; into the table on top. */
void slots_open_tables(lua_State *L);
void slots_open_boyd(lua_State *L);
void slots_open_look(lua_State *L);

#endif
