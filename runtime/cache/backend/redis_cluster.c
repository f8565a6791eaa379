/* SPDX-License-Identifier: MIT
 * Which node of a cluster has which key. Nothing is asked beforehand: the first node that was named
 * has everything until an answer says MOVED. */
#include <stdlib.h>
#include <string.h>

#include "redis_internal.h"

/* CRC-16 of the XMODEM kind: polynomial 0x1021, from 0, highest bit first. */
static unsigned crc16(const char *bytes, size_t n) {
  unsigned crc = 0;
  for (size_t i = 0; i < n; i++) {
    crc ^= (unsigned)(unsigned char)bytes[i] << 8;
    for (int bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  }
  return crc & 0xffff;
}

/* Where a key has something between its first { and the next }, that alone counts. */
static unsigned slot_of(const char *key, size_t n) {
  const char *open = memchr(key, '{', n);
  if (open) {
    size_t rest = n - (size_t)(open + 1 - key);
    const char *close = memchr(open + 1, '}', rest);
    if (close && close > open + 1) return crc16(open + 1, (size_t)(close - open - 1)) % REDIS_SLOTS;
  }
  return crc16(key, n) % REDIS_SLOTS;
}

struct redis_node *redis_node_of(struct redis *r, const char *key, size_t n) {
  return r->nodes[r->slots ? r->slots[slot_of(key, n)] : 0];
}

static struct redis_node *find_node(struct redis *r, const char *host, size_t length, int port) {
  for (unsigned i = 0; i < r->n_nodes; i++) {
    struct redis_node *node = r->nodes[i];
    if (node->port == port && strlen(node->host) == length && !memcmp(node->host, host, length))
      return node;
  }
  return redis_node_new(r, host, length, port);
}

static bool note_slot(struct redis *r, unsigned long slot, const struct redis_node *node) {
  if (!r->slots) r->slots = lethe_zalloc(r->base.alloc, REDIS_SLOTS);
  if (r->slots && slot < REDIS_SLOTS) r->slots[slot] = (uint8_t)node->index;
  return r->slots != NULL;
}

/* The port stands after the last colon, for there are some in IPv6 addresses. No host means the one
 * that answered. */
struct redis_node *redis_redirect(struct redis_node *from, const char *text, bool *asking) {
  struct redis *r = from->redis;
  bool moved = strncmp(text, "MOVED ", 6) == 0, ask = strncmp(text, "ASK ", 4) == 0;
  char *end;
  if (!moved && !ask) return NULL;
  unsigned long slot = strtoul(text + (moved ? 6 : 4), &end, 10);
  const char *host = end + 1, *colon = *end == ' ' ? strrchr(host, ':') : NULL;
  long port = colon ? strtol(colon + 1, NULL, 10) : 0;
  if (port <= 0 || port > 65535) return NULL;
  size_t length = (size_t)(colon - host);
  if (length == 0) {
    host = from->host;
    length = strlen(host);
  }
  struct redis_node *node = find_node(r, host, length, (int)port);
  if (!node || (moved && !note_slot(r, slot, node))) return NULL;
  *asking = ask;
  return node;
}

bool redis_forget_node(struct redis_node *node) {
  struct redis *r = node->redis;
  for (unsigned i = 0; r->slots && i < REDIS_SLOTS; i++)
    if (r->slots[i] == node->index) r->slots[i] = 0;
  return node->index != 0;
}
