/* SPDX-License-Identifier: MIT
 * Limbo bags: blocks of retired objects, recycled by their record, in queues. */
#include "epoch_internal.h"

enum { SPARES = LETHE_EPOCH_BAGS + 2 };

void bags_push(struct bags *to, struct lethe_epoch_bag *bag) {
  bag->next = NULL;
  if (to->last)
    to->last->next = bag;
  else
    to->first = bag;
  to->last = bag;
  to->n++;
}

struct lethe_epoch_bag *bags_shift(struct bags *from) {
  struct lethe_epoch_bag *bag = from->first;
  if (!bag) return NULL;
  from->first = bag->next;
  if (!from->first) from->last = NULL;
  from->n--;
  return bag;
}

void bags_move(struct bags *to, struct bags *from) {
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(from)) != NULL) bags_push(to, bag);
}

static size_t bag_bytes(uint32_t room) {
  return sizeof(struct lethe_epoch_bag) + room * sizeof(struct retired);
}

struct lethe_epoch_bag *epoch_bag_fresh(struct lethe_epoch *m) {
  struct lethe_epoch_bag *bag = lethe_malloc(m->alloc, bag_bytes(m->bag_size));
  if (bag) bag->room = m->bag_size;
  return bag;
}

struct lethe_epoch_bag *epoch_bag_new(struct lethe_epoch *m, struct lethe_epoch_limbo *l) {
  struct lethe_epoch_bag *bag = l->spare;
  if (bag) {
    l->spare = bag->next;
    l->spares--;
  } else {
    bag = epoch_bag_fresh(m);
    if (!bag) return NULL;
  }
  bag->next = NULL;
  bag->stamp = 0;
  bag->n = bag->done = bag->kept = 0;
  return bag;
}

void epoch_bag_free(struct lethe_epoch *m, struct lethe_epoch_bag *bag) {
  lethe_free(m->alloc, bag, bag_bytes(bag->room));
}

void epoch_recycle(struct lethe_epoch *m, struct lethe_epoch_limbo *l,
                   struct lethe_epoch_bag *bag) {
  if (l->spares >= SPARES) {
    epoch_bag_free(m, bag);
    return;
  }
  bag->next = l->spare;
  l->spare = bag;
  l->spares++;
}

/* Keeps I2: the fence comes before G is read. A manual bag got its stamp with its first object. */
void epoch_seal(struct lethe_epoch_limbo *l, bool fenced) {
  struct lethe_epoch *m = l->rec->manager;
  struct lethe_epoch_bag *bag = l->open;
  if (!bag) return;
  if (bag->n == 0) {
    epoch_recycle(m, l, bag);
  } else {
    if (m->mode == LETHE_EPOCH_AUTO) {
      if (!fenced) epoch_fence(m);
      bag->stamp = load_acq(&m->global); /* pairs with the release of whoever advanced */
    }
    bags_push(&l->sealed, bag);
  }
  l->open = NULL;
}

/* Auto: two advances after the stamp (I3). Manual: the model's rule, one epoch more careful. */
bool epoch_can_free(const struct lethe_epoch *m, const struct lethe_epoch_bag *bag, uint64_t safe) {
  if (m->mode == LETHE_EPOCH_AUTO) return bag->stamp + 2 <= load_acq(&m->global);
  return bag->stamp + 1 < safe;
}
