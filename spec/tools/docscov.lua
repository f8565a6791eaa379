-- Coverage of the documentation, run by lethe itself: `build/lethe spec/tools/docscov.lua`.
--
-- Fails for a method of a class, or an exported function of a module, that has neither a stub in
-- lua/lethe/meta/ nor an annotation where it is written; for a parameter of a stub or of a public
-- module without `---@param`; and for a stub of something that does not exist.
package.path = "./?.lua;" .. package.path
local annotations = require "spec.tools.annotations"
local sources = require "spec.tools.sources"

local each_function <const>, module_of <const> = annotations.each_function,
  annotations.module_of

-- Classes that no program gets to see.
local INTERNAL <const> = {
  ["lethe.backend.Call"] = "an operation that a waiting call of lua/lethe/backend.lua waits for",
  ["lethe.cache.Runner"] = "what runs a backend's calls, held by its task",
  ["lethe.cache.Wait"] = "a waiting call of lua/lethe/cache.lua",
  ["lethe.policy.Made"] = "a policy on its way into a cache",
  ["lethe.quota.Call"] = "a reclaim request under way, held by the port of lua/lethe/quota.lua",
  ["lethe.quota.Grave"] = "tells the tracker that a condemned participant's object is gone",
  ["lethe.registry.Note"] = "hangs on a registered object, inside a weak table",
  ["lethe.sim.Run"] = "one replay under way, held by lua/lethe/sim/replay.lua",
  ["lethe.vat.State"] = "the Lua state of a vat, held by its driver (vat/supervisor.lua)",
  ["lethe.weakmap.Ref"] = "stands for a value of weak maps, inside a weak table",
  ["lethe.worker.Draft"] = "a worker that is being made",
  ["lethe.worker.Keeper"] = "what a state keeps of its workers, in the Lua registry",
  ["lethe.worker.Wait"] = "a waiting call of lua/lethe/worker.lua",
}

-- What other stubs inherit from; nothing is of this class alone.
local ABSTRACT <const> = "lethe.Object"

local complaints = {}
local function complain(format, ...)
  complaints[#complaints + 1] = format:format(...)
end

-- ---- reading annotations ----------------------------------------------------------------------

-- Parameters that the comment block above a function does not name.
local function unnamed(parameters, block)
  local list = {}
  for name in parameters:gmatch("[%w_]+") do
    local said = block:find("@param%s+" .. name .. "%??%s") or block:find("@overload")
    if name ~= "self" and name:sub(1, 1) ~= "_" and not said then list[#list + 1] = name end
  end
  return list
end

local documented, stubs = {}, {}
local parent_of = {} -- class -> the one that its stub says it is a kind of

-- The stub or annotation of a method: of its class, or of one that it is a kind of.
local function is_documented(class, name)
  while class and class ~= ABSTRACT do
    if documented[class .. ":" .. name] then return true end
    class = parent_of[class]
  end
  return false
end

local function read_file(path, is_stub)
  for class, parent in sources.read(".", path):gmatch("%-%-%-@class%s+([%w_.]+):%s*([%w_.]+)") do
    parent_of[class] = parent
  end
  local public = is_stub or path:find("^lua/lethe/[%w_]+%.lua$")
  each_function(path, function(class, name, block, parameters, line)
    local key = class .. ":" .. name
    if is_stub then stubs[#stubs + 1] = { class = class, name = name, path = path, line = line } end
    if block:find("%-%-%-") then
      documented[key] = true
      local missing = public and unnamed(parameters, block) or {}
      if #missing > 0 then
        complain("%s:%d: %s: no ---@param for %s", path, line, key, table.concat(missing, ", "))
      end
    elseif is_stub then
      complain("%s:%d: the stub of %s says nothing", path, line, key)
    end
  end)
end

local function check_written(path)
  local module <const> = module_of(path)
  each_function(path, function(class, name, _, _, line)
    if class == module and not documented[class .. ":" .. name] then
      complain("%s:%d: %s.%s has neither an annotation nor a stub", path, line, class, name)
    end
  end)
end

-- ---- what there is ----------------------------------------------------------------------------

local function of_slots(method)
  return function()
    local slots = require("lethe.vat").slots()
    return slots[method](slots)
  end
end

-- What a hook of an eviction policy gets.
local function of_policy(fn)
  return function()
    local object
    local _ <close> = require("lethe.evict.make").make({
      init = function(c) object = fn(c) end,
    }, 1, 1, false, 1)
    return object
  end
end

-- Classes whose metatables are in no registry: how to come by an object.
local MADE_BY <const> = {
  ["lethe.vat.WeakMap"] = of_slots("weak_map"), ["lethe.vat.WeakSet"] = of_slots("weak_set"),
  ["lethe.vat.Store"] = of_slots("store"), ["lethe.vat.WeakStore"] = of_slots("weak_store"),
  ["lethe.policy.Cache"] = of_policy(function(c) return c end),
  ["lethe.policy.Queue"] = of_policy(function(c) return c:queue("main") end),
  ["lethe.policy.Ghost"] = of_policy(function(c) return c:ghost("gone", 1) end),
}

local function methods_of(class)
  local mt = debug.getregistry()[class]
  if MADE_BY[class] then
    mt = debug.getmetatable(MADE_BY[class]())
  end
  local index = type(mt) == "table" and mt.__index
  if type(index) == "function" then -- what has fields too keeps its methods in an upvalue
    index = select(2, debug.getupvalue(index, 1))
  end
  return type(index) == "table" and index or nil
end

-- The functions that are documented where they are written, and exported elsewhere too.
local documented_there = {}

local function note_written(path)
  local ok, module = pcall(require, module_of(path))
  if not ok or type(module) ~= "table" then return end
  for name, value in pairs(module) do
    if documented[("%s:%s"):format(module_of(path), name)] then documented_there[value] = true end
  end
end

local function check_names(owner, names, what)
  for name, value in pairs(names) do
    local public = type(name) == "string" and name:sub(1, 1) ~= "_" and type(value) == "function"
    if public and not is_documented(owner, name) and not documented_there[value] then
      complain("%s: the %s %s has neither a stub in lua/lethe/meta nor an annotation", owner, what,
        name)
    end
  end
end

local function check_running(modules)
  local classes = 0
  for _, module in ipairs(modules) do
    check_names(module, require(module), "function")
  end
  for name in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find("^lethe%.[%w_]+%.%u") and not INTERNAL[name] then
      classes = classes + 1
      check_names(name, methods_of(name) or {}, "method")
    end
  end
  for name in pairs(MADE_BY) do
    check_names(name, methods_of(name), "method")
  end
  return classes
end

-- Arrays of methods in C: their names must be documented for some class.
local function check_luaL_Reg()
  local known = {}
  for key in pairs(documented) do
    known[key:match(":(.*)$")] = true
  end
  for _, path in ipairs(sources.files(".", "bindings", "%.c$")) do
    local text = sources.strip_c(sources.read(".", path))
    for array, body in text:gmatch("luaL_Reg%s+([%w_]*methods[%w_]*)%[%]%s*=%s*(%b{})") do
      for name in body:gmatch('{%s*"([^"]+)"') do
        if name:sub(1, 2) ~= "__" and not known[name] then
          complain("%s: %s of %s has no stub", path, name, array)
        end
      end
    end
  end
end

local function check_stub(stub)
  if stub.class == ABSTRACT then return end
  local methods = methods_of(stub.class)
  if not methods then
    local ok, module = pcall(require, stub.class)
    methods = ok and type(module) == "table" and module or {}
  end
  if type(methods[stub.name]) ~= "function" then
    complain("%s:%d: there is no %s in %s", stub.path, stub.line, stub.name, stub.class)
  end
end

-- ---- main -------------------------------------------------------------------------------------

local written, modules = {}, { "lethe" }
for _, path in ipairs(sources.files(".", "lua/lethe", "%.lua$")) do
  local is_stub = path:find("/meta/") ~= nil
  read_file(path, is_stub)
  if not is_stub then
    written[#written + 1] = path
    local name = path:match("^lua/lethe/([%w_]+)%.lua$")
    if name and name ~= "init" then modules[#modules + 1] = "lethe." .. name end
  end
end
for _, path in ipairs(written) do
  check_written(path)
  note_written(path)
end
local classes = check_running(modules)
check_luaL_Reg()
for _, stub in ipairs(stubs) do
  check_stub(stub)
end
if classes == 0 or #stubs == 0 then complain("no classes, or no stubs, were found") end
sources.report(complaints, ("documentation: %d modules, %d classes, %d stubs"):format(#modules,
  classes, #stubs))
