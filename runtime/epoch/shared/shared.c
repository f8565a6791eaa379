/* SPDX-License-Identifier: MIT
 * What the shared structures have in common: blocks of bytes, buffers, and the pin of a call. */
#include "shared_internal.h"

#include <string.h>

#ifdef LETHE_FAULTS
void (*_Atomic lethe_shared_pause)(int point);
#endif

/* ---- blocks ---------------------------------------------------------------------------------- */

size_t block_size(const struct block *b) { return sizeof *b + b->n; }

struct block *block_new(const struct lethe_alloc *a, const void *p, size_t n) {
  struct block *b = lethe_malloc(a, sizeof *b + n);
  if (!b) return NULL;
  b->alloc = a;
  b->n = n;
  if (n) memcpy(b->bytes, p, n);
  return b;
}

void block_free(struct block *b) {
  if (b) lethe_free(b->alloc, b, block_size(b));
}

void block_retired(void *object, void *ud) {
  (void)ud;
  block_free(object);
}

/* ---- buffers --------------------------------------------------------------------------------- */

int buffer_room(struct lethe_buffer *b, const struct lethe_alloc *a, size_t n) {
  void *p = b->p;
  if (!b->alloc) b->alloc = a;
  int rc = lethe_grow(b->alloc, &p, &b->room, n ? n : 1, 1);
  b->p = p;
  return rc;
}

int buffer_set(struct lethe_buffer *b, const struct lethe_alloc *a, const void *p, size_t n) {
  int rc = buffer_room(b, a, n);
  if (rc) return rc;
  if (n) memcpy(b->p, p, n);
  b->n = n;
  return LETHE_OK;
}

void lethe_buffer_free(struct lethe_buffer *b) {
  if (b->p) lethe_free(b->alloc, b->p, b->room);
  *b = (struct lethe_buffer){0};
}

/* The size is read under one guard; if the buffer has no room for it, the bytes under a second
 * one. */
int block_copy(struct lethe_epoch_rec *r, const struct block *b, const struct lethe_alloc *a,
               struct lethe_buffer *out) {
  for (;;) {
    if (!lethe_epoch_read_begin(r, b)) return LETHE_ENEUTRALIZED;
    size_t n = b->n;
    bool fits = n <= out->room && out->p;
    if (fits && n) memcpy(out->p, b->bytes, n);
    lethe_epoch_read_end(r);
    if (fits) {
      out->n = n;
      return LETHE_OK;
    }
    int rc = buffer_room(out, a, n);
    if (rc) return rc;
  }
}

static size_t room_for(size_t n) { return n ? n : 1; }

unsigned char *bytes_new(const struct lethe_alloc *a, const void *p, size_t n) {
  unsigned char *bytes = lethe_malloc(a, room_for(n));
  if (bytes && n) memcpy(bytes, p, n);
  return bytes;
}

void bytes_free(const struct lethe_alloc *a, unsigned char *bytes, size_t n) {
  lethe_free(a, bytes, room_for(n));
}

void buffer_take(struct lethe_buffer *b, const struct lethe_alloc *a, unsigned char *bytes,
                 size_t n) {
  lethe_buffer_free(b);
  *b = (struct lethe_buffer){a, bytes, n, room_for(n)};
}

/* ---- pins ------------------------------------------------------------------------------------ */

/* Nothing that a call unlinks may be left over for want of a bag. */
int shared_begin(struct lethe_epoch_rec *r) {
  if (lethe_epoch_neutralized(r)) return LETHE_ENEUTRALIZED;
  int rc = lethe_epoch_reserve(r, 8);
  if (rc) return rc;
  lethe_epoch_pin(r);
  return LETHE_OK;
}

/* Within a pin of the caller's, what the call found is not all that is out of date. */
bool shared_again(struct lethe_epoch_rec *r) {
  if (r->nest > 1) return false;
  lethe_epoch_repin(r);
  return lethe_epoch_reserve(r, 8) == LETHE_OK;
}

void shared_end(struct lethe_epoch_rec *r) { lethe_epoch_unpin(r); }
