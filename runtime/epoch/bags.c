/* SPDX-License-Identifier: MIT
 * Limbo bags: blocks of retired objects, recycled by their record, in queues. */
#include "epoch_internal.h"

enum { SPARES = LETHE_EPOCH_BAGS + 2 };

/* ---- queues --------------------------------------------------------------------------------- */

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

void bags_insert(struct bags *to, struct lethe_epoch_bag *bag) {
  if (!to->last || to->last->stamp <= bag->stamp) {
    bags_push(to, bag);
    return;
  }
  struct lethe_epoch_bag **link = &to->first;
  while ((*link)->stamp <= bag->stamp) link = &(*link)->next;
  bag->next = *link;
  *link = bag;
  to->n++;
}

void bags_merge(struct bags *to, struct bags *from) {
  struct lethe_epoch_bag *bag;
  while ((bag = bags_shift(from)) != NULL) bags_insert(to, bag);
}

/* ---- one bag -------------------------------------------------------------------------------- */

uint32_t bag_left(const struct lethe_epoch_bag *bag) { return bag->n - bag->done + bag->kept; }

static size_t bag_bytes(uint32_t room) {
  return sizeof(struct lethe_epoch_bag) + room * sizeof(struct retired);
}

static void spare(struct lethe_epoch_limbo *l, struct lethe_epoch_bag *bag) {
  bag->next = l->spare;
  l->spare = bag;
  l->spares++;
}

void epoch_bag_free(struct lethe_epoch *m, struct lethe_epoch_bag *bag) {
  lethe_free(m->alloc, bag, bag_bytes(bag->room));
}

void epoch_recycle(struct lethe_epoch *m, struct lethe_epoch_limbo *l,
                   struct lethe_epoch_bag *bag) {
  if (l->spares < SPARES)
    spare(l, bag);
  else
    epoch_bag_free(m, bag);
}

int epoch_reserve(struct lethe_epoch_limbo *l, size_t n) {
  struct lethe_epoch *m = l->rec->manager;
  while (l->spares < n) {
    struct lethe_epoch_bag *bag = lethe_malloc(m->alloc, bag_bytes(m->bag_size));
    if (!bag) return LETHE_ENOMEM;
    bag->room = m->bag_size;
    spare(l, bag);
  }
  return LETHE_OK;
}

static struct lethe_epoch_bag *open_bag(struct lethe_epoch_limbo *l, uint64_t now) {
  if (l->spares == 0 && epoch_reserve(l, 1) != LETHE_OK) return NULL;
  struct lethe_epoch_bag *bag = l->spare;
  l->spare = bag->next;
  l->spares--;
  bag->next = NULL;
  bag->first = bag->last = bag->stamp = now;
  bag->bytes = 0;
  bag->n = bag->done = bag->kept = 0;
  bag->looked_at = bag->foreign = false;
  return l->open = bag;
}

struct lethe_epoch_bag *epoch_room(struct lethe_epoch_limbo *l, uint64_t now) {
  struct lethe_epoch_bag *bag = l->open;
  bool manual = l->rec->manager->mode == LETHE_EPOCH_MANUAL;
  /* In manual mode each object is freed by its own epoch, so a bag ends when the epoch moves. */
  if (bag && (bag->n == bag->room || (manual && bag->stamp != now))) {
    if (epoch_reserve(l, 1) != LETHE_OK) return NULL;
    if (!manual) epoch_fence(l->rec->manager, true);
    epoch_seal(l);
    bag = NULL;
  }
  return bag ? bag : open_bag(l, now);
}

/* ---- sealing -------------------------------------------------------------------------------- */

void epoch_seal(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  struct lethe_epoch_bag *bag = l->open;
  if (!bag) return;
  epoch_note_peak(l);
  l->open = NULL;
  if (m->mode == LETHE_EPOCH_AUTO) {     /* keeps I2 */
    uint64_t now = load_acq(&m->global); /* pairs with the release of whoever advanced */
    bag->stamp = now < bag->last + 1 ? now : bag->last + 1;
  }
  bags_insert(&l->sealed, bag);
}

void epoch_seal_old(struct lethe_epoch_limbo *l, uint64_t bound) {
  struct lethe_epoch_bag *bag = l->open;
  if (!bag) return;
  uint64_t stamp = l->rec->manager->mode == LETHE_EPOCH_AUTO ? bag->last + 1 : bag->stamp;
  if (stamp + 2 <= bound) epoch_seal(l);
}
