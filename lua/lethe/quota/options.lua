-- Options that quota alone has. `level` is where misuse is reported, 1 being the caller.

local base = require "lethe.core.base"
local check = require "lethe.check"

local M = {}

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
    error(("deadline must be a number of seconds (got %s)"):format(check.kind(value)), level + 1)
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
    error(message:format(check.kind(policy)), level + 1)
  end
  if not base.open(policy) then error("policy is a closed lethe.policy.Text", level + 1) end
  return policy
end

return M
