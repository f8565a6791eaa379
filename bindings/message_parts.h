/* SPDX-License-Identifier: MIT
 * Messages: what the bytes of a block are made of, and what the files that write and read them
 * share; shared maps read numbers by themselves. */
#ifndef LETHE_BINDINGS_MESSAGE_PARTS_H
#define LETHE_BINDINGS_MESSAGE_PARTS_H

#include "message.h"

/* Each value begins with one: of an INTEGER or FLOAT the number follows, of a STRING length and
 * bytes, of a TABLE or OBJECT its number. END closes a table's contents. */
enum tag { NIL, FALSE, TRUE, INTEGER, FLOAT, STRING, TABLE, OBJECT, END };

/* How a table is made, in the last of the bytes. */
struct shape {
  int32_t array, hash;
};

/* Packing goes over values at the bottom of a stack of its own. Above them a table numbers what is
 * met: numbers[table] = 1.. and numbers[-number] = table; objects are numbered on their own. A
 * table has a larger number than the first table in which it was met. */
struct message_walk {
  lua_State *L;
  int values, value; /* how many, and which one is being packed */
  const char *what;  /* they are called */
};
static inline int message_numbers(const struct message_walk *w) { return w->values + 1; }

/* Raises: the value on top, of the table of that number at the key at `key`, or (0, 0) one of the
 * values, cannot go; the key at `key` of the table cannot. */
_Noreturn void message_refuse_value(struct message_walk *w, uint32_t table, int key);
_Noreturn void message_refuse_key(struct message_walk *w, uint32_t table, int key);

/* Lua has room for a million values: where a few have none memory is what is wanting. */
static inline void message_need_stack(lua_State *L, int n) {
  if (lua_checkstack(L, n)) return;
  if (n > 100000) luaL_error(L, "too many values");
  lethe_nomemory(L);
}

#endif
