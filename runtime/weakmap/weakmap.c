/* SPDX-License-Identifier: MIT
 * The calls on single entries, and what all calls stand on: entries that are tied to objects, and
 * untied. */
#include <string.h>

#include "weakmap_internal.h"

/* ---- entries --------------------------------------------------------------------------------- */

struct entry *weak_entry_new(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                             struct lethe_counted *c) {
  struct entry *e = lethe_malloc(m->alloc, weak_entry_bytes(k));
  if (!e) return NULL;
  *e = (struct entry){.object = c, .map = m, .kind = k->kind};
  lethe_list_init(&e->of_object);
  if (k->kind == LETHE_WEAK_INTEGER) {
    e->key.integer = k->u.integer;
  } else if (k->kind == LETHE_WEAK_FLOAT) {
    e->key.number = k->u.number;
  } else {
    e->n = (uint32_t)k->u.n;
    if (e->n) memcpy(e->key.bytes, k->bytes, e->n);
  }
  return e;
}

void weak_entry_free(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  lethe_free(m->alloc, e, weak_entry_bytes(&k));
}

void weak_entry_tie(struct entry *e, struct lethe_counted *c) {
  e->object = c;
  if (e->map->options.strong) {
    lethe_strong_get(c);
    return;
  }
  weak_object_lock(c);
  lethe_list_push(&c->entries, &e->of_object);
  weak_object_unlock(c);
}

/* The object's memory is there as long as the entry is in its list (W1). */
bool weak_entry_untie(struct lethe_weakmap *m, struct entry *e, struct lethe_counted **object) {
  struct lethe_counted *c = e->object;
  if (m->options.strong) {
    *object = c;
    weak_entry_free(m, e);
    return false;
  }
  bool alive = lethe_weak_upgrade(c);
  *object = alive ? c : NULL;
  weak_object_lock(c);
  lethe_list_remove(&e->of_object);
  weak_object_unlock(c);
  if (!alive) return weak_entry_bury(m, e);
  weak_entry_free(m, e);
  return false;
}

bool weak_entry_bury(struct lethe_weakmap *m, struct entry *e) {
  if (!m->options.keeps_dead) {
    weak_entry_free(m, e);
    return false;
  }
  bool news = !m->dead;
  e->object = NULL;
  e->next = NULL;
  *m->dead_end = e;
  m->dead_end = &e->next;
  m->dead_len++;
  return news && m->options.notify;
}

void weak_leave(struct lethe_weakmap *m, struct entry *e) {
  m->moved = 0;
  m->count--;
  m->index->remove(m, e);
}

/* ---- maps ------------------------------------------------------------------------------------ */

int lethe_weakmap_new(struct lethe_weakmap **out, const struct lethe_alloc *a,
                      const struct lethe_weakmap_options *o) {
  struct lethe_weakmap *m = lethe_zalloc(a, sizeof *m);
  if (!m) return LETHE_ENOMEM;
  m->alloc = a;
  m->options = *o;
  m->index = o->ordered ? &weak_btree : &weak_hash;
  /* Differs from map to map and from run to run: nobody can aim at one bucket. */
  m->quick.seed = weak_mixed((uint64_t)(uintptr_t)m);
  m->dead_end = &m->dead;
  lethe_ref_init(&m->refs);
  lethe_ref_init(&m->holds);
  if (o->atomic && pthread_mutex_init(&m->lock, NULL) != 0) {
    lethe_free(a, m, sizeof *m);
    return LETHE_ENOMEM;
  }
  *out = m;
  return LETHE_OK;
}

struct lethe_weakmap *lethe_weakmap_get_ref(struct lethe_weakmap *m) {
  lethe_ref_get(&m->refs);
  return m;
}

void weak_drop_hold(struct lethe_weakmap *m) {
  if (!lethe_ref_put(&m->holds)) return;
  struct lethe_weak_dead *d;
  while ((d = lethe_weakmap_dead(m)) != NULL) lethe_weak_dead_free(m, d);
  if (m->options.atomic) pthread_mutex_destroy(&m->lock);
  lethe_free(m->alloc, m, sizeof *m);
}

void lethe_weakmap_put_ref(struct lethe_weakmap *m) {
  if (!lethe_ref_put(&m->refs)) return;
  lethe_weakmap_clear(m);
  weak_drop_hold(m);
}

bool lethe_weakmap_is_ordered(const struct lethe_weakmap *m) { return m->options.ordered; }
bool lethe_weakmap_is_strong(const struct lethe_weakmap *m) { return m->options.strong; }
size_t lethe_weakmap_moved(const struct lethe_weakmap *m) { return m->moved; }

size_t lethe_weakmap_len(struct lethe_weakmap *m) {
  weak_lock(m);
  size_t n = m->count;
  weak_unlock(m);
  return n;
}

void weak_lock_two(struct lethe_weakmap *a, struct lethe_weakmap *b) {
  weak_lock(a < b ? a : b);
  if (a != b) weak_lock(a < b ? b : a);
}

void weak_unlock_two(struct lethe_weakmap *a, struct lethe_weakmap *b) {
  weak_unlock(a);
  if (a != b) weak_unlock(b);
}

/* ---- keys ------------------------------------------------------------------------------------ */

bool weak_accepts(const struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  bool bytes = k->kind == LETHE_WEAK_BYTES;
  if (bytes && k->u.n > UINT32_MAX) return false;
  return !weak_key_is_nan(k) && (m->keys == NO_KEYS || (m->keys == BYTES) == bytes);
}

int lethe_weakmap_accepts(struct lethe_weakmap *m, const struct lethe_weak_key *key) {
  weak_lock(m);
  bool accepts = weak_accepts(m, key);
  weak_unlock(m);
  return accepts ? LETHE_OK : LETHE_EINVAL;
}

struct entry *weak_find(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  return weak_may_have(m, k) ? m->index->find(m, k) : NULL;
}

struct entry *weak_next(struct lethe_weakmap *m, const struct lethe_weak_key *k, bool strictly,
                        bool down) {
  if (down && !m->options.ordered) return NULL;
  return (down ? m->index->before : m->index->after)(m, k, strictly);
}

/* ---- the calls ------------------------------------------------------------------------------- */

/* Gives what a call found to its caller, or drops it. */
static void hand_over(struct lethe_counted *c, struct lethe_counted **to) {
  if (to)
    *to = c;
  else if (c)
    lethe_strong_put(c);
}

int lethe_weakmap_insert(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                         struct lethe_counted *c, struct lethe_counted **old) {
  struct lethe_counted *was = NULL;
  struct entry *replaced, *e;
  bool news = false;
  __builtin_prefetch(&c->entries, 1); /* it will be written when its place has been found */
  weak_lock(m);
  m->moved = 0;
  int rc = weak_accepts(m, key) ? m->index->put(m, key, c, &e, &replaced) : LETHE_EINVAL;
  if (rc == LETHE_OK) {
    m->keys = key->kind == LETHE_WEAK_BYTES ? BYTES : NUMBERS;
    weak_entry_tie(e, c);
    if (replaced)
      news = weak_entry_untie(m, replaced, &was);
    else
      m->count++;
  }
  weak_unlock(m);
  if (rc) return rc;
  if (news) weak_notify(m);
  hand_over(was, old);
  return LETHE_OK;
}

static struct lethe_counted *get_atomic(struct lethe_weakmap *m, const struct lethe_weak_key *key) {
  pthread_mutex_lock(&m->lock);
  struct lethe_counted *c = weak_look(m, key);
  if (c && !lethe_weak_upgrade(c)) c = NULL;
  pthread_mutex_unlock(&m->lock);
  return c;
}

struct lethe_counted *lethe_weakmap_get(struct lethe_weakmap *m, const struct lethe_weak_key *key) {
  if (m->options.atomic) return get_atomic(m, key);
  struct lethe_counted *c = weak_look(m, key);
  uint32_t n = c ? load_rlx(&c->strong) : 0;
  if (n == 0) return NULL; /* it is not there, or dying */
  store_rlx(&c->strong, n + 1);
  return c;
}

bool lethe_weakmap_contains(struct lethe_weakmap *m, const struct lethe_weak_key *key) {
  weak_lock(m);
  struct lethe_counted *c = weak_look(m, key);
  bool alive = c && !lethe_weak_expired(c);
  weak_unlock(m);
  return alive;
}

bool lethe_weakmap_remove(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                          struct lethe_counted **old) {
  struct lethe_counted *was = NULL;
  bool news = false;
  weak_lock(m);
  m->moved = 0;
  struct entry *e = weak_find(m, key);
  if (e) {
    weak_leave(m, e);
    news = weak_entry_untie(m, e, &was);
  }
  weak_unlock(m);
  if (news) weak_notify(m);
  bool found = was != NULL;
  hand_over(was, old);
  return found;
}

/* A strong map's references are put when nothing is locked any more: the entries are kept that
 * long. */
void lethe_weakmap_clear(struct lethe_weakmap *m) {
  struct entry *e, *next, *held = NULL;
  weak_lock(m);
  for (e = m->index->drain(m); e; e = next) {
    next = e->next;
    if (!m->options.strong) {
      weak_object_lock(e->object);
      lethe_list_remove(&e->of_object);
      weak_object_unlock(e->object);
      weak_entry_free(m, e);
    } else {
      e->next = held;
      held = e;
    }
  }
  m->count = 0;
  m->keys = NO_KEYS;
  weak_unlock(m);
  for (e = held; e; e = next) {
    next = e->next;
    lethe_strong_put(e->object);
    weak_entry_free(m, e);
  }
}

/* ---- the dead -------------------------------------------------------------------------------- */

/* The handle is the entry. */
static struct entry *entry_of(const struct lethe_weak_dead *d) { return (struct entry *)(void *)d; }

struct lethe_weak_dead *lethe_weakmap_dead(struct lethe_weakmap *m) {
  weak_lock(m);
  struct entry *e = m->dead;
  if (e) {
    m->dead = e->next;
    m->dead_len--;
    if (!m->dead) m->dead_end = &m->dead;
  }
  weak_unlock(m);
  return (struct lethe_weak_dead *)(void *)e;
}

size_t lethe_weakmap_dead_len(struct lethe_weakmap *m) {
  weak_lock(m);
  size_t n = m->dead_len;
  weak_unlock(m);
  return n;
}

void lethe_weak_dead_key(const struct lethe_weak_dead *d, struct lethe_weak_key *key) {
  weak_key_of(entry_of(d), key);
}

void lethe_weak_dead_back(struct lethe_weakmap *m, struct lethe_weak_dead *d) {
  struct entry *e = entry_of(d);
  weak_lock(m);
  e->next = m->dead;
  if (!m->dead) m->dead_end = &e->next;
  m->dead = e;
  m->dead_len++;
  weak_unlock(m);
}

void lethe_weak_dead_free(struct lethe_weakmap *m, struct lethe_weak_dead *d) {
  weak_entry_free(m, entry_of(d));
}

/* ---- of one thread --------------------------------------------------------------------------- */

struct lethe_counted *lethe_weakmap_borrow(struct lethe_weakmap *m,
                                           const struct lethe_weak_key *key) {
  return weak_look(m, key);
}

bool lethe_weakmap_borrow_next(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                               bool strictly, bool down, struct lethe_weak_item *item) {
  struct entry *e = !key || weak_accepts(m, key) ? weak_next(m, key, strictly, down) : NULL;
  if (!e) return false;
  weak_key_of(e, &item->key);
  item->object = e->object;
  return true;
}

/* ---- audit ----------------------------------------------------------------------------------- */

unsigned lethe_weakmap_height(struct lethe_weakmap *m) {
  weak_lock(m);
  unsigned height = m->index->height(m);
  weak_unlock(m);
  return height;
}

bool lethe_weakmap_is_valid(struct lethe_weakmap *m) {
  weak_lock(m);
  bool valid = m->index->is_valid(m);
  weak_unlock(m);
  return valid;
}
