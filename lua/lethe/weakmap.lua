--- Maps that do not keep their values.
--
-- A weak map leads from keys, all numbers or all strings, to tables, userdata, functions and
-- threads that live only as long as something else holds them. An entry leaves when the collector
-- takes its value, before the value's own finalizer runs; an object of lethe's, whose life does not
-- depend on the collector, leaves when it is closed. What was taken counts nowhere, not even in
-- `#map`.
--
--   local sessions = weakmap.new{ on_dead = function(id) print(id, "is gone") end }
--   sessions:insert("a", session)
--   for id, session in sessions:range("a", "f") do ... end
--
-- An ephemeron is the other way round: its keys are weak, and a value that refers to its own key
-- does not keep it. With objects of lethe's as keys, however long the chain from value to key to
-- value, the collector passes it once; with other keys it stands in one of Lua's own weak-keyed
-- tables, where such a chain costs the square of its length.
--
-- See lua/lethe/meta/weakmap.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.weakmap"
local core_loop = require "lethe.core.loop"

---@class lethe.weakmap
local M = {}

local COLLECTABLE <const> = { table = true, userdata = true, ["function"] = true, thread = true }

-- ---- making -----------------------------------------------------------------------------------

-- The message that makes the default loop tell who has died; made with the first on_dead.
local function prepare_telling()
  local shared = base.shared("weakmap")
  if shared.message then return end
  local message = core_loop.message(core.deliver)
  core.poster(function()
    core_loop.send(core_loop.default(), message)
  end)
  core_loop.default() -- while there is memory
  shared.message = message
end

--- A weak map.
---@param options lethe.weakmap.Options?
---@return lethe.weakmap.WeakMap
function M.new(options)
  if options == nil then options = {} end
  base.options(options, { "ordered", "ops_threshold", "on_dead" }, 2)
  local ordered = check.typed(options, "ordered", "boolean", 2) ~= false
  local threshold = check.positive(options, "ops_threshold", 2) or 1000
  local on_dead = check.typed(options, "on_dead", "function", 2)
  if on_dead then prepare_telling() end
  return core.new(false, ordered, threshold, on_dead)
end

--- A map with weak keys, in which a value that refers to its own key does not keep it.
---@return lethe.weakmap.Ephemeron
function M.ephemeron()
  return core.ephemeron()
end

-- ---- calls that call back ---------------------------------------------------------------------

-- The calls that both kinds of maps have beside those of lethe.core.weakmap.
local Map = {}

local function check_function(n, name, fn)
  if type(fn) == "function" then return end
  error(("bad argument #%d to '%s' (function expected, got %s)"):format(n, name, type(fn)), 3)
end

local function get(map, key)
  local value = map:get(key)
  return value -- no tail call: an error of get names this line
end

-- The value at the key; misuse is get_or_create's, and its caller's.
local function get_of(map, key)
  local ok, value = pcall(get, map, key)
  if ok then return value end
  local misuse = type(value) == "string" and value:match("^.-:%d+: (.*)$")
  if not misuse then error(value, 0) end
  error((misuse:gsub("'get'", "'get_or_create'", 1)), 3)
end

-- After a call of the script's, which may have closed the map.
local function check_open(map)
  if base.open(map) then return end
  error(("attempt to use a closed lethe.%s"):format(base.type(map)), 3)
end

function Map.get_or_create(map, key, create)
  local value = get_of(map, key)
  if value ~= nil then return value, false end
  check_function(2, "get_or_create", create)
  local made = create(key)
  if not COLLECTABLE[type(made)] then
    error(("the function must return a table, userdata, function or thread (got %s)")
      :format(type(made)), 2)
  end
  check_open(map)
  value = get_of(map, key) -- the function may have put one
  if value ~= nil then return value, false end
  map:insert(key, made)
  return made, true
end

function Map.retain(map, keep)
  core.swept(map)
  check_function(1, "retain", keep)
  for key, value in pairs(map) do
    local kept = keep(key, value)
    check_open(map)
    if not kept then core.remove_if(map, key, value) end
  end
  core.swept(map)
end

-- ---- whole maps -------------------------------------------------------------------------------

-- The same entries in a new map that holds them, or does not.
local function copy(map, strong)
  local _, ordered, threshold = core.options(map)
  local new = core.new(strong, ordered, threshold)
  for key, value in pairs(map) do
    new:insert(key, value)
  end
  core.swept(new)
  return new
end

local function check_ordered(map, name)
  local strong, ordered, threshold, on_dead = core.options(map)
  if not ordered then error(("'%s' needs an ordered map"):format(name), 3) end
  return strong, threshold, on_dead
end

local function check_key(map, name, key)
  local kind, got = core.kind(map), type(key)
  if (got == "number" and key == key or got == "string") and (not kind or kind == got) then
    return
  end
  if key ~= key then got = "nan" end
  error(("bad argument #1 to '%s' (%s expected, got %s)"):format(name, kind or "number or string",
    got), 3)
end

function Map.split_off(map, key)
  local strong, threshold, on_dead = check_ordered(map, "split_off")
  check_key(map, "split_off", key)
  local upper = core.new(strong, true, threshold, on_dead)
  if not strong then
    core.split(map, key, upper)
    return upper
  end
  for k, v in map:range(key) do
    upper:insert(k, v)
  end
  for k in pairs(upper) do
    map:remove(k)
  end
  core.swept(upper)
  return upper
end

-- Both hold their values while they move: nothing dies on the way.
local function append_strong(map, other)
  for k, v in pairs(other) do
    core.put(map, k, v)
    other:remove(k)
  end
  core.swept(other)
end

function Map.append(map, other)
  local strong = check_ordered(map, "append")
  local message = "bad argument #1 to 'append' (%s)"
  if base.type(other) ~= base.type(map) then
    error(message:format(("lethe.%s expected, got %s"):format(base.type(map),
      base.type(other) or type(other))), 2)
  elseif not base.open(other) then
    error(message:format("attempt to use a closed lethe." .. base.type(other)), 2)
  elseif rawequal(map, other) then
    error(message:format("a map cannot be appended to itself"), 2)
  end
  local kind, others = core.kind(map), core.kind(other)
  if kind and others and kind ~= others and #other > 0 then
    error(message:format(("the keys of this map are %ss, those of the other %ss")
      :format(kind, others)), 2)
  end
  if strong then append_strong(map, other) else core.append(map, other) end
end

function Map.upgrade(map)
  return copy(map, true)
end

-- ---- methods ----------------------------------------------------------------------------------

-- A self that is none is found at the caller of the method.
local function methods(class, Class)
  for name, fn in pairs(Map) do
    Class[name] = function(self, ...)
      base.check(self, class)
      return fn(self, ...)
    end
  end
end
methods("weakmap.WeakMap", core.WeakMap)
methods("weakmap.StrongMap", core.StrongMap)

function core.StrongMap.downgrade(map)
  base.check(map, "weakmap.StrongMap")
  return copy(map, false)
end

return M
