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
-- Engines wait through `M.wait(loop, arm, disarm)` and start what a callback may wait in with
-- `M.start(loop, fn, ...)`; both are in lethe.loop.task.

local base = require "lethe.core.base"
local core = require "lethe.core.loop"
local task = require "lethe.loop.task"

---@class lethe.loop
local M = {}

---@class lethe.loop.Loop
local Loop = core.methods
---@class lethe.loop.Task
local Task = {}
---@class lethe.loop.Timer
local Timer = {}
---@class lethe.loop.Watch
local Watch = {}
local new_task, inside, new_timer, new_watch

-- Those of loops on which run is to return.
local stopped = base.shared("loop").stopped or setmetatable({}, { __mode = "k" })
base.shared("loop").stopped = stopped

-- ---- arguments --------------------------------------------------------------------------------

local function bad_argument(n, name, expected, got)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, name, expected, got), 4)
end

local function check_function(n, name, fn)
  if type(fn) ~= "function" then bad_argument(n, name, "function", type(fn)) end
end

local function check_string(n, name, value)
  if type(value) ~= "string" then bad_argument(n, name, "string", type(value)) end
end

local function check_seconds(name, seconds)
  if type(seconds) ~= "number" then bad_argument(1, name, "number", type(seconds)) end
  if seconds ~= seconds then bad_argument(1, name, "seconds", "nan") end
end

-- ---- the module -------------------------------------------------------------------------------

--- The loop of this Lua state.
---@return lethe.loop.Loop
function M.default()
  return core.default()
end

--- A further loop of this state, with a real or a virtual clock.
---@param options { clock: "real"|"virtual" }?
---@return lethe.loop.Loop
function M.new(options)
  if options == nil then options = {} end
  base.options(options, { "clock" }, 2)
  local clock = options.clock
  if clock == nil then clock = "real" end
  if clock ~= "real" and clock ~= "virtual" then
    error(('clock must be "real" or "virtual" (got %s)'):format(tostring(clock)), 2)
  end
  return core.new(clock == "virtual")
end

--- For engines: waits for one answer. `arm(wake)` starts the operation, `wake(...)` gives what this
--- call returns, `disarm()` takes the operation back; see lethe.loop.task.
---@type fun(loop: lethe.loop.Loop?, arm: fun(wake: function), disarm: function?, level: integer?)
M.wait = task.wait

--- How many tasks of this state ended with an error that nobody joined.
---@type fun(): integer
M.failures = task.failures

--- Starts `fn(...)` as a task of the loop at once, up to its first wait; for callbacks that wait.
---@param loop lethe.loop.Loop
---@param fn function
function M.start(loop, fn, ...)
  core.held(task.resume, task.make(loop, fn, ...))
end

-- ---- tasks ------------------------------------------------------------------------------------

--- Starts `fn(...)` as a task on the loop's next turn.
---@param fn function
---@return lethe.loop.Task
function Loop:spawn(fn, ...)
  core.check(self)
  check_function(1, "spawn", fn)
  local inner = task.make(self, fn, ...)
  local handle = new_task(inner)
  core.send(self, inner.message)
  return handle
end

--- Waits for the task to end: its results, or nil, message, "failed" | "cancelled".
function Task:join()
  local inner = inside(self)
  if inner == task.current() then error("a task cannot join itself", 2) end
  if not inner.done then
    local mine
    local loop = core.is_open(inner.loop) and inner.loop or nil
    local ended, message, code = M.wait(loop, function(wake)
      mine = wake
      inner.joiners = inner.joiners or {}
      table.insert(inner.joiners, wake)
    end, function()
      for i, wake in ipairs(inner.joiners or {}) do
        if wake == mine then return table.remove(inner.joiners, i) end
      end
    end)
    if not ended then return nil, message, code end
  end
  return table.unpack(inner.results, 1, inner.results.n)
end

--- Cancels: the wait that is pending, or the next one, returns nil, "cancelled", "cancelled"; a
--- task that has not started never does. Closing a task cancels it too.
---@return boolean true if there was something to cancel
function Task:cancel()
  return task.cancel(inside(self))
end

-- ---- time and signals -------------------------------------------------------------------------

--- Seconds of the loop's clock.
---@return number
function Loop:now()
  core.check(self)
  return core.now(self)
end

--- Waits that long; true.
---@param seconds number
function Loop:sleep(seconds)
  core.check(self)
  check_seconds("sleep", seconds)
  local timer
  return M.wait(self, function(wake)
    timer = core.timer(self, seconds, function() wake(true) end)
  end, function()
    if timer then core.stop(timer) end
  end)
end

--- Calls `fn()` as a task after that many seconds, or every so many.
---@param seconds number
---@param fn function
---@param options { every: boolean }?
---@return lethe.loop.Timer
function Loop:timer(seconds, fn, options)
  core.check(self)
  check_seconds("timer", seconds)
  check_function(2, "timer", fn)
  if options ~= nil then base.options(options, { "every" }, 2) end
  local every = options and options.every or false
  if type(every) ~= "boolean" then
    error(("every must be a boolean (got %s)"):format(type(every)), 2)
  end
  local once -- a second call for want of memory goes on with the task of the first
  local function fire()
    local inner = once or task.make(self, fn)
    if not every then once = inner end
    task.resume(inner)
  end
  local handle = { timer = false } -- once it runs nothing may fail
  local object = new_timer(handle)
  handle.timer = core.timer(self, seconds, fire, every)
  return object
end

--- Calls `fn()` as a task whenever the process gets that signal: "INT", "TERM", "HUP", ...
---@param name string
---@param fn function
---@return lethe.loop.Watch
function Loop:signal(name, fn)
  core.check(self)
  check_string(1, "signal", name)
  check_function(2, "signal", fn)
  local handle = { watch = false }
  local object = new_watch(handle)
  local watch, message, code = core.signal(self, name, function()
    task.resume(task.make(self, fn))
  end)
  if watch == false then error(("bad argument #1 to 'signal' (%s)"):format(message), 2) end
  if not watch then return nil, message, code end
  handle.watch = watch
  return object
end

-- ---- turning ----------------------------------------------------------------------------------

--- Turns until nothing is left to do, or stop is called; a virtual loop: until nothing more is due.
--- It turns once at least: what follows from a death may be all that is left.
function Loop:run()
  core.check(self)
  stopped[self] = nil
  repeat
    if task.turn(self) == 0 and not stopped[self] and task.alive(self) then task.block(self) end
  until stopped[self] or not task.alive(self)
  stopped[self] = nil
end

--- One turn; true if anything ran.
---@return boolean
function Loop:step()
  core.check(self)
  return task.turn(self) > 0
end

--- Makes the `run` that is under way return after this turn.
function Loop:stop()
  core.check(self)
  stopped[self] = true
end

--- Moves a virtual clock, running what falls due on the way, in order of due time, then of
--- creation.
---@param seconds number
function Loop:advance(seconds)
  core.check(self)
  check_seconds("advance", seconds)
  if seconds < 0 or seconds == math.huge then
    error(("bad argument #1 to 'advance' (a clock cannot move by %s)"):format(seconds), 2)
  end
  if not core.is_virtual(self) then error("only a virtual loop's clock can be advanced", 2) end
  core.advance(self, seconds)
end

--- Ends the loop at once: its timers and signals stop, its tasks end where they stand, running
--- their to-be-closed variables; whoever waits on it from another loop gets nil, message,
--- "closed".
---@return boolean true
function Loop:close()
  if core.is_open(self) then task.close_loop(self) end
  return true
end
core.meta.__close = Loop.close

-- A closed task is cancelled, a closed timer or watch stops; what is only collected goes on.
new_task, inside = base.class("loop.Task", Task, function(inner, closed)
  if closed then task.cancel(inner) end
end, true, true)
new_timer = base.class("loop.Timer", Timer, function(handle, closed)
  if closed and handle.timer then core.stop(handle.timer) end
end, true, true)
new_watch = base.class("loop.Watch", Watch, function(handle, closed)
  if closed and handle.watch then core.stop(handle.watch) end
end, true, true)

return M
