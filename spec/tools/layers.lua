-- Proves that arrows point down: lua/ -> bindings/ -> runtime/, and inside the runtime every engine
-- stands on base and loop alone.
--
--   lua5.4 spec/tools/layers.lua            reads the sources
--   lua5.4 spec/tools/layers.lua --plant    the same on scratch copies, one offender in each
--   lua5.4 spec/tools/layers.lua --symbols  looks at what the compiled objects refer to
package.path = "./?.lua;" .. package.path
local sources = require "spec.tools.sources"

-- A public header belongs to the folder of runtime/ that it is named after (lethe/quota.h,
-- lethe/quota_inl.h) or that holds a C file or folder of its name (lethe/slab.h). These have none.
local HEADER_ONLY <const> = {
  atomic = "base", backoff = "base", list = "base", pair = "base", ref = "base",
}

-- ---- C: who includes what ---------------------------------------------------------------------

-- Calls fn(line, what, quoted) for each include; `what` is nil when a macro names the file.
local function includes(text, fn)
  local stripped = sources.strip_c(text)
  for position, rest in stripped:gmatch("()#[ \t]*include[ \t]*([^\n]*)") do
    local quoted, angled = rest:match('^"([^"]+)"'), rest:match("^<([^>]+)>")
    fn(sources.line_of(stripped, position), quoted or angled, quoted ~= nil)
  end
end

-- "runtime/epoch/shared" + "../epoch_internal.h" -> "runtime/epoch/epoch_internal.h"
local function resolve(folder, name)
  local parts = {}
  for part in (folder .. "/" .. name):gmatch("[^/]+") do
    if part == ".." and #parts > 0 then
      table.remove(parts)
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

local function is_lua_header(name)
  local last = name:match("[^/]+$")
  return last == "lua.h" or last == "lua.hpp" or last == "lauxlib.h" or last == "lualib.h"
    or last == "luaconf.h" or name:find("^lua[%d.]*/") ~= nil
end

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

-- The engine (a folder of runtime/) that a public header belongs to.
local function owner_of_header(root, name, engines)
  local stem = name:match("^lethe/([%w_]+)%.h$")
  if not stem or not exists(root .. "/runtime/include/" .. name) then
    return nil, "is no public header"
  end
  if HEADER_ONLY[stem] then return HEADER_ONLY[stem] end
  for engine, names in pairs(engines) do
    if stem:find("^" .. engine .. "_") or names[stem] then return engine end
  end
  return nil, "is named after no engine and no C file (see HEADER_ONLY in spec/tools/layers.lua)"
end

local function may_see(engine, other)
  return other == engine or other == "base" or (other == "loop" and engine ~= "base")
end

local function check_runtime_include(root, path, engine, engines, name, quoted)
  if not name then return "a macro names the included file" end
  if is_lua_header(name) then return ("the core includes %s of Lua"):format(name) end
  if name:find("^lethe/") then
    local other, why = owner_of_header(root, name, engines)
    if not other then return ("%s %s"):format(name, why) end
    if may_see(engine, other) then return nil end
    return ("%s includes %s, which belongs to %s"):format(engine, name, other)
  end
  if not quoted then return nil end -- the system's
  local target = resolve(path:match("^(.*)/"), name)
  if target:find("^runtime/" .. engine .. "/") then return nil end
  return ("%s includes %s, which is not its own"):format(engine, target)
end

local function check_binding_include(path, name, quoted)
  if not name then return "a macro names the included file" end
  if name:find("internal") then return ("a binding includes %s"):format(name) end
  if name:find("^lethe/") then
    return not name:find("^lethe/[%w_]+%.h$") and ("%s is no public header"):format(name) or nil
  end
  if name:find("^event") then return ("a binding includes %s of libevent"):format(name) end
  if not quoted then return nil end
  local target = resolve(path:match("^(.*)/"), name)
  return not target:find("^bindings/") and ("a binding includes %s"):format(target) or nil
end

-- engine -> set of the names of itself, of its folders and of its C files
local function engines_of(root)
  local engines = {}
  for _, path in ipairs(sources.files(root, "runtime", "%.c$")) do
    local engine, rest = path:match("^runtime/([^/]+)/(.*)%.c$")
    engines[engine] = engines[engine] or { [engine] = true }
    for name in rest:gmatch("[^/]+") do
      engines[engine][name] = true
    end
  end
  return engines
end

-- Every C file: its includes are allowed. Fills graph[file] = list of files of ours it includes.
local function check_includes(root, complaints, graph)
  local engines = engines_of(root)
  local function visit(path, check, ...)
    local more <const> = table.pack(...)
    graph[path] = {}
    includes(sources.read(root, path), function(line, name, quoted)
      local complaint = check(name, quoted, table.unpack(more, 1, more.n))
      if complaint then
        complaints[#complaints + 1] = ("%s:%d: %s"):format(path, line, complaint)
      end
      if name and name:find("^lethe/") then
        table.insert(graph[path], "runtime/include/" .. name)
      elseif quoted then
        table.insert(graph[path], resolve(path:match("^(.*)/"), name))
      end
    end)
  end
  for _, path in ipairs(sources.files(root, "runtime", "%.[ch]$")) do
    local engine = path:match("^runtime/([^/]+)/")
    if engine == "include" then
      local why
      engine, why = owner_of_header(root, path:match("^runtime/include/(.*)$"), engines)
      if not engine then complaints[#complaints + 1] = ("%s: this header %s"):format(path, why) end
    end
    visit(path, function(name, quoted)
      return engine and check_runtime_include(root, path, engine, engines, name, quoted)
    end)
  end
  for _, path in ipairs(sources.files(root, "bindings", "%.[ch]$")) do
    visit(path, function(name, quoted) return check_binding_include(path, name, quoted) end)
  end
end

-- ---- Lua: who requires what -------------------------------------------------------------------

local function module_of(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

local LOADERS <const> = {
  { "package%.loadlib", "loads a shared object by path" },
  { "package%.cpath", "touches package.cpath" },
  { "searchpath", "searches for files itself", except = "lua/lethe/vat/source.lua" }, -- for text
  { "%f[%w]require[%s(]*[\"'][^\"']*[/\\]", "requires a path" },
  { "[\"'][^\"'\n]*%.so[\"']", "names a shared object" },
}

-- The modules required at any place of the source, by a name that stands there in full.
local function check_lua(root, complaints, graph)
  for _, path in ipairs(sources.files(root, "lua", "%.lua$")) do
    local text = sources.strip_lua(sources.read(root, path))
    local module = module_of(path)
    if not path:find("/meta/") then
      graph[module] = graph[module] or { path = path }
      for name in text:gmatch("%f[%w]require[%s(]*[\"']([%w_.]+)[\"']") do
        table.insert(graph[module], name)
        if name == "lethe" then
          complaints[#complaints + 1] = ("%s: requires the face of all modules"):format(path)
        end
      end
    end
    for _, loader in ipairs(LOADERS) do
      local position = text:find(loader[1])
      if position and path ~= loader.except then
        complaints[#complaints + 1] = ("%s:%d: %s"):format(path, sources.line_of(text, position),
          loader[2])
      end
    end
  end
end

-- ---- circles ----------------------------------------------------------------------------------

-- Walks the graph depth first; a way back to a node that is still open is a circle.
local function check_circles(graph, complaints)
  local state, trail = {}, {}
  local function walk(node)
    state[node] = "open"
    trail[#trail + 1] = node
    for _, target in ipairs(graph[node] or {}) do
      if state[target] == "open" then
        local first = #trail
        while trail[first] ~= target do
          first = first - 1
        end
        complaints[#complaints + 1] = ("%s: a circle: %s"):format(graph[node].path or node,
          table.concat(trail, " -> ", first) .. " -> " .. target)
      elseif not state[target] then
        walk(target)
      end
    end
    trail[#trail] = nil
    state[node] = "done"
  end
  local nodes = {}
  for node in pairs(graph) do
    nodes[#nodes + 1] = node
  end
  table.sort(nodes)
  for _, node in ipairs(nodes) do
    if not state[node] then walk(node) end
  end
end

local function check(root)
  local complaints, c_graph, lua_graph = {}, {}, {}
  check_includes(root, complaints, c_graph)
  check_lua(root, complaints, lua_graph)
  check_circles(c_graph, complaints)
  check_circles(lua_graph, complaints)
  return complaints, c_graph, lua_graph
end

-- ---- symbols ----------------------------------------------------------------------------------

-- An extern declaration needs no include, so the objects are asked as well: what an engine's object
-- leaves undefined must be defined by the engine, by base, by loop, or by the system.
local function check_symbols(build)
  local complaints, defined, wanted = {}, {}, {}
  local folder <const> = build .. "/o/runtime"
  for _, path in ipairs(sources.files(".", folder, "%.o$")) do
    local engine = path:sub(#folder + 2):match("^([^/]+)/")
    for _, line in ipairs(sources.lines("nm -P -g " .. path)) do
      local name, kind = line:match("^(%S+) (%a)")
      if kind == "U" then
        wanted[#wanted + 1] = { name = name, engine = engine, path = path }
      elseif name then
        defined[name] = engine
      end
    end
  end
  for _, want in ipairs(wanted) do
    local other = defined[want.name]
    if other and not may_see(want.engine, other) then
      complaints[#complaints + 1] = ("%s: %s uses %s of %s"):format(want.path, want.engine,
        want.name, other)
    elseif want.name:find("^luaL?_") or want.name:find("^lethe_key") then
      complaints[#complaints + 1] = ("%s: the core uses %s"):format(want.path, want.name)
    end
  end
  return complaints, #wanted
end

-- The whole core links without Lua.
local function check_link(build)
  local command = ("%s -shared -o /dev/null -Wl,--whole-archive %s/liblethe.a "
    .. "-Wl,--no-whole-archive -Wl,-z,defs -lhiredis "
    .. "-levent_core -levent_extra -levent_pthreads -lm "
    .. "-pthread 2>&1")
    :format(os.getenv("CC") or "gcc", build)
  local complaints = sources.lines(command)
  return complaints
end

-- ---- main -------------------------------------------------------------------------------------

local OFFENDERS <const> = {
  { path = "runtime/base/alloc.c", text = '#include <lua.h>\n', says = "of Lua" },
  { path = "runtime/loop/loop.c", text = '#include "lua5.4/lauxlib.h"\n', says = "of Lua" },
  { path = "runtime/base/alloc.c", text = '#include "lethe/loop.h"\n', says = "belongs to loop" },
  { path = "runtime/registry/registry.c", text = '#include "lethe/quota.h"\n',
    says = "belongs to quota" },
  { path = "runtime/quota/planted.c", text = '# include "../registry/planted.h"\n',
    says = "not its own" },
  { path = "runtime/quota/planted.c", text = "#define X <lua.h>\n#include X\n", says = "macro" },
  { path = "runtime/include/lethe/loop.h", text = '#include "lethe/registry.h"\n',
    says = "belongs to registry" },
  { path = "runtime/include/lethe/planted.h", text = "\n", says = "named after no engine" },
  { path = "runtime/include/lethe/base.h", text = '#include "lethe/slab.h"\n', says = "circle" },
  { path = "bindings/lbase.c", text = '#include "../runtime/loop/timers.h"\n',
    says = "runtime/loop/timers.h" },
  { path = "bindings/lbase.c", text = '#include "quota_internal.h"\n', says = "internal" },
  { path = "lua/lethe/loop.lua", text = 'require "lethe"\n', says = "face" },
  { path = "lua/lethe/registry.lua", text = 'require "lethe.loop"\n', says = "circle",
    also = { path = "lua/lethe/loop.lua", text = 'require "lethe.registry"\n' } },
  { path = "lua/lethe/loop.lua", text = 'package.loadlib("x", "*")\n', says = "by path" },
  { path = "lua/lethe/loop.lua", text = 'require "../lethe"\n', says = "requires a path" },
}

local function size(graph)
  local n = 0
  for _ in pairs(graph) do
    n = n + 1
  end
  return n
end

if arg[1] == "--plant" then
  local missed = sources.plant({ "runtime", "bindings", "lua" }, OFFENDERS, check)
  sources.report(missed, ("layers: %d planted offenders found"):format(#OFFENDERS))
elseif arg[1] == "--symbols" then
  local complaints, n = check_symbols("build")
  table.move(check_link("build"), 1, 100, #complaints + 1, complaints)
  if n == 0 then complaints[1] = "no compiled objects in build/o/runtime" end
  sources.report(complaints, ("layers: %d references between objects, none upward"):format(n))
else
  local complaints, c_graph, lua_graph = check(".")
  sources.report(complaints, ("layers: %d C files, %d Lua modules, all arrows point down")
    :format(size(c_graph), size(lua_graph)))
end
