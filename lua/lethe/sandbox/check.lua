-- Argument checks of the sandbox's library functions, worded as Lua's own, so that a policy's
-- mistake is reported at the policy's line: policy -> library function -> check -> error.
local error, pcall, tonumber, tostring, type = error, pcall, tonumber, tostring, type
local find, format, tointeger = string.find, string.format, math.tointeger

local M = {}

--- What a function may give at once: with the copies on the way it has to fit Lua's stack.
M.MAX_RESULTS = 250000

local NUMERAL_MAX = 200 -- longer strings are no numbers; Lua would look through all of them

--- Raises "bad argument"; `level` counts from the caller of this function.
local function bad(position, name, message, level)
  error(format("bad argument #%d to '%s' (%s)", position, name, message), level + 1)
end

local function expected(position, name, what, value)
  local got = value == nil and "no value" or type(value)
  bad(position, name, format("%s expected, got %s", what, got), 4)
end

--- For a library function that found a bad argument by itself.
---@param position integer
---@param name string the function's name
---@param message string
function M.bad(position, name, message)
  bad(position, name, message, 3)
end

--- A string, or a number as a string.
---@param value any
---@param position integer
---@param name string
---@return string
function M.text(value, position, name)
  local kind = type(value)
  if kind == "string" then return value end
  if kind ~= "number" then expected(position, name, "string", value) end
  return tostring(value)
end

--- An integer, or what converts to one; nil gives `default` where there is one.
---@param value any
---@param position integer
---@param name string
---@param default? integer
---@return integer
function M.int(value, position, name, default)
  if value == nil and default then return default end
  local number = value
  if type(value) == "string" then number = #value <= NUMERAL_MAX and tonumber(value) end
  if type(number) ~= "number" then expected(position, name, "number", value) end
  local integer = tointeger(number)
  if not integer then bad(position, name, "number has no integer representation", 3) end
  return integer
end

--- A table; anything else is refused, also where its metamethods would do.
---@param value any
---@param position integer
---@param name string
---@return table
function M.list(value, position, name)
  if type(value) ~= "table" then expected(position, name, "table", value) end
  return value
end

--- A function.
---@param value any
---@param position integer
---@param name string
---@return function
function M.fn(value, position, name)
  if type(value) ~= "function" then expected(position, name, "function", value) end
  return value
end

--- Raises again what a C function raised. A message without a position gets the policy's, for it
--- is called by `return raise(message)` or from `call` alone; "not enough memory" stays as it is.
local function raise(message)
  local whole = type(message) ~= "string" or message == "not enough memory"
    or find(message, "^[^:]*:%-?%d+:")
  error(message, whole and 0 or 2)
end

local function relay(ok, ...)
  if ok then return ... end
  return raise((...))
end

--- Calls a C function for a library function, as its last deed: `return check.call(real, ...)`.
--- What it raises names the policy's line, not one of the sandbox.
---@param fn function
---@param ... any
---@return any ...
function M.call(fn, ...)
  return relay(pcall(fn, ...))
end

M.raise = raise

--- How many of `length` elements lie from i to j, both as string.sub takes them.
---@param length integer
---@param i integer
---@param j integer
---@return integer
function M.span(length, i, j)
  if i < 0 then i = length + i + 1 end
  if j < 0 then j = length + j + 1 end
  i, j = math.max(i, 1), math.min(j, length)
  return math.max(j - i + 1, 0)
end

return M
