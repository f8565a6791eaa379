/* SPDX-License-Identifier: MIT
 * Checks of arguments and the forms of failure that all bindings share. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "stop.h"

/* ---- failures -------------------------------------------------------------------------------- */

int lethe_nomemory(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

int lethe_fail(lua_State *L, int code) {
  luaL_pushfail(L);
  lua_pushstring(L, lethe_strerror(code));
  lua_pushstring(L, lethe_errname(code));
  return 3;
}

int lethe_failf(lua_State *L, int code, const char *format, ...) {
  char message[512];
  va_list ap;
  va_start(ap, format);
  vsnprintf(message, sizeof message, format, ap);
  va_end(ap);
  luaL_pushfail(L);
  lua_pushstring(L, message);
  lua_pushstring(L, lethe_errname(code));
  return 3;
}

/* ---- reports --------------------------------------------------------------------------------- */

static int tolstring(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* The text of the value at `i`, pushed; without memory it may be no string. A __tostring that fails
 * must not hide the error that it was to name. */
static const char *text_of(lua_State *L, int i) {
  i = lua_absindex(L, i);
  lua_pushcfunction(L, tolstring);
  lua_pushvalue(L, i);
  if (lua_pcall(L, 1, 1, 0) == LUA_ERRRUN) {
    lua_pop(L, 1);
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, i));
  }
  return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

int lethe_traceback(lua_State *L) {
  luaL_traceback(L, L, text_of(L, 1), 1);
  return 1;
}

extern char lethe_key_on_error;

static void print_line(const char *text) {
  fprintf(stderr, "lethe: %s\n", text ? text : "error without a message");
  fflush(stderr);
}

static int report(lua_State *L) { /* details, error value */
  const char *text = text_of(L, 2);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_on_error) == LUA_TNIL) {
    print_line(text);
    return 0;
  }
  lua_pushvalue(L, 3);
  if (lua_isnil(L, 1))
    lua_newtable(L);
  else
    lua_pushvalue(L, 1);
  unsigned held = lethe_stop_let();
  int rc = lua_pcall(L, 2, 0, 0);
  lethe_stop_hold(held);
  if (rc != LUA_OK && !lethe_stop_wanted()) {
    print_line(text);
    print_line(text_of(L, -1));
  }
  return 0;
}

/* What a state says while it is stopped is that it is stopped. */
void lethe_report(lua_State *L, bool details) {
  struct lethe_state *s = lethe_state(L);
  if (lethe_stop_wanted()) {
    lua_pop(L, details ? 2 : 1);
    return;
  }
  if (!details) {
    lua_pushnil(L);
    lua_insert(L, -2);
  }
  lua_pushcfunction(L, report);
  lua_insert(L, -3);
  s->no_wait++;
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    print_line(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL);
    lua_pop(L, 1);
  }
  s->no_wait--;
}

bool lethe_call_reported(lua_State *L, int nargs, int nresults) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, lethe_traceback);
  lua_insert(L, base);
  int rc = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  if (rc != LUA_OK) lethe_report(L, false);
  return rc == LUA_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

bool lethe_badoption(lua_State *L, int arg, const char *const *names) {
  lua_pushnil(L);
  while (lua_next(L, arg)) {
    lua_pop(L, 1);
    bool known = false;
    const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    bool zero = key && strlen(key) != lua_rawlen(L, -1);
    for (const char *const *n = names; key && !zero && *n && !known; n++)
      known = strcmp(key, *n) == 0;
    if (known) continue;
    const char *near = key && !zero ? lethe_nearest(key, names) : NULL;
    key = luaL_tolstring(L, -1, NULL);
    if (zero)
      lua_pushfstring(L, "unknown option \"%s\", and a zero byte after that", key);
    else if (near)
      lua_pushfstring(L, "unknown option \"%s\" (did you mean \"%s\"?)", key, near);
    else
      lua_pushfstring(L, "unknown option \"%s\"", key);
    lua_replace(L, -3);
    lua_pop(L, 1);
    return true;
  }
  return false;
}

void lethe_checkoptions(lua_State *L, int arg, const char *const *names) {
  luaL_checktype(L, arg, LUA_TTABLE);
  if (lethe_badoption(L, arg, names)) luaL_error(L, "%s", lua_tostring(L, -1));
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Digits with at most one point; the point is one whatever the locale says. Their end, or NULL. Of
 * what is behind the point 18 digits count: the others are less than two bytes of any unit. */
static const char *parse_decimal(const char *text, double *n) {
  bool digits = false, point = false;
  double whole = 0, part = 0, scale = 1;
  for (; *text == '.' || (*text >= '0' && *text <= '9'); text++) {
    if (*text == '.') {
      if (point) return NULL;
      point = true;
      continue;
    }
    digits = true;
    if (!point) {
      whole = whole * 10 + (*text - '0');
    } else if (scale < 1e18) {
      part = part * 10 + (*text - '0');
      scale *= 10;
    }
  }
  *n = whole + part / scale;
  return digits ? text : NULL;
}

/* "64K", "1.5M", "2 GiB": a number and a binary unit. False when it is no size. */
static bool parse_size(const char *text, double *bytes) {
  static const char units[] = "KMGTPE";
  double n;
  text += strspn(text, " ");
  bool negative = *text == '-';
  text = parse_decimal(text + negative, &n);
  if (!text) return false;
  if (negative) n = -n;
  text += strspn(text, " ");
  if (*text && *text != 'B' && *text != 'b') {
    const char *unit = strchr(units, *text >= 'a' ? *text - 'a' + 'A' : *text);
    if (!unit) return false;
    n = ldexp(n, 10 * (int)(unit - units + 1));
    text++;
    if (*text == 'i') text++;
  }
  if (*text == 'B' || *text == 'b') text++;
  *bytes = n;
  return *text == '\0';
}

int64_t lethe_tosize(lua_State *L, int i, const char *what) {
  double n = 0;
  int whole = 0;
  lua_Integer exact = lua_type(L, i) == LUA_TNUMBER ? lua_tointegerx(L, i, &whole) : 0;
  if (whole) {
    if (exact < 0) luaL_error(L, "%s must not be negative (got %I)", what, (LUAI_UACINT)exact);
    return exact;
  }
  if (lua_type(L, i) == LUA_TNUMBER)
    luaL_error(L, "%s must be a whole number of bytes (got %f)", what, lua_tonumber(L, i));
  if (lua_type(L, i) != LUA_TSTRING)
    luaL_error(L, "%s must be a size, bytes or \"64K\" (got %s)", what, luaL_typename(L, i));
  if (strlen(lua_tostring(L, i)) != lua_rawlen(L, i) || !parse_size(lua_tostring(L, i), &n))
    luaL_error(L, "%s is no size: \"%s\" (write bytes, or a unit as in \"64K\", \"1.5M\", \"2G\")",
               what, lua_tostring(L, i));
  if (n < 0) luaL_error(L, "%s must not be negative (got \"%s\")", what, lua_tostring(L, i));
  if (n >= 9.2e18) luaL_error(L, "%s is too large (got \"%s\")", what, lua_tostring(L, i));
  return (int64_t)n;
}

int64_t lethe_checksize(lua_State *L, int arg) {
  int whole = 0;
  lua_Integer n = lua_tointegerx(L, arg, &whole);
  if (whole && lua_type(L, arg) == LUA_TNUMBER && n >= 0) return n;
  lua_Debug ar = {.name = NULL};
  char what[100];
  bool named = lua_getstack(L, 0, &ar) && lua_getinfo(L, "n", &ar) && ar.name;
  bool method = named && strcmp(ar.namewhat, "method") == 0;
  snprintf(what, sizeof what, "bad argument #%d to '%s': size", arg - method,
           named ? ar.name : "?"); /* as luaL_argerror counts and names */
  return lethe_tosize(L, arg, what);
}
