/* SPDX-License-Identifier: MIT
 * A cache that shrinks itself when its process passes its budget: one tracker, one account, one
 * participant that forgets its oldest half when it is asked.
 *
 *   cc quota.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <stdio.h>
#include <stdlib.h>

#include "lethe/quota.h"

enum { BLOCK = 4096, BLOCKS = 1024 };

struct cache {
  struct lethe_quota_handle handle;
  void *blocks[BLOCKS]; /* a ring: the oldest is at `first` */
  unsigned first, count;
};

static void drop_oldest(struct cache *c) {
  free(c->blocks[c->first % BLOCKS]);
  c->first++;
  c->count--;
  lethe_quota_release(&c->handle, BLOCK);
}

static int oldest(void *member, uint64_t participant, void *ud, double *age) {
  struct cache *c = ud;
  (void)member;
  (void)participant;
  *age = c->first; /* any number will do; smaller is older */
  return c->count > 0;
}

static void reclaim(void *member, uint64_t participant, void *ud,
                    const struct lethe_quota_request *request, struct lethe_quota_call *call) {
  struct cache *c = ud;
  (void)member;
  (void)participant;
  for (int64_t freed = 0; c->count > 0 && freed < request->goal; freed += BLOCK) drop_oldest(c);
  lethe_quota_answer(call, true); /* it stays: this was a part */
}

static bool add(struct cache *c) {
  if (c->count == BLOCKS || lethe_quota_claim(&c->handle, BLOCK) != LETHE_OK) return false;
  c->blocks[(c->first + c->count) % BLOCKS] = malloc(BLOCK);
  c->count++;
  return true;
}

int main(void) {
  static const struct lethe_quota_member_ops ops = {.oldest = oldest, .reclaim = reclaim};
  const struct lethe_quota_config limits = {.max = 1 << 20, .low_water = 3 << 18};
  const struct lethe_quota_account_config named = {.name = "cache", .max = LETHE_QUOTA_NO_LIMIT};
  const char *why;
  struct lethe_loop *loop;
  struct lethe_quota *tracker;
  struct lethe_quota_member *member;
  uint64_t account, participant;
  static struct cache cache;

  if (lethe_loop_new(&loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL) ||
      lethe_quota_new(&tracker, &lethe_alloc_libc, &limits, NULL, NULL, &why) ||
      lethe_quota_member_new(&member, tracker, loop, &ops, NULL) ||
      lethe_quota_account_new(tracker, &named, 0, &account) ||
      lethe_quota_handle_open(&cache.handle, member, account, &cache, false, &participant))
    return 1;

  for (int i = 0; i < 600; i++) {
    if (!add(&cache)) return 1;
    while (lethe_loop_turn(loop) > 0) continue; /* passes run here */
  }
  struct lethe_quota_stats stats;
  lethe_quota_read_stats(tracker, &stats);
  printf("%u blocks kept of 600, %llu passes, %s max\n", cache.count,
         (unsigned long long)stats.reclaims, stats.used <= stats.max ? "below" : "above");
  bool good = stats.reclaims > 0 && stats.used <= stats.max && cache.count >= 192;

  while (cache.count > 0) drop_oldest(&cache);
  lethe_quota_handle_close(&cache.handle);
  lethe_quota_account_close(tracker, account);
  lethe_quota_member_delete(member);
  lethe_quota_put(tracker);
  lethe_loop_close(loop);
  lethe_loop_put(loop);
  return good ? 0 : 1;
}
