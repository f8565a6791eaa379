/* SPDX-License-Identifier: MIT
 * The peers of the epoch manager for its bench: liburcu (memb, bp, qsbr) and Concurrency Kit,
 * each where its headers are there. For each: an empty section n times; and n times "pin,
 * allocate, swap into a shared slot, retire what was there, unpin". */
#ifndef SPEC_BENCH_EPOCH_PEERS_H
#define SPEC_BENCH_EPOCH_PEERS_H

#include <stdatomic.h>
#include <stdlib.h>

#if __has_include(<urcu/urcu-memb.h>) && __has_include(<urcu/urcu-bp.h>) && \
    __has_include(<urcu/urcu-qsbr.h>)
#define HAVE_URCU 1
#define _LGPL_SOURCE /* inline read sides */
#include <urcu/urcu-bp.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>
/* Their header declares these for the flavour that comes first. */
void urcu_memb_call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));
void urcu_bp_call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));
void urcu_qsbr_call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));
void urcu_memb_barrier(void);
void urcu_bp_barrier(void);
void urcu_qsbr_barrier(void);
int urcu_memb_defer_register_thread(void);
void urcu_memb_defer_unregister_thread(void);
void urcu_memb_defer_rcu(void (*fn)(void *p), void *p);
void urcu_memb_defer_barrier(void);
#else
#define HAVE_URCU 0
#endif

#if __has_include(<ck_epoch.h>)
#define HAVE_CK 1
#include <ck_epoch.h>
#else
#define HAVE_CK 0
#endif

enum { NODE = 64, SLOTS = 64 };

/* What is retired; the links of those that need some lie in it. */
struct node {
  union {
    char bytes[NODE];
#if HAVE_URCU
    struct rcu_head urcu;
#endif
#if HAVE_CK
    ck_epoch_entry_t ck;
#endif
  } u;
};

/* A thread's part of a run: n operations on so many slots, and how many objects are retired and
 * not freed is looked at now and then if `freed` is there. */
struct part {
  long n;
  unsigned slots, at;
  _Atomic bool *stop; /* or until then */
  _Atomic long *retired;
};

static _Atomic(struct node *) slots[SLOTS];
static _Atomic long freed_nodes; /* counted where a run wants it */
static _Atomic bool count_freed;

static inline void free_node(void *node, void *ud) {
  (void)ud;
  if (atomic_load_explicit(&count_freed, memory_order_relaxed))
    atomic_fetch_add_explicit(&freed_nodes, 1, memory_order_relaxed);
  free(node);
}

static inline struct node *swap_in(struct part *p) {
  struct node *made = malloc(sizeof *made);
  if (!made) abort();
  made->u.bytes[0] = 1;
  unsigned slot = p->slots == 1 ? 0 : (p->at += 7) % p->slots;
  return atomic_exchange_explicit(&slots[slot], made, memory_order_acq_rel);
}

static inline bool goes_on(struct part *p, long i) {
  if (!p->stop) return i < p->n;
  if (i % 256) return true;
  atomic_store_explicit(p->retired, i, memory_order_relaxed);
  return !atomic_load_explicit(p->stop, memory_order_relaxed);
}

struct peer {
  const char *name;
  void (*enter)(void), (*leave)(void); /* in each thread */
  void (*empty)(long n);               /* sections with nothing in them */
  void (*swap)(struct part *p);        /* the operation above */
  void (*pin)(void), (*unpin)(void);   /* for a reader that stalls */
  void (*drain)(void);                 /* by each thread: all it retired is freed */
};

#define EMPTY(name, pin, unpin)                                \
  static __attribute__((noinline)) void name##_empty(long n) { \
    for (long i = 0; i < n; i++) {                             \
      pin;                                                     \
      atomic_signal_fence(memory_order_seq_cst);               \
      unpin;                                                   \
    }                                                          \
  }
#define SWAP(name, pin, retire, unpin, now_and_then)                  \
  static __attribute__((noinline)) void name##_swap(struct part *p) { \
    for (long i = 0; goes_on(p, i); i++) {                            \
      pin;                                                            \
      struct node *old = swap_in(p);                                  \
      if (old) retire;                                                \
      unpin;                                                          \
      if (i % 64 == 0) now_and_then;                                  \
    }                                                                 \
  }
#define STALL(name, pin, unpin)         \
  static void name##_pin(void) { pin; } \
  static void name##_unpin(void) { unpin; }
#define PEER(name, text)                                                                   \
  {                                                                                        \
    text, name##_enter, name##_leave, name##_empty, name##_swap, name##_pin, name##_unpin, \
        name##_drain                                                                       \
  }

static inline void nothing(void) {}

#if HAVE_URCU
static void free_urcu(struct rcu_head *head) { free_node(head, NULL); }

static void memb_enter(void) { urcu_memb_register_thread(); }
static void memb_leave(void) { urcu_memb_unregister_thread(); }
static void memb_drain(void) { urcu_memb_barrier(); }
EMPTY(memb, urcu_memb_read_lock(), urcu_memb_read_unlock())
SWAP(memb, urcu_memb_read_lock(), urcu_memb_call_rcu(&old->u.urcu, free_urcu),
     urcu_memb_read_unlock(), nothing())
STALL(memb, urcu_memb_read_lock(), urcu_memb_read_unlock())

static void free_deferred(void *p) { free_node(p, NULL); }
static void defer_enter(void) {
  urcu_memb_register_thread();
  urcu_memb_defer_register_thread();
}
static void defer_leave(void) {
  urcu_memb_defer_unregister_thread();
  urcu_memb_unregister_thread();
}
static void defer_drain(void) { urcu_memb_defer_barrier(); }
EMPTY(defer, urcu_memb_read_lock(), urcu_memb_read_unlock())
/* Not within a section: it may wait for one to end. */
SWAP(defer, urcu_memb_read_lock(), (void)old, urcu_memb_read_unlock();
     if (old) urcu_memb_defer_rcu(free_deferred, old), nothing())
STALL(defer, urcu_memb_read_lock(), urcu_memb_read_unlock())

static void bp_enter(void) { urcu_bp_register_thread(); }
static void bp_leave(void) { urcu_bp_unregister_thread(); }
static void bp_drain(void) { urcu_bp_barrier(); }
EMPTY(bp, urcu_bp_read_lock(), urcu_bp_read_unlock())
SWAP(bp, urcu_bp_read_lock(), urcu_bp_call_rcu(&old->u.urcu, free_urcu), urcu_bp_read_unlock(),
     nothing())
STALL(bp, urcu_bp_read_lock(), urcu_bp_read_unlock())

static void qsbr_enter(void) { urcu_qsbr_register_thread(); }
static void qsbr_leave(void) { urcu_qsbr_unregister_thread(); }
static void qsbr_drain(void) { urcu_qsbr_barrier(); }
EMPTY(qsbr, urcu_qsbr_read_lock(), urcu_qsbr_read_unlock(); urcu_qsbr_quiescent_state())
SWAP(qsbr, urcu_qsbr_read_lock(), urcu_qsbr_call_rcu(&old->u.urcu, free_urcu),
     urcu_qsbr_read_unlock(), urcu_qsbr_quiescent_state())
STALL(qsbr, urcu_qsbr_read_lock(), urcu_qsbr_read_unlock())
#endif

#if HAVE_CK
static ck_epoch_t ck_epoch_of_all;
static _Thread_local ck_epoch_record_t *ck_record;
static void free_ck(ck_epoch_entry_t *entry) { free_node(entry, NULL); }

static void ck_enter(void) {
  ck_record = ck_epoch_recycle(&ck_epoch_of_all, NULL);
  if (ck_record) return;
  void *memory = NULL;
  if (posix_memalign(&memory, 64, sizeof *ck_record) != 0) abort();
  ck_record = memory; /* it stays with the epoch */
  ck_epoch_register(&ck_epoch_of_all, ck_record, NULL);
}
static void ck_drain(void) { ck_epoch_barrier(ck_record); }
static void ck_leave(void) { ck_epoch_unregister(ck_record); }
EMPTY(ck, ck_epoch_begin(ck_record, NULL), ck_epoch_end(ck_record, NULL))
SWAP(ck, ck_epoch_begin(ck_record, NULL), ck_epoch_call(ck_record, &old->u.ck, free_ck),
     ck_epoch_end(ck_record, NULL), ck_epoch_poll(ck_record))
STALL(ck, ck_epoch_begin(ck_record, NULL), ck_epoch_end(ck_record, NULL))
#endif

#endif
