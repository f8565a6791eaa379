/* SPDX-License-Identifier: MIT
 * What a sandbox's memory makes dearer. Two operations cost as much as what they look through is
 * large, and no allocation shows it: comparing long strings, which is an instruction that no
 * library sees, and `next`, which skips what a table that was emptied still has room for.
 *
 *   strings  It is known whether a string of 4 KiB or more lives. While one does, the meter
 *            weighs instructions by the time that they take.
 *   next     The library's `next` and `pairs` charge the start of a walk with the largest block
 *            that a table of this state ever had. The walk's steps have paid then: its whole
 *            way is no longer. Of so many walks at once it is known where they are; a step of
 *            any other is a start.
 *
 * Synchronization: none, it is the sandbox's. */
#ifndef LETHE_BINDINGS_SANDBOX_TOLL_H
#define LETHE_BINDINGS_SANDBOX_TOLL_H

#include <stddef.h>
#include <stdint.h>

#include <lua.h>

enum { TOLL_LONG = 4096, TOLL_STRINGS = 32 };

struct sandbox_toll {
  size_t longest; /* bytes of a string that lives, if that is long */
  size_t widest;  /* bytes of a block that may be a table's */
  size_t lost;    /* the longest string that there was no place for */
  unsigned n;
  struct {
    const void *at;
    size_t n;
  } strings[TOLL_STRINGS];
};

/* A block of a string was made; a block that may be one is freed. */
void sandbox_toll_string(struct sandbox_toll *t, const void *at, size_t n);
void sandbox_toll_freed(struct sandbox_toll *t, const void *at);
/* A block that may be a table's. */
static inline void sandbox_toll_block(struct sandbox_toll *t, size_t n) {
  if (n > t->widest) t->widest = n;
}

/* Pushes `next` and `pairs`, which charge by t. */
void sandbox_toll_walks(lua_State *L, const struct sandbox_toll *t);

#endif
