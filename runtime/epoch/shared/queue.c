/* SPDX-License-Identifier: MIT
 * The queue: a linked list with a dummy in front; the node behind the dummy holds the next value.
 * Nodes are numbered, so that how many there are is the distance between two of them. */
#include "shared_internal.h"

struct node {
  _Atomic link_t next;
  uint64_t number;
  unsigned char *bytes; /* the value; written before the node is linked */
  size_t n;
};

struct lethe_queue {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_epoch *epoch;
  uint64_t capacity;
  char apart[64]; /* both ends on lines of their own */
  _Atomic link_t head;
  char apart_too[64];
  _Atomic link_t tail;
};

static void node_retired(void *object, void *ud) { lethe_free(ud, object, sizeof(struct node)); }

/* The number of a node, and what follows it. */
static bool look(struct lethe_epoch_rec *r, const struct node *node, uint64_t *number,
                 link_t *next) {
  if (!lethe_epoch_read_begin(r, node)) return false;
  *number = node->number;
  *next = load_acq(&node->next);
  lethe_epoch_read_end(r);
  return true;
}

/* Full only if the head stood still while the tail was read: then it was full at that moment. */
static int is_full(struct lethe_queue *q, struct lethe_epoch_rec *r, uint64_t tail_number) {
  link_t head = load_acq(&q->head), next;
  uint64_t number;
  if (q->capacity == 0) return 0;
  if (!look(r, link_to(head), &number, &next)) return LETHE_ENEUTRALIZED;
  return tail_number - number >= q->capacity && load_acq(&q->head) == head;
}

/* 1: done; 0: others were first. */
static int push_once(struct lethe_queue *q, struct lethe_epoch_rec *r, struct node *made) {
  link_t tail = load_acq(&q->tail), next;
  struct node *last = link_to(tail);
  uint64_t number;
  if (!look(r, last, &number, &next)) return LETHE_ENEUTRALIZED;
  if (link_to(next)) { /* the tail lags: help it on */
    link_cas(&q->tail, tail, link_to(next), false);
    return 0;
  }
  int full = is_full(q, r, number);
  if (full) return full < 0 ? full : LETHE_EFULL;
  made->number = number + 1;
  if (!lethe_epoch_read_begin(r, last)) return LETHE_ENEUTRALIZED;
  bool done = link_cas(&last->next, next, made, false);
  lethe_epoch_read_end(r);
  if (!done) return 0;
  PAUSE(LETHE_PAUSE_QUEUE_LINKED);
  link_cas(&q->tail, tail, made, false);
  return 1;
}

int lethe_queue_push(struct lethe_queue *q, struct lethe_epoch_rec *r, const void *value,
                     size_t n) {
  struct node *node = lethe_zalloc(q->alloc, sizeof *node);
  unsigned char *bytes = bytes_new(q->alloc, value, n);
  int rc = node && bytes ? shared_begin(r) : LETHE_ENOMEM;
  if (rc == LETHE_OK) {
    node->bytes = bytes;
    node->n = n;
    do rc = push_once(q, r, node);
    while (rc == 0 || (rc == LETHE_ENEUTRALIZED && shared_again(r)));
    shared_end(r);
  }
  if (rc == 1) return LETHE_OK;
  bytes_free(q->alloc, bytes, n);
  lethe_free(q->alloc, node, sizeof *node);
  return rc;
}

/* Moves the head to the node behind it, whose value is then this call's alone. 1: done. */
static int pop_once(struct lethe_queue *q, struct lethe_epoch_rec *r, unsigned char **bytes,
                    size_t *n) {
  link_t head = load_acq(&q->head), tail = load_acq(&q->tail), next;
  struct node *dummy = link_to(head);
  uint64_t number;
  if (!look(r, dummy, &number, &next)) return LETHE_ENEUTRALIZED;
  if (load_acq(&q->head) != head) return 0;
  struct node *first = link_to(next);
  if (!first) return LETHE_EEMPTY;
  if (link_to(tail) == dummy) { /* never past the tail */
    link_cas(&q->tail, tail, first, false);
    return 0;
  }
  if (!lethe_epoch_read_begin(r, first)) return LETHE_ENEUTRALIZED;
  *bytes = first->bytes;
  *n = first->n;
  bool done = link_cas(&q->head, head, first, false);
  lethe_epoch_read_end(r);
  if (!done) return 0;
  PAUSE(LETHE_PAUSE_QUEUE_TAKEN);
  lethe_epoch_retire(r, dummy, node_retired, (void *)q->alloc, 0);
  return 1;
}

/* The value may be as large as it likes: it is handed over, not copied under a guard. */
int lethe_queue_pop(struct lethe_queue *q, struct lethe_epoch_rec *r, struct lethe_buffer *value) {
  unsigned char *bytes = NULL;
  size_t n = 0;
  int rc = shared_begin(r);
  if (rc) return rc;
  do {
    rc = pop_once(q, r, &bytes, &n);
    if (rc == 0 && lethe_epoch_reserve(r, 8) != LETHE_OK) rc = LETHE_ENOMEM;
  } while (rc == 0 || (rc == LETHE_ENEUTRALIZED && shared_again(r)));
  shared_end(r);
  if (rc != 1) return rc;
  buffer_take(value, q->alloc, bytes, n);
  return LETHE_OK;
}

int lethe_queue_new(struct lethe_queue **out, const struct lethe_alloc *a, struct lethe_epoch *m,
                    uint64_t capacity) {
  struct lethe_queue *q = lethe_zalloc(a, sizeof *q);
  struct node *dummy = lethe_zalloc(a, sizeof *dummy);
  if (!q || !dummy) {
    lethe_free(a, q, sizeof *q);
    lethe_free(a, dummy, sizeof *dummy);
    return LETHE_ENOMEM;
  }
  lethe_ref_init(&q->refs);
  q->alloc = a;
  q->epoch = lethe_epoch_get(m);
  q->capacity = capacity;
  store_rlx(&q->head, (link_t)(uintptr_t)dummy);
  store_rlx(&q->tail, (link_t)(uintptr_t)dummy);
  *out = q;
  return LETHE_OK;
}

struct lethe_queue *lethe_queue_get_ref(struct lethe_queue *q) {
  lethe_ref_get(&q->refs);
  return q;
}

void lethe_queue_put_ref(struct lethe_queue *q) {
  if (!lethe_ref_put(&q->refs)) return;
  struct node *node = link_to(load_rlx(&q->head)), *next;
  for (bool dummy = true; node; node = next, dummy = false) {
    next = link_to(load_rlx(&node->next));
    if (!dummy)
      bytes_free(q->alloc, node->bytes, node->n); /* the dummy's went to whoever popped it */
    lethe_free(q->alloc, node, sizeof *node);
  }
  lethe_epoch_put(q->epoch);
  lethe_free(q->alloc, q, sizeof *q);
}

struct lethe_epoch *lethe_queue_epoch(const struct lethe_queue *q) {
  return q->epoch;
}
