rockspec_format = "3.0"
package = "lethe"
version = "0.1.0-1"

source = {
  url = "git+https://example.org/lethe.git",
  tag = "v0.1.0",
}

description = {
  summary = "Memory-reclamation engines for Lua, on libevent",
  detailed = [[
lethe embeds memory-reclamation engines in Lua 5.4: a quota tracker whose policies are written in
Lua, epochs and lock-free structures for worker threads, weak maps, caches that write back in order,
finalization registries, and vats whose transcripts replay. It works from its own executable and
from a stock Lua.]],
  license = "MIT",
  labels = { "memory", "quota", "cache", "threads", "libevent", "testing" },
}

supported_platforms = { "linux" }

-- lethe.spec runs on luaunit and luassert, which are needed for nothing else.
dependencies = { "lua >= 5.4, < 5.5" }

external_dependencies = {
  HIREDIS = { header = "hiredis/hiredis.h", library = "hiredis" },
  LIBEVENT = { header = "event2/event.h", library = "event_core" },
  READLINE = { header = "readline/readline.h", library = "readline" },
  XXHASH = { header = "xxhash.h" },
}

build = {
  type = "make",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    LIBFLAG = "$(LIBFLAG)",
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    CPPFLAGS = "-I$(HIREDIS_INCDIR) -I$(LIBEVENT_INCDIR) -I$(READLINE_INCDIR) -I$(XXHASH_INCDIR)",
    LDFLAGS = "-L$(HIREDIS_LIBDIR) -L$(LIBEVENT_LIBDIR) -L$(READLINE_LIBDIR)",
  },
  install_variables = {
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    PREFIX = "$(PREFIX)",
    BINDIR = "$(BINDIR)",
    LIBDIR = "$(PREFIX)/clib", -- the C library, beside include/ in the rock
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
  copy_directories = {},
}

test = {
  type = "command",
  script = "spec/tools/rock_test.lua",
}
