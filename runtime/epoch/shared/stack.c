/* SPDX-License-Identifier: MIT
 * The stack: a linked list whose top is a counted pointer (S1), so that a node that left and came
 * back is not taken for one that never left. */
#include "shared_internal.h"

struct node {
  struct node *below;
  unsigned char *bytes;
  size_t n;
};

struct lethe_stack {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_epoch *epoch;
  char apart[64];
  _Atomic link_t top;
};

static void node_retired(void *object, void *ud) { lethe_free(ud, object, sizeof(struct node)); }

/* Nothing is read of what is there: no guard is needed, and no ejection strikes. */
int lethe_stack_push(struct lethe_stack *s, struct lethe_epoch_rec *r, const void *value,
                     size_t n) {
  if (lethe_epoch_neutralized(r)) return LETHE_ENEUTRALIZED;
  struct node *node = lethe_zalloc(s->alloc, sizeof *node);
  unsigned char *bytes = bytes_new(s->alloc, value, n);
  if (!node || !bytes) {
    bytes_free(s->alloc, bytes, n);
    lethe_free(s->alloc, node, sizeof *node);
    return LETHE_ENOMEM;
  }
  node->bytes = bytes;
  node->n = n;
  link_t top;
  do {
    top = load_acq(&s->top);
    node->below = link_to(top);
  } while (!link_cas(&s->top, top, node, false));
  return LETHE_OK;
}

/* 1: done; 0: others were first. */
static int pop_once(struct lethe_stack *s, struct lethe_epoch_rec *r, unsigned char **bytes,
                    size_t *n) {
  link_t top = load_acq(&s->top);
  struct node *node = link_to(top);
  if (!node) return LETHE_EEMPTY;
  if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
  *bytes = node->bytes;
  *n = node->n;
  bool done = link_cas(&s->top, top, node->below, false);
  lethe_epoch_read_end(r);
  if (!done) return 0;
  PAUSE(LETHE_PAUSE_STACK_TAKEN);
  lethe_epoch_retire(r, node, node_retired, (void *)s->alloc, 0);
  return 1;
}

int lethe_stack_pop(struct lethe_stack *s, struct lethe_epoch_rec *r, struct lethe_buffer *value) {
  unsigned char *bytes = NULL;
  size_t n = 0;
  int rc = shared_begin(r);
  if (rc) return rc;
  do rc = pop_once(s, r, &bytes, &n);
  while (rc == 0 || (rc == LETHE_ENEUTRALIZED && shared_again(r)));
  shared_end(r);
  if (rc != 1) return rc;
  buffer_take(value, s->alloc, bytes, n);
  return LETHE_OK;
}

int lethe_stack_new(struct lethe_stack **out, const struct lethe_alloc *a, struct lethe_epoch *m) {
  struct lethe_stack *s = lethe_zalloc(a, sizeof *s);
  if (!s) return LETHE_ENOMEM;
  lethe_ref_init(&s->refs);
  s->alloc = a;
  s->epoch = lethe_epoch_get(m);
  *out = s;
  return LETHE_OK;
}

struct lethe_stack *lethe_stack_get_ref(struct lethe_stack *s) {
  lethe_ref_get(&s->refs);
  return s;
}

void lethe_stack_put_ref(struct lethe_stack *s) {
  if (!lethe_ref_put(&s->refs)) return;
  for (struct node *node = link_to(load_rlx(&s->top)), *below; node; node = below) {
    below = node->below;
    bytes_free(s->alloc, node->bytes, node->n);
    lethe_free(s->alloc, node, sizeof *node);
  }
  lethe_epoch_put(s->epoch);
  lethe_free(s->alloc, s, sizeof *s);
}

struct lethe_epoch *lethe_stack_epoch(const struct lethe_stack *s) {
  return s->epoch;
}
