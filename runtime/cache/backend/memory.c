/* SPDX-License-Identifier: MIT
 * Memory as a backend: a chained hash table of copies. Everything happens at once, and is answered
 * in the loop's next turn. */
#include <string.h>

#include "backend_internal.h"

struct item {
  struct item *next;
  uint64_t hash;
  struct lethe_backend_key key; /* its text follows the item */
  void *bytes;
  size_t size;
};

struct memory {
  struct lethe_backend base;
  struct item **table;
  size_t slots, n; /* slots: a power of 2 */
};

static uint64_t hash_of(const struct lethe_backend_key *key) {
  uint64_t h = (uint64_t)key->number;
  if (key->text) {
    h = 1469598103934665603U;
    for (size_t i = 0; i < key->length; i++) h = (h ^ (unsigned char)key->text[i]) * 1099511628211U;
  }
  h = (h ^ (h >> 31)) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ (h >> 32);
}

static bool same(const struct lethe_backend_key *a, const struct lethe_backend_key *b) {
  if (!a->text || !b->text) return a->text == b->text && a->number == b->number;
  return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

static struct item *find(const struct memory *m, const struct lethe_backend_key *key) {
  uint64_t h = hash_of(key);
  struct item *i = m->slots ? m->table[h & (m->slots - 1)] : NULL;
  while (i && !(i->hash == h && same(&i->key, key))) i = i->next;
  return i;
}

static bool grow(struct memory *m) {
  size_t slots = m->slots ? m->slots * 2 : 64;
  if (m->n < m->slots) return true;
  struct item **table = lethe_zalloc(m->base.alloc, slots * sizeof(struct item *));
  if (!table) return false;
  for (size_t s = 0; s < m->slots; s++) {
    for (struct item *i = m->table[s], *next; i; i = next) {
      next = i->next;
      i->next = table[i->hash & (slots - 1)];
      table[i->hash & (slots - 1)] = i;
    }
  }
  lethe_free(m->base.alloc, m->table, m->slots * sizeof(struct item *));
  m->table = table;
  m->slots = slots;
  return true;
}

static size_t item_bytes(const struct lethe_backend_key *key) {
  return sizeof(struct item) + (key->text ? key->length : 0);
}

static struct item *insert(struct memory *m, const struct lethe_backend_key *key) {
  if (!grow(m)) return NULL;
  struct item *i = lethe_zalloc(m->base.alloc, item_bytes(key));
  if (!i) return NULL;
  i->key = *key;
  i->hash = hash_of(key);
  if (key->text) i->key.text = memcpy(i + 1, key->text, key->length);
  i->next = m->table[i->hash & (m->slots - 1)];
  m->table[i->hash & (m->slots - 1)] = i;
  m->n++;
  return i;
}

/* The old bytes stay where there is no memory for new ones. */
static int store(struct memory *m, const struct lethe_backend_op *op) {
  const struct lethe_alloc *a = m->base.alloc;
  void *copy = lethe_malloc(a, op->size ? op->size : 1);
  struct item *i = copy ? find(m, &op->key) : NULL;
  if (copy && !i) i = insert(m, &op->key);
  if (!i) {
    lethe_free(a, copy, op->size ? op->size : 1);
    return LETHE_ENOMEM;
  }
  if (op->size) memcpy(copy, op->data, op->size);
  lethe_free(a, i->bytes, i->size ? i->size : 1);
  i->bytes = copy;
  i->size = op->size;
  return LETHE_OK;
}

static void start(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct memory *m = (struct memory *)b;
  const struct item *i;
  switch (op->kind) {
  case LETHE_BACKEND_LOAD:
    i = find(m, &op->key);
    if (i)
      lethe_op_value(op, i->bytes, i->size);
    else
      op->rc = LETHE_ENOTFOUND;
    break;
  case LETHE_BACKEND_FLUSH:
    if (store(m, op) != LETHE_OK)
      lethe_op_wrong(op, LETHE_ENOMEM, "%s", lethe_strerror(LETHE_ENOMEM));
    break;
  case LETHE_BACKEND_BARRIER:
    break;
  }
  lethe_op_end(op);
}

const void *lethe_memory_peek(struct lethe_backend *b, const struct lethe_backend_key *key,
                              size_t *size) {
  const struct item *i = find((struct memory *)b, key);
  if (i) *size = i->size;
  return i ? i->bytes : NULL;
}

static void free_memory(struct lethe_backend *b) {
  struct memory *m = (struct memory *)b;
  const struct lethe_alloc *a = m->base.alloc;
  for (size_t s = 0; s < m->slots; s++) {
    for (struct item *i = m->table[s], *next; i; i = next) {
      next = i->next;
      lethe_free(a, i->bytes, i->size ? i->size : 1);
      lethe_free(a, i, item_bytes(&i->key));
    }
  }
  lethe_free(a, m->table, m->slots * sizeof(struct item *));
  lethe_free(a, m, sizeof *m);
}

static const struct lethe_backend_class memory_class = {.start = start, .free = free_memory};

int lethe_memory_new(struct lethe_backend **out, const struct lethe_alloc *a) {
  struct memory *m = lethe_zalloc(a, sizeof *m);
  if (!m) return LETHE_ENOMEM;
  lethe_backend_init(&m->base, &memory_class, a);
  *out = &m->base;
  return LETHE_OK;
}
