-- Asks the classes of a running lethe whether their finalizer only notes a death:
--
--   build/lethe spec/tools/gc_classes_run.lua
--
-- Every metatable named lethe.<module>.<Class> gets a probe in turn, an object of a class made for
-- this, and its own __gc is called on it. Nothing may follow until the safe point, and then the
-- probe's end must, once. A finalizer that acts, or that is none of lethe's, does not do that.
package.path = "./?.lua;" .. package.path
local base = require "lethe.core.base"
local sources = require "spec.tools.sources"
local registry = debug.getregistry()

local ended = 0
local PROBE <const> = "lethe.check.Probe"
local new_probe = base.class("check.Probe", {}, function() ended = ended + 1 end)

-- What is wrong with a class's finalizer, or nil.
local function judge(mt)
  if type(mt.__gc) ~= "function" then return "it has no __gc" end
  if debug.getinfo(mt.__gc, "S").what ~= "C" then return "its __gc is not the bindings'" end
  base.safepoint()
  ended = 0
  local probe = new_probe({})
  local own = debug.getmetatable(probe)
  debug.setmetatable(probe, mt)
  local ok, message = pcall(mt.__gc, probe)
  local at_once = ended
  pcall(mt.__gc, probe) -- a second call is no news
  debug.setmetatable(probe, own)
  base.safepoint()
  if not ok then return "its __gc raised: " .. tostring(message) end
  if at_once ~= 0 then return "its __gc acted at once" end
  if ended ~= 1 then return ("its __gc left %d deaths for the safe point"):format(ended) end
end

local function classes()
  local names = {}
  for name in pairs(registry) do
    local ours = type(name) == "string" and name:find("^lethe%.[%w_]+%.%u")
    if ours and name ~= PROBE then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local complaints = {}
local function complain(...)
  complaints[#complaints + 1] = table.concat({ ... })
end

for _, path in ipairs(sources.files(".", "lua/lethe", "^lua/lethe/[%w_]+%.lua$")) do
  if not path:find("/init%.lua$") then require("lethe." .. path:match("([%w_]+)%.lua$")) end
end
-- A value holds nothing and is nobody's to close; nothing at all happens when it dies.
local function is_value(mt)
  return mt.__gc == nil and mt.__close == nil
    and not (type(mt.__index) == "table" and mt.__index.close)
end

local names, values = classes(), 0
for _, name in ipairs(names) do
  local mt = registry[name]
  if is_value(mt) then
    values = values + 1
  else
    local wrong = judge(mt)
    if wrong then complain(name, ": ", wrong) end
    for _, field in ipairs({ "__close", "__tostring", "__index" }) do
      if mt[field] == nil then complain(name, ": it has no ", field) end
    end
    if type(mt.__index) == "table" and type(mt.__index.close) ~= "function" then
      complain(name, ": it has no close")
    end
  end
end

-- The check itself must be able to fail.
local OFFENDERS <const> = {
  ["nothing"] = false,
  ["a Lua function"] = function() end,
  ["a C function of another kind"] = rawlen,
  ["note_death of another class"] = debug.getmetatable(new_probe({})).__gc,
}
for what, gc in pairs(OFFENDERS) do
  if not judge({ __gc = gc or nil }) then complain("planted and not found: ", what) end
end
-- An object that is closed by its __gc ends at once.
local eager = debug.getmetatable(new_probe({}))
local noter <const> = eager.__gc
eager.__gc = eager.__close
if judge(eager) ~= "its __gc acted at once" then complain("planted and not found: closing") end
eager.__gc = noter

if #names - values < 5 then complain("only ", #names, " classes found") end
for _, complaint in ipairs(complaints) do
  io.stderr:write(complaint, "\n")
end
if #complaints == 0 then
  print(("__gc: %d classes only note, %d have none: %s"):format(#names - values, values,
    table.concat(names, " ")))
end
os.exit(#complaints == 0, true)
