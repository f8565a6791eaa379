/* SPDX-License-Identifier: MIT
 * What a hook can do: with entries, queues, marks and ghost lists. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hooks_internal.h"

static struct hooks *of(const struct lethe_evict *e) {
  return hooks_of(script_of((struct lethe_evict *)e));
}

static struct script_node *node(const struct lethe_evict *e, uint64_t h) {
  return (struct script_node *)lethe_evict_get(e, h);
}

static uint64_t handle(const struct lethe_evict *e, uint32_t slot) {
  return slot ? lethe_evict_handle(e, slot) : 0;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

const struct lethe_evict_request *lethe_evict_hooks_request(const struct lethe_evict *e) {
  return of(e)->request;
}

void lethe_evict_hooks_find(struct lethe_evict *e, uint64_t found) {
  if (of(e)->admitting) of(e)->admitting->found = found;
}

/* The key of a handle, or with 0 of what is asked for. */
static bool key_of(const struct lethe_evict *e, uint64_t h, uint64_t *key) {
  const struct script_node *n = node(e, h);
  const struct lethe_evict_request *r = h ? NULL : of(e)->request;
  if (n) *key = n->node.key;
  if (r) *key = r->key;
  return n || r;
}

/* ---- entries --------------------------------------------------------------------------------- */

int lethe_evict_hooks_info(const struct lethe_evict *e, uint64_t h, struct lethe_evict_info *out) {
  const struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  *out = (struct lethe_evict_info){.key = n->node.key,
                                   .owner = n->node.owner,
                                   .size = n->node.size,
                                   .freq = n->freq,
                                   .cost = n->cost,
                                   .inserted = n->inserted,
                                   .last = n->last,
                                   .mark = n->node.mark != 0,
                                   .refused = n->node.refused != 0};
  return LETHE_OK;
}

int lethe_evict_hooks_mark(struct lethe_evict *e, uint64_t h, bool mark) {
  struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  n->node.mark = mark;
  return LETHE_OK;
}

void lethe_evict_hooks_fault(const struct lethe_evict *e, uint64_t h, char *why, size_t n) {
  uint32_t slot = (uint32_t)h, generation = (uint32_t)(h >> 32);
  bool was =
      slot && slot <= e->high && generation & 1 && generation < lethe_evict_at(e, slot)->generation;
  if (was)
    snprintf(why, n, "stale handle %" PRIu64 ": its entry has left", h);
  else
    snprintf(why, n, "handle %" PRId64 " is none of this cache's", (int64_t)h);
}

/* ---- queues ---------------------------------------------------------------------------------- */

int lethe_evict_hooks_queue(struct lethe_evict *e, const char *name, unsigned *index) {
  struct hooks *p = of(e);
  void *queue = p->queue;
  for (unsigned q = 0; q < p->queues; q++)
    if (strcmp(p->queue[q].name, name) == 0) return (void)(*index = q), LETHE_OK;
  if (p->queues == LETHE_EVICT_HOOK_QUEUES || strlen(name) >= HOOK_NAME) return LETHE_ELIMIT;
  if (lethe_grow(e->alloc, &queue, &p->queue_room, p->queues + 1, sizeof *p->queue) != LETHE_OK)
    return LETHE_ENOMEM;
  p->queue = queue;
  *index = (unsigned)p->queues++;
  p->queue[*index] = (struct hook_queue){.name = ""};
  strcpy(p->queue[*index].name, name);
  return LETHE_OK;
}

static void take_out(struct hooks *p, uint32_t slot) {
  struct script_node *n = script_at(&p->script, slot);
  struct list *l = hooks_list(p, slot);
  if (!l) return;
  if (!n->node.refused) list_unlink(&p->script.evict, l, slot);
  l->len--;
  l->used -= n->node.size;
  n->node.queue = 0;
}

void hooks_place(struct hooks *p, uint32_t slot, unsigned queue, bool front) {
  struct script_node *n = script_at(&p->script, slot);
  struct list *l = &p->queue[queue].list;
  if (front && n->node.queue == queue + 1 && l->head == slot) return;
  take_out(p, slot);
  n->node.queue = (uint8_t)(queue + 1);
  l->len++;
  l->used += n->node.size;
  if (n->node.refused) return; /* I2 */
  if (front)
    list_link_head(&p->script.evict, l, slot);
  else
    list_link_tail(&p->script.evict, l, slot);
}

/* lru has all entries: for whoever kept c, the queues are empty. */
static bool is_out(const struct lethe_evict *e) { return script_is_out(&of(e)->script); }

int lethe_evict_hooks_push_front(struct lethe_evict *e, unsigned q, uint64_t h) {
  if (!node(e, h)) return LETHE_EINVAL;
  if (!is_out(e)) hooks_place(of(e), (uint32_t)h, q, true);
  return LETHE_OK;
}

int lethe_evict_hooks_push_back(struct lethe_evict *e, unsigned q, uint64_t h) {
  if (!node(e, h)) return LETHE_EINVAL;
  if (!is_out(e)) hooks_place(of(e), (uint32_t)h, q, false);
  return LETHE_OK;
}

int lethe_evict_hooks_remove(struct lethe_evict *e, unsigned q, uint64_t h, bool *was) {
  const struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  *was = !is_out(e) && n->node.queue == q + 1;
  if (*was) take_out(of(e), (uint32_t)h);
  return LETHE_OK;
}

int lethe_evict_hooks_has(const struct lethe_evict *e, unsigned q, uint64_t h, bool *has) {
  const struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  *has = !is_out(e) && n->node.queue == q + 1;
  return LETHE_OK;
}

uint64_t lethe_evict_hooks_front(const struct lethe_evict *e, unsigned q) {
  return is_out(e) ? 0 : handle(e, of(e)->queue[q].list.head);
}

uint64_t lethe_evict_hooks_back(const struct lethe_evict *e, unsigned q) {
  return is_out(e) ? 0 : handle(e, of(e)->queue[q].list.tail);
}

static bool is_in(const struct script_node *n, unsigned q) {
  return n->node.queue == q + 1 && !n->node.refused;
}

int lethe_evict_hooks_next(const struct lethe_evict *e, unsigned q, uint64_t h, uint64_t *out) {
  const struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  *out = !is_out(e) && is_in(n, q) ? handle(e, n->node.next) : 0;
  return LETHE_OK;
}

int lethe_evict_hooks_prev(const struct lethe_evict *e, unsigned q, uint64_t h, uint64_t *out) {
  const struct script_node *n = node(e, h);
  if (!n) return LETHE_EINVAL;
  *out = !is_out(e) && is_in(n, q) ? handle(e, n->node.prev) : 0;
  return LETHE_OK;
}

uint32_t lethe_evict_hooks_len(const struct lethe_evict *e, unsigned q) {
  return of(e)->queue[q].list.len;
}

int64_t lethe_evict_hooks_used(const struct lethe_evict *e, unsigned q) {
  return of(e)->queue[q].list.used;
}

uint32_t lethe_evict_hooks_scan(struct lethe_evict *e, unsigned q, uint64_t *hand,
                                uint64_t *victim) {
  const struct list *l = &of(e)->queue[q].list;
  const struct script_node *n = node(e, *hand);
  uint32_t slot = n && is_in(n, q) ? (uint32_t)*hand : l->tail, steps = 0;
  if (is_out(e)) slot = 0;
  for (; slot; steps++) {
    struct lethe_evict_node *at = lethe_evict_at(e, slot);
    if (!at->mark) break;
    at->mark = 0;
    slot = at->prev ? at->prev : l->tail;
  }
  *victim = handle(e, slot);
  *hand = slot ? handle(e, lethe_evict_at(e, slot)->prev) : 0;
  return steps;
}

/* ---- ghosts ---------------------------------------------------------------------------------- */

static void trim(const struct lethe_evict *e, struct hook_ghost *g) {
  uint64_t most = (uint64_t)e->high * LETHE_EVICT_GHOST_FACTOR + LETHE_EVICT_GHOST_LEAST;
  ghost_trim(&g->ghost, (size_t)(g->most < most ? g->most : most), INT64_MAX);
}

static struct hook_ghost *ghost_named(struct hooks *p, const char *name) {
  for (size_t g = 0; g < p->ghosts; g++)
    if (strcmp(p->ghost[g].name, name) == 0) return &p->ghost[g];
  return NULL;
}

/* Room for one more; once there are enough, that of one which nobody has asked for. */
static int new_ghost(struct hooks *p, struct hook_ghost **out) {
  const struct lethe_alloc *a = p->script.evict.alloc;
  void *ghost = p->ghost;
  if (p->ghosts == LETHE_EVICT_HOOK_GHOSTS) {
    size_t g = 0;
    while (g < p->ghosts && !p->ghost[g].heir) g++;
    if (g == p->ghosts) return LETHE_ELIMIT;
    *out = &p->ghost[g];
    ghost_destroy(&(*out)->ghost);
    return LETHE_OK;
  }
  if (lethe_grow(a, &ghost, &p->ghost_room, p->ghosts + 1, sizeof *p->ghost) != LETHE_OK)
    return LETHE_ENOMEM;
  p->ghost = ghost;
  *out = &p->ghost[p->ghosts++];
  return LETHE_OK;
}

int lethe_evict_hooks_ghost(struct lethe_evict *e, const char *name, uint64_t most,
                            unsigned *index) {
  struct hooks *p = of(e);
  struct hook_ghost *g = ghost_named(p, name);
  if (!g) {
    int rc = strlen(name) < HOOK_NAME ? new_ghost(p, &g) : LETHE_ELIMIT;
    if (rc != LETHE_OK) return rc;
    strcpy(g->name, name);
    ghost_init(&g->ghost, e->alloc);
  }
  g->most = most;
  g->heir = false;
  trim(e, g);
  *index = (unsigned)(g - p->ghost);
  return LETHE_OK;
}

int lethe_evict_hooks_ghost_add(struct lethe_evict *e, unsigned g, uint64_t h) {
  const struct script_node *n = node(e, h);
  struct hook_ghost *ghost = &of(e)->ghost[g];
  if (!n) return LETHE_EINVAL;
  (void)ghost_add(&ghost->ghost, n->node.key, n->node.size);
  trim(e, ghost);
  return LETHE_OK;
}

int lethe_evict_hooks_ghost_has(const struct lethe_evict *e, unsigned g, uint64_t h, bool *has) {
  uint64_t key;
  if (!key_of(e, h, &key)) return LETHE_EINVAL;
  *has = ghost_has(&of(e)->ghost[g].ghost, key);
  return LETHE_OK;
}

int lethe_evict_hooks_ghost_remove(struct lethe_evict *e, unsigned g, uint64_t h, bool *was) {
  uint64_t key;
  if (!key_of(e, h, &key)) return LETHE_EINVAL;
  *was = ghost_take(&of(e)->ghost[g].ghost, key);
  return LETHE_OK;
}

int64_t lethe_evict_hooks_ghost_drop(struct lethe_evict *e, unsigned g) {
  struct ghost *ghost = &of(e)->ghost[g].ghost;
  int64_t before = ghost->used;
  if (!ghost->len) return -1;
  ghost_trim(ghost, ghost->len - 1, INT64_MAX);
  return before - ghost->used;
}

size_t lethe_evict_hooks_ghost_len(const struct lethe_evict *e, unsigned g) {
  return of(e)->ghost[g].ghost.len;
}

int64_t lethe_evict_hooks_ghost_used(const struct lethe_evict *e, unsigned g) {
  return of(e)->ghost[g].ghost.used;
}

void hooks_forget(struct hooks *p) {
  for (unsigned g = 0; g < p->ghosts; g++) ghost_trim(&p->ghost[g].ghost, 0, 0);
  p->proposals = 0;
}

void hooks_end(struct hooks *p) {
  const struct lethe_alloc *a = p->script.evict.alloc;
  for (unsigned g = 0; g < p->ghosts; g++) ghost_destroy(&p->ghost[g].ghost);
  lethe_free(a, p->ghost, p->ghost_room * sizeof *p->ghost);
  lethe_free(a, p->queue, p->queue_room * sizeof *p->queue);
}

/* ---- succession ------------------------------------------------------------------------------ */

/* Queues of every name that there was. */
int hooks_prepare(struct script *s, struct script *from) {
  const struct hooks *old = hooks_of(from);
  int rc = LETHE_OK;
  unsigned index;
  for (size_t q = 0; q < old->queues && rc == LETHE_OK; q++)
    rc = lethe_evict_hooks_queue(&s->evict, old->queue[q].name, &index);
  return rc;
}

/* Ghosts of a name go on, also where the new policy has not asked for that list so far; without
 * memory for it they are not remembered. */
static void inherit_ghosts(struct hooks *p, struct hooks *old) {
  for (size_t o = 0; o < old->ghosts; o++) {
    struct hook_ghost *from = &old->ghost[o], *to = ghost_named(p, from->name);
    if (!to) {
      if (!from->ghost.len || p->ghosts == LETHE_EVICT_HOOK_GHOSTS) continue;
      if (new_ghost(p, &to) != LETHE_OK) continue;
      *to = (struct hook_ghost){.most = from->most, .heir = true};
      strcpy(to->name, from->name);
      ghost_init(&to->ghost, p->script.evict.alloc);
    }
    struct ghost ghost = to->ghost;
    to->ghost = from->ghost;
    from->ghost = ghost;
  }
}

/* All of a list behind what a queue has. */
static void append(struct hooks *p, unsigned queue, const struct list *l) {
  struct list *to = &p->queue[queue].list;
  if (l->head) {
    lethe_evict_at(&p->script.evict, l->head)->prev = to->tail;
    *(to->tail ? &lethe_evict_at(&p->script.evict, to->tail)->next : &to->head) = l->head;
    to->tail = l->tail;
  }
  to->len += l->len;
  to->used += l->used;
}

/* The queue of that name; main, where there was no memory for it. */
static unsigned successor(struct hooks *p, const char *name) {
  unsigned index;
  return lethe_evict_hooks_queue(&p->script.evict, name, &index) == LETHE_OK ? index : 0;
}

/* Lists are taken as they are; their nodes learn the new number. */
void hooks_inherit(struct script *s, struct script *from) {
  struct hooks *p = hooks_of(s), *old = hooks_of(from);
  uint8_t number[LETHE_EVICT_HOOK_QUEUES + 1] = {0};
  for (size_t q = 0; q < old->queues && !script_is_out(from); q++) {
    unsigned index = successor(p, old->queue[q].name);
    append(p, index, &old->queue[q].list);
    number[q + 1] = (uint8_t)(index + 1);
  }
  if (script_is_out(from)) {
    append(p, 0, &from->lru);
    number[SCRIPT_LRU] = 1;
  }
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) {
    struct script_node *n = script_at(s, slot);
    if (n->node.generation & 1) n->node.queue = number[n->node.queue];
    n->given = 0;
  }
  inherit_ghosts(p, old);
}

void hooks_emptied(struct script *s) {
  struct hooks *p = hooks_of(s);
  for (size_t q = 0; q < p->queues; q++) p->queue[q].list = (struct list){0};
  p->proposals = 0;
}
