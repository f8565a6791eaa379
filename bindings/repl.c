/* SPDX-License-Identifier: MIT
 * The prompt: reads lines, with editing and history on a terminal, and runs each as a task.
 *
 * A line is first tried as an expression, whose values are printed; "=" before it is allowed. Lines
 * that end too early are continued. The history lives in $LETHE_HISTORY, or ~/.lethe_history. */
#include <readline/history.h>
#include <readline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

enum { HISTORY_LINES = 1000, LINE_SIZE = 512 };

static struct {
  bool editing;
  char *history; /* the file's path, or NULL */
} repl;

/* ---- lines ----------------------------------------------------------------------------------- */

static char *history_path(void) {
  const char *given = getenv("LETHE_HISTORY"), *home = getenv("HOME");
  if (given) return *given ? strdup(given) : NULL; /* empty: no file */
  if (!home || !*home) return NULL;
  static const char name[] = "/.lethe_history";
  char *path = malloc(strlen(home) + sizeof name);
  if (path) strcat(strcpy(path, home), name);
  return path;
}

static void begin_editing(void) {
  repl.editing = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  if (!repl.editing) return;
  rl_readline_name = "lethe";
  rl_bind_key('\t', rl_insert);
  using_history();
  stifle_history(HISTORY_LINES);
  repl.history = history_path();
  if (repl.history) read_history(repl.history);
}

static void end_editing(void) {
  free(repl.history);
  repl.history = NULL;
}

/* Keeps what was entered; written at once, so that a killed prompt loses nothing. */
static void remember(const char *text) {
  if (!repl.editing || !*text) return;
  HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
  if (last && strcmp(last->line, text) == 0) return;
  add_history(text);
  if (repl.history) write_history(repl.history);
}

/* Pushes _PROMPT or _PROMPT2 as a string. */
static const char *push_prompt(lua_State *L, bool first) {
  if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushstring(L, first ? "> " : ">> ");
  }
  const char *text = luaL_tolstring(L, -1, NULL);
  lua_replace(L, -2);
  return text;
}

/* Pushes a line of standard input, without its newline; false at the end. What no terminal has
 * echoed is echoed here, as lua's editor does, so that the output reads like a session. */
static bool push_plain_line(lua_State *L, const char *prompt) {
  char part[LINE_SIZE];
  luaL_Buffer b;
  bool any = false;
  fputs(prompt, stdout);
  fflush(stdout);
  luaL_buffinit(L, &b);
  while (fgets(part, sizeof part, stdin)) {
    size_t n = strlen(part);
    bool whole = n > 0 && part[n - 1] == '\n';
    luaL_addlstring(&b, part, whole ? n - 1 : n);
    any = true;
    if (whole) break;
  }
  luaL_pushresult(&b);
  if (any && !isatty(STDIN_FILENO)) printf("%s\n", lua_tostring(L, -1));
  if (!any) lua_pop(L, 1);
  return any;
}

static int push_string(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 1));
  return 1;
}

/* The same through the editor, whose memory is freed even if there is none for the string. */
static bool push_edited_line(lua_State *L, const char *prompt) {
  char *line = readline(prompt);
  if (!line) return false;
  lua_pushcfunction(L, push_string);
  lua_pushlightuserdata(L, line);
  int status = lua_pcall(L, 1, 1, 0);
  free(line);
  return status == LUA_OK || lua_error(L);
}

/* While it waits for a line SIGINT ends the program, as it ends lua. */
static bool push_line(lua_State *L, bool first) {
  const char *prompt = push_prompt(L, first);
  lethe_interrupts_off();
  bool got = repl.editing ? push_edited_line(L, prompt) : push_plain_line(L, prompt);
  lethe_interrupts_on();
  if (got)
    lua_remove(L, -2);
  else
    lua_pop(L, 1);
  return got;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static int load_text(lua_State *L, const char *text) {
  return luaL_loadbufferx(L, text, strlen(text), "=stdin", "t");
}

/* Replaces the line on top by a function that returns its values; false if it is no expression. */
static bool load_expression(lua_State *L) {
  const char *line = lua_tostring(L, -1);
  const char *text = lua_pushfstring(L, "return %s", line[0] == '=' ? line + 1 : line);
  bool good = load_text(L, text) == LUA_OK;
  lua_remove(L, -2);
  if (!good) {
    lua_pop(L, 1);
    return false;
  }
  remember(line);
  lua_remove(L, -2);
  return true;
}

/* Whether the message on top says that the text ends too early. */
static bool is_incomplete(lua_State *L, int status) {
  size_t n;
  const char *message = lua_tolstring(L, -1, &n);
  static const char mark[] = "<eof>";
  size_t m = sizeof mark - 1;
  return status == LUA_ERRSYNTAX && n >= m && strcmp(message + n - m, mark) == 0;
}

/* Replaces the line on top by a function, or by a message; reads further lines as needed. */
static int load_statement(lua_State *L) {
  for (;;) {
    int status = load_text(L, lua_tostring(L, -1));
    bool more = is_incomplete(L, status);
    if (more && push_line(L, false)) {
      lua_remove(L, -2); /* the message */
      lua_pushliteral(L, "\n");
      lua_insert(L, -2);
      lua_concat(L, 3);
      continue;
    }
    remember(lua_tostring(L, -2));
    lua_remove(L, -2);
    return status;
  }
}

/* Prints the values from index `first` on through the global print. */
static void print_values(lua_State *L, int first) {
  int n = lua_gettop(L) - first + 1;
  if (n <= 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, first);
  if (lua_pcall(L, n, 0, 0) == LUA_OK) return;
  const char *why = lua_tostring(L, -1);
  lua_pushfstring(L, "error calling 'print' (%s)", why ? why : luaL_typename(L, -1));
  lethe_say_error(L, true);
}

void lethe_repl(lua_State *L) {
  int top = lua_gettop(L);
  begin_editing();
  while (push_line(L, true)) {
    int status = load_expression(L) ? LUA_OK : load_statement(L);
    if (status == LUA_OK) status = lethe_run_task(L, 0);
    if (status == LUA_OK)
      print_values(L, top + 1);
    else
      lethe_say_error(L, false);
    lua_settop(L, top);
    lua_pushcfunction(L, lethe_run_ready);
    if (lethe_run_plain(L, 0, 0) != LUA_OK) lethe_say_error(L, false);
    fflush(stdout);
  }
  putchar('\n');
  fflush(stdout);
  end_editing();
}
