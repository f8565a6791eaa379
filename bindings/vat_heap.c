/* SPDX-License-Identifier: MIT
 * The allocator of vats. */
#include "meter.h"
#include "vat_heap.h"

enum {
  ROOM = 1 << 20,      /* garbage that is worth a collection */
  LARGE_STRING = 256,  /* from here on its bytes are charged */
  COPIED_PER_UNIT = 32 /* bytes copied for one instruction */
};

void vat_heap_init(struct vat_heap *h, size_t limit, const struct lethe_alloc *a) {
  *h = (struct vat_heap){.alloc = *a, .limit = limit, .pace = SIZE_MAX};
}

/* After a collection: the next one is due at twice what is left, but there is always room for half
 * of what the limit leaves. */
static void set_pace(struct vat_heap *h) {
  size_t room = h->used < ROOM ? ROOM : h->used;
  if (room > (h->limit - h->used) / 2) room = (h->limit - h->used) / 2;
  h->pace = h->used + room;
}

/* What is left would be collected for all the time. */
static bool is_full(const struct vat_heap *h) { return h->limit - h->used < h->limit / 64; }

static bool is_due(struct vat_heap *h, size_t size) {
  if (!h->started) return false;
  if (h->left && --h->left == 0) {
    h->left = h->every;
    h->collections++;
    return true;
  }
  return !h->resting && h->used + size > h->pace;
}

static void give_up(struct vat_heap *h) {
  h->exhausted = true;
  lethe_meter_spend();
}

/* H2. Lua's collection may come between: it gives back, and makes smaller. */
static bool is_asked_again(struct vat_heap *h, void *p, size_t kind, size_t size) {
  if (!h->refused) return false;
  h->refused = false;
  if (h->request.p == p && h->request.kind == kind && h->request.size == size) return true;
  give_up(h);
  return false;
}

static void *refuse(struct vat_heap *h, void *p, size_t kind, size_t size, bool again) {
  h->starved = false;
  if (again) {
    give_up(h);
  } else {
    h->refused = true;
    h->request.p = p;
    h->request.kind = kind;
    h->request.size = size;
  }
  return NULL;
}

static bool claim(const struct vat_heap *h, size_t n) {
  return !h->account.claim || h->account.claim(h->account.ud, n);
}

static void release(const struct vat_heap *h, size_t n) {
  if (h->account.claim) h->account.release(h->account.ud, n);
}

static void *grow(struct vat_heap *h, void *p, size_t kind, size_t osize, size_t nsize) {
  size_t by = nsize - osize;
  bool is_object = !p && kind, again = is_asked_again(h, p, kind, nsize);
  if (again) {
    set_pace(h);
    if (is_full(h)) return refuse(h, p, kind, nsize, again);
  }
  if (!again && is_object && kind == LUA_TSTRING && nsize >= LARGE_STRING)
    lethe_meter_note((int64_t)(nsize / COPIED_PER_UNIT));                            /* H3 */
  if (!again && is_object && is_due(h, by)) return refuse(h, p, kind, nsize, false); /* H1 */
  if (by > h->limit - h->used || !claim(h, by)) return refuse(h, p, kind, nsize, again);
  void *q = h->alloc.realloc(h->alloc.ud, p, osize, nsize);
  if (!q) {
    release(h, by);
    refuse(h, p, kind, nsize, again);
    h->starved = true;
    return NULL;
  }
  h->used += by;
  return q;
}

void *vat_heap_allocate(void *ud, void *p, size_t osize, size_t nsize) {
  struct vat_heap *h = ud;
  size_t kind = osize;
  if (!p) osize = 0;
  if (nsize > osize) return grow(h, p, kind, osize, nsize);
  if (nsize == 0) {
    lethe_free(&h->alloc, p, osize);
    h->used -= osize;
    release(h, osize);
    return NULL;
  }
  void *q = h->alloc.realloc(h->alloc.ud, p, osize, nsize);
  if (!q) return NULL;
  h->used -= osize - nsize;
  if (osize > nsize) release(h, osize - nsize);
  return q;
}

void vat_heap_account(struct vat_heap *h, const struct vat_account *account) {
  release(h, h->used);
  h->account = account ? *account : (struct vat_account){NULL, NULL, NULL};
}

/* ---- collections ----------------------------------------------------------------------------- */

void vat_heap_start(struct vat_heap *h, lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCSTOP);
  h->started = true;
  set_pace(h);
}

void vat_heap_collect(struct vat_heap *h, lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  set_pace(h);
}

const char *vat_heap_exhausted(const struct vat_heap *h) {
  if (!h->exhausted && !h->refused) return NULL;
  return h->starved ? "not enough memory" : "the vat has no memory left";
}

void vat_heap_plan(struct vat_heap *h, lua_State *L, bool generational, bool resting, uint64_t n) {
  if (generational)
    lua_gc(L, LUA_GCGEN, 0, 0);
  else
    lua_gc(L, LUA_GCINC, 0, 0, 0);
  h->resting = resting;
  h->every = h->left = n;
}
