/* SPDX-License-Identifier: MIT
 * lethe.core.inside: what lua/lethe/vat/inside*.lua need of C, opened in a vat's own state alone.
 *
 * Nothing that the vat's code is given may depend on hashes, addresses or the collector. So keys
 * are walked in an order of their own (vat_order.c), lists end where their elements do
 * (vat_length.c), metatables are not Lua's to look at (vat_metatables.c), and what the library does
 * for itself costs the meter a fixed sum: how many instructions it takes may depend on those three
 * (lvat_inside.c). */
#ifndef LETHE_BINDINGS_VAT_INSIDE_H
#define LETHE_BINDINGS_VAT_INSIDE_H

#include "common.h"

/* Parts of the module; each adds to the table on top. */
void vat_open_order(lua_State *L);
void vat_open_length(lua_State *L);
void vat_open_metatables(lua_State *L);

/* Pushes the field `name` of the metatable that the vat's code gave to the table at `index`, and
 * returns its type; LUA_TNIL, and nothing on the stack, if there is none. */
int vat_metafield(lua_State *L, int index, const char *name);

/* Where the list at `index` ends, found by its elements alone: its raw border. */
lua_Integer vat_border(lua_State *L, int index);

/* The methods that strings have from now on: Lua's own, or the ones that the vat's code sees and
 * may change. Cannot fail once keep_strings was called. */
void vat_use_strings(lua_State *L, bool own);

LETHE_EXPORT int luaopen_lethe_core_inside(lua_State *L);

#endif
