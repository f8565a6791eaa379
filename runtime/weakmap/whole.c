/* SPDX-License-Identifier: MIT
 * Calls on whole maps: copying, splitting, appending, comparing. Two maps are at work with both
 * locks held; what must be put (W2) waits in a list until they are not.
 *
 * An entry whose object is dying may be copied and moved: it is in the object's list, so the death
 * has not finished, and finds it wherever it is then. */
#include "weakmap_internal.h"

static struct entry *after(struct lethe_weakmap *m, const struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  return weak_next(m, &k, true, false);
}

/* An entry of m, which has none for that key, with its object, not tied yet; NULL without
 * memory. */
static struct entry *add(struct lethe_weakmap *m, const struct entry *like) {
  struct lethe_weak_key k;
  struct entry *old, *e;
  weak_key_of(like, &k);
  m->moved = 0;
  if (m->index->put(m, &k, like->object, &e, &old)) return NULL;
  m->count++;
  m->keys = k.kind == LETHE_WEAK_BYTES ? BYTES : NUMBERS;
  return e;
}

static void untie(struct entry *e) {
  weak_object_lock(e->object);
  lethe_list_remove(&e->of_object);
  weak_object_unlock(e->object);
}

/* Puts, and frees, what two maps had to let go of. */
static void let_go(struct lethe_weakmap *m, struct entry *held) {
  for (struct entry *e = held, *next; e; e = next) {
    next = e->next;
    lethe_strong_put(e->object);
    weak_entry_free(m, e);
  }
}

/* ---- copying --------------------------------------------------------------------------------- */

static int copy_entry(struct lethe_weakmap *to, struct entry *from) {
  struct entry *e = add(to, from);
  if (!e) return LETHE_ENOMEM;
  if (!to->options.strong) {
    weak_entry_tie(e, from->object);
  } else if (!lethe_weak_upgrade(from->object)) {
    weak_leave(to, e);
    weak_entry_free(to, e);
  }
  return LETHE_OK;
}

static int copy_from(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                     struct lethe_weakmap *to) {
  if (m->options.atomic != to->options.atomic) return LETHE_EINVAL;
  if (key && !weak_accepts(m, key)) return LETHE_EINVAL;
  int rc = LETHE_OK;
  for (struct entry *e = weak_next(m, key, false, false); e && !rc; e = after(m, e))
    rc = copy_entry(to, e);
  return rc;
}

int lethe_weakmap_copy(struct lethe_weakmap *m, const struct lethe_weakmap_options *o,
                       struct lethe_weakmap **out) {
  struct lethe_weakmap *to;
  int rc = lethe_weakmap_new(&to, m->alloc, o);
  if (rc) return rc;
  weak_lock_two(m, to);
  rc = copy_from(m, NULL, to);
  weak_unlock_two(m, to);
  if (rc)
    lethe_weakmap_put_ref(to);
  else
    *out = to;
  return rc;
}

int lethe_weakmap_split_off(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                            const struct lethe_weakmap_options *o, struct lethe_weakmap **out) {
  struct lethe_weakmap *to;
  struct entry *e, *held = NULL;
  if (!m->options.ordered || o->strong != m->options.strong) return LETHE_EINVAL;
  int rc = lethe_weakmap_new(&to, m->alloc, o);
  if (rc) return rc;
  weak_lock_two(m, to);
  rc = copy_from(m, key, to);
  while (!rc && (e = weak_next(m, key, false, false)) != NULL) {
    weak_leave(m, e);
    if (m->options.strong) {
      e->next = held;
      held = e;
    } else {
      untie(e);
      weak_entry_free(m, e);
    }
  }
  weak_unlock_two(m, to);
  let_go(m, held);
  if (rc)
    lethe_weakmap_put_ref(to);
  else
    *out = to;
  return rc;
}

/* ---- appending ------------------------------------------------------------------------------- */

/* Our entry gets the object of theirs, and theirs, which is in no index any more, ours. */
static void swap_objects(struct entry *ours, struct entry *theirs) {
  struct lethe_counted *c = theirs->object;
  if (!ours->map->options.strong) {
    untie(ours);
    untie(theirs);
    weak_entry_tie(ours, c);
  } else {
    theirs->object = ours->object;
    ours->object = c;
  }
  ours->map->index->retied(ours->map, ours);
}

/* Their entry e comes to m; what is left of it goes to *held, or is freed. */
static int move(struct lethe_weakmap *m, struct lethe_weakmap *other, struct entry *e,
                struct entry **held, bool *news) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  struct entry *ours = weak_find(m, &k), *made = NULL;
  if (ours && !m->options.strong && lethe_weak_expired(ours->object)) {
    weak_leave(m, ours);
    untie(ours);
    *news |= weak_entry_bury(m, ours);
    ours = NULL;
  }
  if (!ours && !(made = add(m, e))) return LETHE_ENOMEM;
  weak_leave(other, e);
  if (ours) {
    swap_objects(ours, e);
  } else if (!m->options.strong) {
    weak_entry_tie(made, e->object);
    untie(e);
  }
  if (ours && m->options.strong) {
    e->next = *held;
    *held = e;
  } else {
    weak_entry_free(other, e);
  }
  return LETHE_OK;
}

int lethe_weakmap_append(struct lethe_weakmap *m, struct lethe_weakmap *other) {
  struct entry *e, *held = NULL;
  bool news = false;
  int rc = LETHE_OK;
  if (m == other || m->options.strong != other->options.strong ||
      m->options.atomic != other->options.atomic)
    return LETHE_EINVAL;
  weak_lock_two(m, other);
  if (m->keys != NO_KEYS && other->count > 0 && m->keys != other->keys) rc = LETHE_EINVAL;
  while (!rc && (e = weak_next(other, NULL, false, false)) != NULL)
    rc = move(m, other, e, &held, &news);
  weak_unlock_two(m, other);
  if (news) weak_notify(m);
  let_go(other, held);
  return rc;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static size_t living(struct lethe_weakmap *m) {
  size_t n = 0;
  for (struct entry *e = weak_next(m, NULL, false, false); e; e = after(m, e))
    n += !lethe_weak_expired(e->object);
  return n;
}

/* As many of each, and those of a all in b: so those of b in a. */
static bool equal(struct lethe_weakmap *a, struct lethe_weakmap *b) {
  size_t n = 0;
  for (struct entry *e = weak_next(a, NULL, false, false); e; e = after(a, e)) {
    struct lethe_weak_key k;
    if (lethe_weak_expired(e->object)) continue;
    weak_key_of(e, &k);
    struct entry *other = weak_find(b, &k);
    if (!other || other->object != e->object) return false;
    n++;
  }
  return living(b) == n;
}

bool lethe_weakmap_equal(struct lethe_weakmap *a, struct lethe_weakmap *b) {
  if (a == b) return true;
  weak_lock_two(a, b);
  bool same = equal(a, b);
  weak_unlock_two(a, b);
  return same;
}
