/* SPDX-License-Identifier: MIT
 * The executable: lua's command line with lua's meaning, where the script is a task of the default
 * loop; lethe's modules are linked in and its Lua modules embedded. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "epoch.h"
#include "program.h"

int lethe_embed_install(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_cli(lua_State *L);

extern const char *const lethe_embedded[]; /* name, chunk name, source, ..., NULL */

static const luaL_Reg modules[] = {{"lethe.core.backend", luaopen_lethe_core_backend},
                                   {"lethe.core.base", luaopen_lethe_core_base},
                                   {"lethe.core.cli", luaopen_lethe_core_cli},
                                   {"lethe.core.cache", luaopen_lethe_core_cache},
                                   {"lethe.core.epoch", luaopen_lethe_core_epoch},
                                   {"lethe.core.evict", luaopen_lethe_core_evict},
                                   {"lethe.core.loop", luaopen_lethe_core_loop},
                                   {"lethe.core.policy", luaopen_lethe_core_policy},
                                   {"lethe.core.quota", luaopen_lethe_core_quota},
                                   {"lethe.core.inspect", luaopen_lethe_core_inspect},
                                   {"lethe.core.shared", luaopen_lethe_core_shared},
                                   {"lethe.core.sim", luaopen_lethe_core_sim},
                                   {"lethe.core.slots", luaopen_lethe_core_slots},
                                   {"lethe.core.vat", luaopen_lethe_core_vat},
                                   {"lethe.core.weakmap", luaopen_lethe_core_weakmap},
                                   {"lethe.core.worker", luaopen_lethe_core_worker},
                                   {NULL, NULL}};

enum { DONE = 0, FAILED = 1, WRONG_USAGE = 2, INTERRUPTED = 128 + SIGINT };

/* ---- embedded modules ------------------------------------------------------------------------ */

/* Pushes the chunk and where it is from, as a searcher does; false if there is none. */
static bool load_embedded(lua_State *L, const char *name) {
  for (const char *const *m = lethe_embedded; *m; m += 3) {
    if (strcmp(m[0], name) != 0) continue;
    if (luaL_loadbufferx(L, m[2], strlen(m[2]), m[1], "t") != LUA_OK) lua_error(L);
    lua_pushfstring(L, ":embedded:%s", m[1] + 1);
    return true;
  }
  return false;
}

static int search_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (load_embedded(L, name)) return 2;
  lua_pushfstring(L, "no embedded module '%s'", name);
  return 1;
}

/* For "lethe" itself the searchers would meet a lethe.so on package.cpath before the last of them,
 * and fail, since it has no luaopen_lethe. So that one module is preloaded by this function, which
 * prefers a file on package.path too. */
static int open_lethe(lua_State *L) {
  lua_settop(L, 1);
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, -1, "searchpath");
  lua_pushvalue(L, 1);
  lua_getfield(L, -3, "path");
  lua_call(L, 2, 1);
  const char *file = lua_tostring(L, -1);
  if (!file) {
    load_embedded(L, "lethe");
  } else {
    if (luaL_loadfile(L, file) != LUA_OK) return lua_error(L);
    lua_pushstring(L, file);
  }
  lua_pushvalue(L, 1);
  lua_insert(L, -2);
  lua_call(L, 2, 1);
  return 1;
}

/* Makes a state's `require` find what is linked into the executable: core modules as preloaded
 * ones, Lua modules behind the last searcher, so that a checkout on LUA_PATH wins. */
int lethe_embed_install(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, modules, 0);
  lua_pushcfunction(L, open_lethe);
  lua_setfield(L, -2, "lethe");
  lua_pop(L, 1);
  if (lua_getglobal(L, LUA_LOADLIBNAME) != LUA_TTABLE ||
      lua_getfield(L, -1, "searchers") != LUA_TTABLE)
    return luaL_error(L, "'package.searchers' must be a table");
  lua_Integer n = luaL_len(L, -1);
  lua_rawgeti(L, -1, n);
  if (lua_tocfunction(L, -1) != search_embedded) {
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, -3, n + 1);
  }
  lua_pop(L, 3);
  return 0;
}

/* ---- the command line ------------------------------------------------------------------------ */

struct options {
  bool version, interactive, ignore_env, execute;
  bool help, long_version; /* the long ones, which end the program */
  int script;              /* index of the script's name, or argc */
  bool word;               /* it may name a subcommand */
  const char *bad;         /* what is wrong, or NULL */
};

/* Reads options up to the script. Those that run something are only noted as being there. */
static struct options read_options(int argc, char **argv) {
  struct options o = {.script = argc};
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    if (arg[0] != '-' || arg[1] == '\0') {
      o.script = i;
      o.word = arg[0] != '-';
      return o;
    }
    bool whole = arg[2] == '\0'; /* one letter and nothing else */
    switch (arg[1]) {
    case '-':
      if (whole) {
        o.script = i + 1;
        return o;
      }
      if (strcmp(arg, "--help") == 0)
        o.help = true;
      else if (strcmp(arg, "--version") == 0)
        o.long_version = true;
      else
        o.bad = arg;
      break;
    case 'E':
      o.ignore_env = whole;
      break;
    case 'W':
      break;
    case 'i':
      o.interactive = o.version = whole;
      break;
    case 'v':
      o.version = whole;
      break;
    case 'e':
      o.execute = true; /* fallthrough */
    case 'l':
      if (whole && (++i >= argc || argv[i][0] == '-')) o.bad = arg;
      whole = true;
      break;
    default:
      whole = false;
    }
    if (arg[1] != '-' && !whole) o.bad = arg;
    if (o.bad) return o;
  }
  return o;
}

static int usage(const char *bad) {
  static const char *const longs[] = {"--help", "--version", NULL};
  const char *near = bad[1] == '-' ? lethe_nearest(bad, longs) : NULL;
  if (strcmp(bad, "-e") == 0 || strcmp(bad, "-l") == 0)
    fprintf(stderr, "%s: '%s' needs argument\n", lethe_program_name, bad);
  else if (near)
    fprintf(stderr, "%s: unrecognized option '%s' (did you mean '%s'?)\n", lethe_program_name, bad,
            near);
  else
    fprintf(stderr, "%s: unrecognized option '%s'\n", lethe_program_name, bad);
  fprintf(stderr, "usage: %s [options] [script [args]]; see %s --help\n", lethe_program_name,
          lethe_program_name);
  return WRONG_USAGE;
}

/* ---- running it ------------------------------------------------------------------------------ */

struct program {
  int argc;
  char **argv;
  struct options options;
  int code; /* the exit code */
};

static void print_version(bool with_lua) {
  printf("%s (%s)\n", LETHE_VERSION, LUA_RELEASE);
  if (with_lua) printf("%s\n", LUA_COPYRIGHT);
  fflush(stdout);
}

/* The global `arg`: the script is number 0, what comes before it has negative numbers. */
static void make_arg(lua_State *L, const struct program *p) {
  int zero = p->options.script == p->argc ? 0 : p->options.script;
  lua_createtable(L, p->argc - zero - 1 > 0 ? p->argc - zero - 1 : 0, zero + 1);
  for (int i = 0; i < p->argc; i++) {
    lua_pushstring(L, p->argv[i]);
    lua_rawseti(L, -2, i - zero);
  }
  lua_setglobal(L, "arg");
}

/* Reports a failure, from the message on the stack; true if there was none. */
static bool sound(lua_State *L, struct program *p, int status) {
  if (status == LUA_OK) return true;
  p->code = lethe_was_interrupted() ? INTERRUPTED : FAILED;
  lethe_say_error(L, true);
  return false;
}

/* Runs the chunk that a load left on the stack, or fails with the message it left. */
static bool run_loaded(lua_State *L, struct program *p, int status) {
  if (status == LUA_OK) status = lethe_run_task(L, 0);
  return sound(L, p, status);
}

static bool run_init(lua_State *L, struct program *p) {
  const char *name = "=LUA_INIT_" LUA_VERSION_MAJOR "_" LUA_VERSION_MINOR;
  const char *init = getenv(name + 1);
  if (!init) init = getenv((name = "=LUA_INIT") + 1);
  if (!init) return true;
  if (init[0] == '@') return run_loaded(L, p, luaL_loadfile(L, init + 1));
  return run_loaded(L, p, luaL_loadbuffer(L, init, strlen(init), name));
}

/* "mod", "mod-suffix" or "name=mod": require it and set the global. */
static bool run_library(lua_State *L, struct program *p, const char *spec) {
  const char *equals = strchr(spec, '='), *module = equals ? equals + 1 : spec;
  const char *end = equals ? equals : strchr(spec, '-');
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  if (!sound(L, p, lethe_run_plain(L, 1, 1))) return false;
  lua_pushglobaltable(L);
  lua_pushlstring(L, spec, end ? (size_t)(end - spec) : strlen(spec));
  lua_rotate(L, -3, -1);
  lua_settable(L, -3);
  lua_pop(L, 1);
  return true;
}

/* The options that do something, in their order. */
static bool run_options(lua_State *L, struct program *p) {
  int top = lua_gettop(L);
  for (int i = 1; i < p->options.script && p->argv[i][0] == '-'; i++) {
    char letter = p->argv[i][1];
    if (letter == 'W') lua_warning(L, "@on", 0);
    if (letter != 'e' && letter != 'l') continue;
    const char *text = p->argv[i][2] ? p->argv[i] + 2 : p->argv[++i];
    bool good = letter == 'l'
                    ? run_library(L, p, text)
                    : run_loaded(L, p, luaL_loadbuffer(L, text, strlen(text), "=(command line)"));
    if (!good) return false;
    lua_settop(L, top);
  }
  return true;
}

/* The script's arguments are those of the table `arg`, which code before it may have changed. */
static int push_arguments(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
  int n = (int)luaL_len(L, -1);
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -n - 1);
  return n;
}

static bool run_script(lua_State *L, struct program *p) {
  const char *name = p->argv[p->options.script];
  if (strcmp(name, "-") == 0 && strcmp(p->argv[p->options.script - 1], "--") != 0) name = NULL;
  int status = luaL_loadfile(L, name);
  if (status == LUA_OK) status = lethe_run_task(L, push_arguments(L));
  return sound(L, p, status);
}

/* Pushes lethe.cli's function. */
static void push_cli(lua_State *L, const char *function) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, function);
  lua_remove(L, -2);
}

/* A subcommand is a plain word; everything else names a script. */
static bool is_word(lua_State *L, const struct program *p) {
  if (!p->options.word || p->options.script >= p->argc) return false;
  const char *word = p->argv[p->options.script];
  if (word[strspn(word, "abcdefghijklmnopqrstuvwxyz")] != '\0') return false;
  push_cli(L, "is_word");
  lua_pushstring(L, word);
  lua_call(L, 1, 1);
  bool known = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return known;
}

/* It runs outside any task, and its result is the exit code. SIGINT ends it at once. */
static void run_word(lua_State *L, struct program *p, int argc, const char *const *argv) {
  lethe_interrupts_off();
  push_cli(L, "main");
  lua_createtable(L, argc, 0);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  if (sound(L, p, lethe_run_plain(L, 1, 1))) p->code = (int)lua_tointeger(L, -1);
}

/* The script, or standard input, or the prompt, as the options say. */
static void run_main(lua_State *L, struct program *p) {
  const struct options *o = &p->options;
  bool prompt = o->interactive;
  if (o->script < p->argc) {
    if (!run_script(L, p)) return;
  } else if (!prompt && !o->execute && !o->version) {
    prompt = isatty(STDIN_FILENO);
    if (prompt)
      print_version(true);
    else if (!run_loaded(L, p, luaL_loadfile(L, NULL)))
      return;
  }
  if (prompt) {
    lethe_repl(L);
    return;
  }
  lua_pushcfunction(L, lethe_run_loop);
  if (sound(L, p, lethe_run_plain(L, 0, 0)) && lethe_failed_tasks(L) > 0) p->code = FAILED;
}

static int protected_main(lua_State *L) {
  struct program *p = lua_touserdata(L, 1);
  const struct options *o = &p->options;
  luaL_checkversion(L);
  if (o->version) print_version(true);
  if (o->ignore_env) {
    lua_pushboolean(L, 1); /* the libraries look for it */
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  lethe_set_prepare(L, lethe_embed_install);
  lua_pushcfunction(L, lethe_embed_install);
  lua_call(L, 0, 0);
  make_arg(L, p);
  lethe_program_begin(L);
  lua_gc(L, LUA_GCGEN, 0, 0); /* as lua does */
  if (o->help) {
    run_word(L, p, 1, (const char *const[]){"help"});
    return 0;
  }
  lethe_interrupts_on();
  if (!o->ignore_env && !run_init(L, p)) return 0;
  if (!run_options(L, p)) return 0;
  if (is_word(L, p))
    run_word(L, p, p->argc - o->script, (const char *const *)p->argv + o->script);
  else
    run_main(L, p);
  return 0;
}

int main(int argc, char **argv) {
  struct program p = {.argc = argc, .argv = argv, .options = read_options(argc, argv)};
  if (argc > 0 && argv[0][0] != '\0') lethe_program_name = argv[0];
  if (p.options.bad) return usage(p.options.bad);
  if (p.options.long_version && !p.options.help) {
    print_version(false);
    return DONE;
  }
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "%s: cannot make a Lua state: not enough memory\n", lethe_program_name);
    return FAILED;
  }
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, &p);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lethe_say_error(L, true);
    p.code = FAILED;
  }
  epoch_end_state(L);
  lua_close(L);
  return p.code;
}
