/* SPDX-License-Identifier: MIT
 * The death of a counted object: its entries leave all maps, then it ends.
 *
 * Locks are taken map first, object second (W1). A death knows the object and looks for the map, so
 * it takes the object's lock alone to see which map comes first, holds that map's memory (W4), lets
 * go, and takes both in their order; what it saw may be gone by then. */
#include "lethe/backoff.h"

#include "weakmap_internal.h"

/* A few instructions long: nobody sleeps with it. */
void weak_object_wait(struct lethe_counted *c) {
  struct lethe_backoff wait = {0};
  /* Acquire: pairs with the release in weak_object_unlock. */
  while (atomic_exchange_explicit(&c->locked, 1, memory_order_acquire)) lethe_backoff(&wait);
}

/* The map of the first entry, held; NULL when there are none. */
static struct lethe_weakmap *first_map(struct lethe_counted *c) {
  struct lethe_weakmap *m = NULL;
  weak_object_lock(c);
  if (!lethe_list_empty(&c->entries)) {
    m = lethe_container_of(c->entries.next, struct entry, of_object)->map;
    lethe_ref_get(&m->holds);
  }
  weak_object_unlock(c);
  return m;
}

/* The object's first entry of the map, out of its list; NULL when there is none any more. */
static struct entry *take_entry(struct lethe_counted *c, const struct lethe_weakmap *m) {
  struct entry *found = NULL;
  weak_object_lock(c);
  for (struct lethe_list *node = c->entries.next; node != &c->entries && !found;
       node = node->next) {
    struct entry *e = lethe_container_of(node, struct entry, of_object);
    if (e->map == m) found = e;
  }
  if (found) lethe_list_remove(&found->of_object);
  weak_object_unlock(c);
  return found;
}

/* Whether somebody is to hear of it. */
static bool leave(struct lethe_counted *c, struct lethe_weakmap *m) {
  struct entry *e;
  bool news = false;
  weak_lock(m);
  while ((e = take_entry(c, m)) != NULL) {
    m->moved = 0;
    m->count--;
    m->index->remove(m, e);
    news |= weak_entry_bury(m, e);
  }
  weak_unlock(m);
  return news;
}

void lethe_counted_died(struct lethe_counted *c) {
  struct lethe_weakmap *m;
  while ((m = first_map(c)) != NULL) {
    if (leave(c, m)) weak_notify(m);
    weak_drop_hold(m);
  }
  if (c->class->end) c->class->end(c);
  lethe_weak_put(c);
}
