-- The sandbox's coroutine library: Lua's own, but that making, resuming and closing one is
-- charged, since none of that is an instruction.
local check = require "lethe.sandbox.check"

local coroutine, type = coroutine, type
local create, resume, close, status =
  coroutine.create, coroutine.resume, coroutine.close, coroutine.status

local M = {}

local MAKE, SWITCH = 50, 20

-- What a wrapped coroutine gives: its values, or its error, after it was closed.
local function deliver(co, ok, ...)
  if ok then return ... end
  local message = (...)
  if status(co) == "dead" then
    local closed, other = close(co)
    if not closed then message = other end
  end
  return check.raise(message)
end

--- A coroutine library whose functions charge what they burn.
---@param charge fun(n: integer)
---@return table
function M.library(charge)
  local lib = {
    isyieldable = coroutine.isyieldable,
    running = coroutine.running,
    status = status,
    yield = coroutine.yield,
  }

  function lib.create(fn)
    check.fn(fn, 1, "create")
    charge(MAKE)
    return create(fn)
  end

  function lib.wrap(fn)
    check.fn(fn, 1, "wrap")
    charge(MAKE)
    local co = create(fn)
    return function(...)
      charge(SWITCH)
      return deliver(co, resume(co, ...))
    end
  end

  function lib.resume(co, ...)
    if type(co) ~= "thread" then check.bad(1, "resume", "coroutine expected") end
    charge(SWITCH)
    return resume(co, ...)
  end

  function lib.close(co)
    if type(co) ~= "thread" then check.bad(1, "close", "coroutine expected") end
    charge(SWITCH)
    return check.call(close, co)
  end

  return lib
end

return M
