-- The calls of a cache's backend, in tasks of the cache's loop, and what a cache tells: evictions,
-- writes that failed while nobody waited, dirty entries that close dropped.

local base = require "lethe.core.base"
local core = require "lethe.core.cache"
local core_loop = require "lethe.core.loop"
local task = require "lethe.loop.task"

local M = {}

local function text_of(err)
  if type(err) == "string" then return err end
  local ok, text = pcall(tostring, err)
  return ok and text or ("(error object is a %s value)"):format(type(err))
end

local function fail(runner, err)
  core.answer(runner, false, text_of(err))
end

-- nil alone: there is nothing under that key. nil with a message is a failure.
local function loaded(runner, ok, value, message)
  if ok and value ~= nil then
    core.answer(runner, true, value)
  elseif not ok then
    fail(runner, value)
  elseif message ~= nil then
    fail(runner, message)
  else
    core.answer(runner, nil)
  end
end

local function written(runner, ok, value, message)
  if not ok then
    fail(runner, value)
  elseif value == nil and message ~= nil then
    fail(runner, message)
  else
    core.answer(runner, true)
  end
end

-- An entry has left, whatever evict makes of that: nobody waits for it, so an error is reported.
local function evict(own, runner, method, key, value)
  local ok, message = xpcall(method, base.traceback, own.backend, key, value)
  core.answer(runner, true)
  if not ok then base.report(message, { callback = "evict", cache = own.name, key = key }) end
end

local function run(own, runner, name, key, value)
  local backend <const> = own.backend
  local method <const> = backend[name]
  if method == nil then
    fail(runner, ("the backend has no function %s"):format(name))
  elseif name == "load" then
    loaded(runner, pcall(method, backend, key))
  elseif name == "flush" then
    written(runner, pcall(method, backend, key, value))
  elseif name == "evict" then
    evict(own, runner, method, key, value)
  else
    written(runner, pcall(method, backend))
  end
end

-- What the task of a runner does: one call after the other.
local function serve(self, own, runner)
  local _ <close> = runner -- answers that it failed, should the task end during a call
  while true do
    task.rest(self)
    local name, key, value = core.rest(runner)
    if not name then return true end
    task.wake(self)
    run(own, runner, name, key, value)
  end
end

local function new_runner(own, runner)
  task.serve(own.loop, own.runners, serve, own, runner)
end

-- ---- what is told -----------------------------------------------------------------------------

local function evicted(own, key, value, reason)
  local fn = own.on_evict
  local inner = task.make(own.loop, function()
    local ok, message = xpcall(fn, base.traceback, key, value, reason)
    if not ok then
      base.report(message, { callback = "on_evict", key = key, reason = reason })
    end
  end)
  core_loop.send(own.loop, inner.message)
end

local function named(own)
  return own.name and ('cache "%s"'):format(own.name) or "a cache"
end

local function failed(own, key, message)
  base.report(("%s could not write key %s: %s"):format(named(own), tostring(key), message),
    { cache = own.name, key = key, code = "flush_failed" })
end

local MOST <const> = 10 -- keys in a message

local function dropped(own, keys)
  local names = {}
  for i = 1, math.min(#keys, MOST) do
    names[i] = tostring(keys[i])
  end
  if #keys > MOST then names[#names + 1] = "..." end
  base.report(("%s was closed with %d dirty %s, now dropped: %s"):format(named(own), #keys,
    #keys == 1 and "entry" or "entries", table.concat(names, ", ")),
    { cache = own.name, keys = keys, code = "dropped" })
end

M.upcalls = {
  runner = new_runner, resumed = task.resumed, later = task.later,
  evicted = evicted, failed = failed, dropped = dropped,
}

-- ---- checking ---------------------------------------------------------------------------------

local function is_callable(value)
  if type(value) == "function" then return true end
  local meta = getmetatable(value)
  return type(meta) == "table" and type(meta.__call) == "function"
end

--- Raises unless `backend` can be one: `load` must be there, the others may be. `level` is where
--- misuse is reported.
---@return boolean evicts
---@return boolean bars
function M.check(backend, level)
  local kind = type(backend)
  if kind ~= "table" and kind ~= "userdata" then
    local got = base.type(backend)
    error(("backend must be an object with a method load (got %s)"):format(got or kind), level + 1)
  end
  local has = {}
  for _, name in ipairs{ "load", "flush", "evict", "barrier" } do
    local value = backend[name]
    if value ~= nil and not is_callable(value) then
      error(("backend.%s must be a function (got %s)"):format(name, type(value)), level + 1)
    end
    has[name] = value ~= nil
  end
  if not has.load then error("backend must have a function load (got nil)", level + 1) end
  return has.evict, has.barrier
end

return M
