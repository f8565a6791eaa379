/* SPDX-License-Identifier: MIT
 * Messages: what the bytes of a block are made of, for the two files that write and read them, and
 * for shared maps, which read numbers by themselves. */
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

/* Lua has room for a million values: where a few have none memory is what is wanting. */
static inline void message_need_stack(lua_State *L, int n) {
  if (lua_checkstack(L, n)) return;
  if (n > 100000) luaL_error(L, "too many values");
  lethe_nomemory(L);
}

#endif
