/* SPDX-License-Identifier: MIT
 * Counted pointers (S1), value blocks and the pins that the shared structures have in common. */
#ifndef LETHE_SHARED_INTERNAL_H
#define LETHE_SHARED_INTERNAL_H

#include "lethe/shared.h"

/* 48 bits of address, of which the lowest is a mark, and 16 of counter. */
typedef uint64_t link_t;
#define LINK_ADDRESS (((link_t)1 << 48) - 1)
#define LINK_MARK ((link_t)1)

static inline void *link_to(link_t l) { return (void *)(uintptr_t)(l & LINK_ADDRESS & ~LINK_MARK); }
static inline bool link_marked(link_t l) { return l & LINK_MARK; }
/* What follows `old` in its field. */
static inline link_t link_next(link_t old, const void *p, bool mark) {
  return ((old >> 48) + 1) << 48 | (link_t)(uintptr_t)p | (mark ? LINK_MARK : 0);
}
static inline bool link_cas(_Atomic link_t *field, link_t old, const void *p, bool mark) {
  return atomic_compare_exchange_strong_explicit(field, &old, link_next(old, p, mark),
                                                 memory_order_acq_rel, memory_order_acquire);
}

/* An immutable value. */
struct block {
  const struct lethe_alloc *alloc;
  size_t n;
  unsigned char bytes[];
};
struct block *block_new(const struct lethe_alloc *a, const void *p, size_t n);
void block_free(struct block *b);
/* For lethe_epoch_retire. */
void block_retired(void *object, void *ud);
size_t block_size(const struct block *b);

/* Room for n bytes; LETHE_ENOMEM. */
int buffer_room(struct lethe_buffer *b, const struct lethe_alloc *a, size_t n);
int buffer_set(struct lethe_buffer *b, const struct lethe_alloc *a, const void *p, size_t n);
/* Copies a block that may be freed any moment, by guarded reads. LETHE_ENEUTRALIZED: begin anew. */
int block_copy(struct lethe_epoch_rec *r, const struct block *b, const struct lethe_alloc *a,
               struct lethe_buffer *out);

/* Bytes that are handed over whole: made of a copy, freed, or made the memory of a buffer. */
unsigned char *bytes_new(const struct lethe_alloc *a, const void *p, size_t n);
void bytes_free(const struct lethe_alloc *a, unsigned char *bytes, size_t n);
void buffer_take(struct lethe_buffer *b, const struct lethe_alloc *a, unsigned char *bytes,
                 size_t n);

/* Pins, and makes sure that the call can retire what it unlinks. */
int shared_begin(struct lethe_epoch_rec *r);
/* An ejection struck: true if the call may begin anew (the pin was its own), and it is pinned
 * afresh. */
bool shared_again(struct lethe_epoch_rec *r);
void shared_end(struct lethe_epoch_rec *r);

#ifdef LETHE_FAULTS
#define PAUSE(point)                                    \
  do {                                                  \
    void (*pause)(int) = load_acq(&lethe_shared_pause); \
    if (pause) pause(point);                            \
  } while (0)
#else
#define PAUSE(point) ((void)0)
#endif

#endif
