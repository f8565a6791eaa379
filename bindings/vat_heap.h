/* SPDX-License-Identifier: MIT
 * The memory of a vat's Lua state: a limit that no pcall sees, and collections at moments that are
 * ours.
 *
 * Lua's own collector stands still in a vat: it would run finalizers in the midst of the vat's
 * code, and where that code stands deep in its stack they fail, and what they had to note is lost.
 * Instead the allocator refuses an object once in a while. Lua then collects everything, without
 * finalizers, and asks again. So notes of deaths come between cranks alone, from full collections
 * (bringOutYourDead).
 *
 *   vat_heap_init(&heap, limit, &lethe_alloc_libc);
 *   lua_State *L = lua_newstate(vat_heap_allocate, &heap);   ...the state is made...
 *   vat_heap_start(&heap, L);                                 from here on it collects by itself
 *   ...a call...  if (vat_heap_exhausted(&heap)) ...it ran out of memory, whatever else it says
 *
 * H1  only requests for objects are refused to make Lua collect: it asks for those again, while for
 *     the buffers of its library functions it raises at once
 * H2  a request that was refused for want of room must be the next one, and be granted, or the vat
 *     has run out of memory for good; then its meter is spent, and nothing more of its code runs
 * H3  what is charged to the meter (long strings) is charged once, however often Lua asks */
#ifndef LETHE_BINDINGS_VAT_HEAP_H
#define LETHE_BINDINGS_VAT_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "lethe/base.h"

/* Whose memory it is, if anybody's: what the heap grows by is claimed, what it shrinks by released.
 * Both may be called at any moment, and call no Lua. */
struct vat_account {
  bool (*claim)(void *ud, size_t n);
  void (*release)(void *ud, size_t n);
  void *ud;
};

struct vat_heap {
  struct lethe_alloc alloc;
  struct vat_account account; /* claim NULL: nobody's */
  size_t used, limit;         /* bytes */
  size_t pace;                /* past which Lua is made to collect */
  bool started;
  bool resting; /* it collects where it must, only */
  bool exhausted;
  bool starved; /* what was refused last the machine has not got */

  bool refused; /* the request below, and Lua has not asked for it again */
  struct {
    void *p;
    size_t kind, size;
  } request;

  uint64_t every;       /* collect each time that so many objects were made; 0: do not */
  uint64_t left;        /* objects until then */
  uint64_t collections; /* that were made for that */
};

void vat_heap_init(struct vat_heap *h, size_t limit, const struct lethe_alloc *a);
/* A lua_Alloc; `ud` is the heap. */
void *vat_heap_allocate(void *ud, void *p, size_t osize, size_t nsize);
/* The state is made: from now on its collector rests, and the heap makes it collect. */
void vat_heap_start(struct vat_heap *h, lua_State *L);
/* A full collection with finalizers, between calls. */
void vat_heap_collect(struct vat_heap *h, lua_State *L);
/* From now on it is that account's, which has granted the bytes that are used; NULL: nobody's, and
 * what it uses is released. */
void vat_heap_account(struct vat_heap *h, const struct vat_account *account);
/* Whether a request failed for good, or was not asked again; and why, else NULL. */
const char *vat_heap_exhausted(const struct vat_heap *h);
/* A collection at every n-th object from now on, in Lua's generational mode or the other; 0: as it
 * sees fit, or where it must (`resting`). */
void vat_heap_plan(struct vat_heap *h, lua_State *L, bool generational, bool resting, uint64_t n);

#endif
