--- Structures that workers share: a map, a queue, a stack, on an epoch manager.
--
-- Values are copied in and out: booleans, numbers, strings, and tables of these. A read never waits
-- for a writer, nor a writer for a reader. A map may have a name, by which other workers find it as
-- long as anybody holds it.
--
--   local map = shared.map{ epoch = epoch.new{}, name = "config" }
--   map:set("limit", 10)   map:incr("hits", 1, 0)
--   for k, v in pairs(map) do print(k, v) end      -- in a worker: shared.open("config")

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.shared"
require "lethe.epoch" -- every object of these has a place on a manager

---@class lethe.shared
local M = {}

local function manager(options, level)
  local m = check.object(options, "epoch", "epoch.Manager", level + 1)
  if not m then error("epoch must be a lethe.epoch.Manager (got nil)", level + 1) end
  return m
end

--- A map; keys are strings and integers.
---@param options { epoch: lethe.epoch.Manager, name: string? }
---@return lethe.shared.Map?
---@return string? message
---@return string? code "exists"
function M.map(options)
  base.options(options, { "epoch", "name" }, 2)
  local name = check.name(options, 2)
  return core.map(manager(options, 2), name)
end

--- The map of that name, as long as anybody holds it.
---@param name string
---@return lethe.shared.Map?
---@return string? message
---@return string? code "unknown"
function M.open(name)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'open' (string expected, got %s)"):format(type(name)), 2)
  end
  if name:find("\0", 1, true) then return nil, ("no map is named %q"):format(name), "unknown" end
  return core.open(name)
end

--- A queue, bounded if it is given a capacity. Neither push nor pop waits.
---@param options { epoch: lethe.epoch.Manager, capacity: integer? }
---@return lethe.shared.Queue?
function M.queue(options)
  base.options(options, { "epoch", "capacity" }, 2)
  local capacity = check.positive(options, "capacity", 2)
  return core.queue(manager(options, 2), capacity or 0)
end

--- A stack. Neither push nor pop waits.
---@param options { epoch: lethe.epoch.Manager }
---@return lethe.shared.Stack?
function M.stack(options)
  base.options(options, { "epoch" }, 2)
  return core.stack(manager(options, 2))
end

return M
