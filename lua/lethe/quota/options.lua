-- Checks of what quota's calls are given. `level` is where misuse is reported, 1 being the caller.

local base = require "lethe.core.base"

local M = {}

--- What a value is, for messages: lethe's own name for it, or Lua's.
---@param value any
---@return string
function M.kind(value)
  local ours = base.type(value)
  return ours and "lethe." .. ours or type(value)
end

--- A size of an option, or nil when it is not given.
---@return integer?
function M.size(options, name, level)
  local value = options[name]
  return value ~= nil and base.size(value, name, level + 1) or nil
end

-- What may come from a configuration is refused where it makes no sense: nil and why. What can only
-- be a mistake in the program raises.
local function limit(options, name, level)
  local value = options[name]
  if value == nil then return false end
  if value == "auto" then return -1 end
  if type(value) ~= "string" or value:find("^%s*%-") then
    return base.size(value, name, level + 1)
  end
  local ok, size = pcall(base.size, value, name, 0)
  if not ok then return nil, size end
  return size
end

local function deadline(options, level)
  local value = options.deadline
  if value == nil then return false end
  if type(value) ~= "number" then
    error(("deadline must be a number of seconds (got %s)"):format(M.kind(value)), level + 1)
  end
  if value ~= value or value <= 0 or value == math.huge then
    return nil, ("deadline must be a number of seconds above 0 (got %s)"):format(value)
  end
  return value
end

--- max, low_water and deadline: what was given, -1 for "auto", false for what was not given.
---@return { max: integer|false, low_water: integer|false, deadline: number|false }?
---@return string? message why it is refused
function M.limits(options, level)
  local max, low, seconds, message, why
  max, message = limit(options, "max", level + 1)
  low, why = limit(options, "low_water", level + 1)
  message = message or why
  seconds, why = deadline(options, level + 1)
  message = message or why
  if message then return nil, message end
  return { max = max, low_water = low, deadline = seconds }
end

--- An option of a Lua type, or nil when it is not given.
function M.typed(options, name, expected, level)
  local value = options[name]
  if value ~= nil and type(value) ~= expected then
    error(("%s must be a %s (got %s)"):format(name, expected, M.kind(value)), level + 1)
  end
  return value
end

--- An option that is an open object of a class, or nil when it is not given.
function M.object(options, name, class, level)
  local value = options[name]
  if value == nil then return nil end
  if base.type(value) ~= class then
    error(("%s must be a lethe.%s (got %s)"):format(name, class, M.kind(value)), level + 1)
  end
  if not M.is_open(value) then error(("%s is a closed lethe.%s"):format(name, class), level + 1) end
  return value
end

--- Whether an object can be used.
---@return boolean
function M.is_open(object)
  if base.type(object) == "loop.Loop" then return require("lethe.core.loop").is_open(object) end
  return base.open(object)
end

--- A 32-bit integer, or nil when it is not given.
---@return integer?
function M.integer(options, name, level)
  local value = options[name]
  if value == nil then return nil end
  local integer = type(value) == "number" and math.tointeger(value)
  if not integer or integer < -2 ^ 31 or integer >= 2 ^ 31 then
    error(("%s must be an integer of 32 bits (got %s)"):format(name, tostring(value)), level + 1)
  end
  return integer
end

local POLICY <const> = { ["string"] = true, ["function"] = true, ["table"] = true }

--- A policy in any form; what it says is looked at later.
function M.policy(options, level)
  local policy = options.policy
  if policy == nil or POLICY[type(policy)] then return policy end
  if base.type(policy) ~= "policy.Text" then
    local message = "policy must be a name, a function or a table (got %s)"
    error(message:format(M.kind(policy)), level + 1)
  end
  if not base.open(policy) then error("policy is a closed lethe.policy.Text", level + 1) end
  return policy
end

--- An argument of a call.
function M.argument(n, name, value, expected, level)
  if type(value) ~= expected then
    local message = "bad argument #%d to '%s' (%s expected, got %s)"
    error(message:format(n, name, expected, M.kind(value)), level + 1)
  end
end

return M
