/* SPDX-License-Identifier: MIT
 * lethe.core.cli: what the command line needs of the system and Lua does not have. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

LETHE_EXPORT int luaopen_lethe_core_cli(lua_State *L);

static FILE *check_file(lua_State *L, int arg) {
  luaL_Stream *s = luaL_checkudata(L, arg, LUA_FILEHANDLE);
  luaL_argcheck(L, s->closef != NULL, arg, "attempt to use a closed file");
  return s->f;
}

/* isatty(file) */
static int l_isatty(lua_State *L) {
  lua_pushboolean(L, isatty(fileno(check_file(L, 1))));
  return 1;
}

/* now() -> seconds on a clock that only goes forward */
static int l_now(lua_State *L) {
  lua_pushnumber(L, lethe_clock_monotonic());
  return 1;
}

/* Fills the table at index 2 from the directory in the light userdata at index 1. */
static int read_names(lua_State *L) {
  DIR *dir = lua_touserdata(L, 1);
  lua_Integer n = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    lua_pushstring(L, entry->d_name);
    lua_rawseti(L, 2, ++n);
  }
  return 0;
}

/* list(path) -> the names in a directory, unsorted | nil for what cannot be read as one */
static int l_list(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  lua_pushcfunction(L, read_names);
  DIR *dir = opendir(path);
  if (!dir) return luaL_fileresult(L, 0, path);
  lua_pushlightuserdata(L, dir);
  lua_pushvalue(L, 2);
  int status =
      lua_pcall(L, 2, 0, 0); /* raises only without memory; the directory is closed first */
  closedir(dir);
  return status == LUA_OK ? 1 : lua_error(L);
}

static int close_stream(lua_State *L) {
  luaL_Stream *s = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  FILE *f = s->f;
  return luaL_fileresult(L, fclose(f) == 0, NULL);
}

/* take_stdout() -> a file that is what standard output was; standard output is standard error
 * now */
static int l_take_stdout(lua_State *L) {
  luaL_Stream *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (luaL_Stream){0};
  luaL_setmetatable(L, LUA_FILEHANDLE);
  fflush(stdout);
  int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
  if (!f || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    int code = errno;
    if (f)
      fclose(f);
    else if (fd >= 0)
      close(fd);
    errno = code;
    return luaL_fileresult(L, 0, "standard output");
  }
  s->f = f;
  s->closef = close_stream;
  return 1;
}

static const luaL_Reg functions[] = {{"isatty", l_isatty},
                                     {"now", l_now},
                                     {"list", l_list},
                                     {"take_stdout", l_take_stdout},
                                     {NULL, NULL}};

int luaopen_lethe_core_cli(lua_State *L) {
  luaL_checkversion(L);
  luaL_newlib(L, functions);
  return 1;
}
