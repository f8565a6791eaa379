/* SPDX-License-Identifier: MIT
 * Reading the files of policies, and running them. */
#include <stdio.h>
#include <string.h>

#include "policy_text.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

enum { TEXT_MAX = 1 << 24, TEXT_BUDGET = 10000000 };

/* ---- files ----------------------------------------------------------------------------------- */

static const char *file_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static struct policy_text *new_text(const char *path, size_t n) {
  const char *name = file_of(path);
  struct policy_text *t = lethe_zalloc(mem, sizeof *t + strlen(name) + 1);
  if (!t) return NULL;
  lethe_ref_init(&t->refs);
  strcpy(t->name, name);
  t->n = n;
  t->bytes = lethe_malloc(mem, n + 1);
  if (t->bytes) return t;
  policy_text_put(t);
  return NULL;
}

void policy_text_put(struct policy_text *t) {
  if (!t || !lethe_ref_put(&t->refs)) return;
  lethe_free(mem, t->bytes, t->n + 1);
  lethe_free(mem, t, sizeof *t + strlen(t->name) + 1);
}

static int read_file(struct policy_text **out, FILE *f, const char *path) {
  long length = -1;
  if (fseek(f, 0, SEEK_END) == 0) length = ftell(f);
  if (length < 0 || length >= TEXT_MAX) return LETHE_EPOLICY;
  rewind(f);
  struct policy_text *t = new_text(path, (size_t)length);
  if (!t) return LETHE_ENOMEM;
  if (fread(t->bytes, 1, t->n, f) == t->n) {
    *out = t;
    return LETHE_OK;
  }
  policy_text_put(t);
  return LETHE_EPOLICY;
}

int policy_text_read(struct policy_text **out, const char *path, char *why, size_t size) {
  FILE *f = fopen(path, "rb");
  int rc = f ? read_file(out, f, path) : LETHE_EPOLICY;
  if (f) fclose(f);
  if (rc == LETHE_ENOMEM) snprintf(why, size, "%s", lethe_strerror(rc));
  if (rc == LETHE_EPOLICY) snprintf(why, size, "cannot read policy file \"%s\"", path);
  return rc;
}

bool policy_text_is_path(const char *name) {
  size_t n = strlen(name);
  return strchr(name, '/') || (n > 4 && strcmp(name + n - 4, ".lua") == 0);
}

/* ---- running --------------------------------------------------------------------------------- */

struct lethe_sandbox *policy_text_run(lua_State *from, const struct policy_text *t,
                                      struct lethe_meter *m, char *why, size_t size) {
  char chunk[200];
  struct lethe_sandbox *sb = lethe_sandbox_new(from, 0, why, size);
  if (!sb) return NULL;
  snprintf(chunk, sizeof chunk, "@%s", t->name);
  if (lethe_sandbox_load(sb, t->bytes, t->n, chunk, m) == LUA_OK) return sb;
  snprintf(why, size, "%s", lua_tostring(lethe_sandbox_state(sb), -1));
  lethe_sandbox_delete(sb);
  return NULL;
}

/* ---- as objects ------------------------------------------------------------------------------ */

static void end_text(struct lethe_state *s, void *what, bool closed) {
  (void)s, (void)closed;
  policy_text_put(what);
}

static void label_text(void *what, char *buf, size_t n) {
  snprintf(buf, n, "%s", ((struct policy_text *)what)->name);
}

static const struct lethe_class text_class;

static int l_name(lua_State *L) {
  struct lethe_box *b = lethe_check(L, 1, &text_class);
  lua_pushstring(L, ((struct policy_text *)b->what)->name);
  return 1;
}

static const luaL_Reg methods[] = {{"close", lethe_close}, {"name", l_name}, {NULL, NULL}};

/* A text never changes: states share it. */
static void *share_text(void *what) {
  struct policy_text *t = what;
  lethe_ref_get(&t->refs);
  return t;
}

static void drop_text(void *shared) { policy_text_put(shared); }
static void receive_text(lua_State *L, void *shared) {
  struct lethe_box *b = lethe_box_new(L, &text_class, 0);
  lethe_box_hold(L, b, share_text(shared));
}

static const struct lethe_class text_class = {.name = "lethe.policy.Text",
                                              .end = end_text,
                                              .label = label_text,
                                              .methods = methods,
                                              .share = share_text,
                                              .drop = drop_text,
                                              .receive = receive_text};

struct policy_text *policy_text_at(lua_State *L, int i) {
  struct lethe_box *b = lethe_test(L, i, &text_class);
  return b ? b->what : NULL;
}

/* Whether the text, run once, gives what a policy may be; of which kind, only its user knows. */
static bool gives_policy(lua_State *L, const struct policy_text *t, char *why, size_t size) {
  struct lethe_meter m;
  lethe_meter_init(&m, TEXT_BUDGET);
  struct lethe_sandbox *sb = policy_text_run(L, t, &m, why, size);
  if (!sb) return false;
  int type = lua_type(lethe_sandbox_state(sb), -1);
  lethe_sandbox_delete(sb);
  if (type == LUA_TFUNCTION || type == LUA_TTABLE) return true;
  snprintf(why, size, "%s: a policy's file must return a function or a table (got %s)", t->name,
           lua_typename(L, type));
  return false;
}

int policy_text_load(lua_State *L) {
  char why[400];
  const char *path = luaL_checkstring(L, 1);
  struct lethe_box *b = lethe_box_new(L, &text_class, 0);
  struct policy_text *t;
  int rc = policy_text_read(&t, path, why, sizeof why);
  if (rc) return lethe_failf(L, rc, "%s", why);
  if (gives_policy(L, t, why, sizeof why)) {
    lethe_box_hold(L, b, t);
    return 1;
  }
  policy_text_put(t);
  return lethe_failf(L, LETHE_EPOLICY, "%s", why);
}

void policy_text_open(lua_State *L) { lethe_class(L, &text_class); }
