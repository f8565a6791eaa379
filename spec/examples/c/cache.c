/* SPDX-License-Identifier: MIT
 * A cache of four pages over a store that takes its time: however many ask for a page, it is loaded
 * once, and what was changed is written before it leaves.
 *
 *   cc cache.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <stdio.h>
#include <string.h>

#include "lethe/cache.h"
#include "lethe/evict.h"

enum { PAGES = 4, KEYS = 8, READERS = 20 };

/* ---- the store: 10 ms a call, one after the other -------------------------------------------- */

struct store {
  struct lethe_cache_backend backend; /* first of all: what the cache knows of it */
  struct lethe_timer timer;
  struct lethe_cache_call *calls[KEYS]; /* a key has one call under way at most */
  unsigned first, last;
  int loads, writes;
  char pages[KEYS][16];
};

static void answer(struct lethe_timer *t);

static void begin(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  struct store *s = lethe_container_of(b, struct store, backend);
  s->calls[s->last++ % KEYS] = call;
  if (s->last - s->first == 1)
    lethe_timer_start(lethe_cache_loop(call->cache), &s->timer, 0.01, 0, answer);
}

static void answer(struct lethe_timer *t) {
  struct store *s = lethe_container_of(t, struct store, timer);
  struct lethe_cache_call *call = s->calls[s->first++ % KEYS];
  char *page = s->pages[call->key.number];
  if (s->first != s->last)
    lethe_timer_start(lethe_cache_loop(call->cache), &s->timer, 0.01, 0, answer);
  if (call->value) { /* it is a write */
    s->writes++;
    memcpy(page, call->value->data, sizeof s->pages[0]);
    lethe_cache_answer(call, LETHE_OK, NULL, NULL);
    return;
  }
  struct lethe_cache_value *v = lethe_cache_bytes(&lethe_alloc_libc, page, sizeof s->pages[0]);
  s->loads++;
  lethe_cache_answer(call, v ? LETHE_OK : LETHE_ENOMEM, NULL, v);
}

static void no_destroy(struct lethe_cache_backend *b) { (void)b; }

/* ---- readers --------------------------------------------------------------------------------- */

static int served;

static void got(struct lethe_cache_wait *w, int code) {
  if (code == LETHE_OK && strcmp(w->value->data, "page 1") == 0) served++;
  lethe_cache_value_put(w->value);
}

static void stored(struct lethe_cache_wait *w, int code) {
  (void)w;
  if (code != LETHE_OK) served = -1;
}

static void put(struct lethe_cache *cache, int64_t number, const char *text,
                struct lethe_cache_wait *w) {
  struct lethe_cache_key key = {.number = number};
  struct lethe_cache_value *v = lethe_cache_bytes(&lethe_alloc_libc, NULL, 16);
  if (!v) return;
  snprintf((char *)(void *)v->data, 16, "%s", text);
  *w = (struct lethe_cache_wait){.done = stored};
  lethe_cache_insert(cache, &key, v, false, w);
}

int main(void) {
  static struct store store = {.backend = {.destroy = no_destroy, .load = begin, .flush = begin}};
  static struct lethe_cache_wait reads[READERS], writes[KEYS], last = {.done = stored};
  struct lethe_cache_config config = {
      .backend = &store.backend, .limit = PAGES, .bytes = LETHE_CACHE_NO_LIMIT, .wait = 1};
  struct lethe_cache_key one = {.number = 1};
  struct lethe_cache *cache;
  for (int i = 0; i < KEYS; i++) snprintf(store.pages[i], sizeof store.pages[i], "page %d", i);
  lethe_ref_init(&store.backend.refs);
  if (lethe_loop_new(&config.loop, &lethe_alloc_libc, LETHE_CLOCK_VIRTUAL, NULL) ||
      lethe_evict_new(&config.policy, &lethe_alloc_libc, "sieve", PAGES, 1) ||
      lethe_cache_new(&cache, &lethe_alloc_libc, &config))
    return 1;

  for (int i = 0; i < READERS; i++) {
    reads[i].done = got;
    if (lethe_cache_get(cache, &one, &reads[i]) != LETHE_CACHE_WAITS) return 1;
  }
  lethe_loop_advance(config.loop, 1);
  printf("%d readers, %d load\n", served, store.loads);

  for (int i = 2; i < KEYS; i++) put(cache, i, "changed", &writes[i]); /* more than there is room */
  lethe_loop_advance(config.loop, 1);
  struct lethe_cache_stats stats;
  lethe_cache_read_stats(cache, &stats);
  printf("%llu of %d in memory, %d written to make room\n", (unsigned long long)stats.entries, KEYS,
         store.writes);
  if (lethe_cache_shutdown(cache, &last) != LETHE_CACHE_WAITS) return 1;
  lethe_loop_advance(config.loop, 1);
  int changed = 0;
  for (int i = 0; i < KEYS; i++) changed += strcmp(store.pages[i], "changed") == 0;
  printf("%d pages changed, %d written\n", changed, store.writes);

  bool good = served == READERS && store.loads == 1 && changed == KEYS - 2 &&
              store.writes == changed && stats.entries <= PAGES;
  lethe_cache_put_ref(cache);
  lethe_loop_close(config.loop);
  lethe_loop_put(config.loop);
  return good ? 0 : 1;
}
