-- One scenario: a virtual loop, the engines made on it, the events they sent, and the promise that
-- all of it is closed when the test ends, also when it fails.
local base = require "lethe.core.base"
local outcome = require "lethe.spec.outcome"
local pressure = require "lethe.spec.pressure"
local vats = require "lethe.spec.vats"

local M = {}

---@class lethe.spec.Scenario
---@field loop lethe.Loop a virtual loop of its own
local Scenario = {}
Scenario.__index = Scenario

local function new(seed)
  local loop = require("lethe.loop").new{ clock = "virtual" }
  return setmetatable({
    loop = loop, _seed = seed, _events = {}, _owned = {}, _kernels = {},
  }, Scenario)
end

---Moves the virtual clock, running what falls due.
---@param seconds number
function Scenario:advance(seconds)
  return self.loop:advance(seconds)
end

---Collects until nothing more is due; afterwards every death is known to its engine. In a kernel
---every vat brings out its dead, and hears of those elsewhere; messages wait.
function Scenario:collect()
  for _, kernel in ipairs(self._kernels) do
    if base.open(kernel) then kernel:collect() end
  end
  return require("lethe.registry").default():collect()
end

---The seed of this run; a failing test prints it.
---@return integer
function Scenario:seed()
  return self._seed
end

---Closes `obj` when the scenario ends. What was owned last is closed first.
---@generic T
---@param obj T anything with a close method
---@return T
function Scenario:own(obj)
  table.insert(self._owned, obj)
  return obj
end

local function with_defaults(given, call, defaults)
  if type(given) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(call, type(given)), 3)
  end
  local result = {}
  for k, v in pairs(given) do
    result[k] = v
  end
  for k, v in pairs(defaults) do
    if result[k] == nil then
      result[k] = v
    end
  end
  return result
end

local function own_if_made(self, object, ...)
  if object ~= nil and object ~= false then
    self:own(object)
  end
  return object, ...
end

---A tracker on the scenario's loop whose events are kept for `events`.
---@param given table what quota.new takes
---@return lethe.quota.Tracker?, string? message, string? code
function Scenario:quota(given)
  local complete = with_defaults(given, "quota", { loop = self.loop })
  local told = complete.on_event
  local events = self._events
  function complete.on_event(event)
    local kept = {}
    for k, v in pairs(event) do
      kept[k] = v
    end
    events[#events + 1] = kept
    if told then
      return told(event)
    end
  end
  return own_if_made(self, require("lethe.quota").new(complete))
end

-- An engine that may be missing from this build.
local function engine(name, call)
  local found, module = pcall(require, "lethe." .. name)
  if not found then
    error(("s:%s needs lethe.%s, which this build does not have: %s"):format(call, name,
      tostring(module)), 3)
  end
  return module
end

---A cache on the scenario's loop.
---@param given table what cache.new takes
function Scenario:cache(given)
  local cache = engine("cache", "cache")
  return own_if_made(self, cache.new(with_defaults(given, "cache", { loop = self.loop })))
end

---A vat kernel on the scenario's loop.
---@param given table? what vat.kernel takes
function Scenario:kernel(given)
  local vat = engine("vat", "kernel")
  local kernel, message, code = vat.kernel(with_defaults(given or {}, "kernel",
    { loop = self.loop }))
  if kernel then table.insert(self._kernels, self:own(kernel)) end
  if kernel == nil then return nil, message, code end
  return kernel
end

---What a vat imports: "reachable" or "recognizable", by name.
---@param kernel lethe.vat.Kernel
---@param name string
---@return table<string, "reachable"|"recognizable">
function Scenario.imports(_, kernel, name)
  return vats.flags(kernel, name, "^o%-")
end

---What a vat exports, its root left out: likewise.
---@param kernel lethe.vat.Kernel
---@param name string
---@return table<string, "reachable"|"recognizable">
function Scenario.exports(_, kernel, name)
  return vats.flags(kernel, name, "^o%+[1-9dv]")
end

---What passed between a vat and the kernel about objects that nobody needs, in order, such as
---"dropImports o-1" (it says so) and "dispatch.dropExports o+1" (it is told).
---@param kernel lethe.vat.Kernel
---@param name string
---@return string[]
function Scenario.collected(_, kernel, name)
  return vats.collected(kernel, name)
end

---What the scenario's trackers told, in order.
---@param type string? only events of this type
---@return table[]
function Scenario:events(type)
  local result = {}
  for _, event in ipairs(self._events) do
    if type == nil or event.type == type then
      result[#result + 1] = event
    end
  end
  return result
end

---Memory pressure on a tracker, made by a ballast that claims and, when asked, gives back.
---@param given table see lethe.spec.pressure
---@return lethe.spec.Pressure
function Scenario:pressure(given)
  base.options(given, pressure.OPTIONS, 2)
  return self:own(pressure.new(given))
end

-- Closes what was made, last first; the first error is returned once all is closed.
local function finish(s)
  local failure = nil
  for i = #s._owned, 1, -1 do
    local object = s._owned[i]
    local ok, message = pcall(function() return object:close() end)
    failure = failure or (not ok and tostring(message)) or nil
  end
  if s.loop.close then
    s.loop:close()
  end
  return failure
end

---@param fn fun(s: lethe.spec.Scenario)
---@param spec table lethe.spec, for the seed of its current run
---@return fun()
function M.body(fn, spec)
  return function()
    local seed = spec.seed or spec.fresh_seed()
    math.randomseed(seed)
    local s = new(seed)
    local suffix = (" (seed %d)"):format(seed)
    local ok, err = xpcall(fn, function(err) return outcome.relay(err, suffix) end, s)
    local left = finish(s)
    if not ok then
      error(err, 0)
    elseif left then
      error("while closing what the scenario made: " .. left .. suffix, 0)
    end
  end
end

return M
