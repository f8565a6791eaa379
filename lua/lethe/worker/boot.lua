-- What a worker's state runs first: its function as a task, its loop until nothing is left, and
-- what there is to do when it is cancelled. Only lethe.core.worker calls this.

local core = require "lethe.core.worker"
local core_loop = require "lethe.core.loop"
local task = require "lethe.loop.task"
local turn = require "lethe.loop.turn"

local M = {}

local tasks = turn.shared.tasks

-- ---- cancelling -------------------------------------------------------------------------------

-- Ends a task's wait; the hook that is set by now does the rest. What waits inside a __close goes
-- on.
local function cancel(each)
  if each.done then return end
  if each.args or coroutine.status(each.co) == "suspended" and not core.in_close(each.co) then
    task.cancel(each)
  end
end

local function in_order()
  local list = {}
  for _, each in pairs(tasks) do
    list[#list + 1] = each
  end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

core.on_cancel(function()
  local ok, list = pcall(in_order)
  for _, each in pairs(ok and list or tasks) do
    cancel(each)
  end
end)

-- ---- running ----------------------------------------------------------------------------------

-- What the worker's function is: in its task, so that loading it may wait, fail and be cancelled.
local function resolve(kind, text)
  if kind == "function" then return assert(load(text, "=(worker)", "b")) end
  local fn
  if kind == "module" then
    fn = require(text)
  else
    fn = assert(loadfile(text))()
  end
  if type(fn) ~= "function" then
    error(("%s '%s' must return the function to run (got %s)"):format(kind, text, type(fn)), 0)
  end
  return fn
end

-- Whether there is more to do: like a script, a worker ends when its function has returned and its
-- loop has nothing left, and at once when it failed.
local function goes_on(main, returned)
  local alive = task.alive(core_loop.default())
  if core.cancelled() then return alive and next(tasks) ~= nil end
  if main.done and not returned() then return false end
  return alive
end

local function run_loop(main, returned)
  while goes_on(main, returned) do
    local home = core_loop.default()
    if task.turn(home) == 0 and goes_on(main, returned) then task.block(home) end
  end
end

--- Runs the worker: true and what its function returned, or false and a message.
---@param kind "function"|"module"|"file"
---@param text string the function, dumped, or the name
---@param account lethe.quota.Account? whose the state's memory is
function M.run(kind, text, account, ...)
  if account then
    local tracked, message = require("lethe.quota").track_state(account)
    if not tracked then return false, "not enough memory: " .. message end
  end
  local home = core_loop.default()
  local results
  local main = task.make(home, function(...)
    local fn = resolve(kind, text)
    results = table.pack(fn(...))
  end, ...)
  main.joiners = { function() end }
  core_loop.send(home, main.message)
  run_loop(main, function() return results end)
  if results and not core.cancelled() then return true, table.unpack(results, 1, results.n) end
  local message = main.done and main.results[2]
    or debug.traceback(main.co, "nothing is left to run that could end the worker's wait")
  if core_loop.is_open(home) then pcall(task.close_loop, home) end
  return false, message
end

return M
