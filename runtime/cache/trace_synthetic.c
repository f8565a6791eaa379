/* SPDX-License-Identifier: MIT
 * Synthetic traces. Ids are 1 to `objects`, 1 the most popular; a thousand requests make a second.
 *
 *   zipf   independent draws, the k-th object k^-alpha as often as the first
 *   loop   all objects in order, again and again
 *   scan   the same, where each time around begins at an object that is drawn
 *   mixed  zipf, interrupted by scans of a quarter of the objects, and by loops: an eighth, 4 times
 *
 * Popularities are sums of integers, from a logarithm and a power of two computed in fixed point:
 * no library's rounding decides which object is drawn. */
#include "trace_internal.h"

const char *const lethe_synthetic_kinds[] = {"zipf", "scan", "loop", "mixed", NULL};

/* ---- popularity ------------------------------------------------------------------------------ */

/* log2 of i, from 1 on, times 2^32: the whole part by the highest bit, the rest by squaring. */
static uint64_t log2_fixed(uint64_t i) {
  unsigned whole = 63 - (unsigned)__builtin_clzll(i);
  uint64_t m = whole < 31 ? i << (31 - whole) : i >> (whole - 31), result = whole;
  for (int bit = 0; bit < 32; bit++) {
    m = m * m >> 31;
    result <<= 1;
    if (m >> 32) {
      result |= 1;
      m >>= 1;
    }
  }
  return result;
}

/* 2^-x times 2^32, for x times 2^32. */
static uint64_t power_fixed(uint64_t x) {
  /* 2^-(1/2), 2^-(1/4), ... */
  static const uint32_t roots[32] = {
      0xb504f334, 0xd744fccb, 0xeac0c6e8, 0xf5257d15, 0xfa83b2db, 0xfd3e0c0d, 0xfe9e115c,
      0xff4ecb59, 0xffa75652, 0xffd3a752, 0xffe9d2b3, 0xfff4e91c, 0xfffa747f, 0xfffd3a3b,
      0xfffe9d1d, 0xffff4e8e, 0xffffa747, 0xffffd3a3, 0xffffe9d2, 0xfffff4e9, 0xfffffa74,
      0xfffffd3a, 0xfffffe9d, 0xffffff4f, 0xffffffa7, 0xffffffd4, 0xffffffea, 0xfffffff5,
      0xfffffffa, 0xfffffffd, 0xffffffff, 0xffffffff};
  uint64_t result = UINT64_C(1) << 32;
  if (x >> 32 > 32) return 0;
  for (int bit = 0; bit < 32; bit++)
    if (x >> (31 - bit) & 1) result = result * roots[bit] >> 32;
  return result >> (x >> 32);
}

struct draws {
  uint64_t *sums; /* of the popularities of 1 to i + 1 */
  uint64_t objects, state;
};

static uint64_t draw(struct draws *d, uint64_t below) {
  return trace_mix(d->state += UINT64_C(0x9e3779b97f4a7c15)) % below;
}

static int begin(struct draws *d, const struct lethe_synthetic *s, const struct lethe_alloc *a) {
  uint64_t alpha = (uint64_t)(s->alpha * (1 << 20)), sum = 0;
  *d = (struct draws){.objects = s->objects, .state = s->seed};
  if (s->kind != LETHE_SYNTHETIC_ZIPF && s->kind != LETHE_SYNTHETIC_MIXED) return LETHE_OK;
  d->sums = lethe_malloc(a, (size_t)s->objects * sizeof *d->sums);
  if (!d->sums) return LETHE_ENOMEM;
  for (uint64_t i = 0; i < s->objects; i++)
    d->sums[i] = sum += power_fixed(alpha * log2_fixed(i + 1) >> 20);
  return LETHE_OK;
}

static uint64_t draw_zipf(struct draws *d) {
  uint64_t at = draw(d, d->sums[d->objects - 1]), low = 0, high = d->objects - 1;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (d->sums[middle] <= at)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

/* A way around: objects from `first`, `length` of them, again and again, `left` requests in all. */
struct run {
  uint64_t first, length, at, left;
};

static uint64_t next_of_run(struct run *r, uint64_t objects) {
  uint64_t object = (r->first + r->at) % objects;
  r->at = r->at + 1 < r->length ? r->at + 1 : 0;
  r->left--;
  return object;
}

static uint64_t part(uint64_t objects, uint64_t of) { return objects / of ? objects / of : 1; }

static uint64_t next_mixed(struct draws *d, struct run *r) {
  uint64_t dice = r->left ? 0 : draw(d, part(d->objects, 2) + 1);
  if (dice == 1) {
    uint64_t length = part(d->objects, 4);
    *r = (struct run){draw(d, d->objects), length, 0, length};
  } else if (dice == 2) {
    uint64_t length = part(d->objects, 8);
    *r = (struct run){draw(d, d->objects), length, 0, 4 * length};
  }
  return r->left ? next_of_run(r, d->objects) : draw_zipf(d);
}

static uint64_t next_object(const struct lethe_synthetic *s, struct draws *d, struct run *r) {
  if (s->kind == LETHE_SYNTHETIC_ZIPF) return draw_zipf(d);
  if (s->kind == LETHE_SYNTHETIC_MIXED) return next_mixed(d, r);
  if (!r->left) {
    uint64_t first = s->kind == LETHE_SYNTHETIC_SCAN ? draw(d, d->objects) : 0;
    *r = (struct run){first, d->objects, 0, d->objects};
  }
  return next_of_run(r, d->objects);
}

static int64_t size_of(const struct lethe_synthetic *s, uint64_t object) {
  uint64_t many = (uint64_t)(s->most - s->least) + 1;
  return s->least + (int64_t)(trace_mix(object + trace_mix(s->seed + 1)) % many);
}

static int fill(struct lethe_trace *t, const struct lethe_synthetic *s, struct draws *d) {
  struct trace_seen seen = {.alloc = t->alloc};
  struct run run = {0};
  int rc = LETHE_OK;
  for (uint64_t i = 0; i < s->requests && rc == LETHE_OK; i++) {
    uint64_t object = next_object(s, d, &run), second = i / 1000;
    struct lethe_request r = {
        .id = object + 1, .size = size_of(s, object), .time = (double)second, .cost = 1};
    rc = trace_add(t, &seen, &r);
  }
  trace_seen_free(&seen);
  if (rc != LETHE_OK) return rc;
  return lethe_replay_fill_next(t->requests, (size_t)t->info.len, t->alloc);
}

int lethe_trace_synthetic(struct lethe_trace **out, const struct lethe_alloc *a,
                          const struct lethe_synthetic *s) {
  struct draws d;
  struct lethe_trace *t = trace_new(a);
  if (!t) return LETHE_ENOMEM;
  int rc = begin(&d, s, a);
  if (rc == LETHE_OK) rc = fill(t, s, &d);
  lethe_free(a, d.sums, (size_t)s->objects * sizeof *d.sums);
  if (rc == LETHE_OK)
    *out = t;
  else
    lethe_trace_put(t);
  return rc;
}
