/* SPDX-License-Identifier: MIT
 * The sandbox's library, compiled once: the modules that a process's first sandbox requires are
 * kept as Lua compiles them, for all later ones whose package.path is the same. Compiling them took
 * two thirds of the time that a sandbox takes to make.
 *
 * Only the library is kept, never what runs in a sandbox; and it is there only while a sandbox is
 * built: the searcher that knows it goes with package.searchers.
 *
 *   struct sandbox_library *own = sandbox_library_new();   NULL: one is kept, or there is no memory
 *   sandbox_library_search(L, own);                        ...require...
 *   sandbox_library_keep(own);                             or sandbox_library_drop(own)
 *
 * Synchronization: what is being noted belongs to its thread; what is kept is published once, never
 * changed and never freed. */
#ifndef LETHE_BINDINGS_SANDBOX_LIBRARY_H
#define LETHE_BINDINGS_SANDBOX_LIBRARY_H

#include <lua.h>

struct sandbox_library;

struct sandbox_library *sandbox_library_new(void);
/* Gives `require` a first searcher: it has what is kept, if that was found by the same path; else
 * it asks the others, and notes in `own` what they found. Raises. */
void sandbox_library_search(lua_State *L, struct sandbox_library *own);
/* All that is needed was required. */
void sandbox_library_keep(struct sandbox_library *own);
void sandbox_library_drop(struct sandbox_library *own);

#endif
