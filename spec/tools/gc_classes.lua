-- Finds every __gc in the sources of the bindings and of the Lua modules, lists them, and fails for
-- one that does not go through note_death of bindings/object.c: a finalizer notes and does no more.
--
--   lua5.4 spec/tools/gc_classes.lua            reads the sources
--   lua5.4 spec/tools/gc_classes.lua --plant    the same on scratch copies, one offender in each
--
-- spec/tools/gc_classes_run.lua asks the metatables of a running lethe the same question.
package.path = "./?.lua;" .. package.path
local sources = require "spec.tools.sources"

-- The only finalizer that acts.
local EXCEPTIONS <const> = {
  ["bindings/state.c"] = {
    fn = "end_state",
    reason = "the anchor of the Lua state: made before every other object, so finalized after "
      .. "them, it is the state's end and its last safe point",
  },
  ["bindings/lvat_slots.c"] = {
    fn = "slots_note_body",
    reason = "a body of a vat's slot table, which has too many of them for a box each: it only "
      .. "appends (slot, generation) to the ring of its table",
  },
}

local HOME <const>, NOTER <const> = "bindings/object.c", "note_death"

-- The C function that the text before a lua_setfield(L, i, "__gc") pushed last.
local function pushed_before(text, position)
  local fn
  for name in text:sub(1, position):gmatch("lua_pushc%a+%(%s*L%s*,%s*([%w_]+)") do
    fn = name
  end
  return fn
end

-- Calls found(position, fn) for each "__gc" of C source; fn nil where it cannot be told.
local function each_gc(text, found)
  for position in text:gmatch('()"__gc"') do
    local in_reg = text:sub(1, position - 1):find("{%s*$")
    local in_setfield = text:sub(1, position - 1):find("lua_setfield%s*%([^;]*$")
    local fn
    if in_reg then
      fn = text:match('^"__gc"%s*,%s*([%w_]+)', position)
    elseif in_setfield then
      fn = pushed_before(text, position)
    end
    found(position, fn, in_reg and "luaL_Reg" or in_setfield and "lua_setfield" or "other")
  end
end

local function allowed(path, fn)
  local exception = EXCEPTIONS[path]
  if exception and exception.fn == fn then return true, exception.reason end
  return path == HOME and fn == NOTER, "only notes the death"
end

local function check_c(root, complaints, listed)
  for _, path in ipairs(sources.files(root, "bindings", "%.[ch]$")) do
    local text = sources.strip_c(sources.read(root, path))
    each_gc(text, function(position, fn, form)
      local line, good, why = sources.line_of(text, position), allowed(path, fn)
      if good then
        listed[#listed + 1] = ("%s:%d: %s, %s: %s"):format(path, line, form, fn, why)
      else
        complaints[#complaints + 1] = ("%s:%d: a __gc (%s, %s) that does not go through %s")
          :format(path, line, form, fn or "a function that cannot be told", NOTER)
      end
    end)
  end
end

-- A Lua module that sets __gc would run code in a finalizer. It may read and compare the name.
local function check_lua(root, complaints)
  for _, path in ipairs(sources.files(root, "lua", "%.lua$")) do
    local text = sources.strip_lua(sources.read(root, path))
    for _, pattern in ipairs({ "()%f[%w_]__gc%s*=[^=]", "()%[%s*[\"']__gc[\"']%s*%]%s*=[^=]",
      "()[.:]__gc%s*%(", "()function%s+[%w_.]+[.:]__gc%f[^%w_]" }) do
      for position in text:gmatch(pattern) do
        complaints[#complaints + 1] = ("%s:%d: a __gc set in Lua that does not go through %s")
          :format(path, sources.line_of(text, position), NOTER)
      end
    end
  end
end

local function check(root)
  local complaints, listed = {}, {}
  check_c(root, complaints, listed)
  check_lua(root, complaints)
  if #listed < 2 then -- note_death's own place, and the anchor
    complaints[#complaints + 1] = HOME .. ": the place where classes get their __gc was not found"
  end
  return complaints, listed
end

local OFFENDERS <const> = {
  { path = "bindings/lloop.c", says = "does not go through",
    text = 'static const luaL_Reg planted[] = {{"__gc", lethe_close}, {NULL, NULL}};\n' },
  { path = "bindings/planted.c", says = "does not go through",
    text = 'void f(lua_State *L) { lua_pushcfunction(L, f);\n lua_setfield(L, -2, "__gc"); }\n' },
  { path = "bindings/planted.c", says = "does not go through",
    text = 'static int g(lua_State *L) { lua_pushliteral(L, "__gc"); return 1; }\n' },
  { path = "bindings/state.c", says = "does not go through",
    text = 'static const luaL_Reg planted[] = {{"__gc", end_all}, {NULL, NULL}};\n' },
  { path = "lua/lethe/loop.lua", says = "set in Lua",
    text = "setmetatable({}, { __gc = print })\n" },
  { path = "lua/lethe/loop.lua", says = "set in Lua", text = "function Loop:__gc() end\n" },
}

if arg[1] == "--plant" then
  local missed = sources.plant({ "bindings", "lua" }, OFFENDERS, check)
  sources.report(missed, ("__gc: %d planted offenders found"):format(#OFFENDERS))
else
  local complaints, listed = check(".")
  sources.report(complaints, table.concat(listed, "\n"))
end
