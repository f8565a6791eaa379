--- Tasks on libevent loops.
--
-- A task is a coroutine that a loop resumes. A call that waits suspends only the task that made it;
-- made outside any task, it turns the loop itself until the answer is there, so that one script
-- reads the same with and without tasks. A virtual loop has a clock of its own that only `advance`
-- moves: a test owns time.
--
--   local loop = require("lethe.loop").default()
--   local task = loop:spawn(function() loop:sleep(0.1) return "done" end)
--   print(task:join())
--
-- Engines wait through `M.wait(loop, arm, disarm)`: arm(wake) starts the operation, which calls
-- wake(...) once with what the waiting call is to return.

local base = require "lethe.core.base"
local core = require "lethe.core.loop"

---@class lethe.loop
local M = {}

-- Outlives a reloading of this module, since coroutines do: tasks by coroutine, the loops that tasks
-- of other loops wait on (counted), and how many tasks failed unjoined.
local shared = base.shared("loop")
if not shared.tasks then
  shared.tasks = setmetatable({}, { __mode = "k" })
  shared.awaited = {}
  shared.stopped = {}
  shared.failures = 0
end
local tasks, awaited, stopped = shared.tasks, shared.awaited, shared.stopped

local CANNOT_WAIT <const> = "cannot wait here; use Loop:spawn"

---@class lethe.loop.Loop
local Loop = core.methods
---@class lethe.loop.Task
local Task = {}
---@class lethe.loop.Timer
local Timer = {}
---@class lethe.loop.Watch
local Watch = {}
local new_task, task_of, new_timer, new_watch

-- One that is only collected goes on; closing a Timer or a Watch stops it.
local function stop_if_closed(inner, closed)
  if closed then core.stop(inner.handle) end
end

-- ---- turning ----------------------------------------------------------------------------------

-- One turn of a loop and of those that its tasks wait on.
local function turn(loop)
  local n = core.turn(loop)
  for other in pairs(awaited) do
    if other ~= loop then n = n + core.turn(other) end
  end
  return n
end

local function alive(loop)
  if core.alive(loop) then return true end
  for other in pairs(awaited) do
    if other ~= loop and core.alive(other) then return true end
  end
  return false
end

local function block(loop)
  local loops = { loop }
  for other in pairs(awaited) do
    if other ~= loop then loops[#loops + 1] = other end
  end
  core.block(table.unpack(loops))
end

-- ---- waiting ----------------------------------------------------------------------------------

local function attend(loop, n)
  local count = (awaited[loop] or 0) + n
  awaited[loop] = count > 0 and count or nil
end

-- Parks the running task until the ticket is answered.
local function park(task, ticket, loop)
  local foreign = loop ~= task.loop
  if foreign then attend(loop, 1) end
  task.ticket = ticket
  coroutine.yield()
  task.ticket = nil
  if foreign then attend(loop, -1) end
end

-- Outside any task: turns the default loop, and the one waited on, until the ticket is answered.
local function turn_until(ticket, loop, level)
  local default = core.default()
  attend(loop, 1)
  while not ticket.answer do
    if turn(default) == 0 and not ticket.answer then
      if not alive(default) then
        attend(loop, -1)
        if ticket.disarm then ticket.disarm() end
        error("nothing is left to run that could end this wait", level + 1)
      end
      block(default)
    end
  end
  attend(loop, -1)
end

--- Waits for one answer. `arm(wake)` starts the operation; `wake(...)`, called once, now or later,
--- gives what this call returns; further calls of it do nothing and return false. `disarm()` takes
--- the operation back when the task is cancelled. `level` is where misuse is reported.
---@param loop lethe.loop.Loop the loop that the answer comes from
---@param arm fun(wake: function)
---@param disarm function?
---@param level integer?
function M.wait(loop, arm, disarm, level)
  level = (level or 2) + 1
  local co, is_main = coroutine.running()
  local task = tasks[co]
  if not base.may_wait() or (task and not coroutine.isyieldable()) or not (task or is_main) then
    error(CANNOT_WAIT, level)
  end
  if task and task.cancel_next then
    task.cancel_next = false
    return nil, "cancelled", "cancelled"
  end
  local ticket = { disarm = disarm }
  function ticket.wake(...)
    if ticket.answer then return false end
    ticket.answer = table.pack(...)
    if task and task.ticket == ticket then core.post(task.loop, task.resume) end
    return true
  end
  arm(ticket.wake)
  if not ticket.answer then
    if task then
      park(task, ticket, loop)
    else
      turn_until(ticket, loop, level)
    end
  end
  return table.unpack(ticket.answer, 1, ticket.answer.n)
end

-- ---- tasks ------------------------------------------------------------------------------------

local function end_task(task, ok, ...)
  if ok then
    task.results = task.cancelled and table.pack(nil, "cancelled", "cancelled") or table.pack(...)
  else
    local err = ...
    local text = debug.traceback(task.co, tostring(err))
    local closed, second = coroutine.close(task.co)
    if not closed and second ~= err then text = text .. "\nand while closing: " .. tostring(second) end
    task.results = task.cancelled and table.pack(nil, "cancelled", "cancelled")
      or table.pack(nil, text, "failed")
    if #task.joiners == 0 then
      shared.failures = shared.failures + 1
      base.report(text, { task = true, value = err })
    end
  end
  task.done = true
  tasks[task.co] = nil
  for _, wake in ipairs(task.joiners) do
    wake(table.unpack(task.results, 1, task.results.n))
  end
  task.joiners = {}
end

-- A task of `loop`, not started yet.
local function make_task(loop, fn, ...)
  local task = { loop = loop, joiners = {}, args = table.pack(...) }
  task.co = coroutine.create(fn)
  tasks[task.co] = task
  local function settle(ok, ...)
    if not ok or coroutine.status(task.co) == "dead" then end_task(task, ok, ...) end
  end
  function task.resume()
    if task.done then return end
    local args = task.args
    if args then
      task.args = nil
      settle(coroutine.resume(task.co, table.unpack(args, 1, args.n)))
    elseif coroutine.status(task.co) == "suspended" then
      settle(coroutine.resume(task.co))
    end
  end
  return task
end

--- Starts `fn(...)` as a task of the loop at once, up to its first wait; for callbacks that may wait.
---@param loop lethe.loop.Loop
---@param fn function
function M.start(loop, fn, ...)
  make_task(loop, fn, ...).resume()
end

--- Starts `fn(...)` as a task on the loop's next turn.
---@param fn function
---@return lethe.loop.Task
function Loop:spawn(fn, ...)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(fn)), 2)
  end
  core.check(self)
  local task = make_task(self, fn, ...)
  core.post(self, task.resume)
  return new_task(task)
end

--- Waits for the task to end: its results, or nil, message, "failed" | "cancelled".
function Task:join()
  local task = task_of(self)
  if tasks[coroutine.running()] == task then error("a task cannot join itself", 2) end
  if task.done then return table.unpack(task.results, 1, task.results.n) end
  local mine
  return M.wait(task.loop, function(wake)
    mine = wake
    table.insert(task.joiners, wake)
  end, function()
    for i, wake in ipairs(task.joiners) do
      if wake == mine then return table.remove(task.joiners, i) end
    end
  end)
end

--- Cancels: the wait that is pending, or the next one, returns nil, "cancelled", "cancelled"; a task
--- that has not started never does.
---@return boolean true if there was something to cancel
function Task:cancel()
  local task = task_of(self)
  if task.done then return false end
  task.cancelled = true
  local ticket = task.ticket
  if task.args then
    task.args = nil
    coroutine.close(task.co)
    end_task(task, true)
  elseif ticket and not ticket.answer then
    if ticket.disarm then ticket.disarm() end
    ticket.wake(nil, "cancelled", "cancelled")
  else
    task.cancel_next = true
  end
  return true
end

-- ---- loops ------------------------------------------------------------------------------------

--- The loop of this Lua state.
---@return lethe.loop.Loop
function M.default()
  return core.default()
end

--- A further loop of this state, with a real or a virtual clock.
---@param options { clock: "real"|"virtual" }?
---@return lethe.loop.Loop
function M.new(options)
  options = options or {}
  base.options(options, { "clock" }, 2)
  local clock = options.clock or "real"
  if clock ~= "real" and clock ~= "virtual" then
    error(('clock must be "real" or "virtual" (got %s)'):format(tostring(clock)), 2)
  end
  return core.new(clock == "virtual")
end

--- How many tasks of this state ended with an error that nobody joined.
---@return integer
function M.failures()
  return shared.failures
end

--- Turns until nothing is left to do, or stop is called. Of a virtual loop: until nothing more is due.
function Loop:run()
  core.check(self)
  stopped[self] = nil
  while not stopped[self] and alive(self) do
    if turn(self) == 0 and not stopped[self] and alive(self) then block(self) end
  end
  stopped[self] = nil
end

--- One turn; true if anything ran.
---@return boolean
function Loop:step()
  core.check(self)
  return turn(self) > 0
end

--- Makes the `run` that is under way return after this turn.
function Loop:stop()
  core.check(self)
  stopped[self] = true
end

local function check_seconds(seconds, name)
  if type(seconds) ~= "number" or seconds ~= seconds then
    error(("bad argument #1 to '%s' (seconds expected, got %s)"):format(name, tostring(seconds)), 3)
  end
  return seconds
end

--- Waits that long; true.
---@param seconds number
function Loop:sleep(seconds)
  core.check(self)
  check_seconds(seconds, "sleep")
  local timer
  return M.wait(self, function(wake)
    timer = core.timer(self, seconds, function() wake(true) end)
  end, function() core.stop(timer) end)
end

--- Calls `fn()` as a task after that many seconds, or every so many.
---@param seconds number
---@param fn function
---@param options { every: boolean }?
---@return lethe.loop.Timer
function Loop:timer(seconds, fn, options)
  core.check(self)
  check_seconds(seconds, "timer")
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'timer' (function expected, got %s)"):format(type(fn)), 2)
  end
  if options ~= nil then base.options(options, { "every" }, 2) end
  local every = options and options.every
  local inner = {}
  inner.handle = core.timer(self, seconds, function() M.start(self, fn) end, every)
  return new_timer(inner)
end

--- Calls `fn()` as a task whenever the process gets that signal: "INT", "TERM", "HUP", ...
---@param name string
---@param fn function
---@return lethe.loop.Watch
function Loop:signal(name, fn)
  core.check(self)
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'signal' (function expected, got %s)"):format(type(fn)), 2)
  end
  local handle, message, code = core.signal(self, name, function() M.start(self, fn) end)
  if not handle then return nil, message, code end
  return new_watch({ handle = handle })
end

--- Seconds of the loop's clock.
---@return number
function Loop:now()
  core.check(self)
  return core.now(self)
end

--- Moves a virtual clock, running what falls due on the way in order of due time, then of creation.
---@param seconds number
function Loop:advance(seconds)
  core.check(self)
  check_seconds(seconds, "advance")
  if not core.is_virtual(self) then error("only a virtual loop's clock can be advanced", 2) end
  if seconds < 0 then error("a clock cannot go back", 2) end
  core.advance(self, seconds)
end

new_task, task_of = base.class("loop.Task", Task, function() end)
new_timer = base.class("loop.Timer", Timer, stop_if_closed)
new_watch = base.class("loop.Watch", Watch, stop_if_closed)

return M
