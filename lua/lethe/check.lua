-- Checks of what calls are given: arguments, and fields of tables of options. `level` is where
-- misuse is reported, 1 being the caller.

local base = require "lethe.core.base"

local M = {}

--- What a value is, for messages: lethe's own name for it, or Lua's.
---@param value any
---@return string
function M.kind(value)
  local ours = base.type(value)
  return ours and "lethe." .. ours or type(value)
end

--- An argument of a call, the n-th of the function `name`.
---@generic T
---@param n integer
---@param name string
---@param value T
---@param expected string a type of Lua's
---@param level integer
---@return T value
function M.argument(n, name, value, expected, level)
  if type(value) ~= expected then
    local message = "bad argument #%d to '%s' (%s expected, got %s)"
    error(message:format(n, name, expected, M.kind(value)), level + 1)
  end
  return value
end

--- An option of a Lua type, or nil when it is not given.
---@param options table
---@param name string
---@param expected string
---@param level integer
---@return any value
function M.typed(options, name, expected, level)
  local value = options[name]
  if value ~= nil and type(value) ~= expected then
    error(("%s must be a %s (got %s)"):format(name, expected, M.kind(value)), level + 1)
  end
  return value
end

--- The option `name`, or nil when it is not given: C would cut it at a zero byte.
---@param options table
---@param level integer
---@return string?
function M.name(options, level)
  local name = M.typed(options, "name", "string", level + 1)
  if name and name:find("\0", 1, true) then error("name must not have a zero byte", level + 1) end
  return name
end

--- An option that is a positive integer, or nil when it is not given.
---@param options table
---@param name string
---@param level integer
---@return integer?
function M.positive(options, name, level)
  local value = options[name]
  if value == nil then return nil end
  local integer = type(value) == "number" and math.tointeger(value)
  if not integer or integer < 1 then
    error(("%s must be a positive integer (got %s)"):format(name, tostring(value)), level + 1)
  end
  return integer
end

--- An option that is a size, in bytes, or nil when it is not given.
---@param options table
---@param name string
---@param level integer
---@return integer?
function M.size(options, name, level)
  local value = options[name]
  return value ~= nil and base.size(value, name, level + 1) or nil
end

--- An option that is an open object of a class, or nil when it is not given.
---@param options table
---@param name string
---@param class string such as "quota.Account"
---@param level integer
---@return any object
function M.object(options, name, class, level)
  local value = options[name]
  if value == nil then return nil end
  if base.type(value) ~= class then
    error(("%s must be a lethe.%s (got %s)"):format(name, class, M.kind(value)), level + 1)
  end
  if not M.is_open(value) then error(("%s is a closed lethe.%s"):format(name, class), level + 1) end
  return value
end

--- Whether an object of lethe's can be used.
---@param object any
---@return boolean
function M.is_open(object)
  if base.type(object) == "loop.Loop" then return require("lethe.core.loop").is_open(object) end
  return base.open(object)
end

return M
