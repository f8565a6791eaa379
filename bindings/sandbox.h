/* SPDX-License-Identifier: MIT
 * A Lua state of its own for text that nobody vouches for: policies in files, and vats.
 *
 * The state has an allocator with a hard cap, and one environment (lethe.sandbox): Lua's library
 * without what reaches the host, with helpers that charge the meter for what they burn. Memory is
 * charged too, where it stands for work that is no instruction: large new blocks (long strings,
 * rehashed tables), and each allocation that the cap refuses, for the collection it costs.
 *
 *   struct lethe_sandbox *sb = lethe_sandbox_new(L, 0, err, sizeof err);
 *   lethe_meter_init(&m, 10000000);
 *   if (lethe_sandbox_load(sb, text, len, "@grab.lua", &m) != LUA_OK) ...a message is on the stack
 *   lua_State *S = lethe_sandbox_state(sb);             the chunk's one result is on top
 *   lua_pushvalue(S, -1); ...arguments...; lethe_meter_pcall(S, nargs, 1, &m);
 *   lethe_sandbox_delete(sb);
 *
 * A sandbox belongs to one thread at a time. Whatever may raise in its state (most of lua.h that
 * allocates) is to be done inside a C function called by lethe_meter_pcall: there is nobody
 * further out to catch it. */
#ifndef LETHE_BINDINGS_SANDBOX_H
#define LETHE_BINDINGS_SANDBOX_H

#include <stddef.h>

#include "common.h"
#include "meter.h"

#define LETHE_SANDBOX_MEMORY ((size_t)64 << 20)

struct lethe_sandbox;

/* A new sandbox. `from` is the state whose package.path and embedded modules it takes over (see
 * lethe_newstate_prepare); nothing of it is kept. `cap` 0 means 64 MiB; below about 128 KiB there
 * is no room for the library. NULL where that fails, with a message in err. Never raises. */
struct lethe_sandbox *lethe_sandbox_new(lua_State *from, size_t cap, char *err, size_t errsize);

/* What a vat wants beside (lvat_state.c): an allocator of its own, which charges the meter by
 * itself; and `more`, which is called with the environment as its argument while the ways out are
 * still there: what it requires keeps them. */
struct lethe_sandbox_options {
  size_t cap;
  const struct lethe_alloc *alloc; /* the sandbox itself comes from it too; NULL: the C library's */
  lua_Alloc allocate;              /* NULL: one that keeps to the cap */
  void *ud;
  lua_CFunction more;
};
struct lethe_sandbox *lethe_sandbox_open(lua_State *from, const struct lethe_sandbox_options *o,
                                         char *err, size_t errsize);

/* Its state; 64 stack slots above what a load leaves are always there. */
lua_State *lethe_sandbox_state(struct lethe_sandbox *sb);

/* Runs `text` as a chunk in the sandbox's environment, under the meter (NULL: without a limit), and
 * leaves its first result, or nil, on the stack; else returns Lua's code and leaves a message.
 * Binary chunks are refused. Of a chunk name that is a path only the file's name is kept. Reading
 * the text is charged as well. Never raises. */
int lethe_sandbox_load(struct lethe_sandbox *sb, const char *text, size_t len,
                       const char *chunkname, struct lethe_meter *m);

/* Bytes that the state holds, by its own allocator. */
size_t lethe_sandbox_bytes(const struct lethe_sandbox *sb);

/* The length of the longest string of such a state that lives, 0 if it has no long one (see
 * sandbox_toll.h); NULL for other states. For the meter. */
const size_t *lethe_sandbox_longest(lua_State *L);

/* Ends the state; no code of the sandbox runs. NULL is ignored. */
void lethe_sandbox_delete(struct lethe_sandbox *sb);

#endif
