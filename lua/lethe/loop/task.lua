-- How tasks run and wait: the inside of lethe.loop.
--
-- A task's coroutine is resumed by a message to a loop; the message is made with the task. A
-- waiting call parks its task behind a ticket, which whoever has the answer fills in. A wake-up
-- of up to three values allocates nothing, and whatever is called back from a loop can be run
-- again where memory was short: no wake-up is lost for that. A task goes on in a turn of the loop
-- that the answer came from.

local base = require "lethe.core.base"
local core = require "lethe.core.loop"
local turn = require "lethe.loop.turn"

local M = { turn = turn.turn, alive = turn.alive, block = turn.block }

local CANNOT_WAIT <const> = "cannot wait here; use Loop:spawn"
local CLOSED_LOOP <const> = "attempt to use a closed lethe.loop.Loop"
local CANCELLED <const> = { nil, "cancelled", "cancelled", n = 3 }
local NO_MEMORY <const> = { nil, "not enough memory", "failed", n = 3 }

local shared = turn.shared
local tasks = shared.tasks

local function next_number()
  shared.made = shared.made + 1
  return shared.made
end

local function in_order(list)
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

-- ---- tickets ----------------------------------------------------------------------------------

-- The task's next turn: on the loop that the answer came from, where that is open.
local function send(task, loop)
  return core.send(loop, task.message) or core.send(task.loop, task.message)
    or core.send(core.default(), task.message)
end

local Ticket = {}
local finish

-- However the wait ends, by its answer, an error or the coroutine's being closed.
function Ticket.__close(ticket, err)
  local task = ticket.task
  turn.unattend(ticket)
  if task and task.ticket == ticket then task.ticket = false end
  if ticket.n then return end
  ticket.n = 0
  if ticket.disarm then ticket.disarm() end
  -- Parked and left without an error: coroutine.close, which is the end of the task.
  if ticket.parked and err == nil and not task.ending then finish(task, CANCELLED) end
end

local function new_ticket(loop, task, disarm)
  local ticket = setmetatable({
    false, false, false, -- the answer's values, or all of them, packed:
    all = false,
    n = false, -- how many; false while there is none
    loop = loop,
    task = task,
    disarm = disarm,
    parked = false,
    number = next_number(),
    home = false,
    list = false,
    wait = false,
    wake = false,
  }, Ticket)
  function ticket.wake(...)
    if ticket.n then return false end
    local n = select("#", ...)
    if n > 3 then ticket.all = table.pack(...) end
    if ticket.parked then send(task, loop) end
    ticket[1], ticket[2], ticket[3] = ...
    ticket.n = n
    return true
  end
  return ticket
end

-- Raises at `level` as M.wait's caller counts it: 1 is that caller. If it returned M.wait's results
-- directly it has left no frame of its own. `at` is where M.wait stands.
local function misuse(message, level, at)
  if debug.getinfo(at, "t").istailcall then level = level - 1 end
  error(message, at + math.max(level, 1))
end

-- Outside any task: turns the default loop, and the one waited on, until there is an answer.
local function turn_until(ticket, level)
  local default = core.default()
  while not ticket.n do
    if turn.turn(default) == 0 and not ticket.n then
      if not turn.alive(default) then
        misuse("nothing is left to run that could end this wait", level, 3)
      end
      turn.block(default)
    end
  end
end

-- Whoever else resumes the coroutine learns nothing by it.
local function park(task, ticket)
  ticket.parked = true
  task.ticket = ticket
  repeat
    coroutine.yield()
  until ticket.n
end

--- Waits for one answer. `arm(wake)` starts the operation; `wake(...)`, called once, now or later,
--- gives what this call returns; further calls of it do nothing and return false. `disarm()` takes
--- the operation back when the wait ends without its answer: the task is cancelled, an error passes
--- through. `level` is where misuse is reported, 1 being the function that calls this.
---@param loop lethe.loop.Loop? the loop that the answer comes from; the task's own by default
---@param arm fun(wake: function)
---@param disarm function?
---@param level integer?
function M.wait(loop, arm, disarm, level)
  level = level or 2
  local co, is_main = coroutine.running()
  local task = tasks[co]
  if not base.may_wait() or not (is_main or (task and coroutine.isyieldable())) then
    misuse(CANNOT_WAIT, level, 2)
  end
  if task and task.cancel_next then
    task.cancel_next = false
    return table.unpack(CANCELLED, 1, CANCELLED.n)
  end
  local home = task and task.loop or core.default()
  loop = loop or home
  if not core.is_open(loop) then misuse(CLOSED_LOOP, level, 2) end
  local ticket <close> = new_ticket(loop, task, disarm)
  turn.attend(ticket, home)
  arm(ticket.wake)
  if not ticket.n then
    local before_wait = shared.before_wait -- of lethe.epoch, once that is loaded
    if before_wait then before_wait() end
    if task then
      park(task, ticket)
    else
      turn_until(ticket, level)
    end
  end
  return table.unpack(ticket.all or ticket, 1, ticket.n)
end

-- ---- tasks ------------------------------------------------------------------------------------

local function text_of(err)
  if type(err) == "string" then return err end
  local ok, text = pcall(tostring, err)
  return ok and text or ("(error object is a %s value)"):format(type(err))
end

-- The handler of a task's errors takes the traceback where one is raised, and keeps it aside: the
-- value passes unchanged, since Lua shows this handler the errors in `load`'s reader function too.
local function witness(err)
  local task = tasks[coroutine.running()]
  if task then task.failed, task.trace = err, debug.traceback(text_of(err), 2) end
  return err
end

function finish(task, results)
  if task.done then return end
  local joiners = task.joiners
  task.results = results
  task.done = true
  tasks[task.co] = nil
  task.co, task.message, task.fn, task.args = nil, nil, nil, nil
  task.joiners, task.ticket, task.failed, task.trace = nil, nil, nil, nil
  if task.keeper then task.keeper[task] = nil end
  for _, wake in ipairs(joiners or {}) do
    wake(true)
  end
end

-- A task that gives in to its own cancellation (`assert(loop:sleep(1))`) has not failed.
local function report(task, text, value)
  if task.joiners and #task.joiners > 0 then return end
  if task.cancelled and type(value) == "string" and value:find("%f[%w]cancelled$") then return end
  shared.failures = shared.failures + 1
  base.report(text, { task = true, value = value })
end

-- Shared by all tasks that return nothing: one at its limit of memory can still end well.
local NOTHING <const> = { n = 0 }

local function outcome(task, ok, ...)
  if ok then return table.pack(...) end
  local value = ...
  local seen = task.trace and rawequal(value, task.failed) -- not Lua's own: no memory, no stack
  local text = seen and task.trace or text_of(value)
  report(task, text, value)
  return { nil, text, "failed", n = 3 }
end

-- After a resume, with its results.
local function settle(task, alive, ...)
  if task.done then return end
  local ok, results
  if not alive then -- it cannot be resumed: the C stack ends here, or there is no room to start
    if not task.args then ok, results = pcall(outcome, task, false, ...) end
    task.ending = true
    pcall(coroutine.close, task.co)
  elseif coroutine.status(task.co) == "dead" then
    if select("#", ...) == 1 and ... then
      ok, results = true, NOTHING
    else
      ok, results = pcall(outcome, task, ...)
    end
  else
    if not task.ticket then send(task, task.loop) end -- it yielded by itself: on in the next turn
    return
  end
  if not ok then
    results = NO_MEMORY
    base.report(NO_MEMORY[2])
  end
  finish(task, task.cancelled and CANCELLED or results)
end

-- What a coroutine of a task runs: only once it does the task has started.
local function body(task, ...)
  task.args = nil
  return xpcall(task.fn, witness, ...)
end

local function start(task, ...)
  settle(task, coroutine.resume(task.co, task, ...))
end

--- Resumes a task, or starts it. Called again after it raised for want of memory it goes on.
function M.resume(task)
  if task.done then return end
  local args, status = task.args, coroutine.status(task.co)
  if status == "dead" then
    finish(task, NO_MEMORY) -- what it ended with could not be kept
  elseif args then
    start(task, table.unpack(args, 1, args.n))
  elseif status == "suspended" then
    settle(task, coroutine.resume(task.co))
  end
end

local function new_task(loop, main, fn, args)
  local task = {
    loop = loop,
    number = next_number(),
    fn = fn,
    args = args,
    joiners = nil, -- the wakes of those who join it
    ticket = false, -- what it waits for
    cancelled = false,
    cancel_next = false, -- its next wait is the one that is cancelled
    done = false,
  }
  task.message = core.message(function() M.resume(task) end)
  task.co = coroutine.create(main)
  tasks[task.co] = task
  return task
end

--- A task of `loop`, not started: M.resume starts it, and so does sending its message.
---@param loop lethe.loop.Loop
---@param fn function
function M.make(loop, fn, ...)
  return new_task(loop, body, fn, table.pack(...))
end

-- ---- servants ---------------------------------------------------------------------------------

-- What engines run often, and nobody joins or cancels: a task that rests when its work is done,
-- until the engine resumes its coroutine with more. While it rests it has a ticket that nobody
-- fills in, so that no loop resumes it, and its keeper, a table, has it.
local RESTING <const> = { n = 0 }

--- Starts `fn(task, ...)` as such a task, up to its first rest: it calls M.rest and yields, and
--- once resumed M.wake. It ends by returning true.
---@param loop lethe.loop.Loop
---@param keeper table
---@param fn function
function M.serve(loop, keeper, fn, ...)
  local task = new_task(loop, fn)
  task.keeper = keeper
  settle(task, coroutine.resume(task.co, task, ...))
end

--- Inside it: its work is done, and it is about to yield.
---@param task table
function M.rest(task)
  task.keeper[task] = true
  task.ticket, task.cancel_next = RESTING, false
end

--- Inside it: there is more.
---@param task table
function M.wake(task)
  task.ticket = false
end

--- After the engine has resumed one that did not come to rest again, as coroutine.resume has it.
function M.resumed(co, ...)
  local task = tasks[co]
  if not task then return end
  task.keeper[task] = nil
  settle(task, ...)
end

--- Has one go on in the loop's next turn; false where that cannot be.
---@return boolean
function M.later(co)
  local task = tasks[co]
  if not core.send(task.loop, task.message) then return false end
  task.keeper[task] = nil
  return true
end

--- Cancels: the wait that is pending, or the next one, ends; what has not started never does.
---@return boolean true if there was something to cancel
function M.cancel(task)
  if task.done then return false end
  task.cancelled = true
  local ticket = task.ticket
  if task.args then
    finish(task, CANCELLED)
  elseif ticket and not ticket.n then
    if ticket.disarm then ticket.disarm() end
    ticket.wake(table.unpack(CANCELLED, 1, CANCELLED.n))
  else
    task.cancel_next = true
  end
  return true
end

--- The task that runs now, if one does.
function M.current()
  return (tasks[coroutine.running()])
end

--- How many tasks ended with an error that nobody joined.
---@return integer
function M.failures()
  return shared.failures
end

-- ---- the end of a loop --------------------------------------------------------------------------

local function end_task(task)
  task.cancelled = true
  if task.args then
    finish(task, CANCELLED)
  elseif coroutine.status(task.co) == "suspended" then
    local co = task.co
    task.ending = true
    finish(task, CANCELLED)
    local ok, err = coroutine.close(co)
    if not ok then base.report(err) end
  else
    task.cancel_next = true
  end
end

-- What a loop's end concerns: its tasks, and the tickets of others that wait on it.
local function look_up(loop, mine, others)
  for _, task in pairs(tasks) do
    if task.loop == loop then mine[#mine + 1] = task end
  end
  turn.waiting_on(loop, others)
end

--- Closes a loop. Its tasks end where they stand, with their to-be-closed variables; those of other
--- loops that wait on it get nil, message, "closed". What only the loop kept, its timers and so its
--- tasks, is garbage once it is closed: so they are looked up before, as many as memory allows.
---@param loop lethe.loop.Loop
function M.close_loop(loop)
  local mine, others = {}, {}
  pcall(look_up, loop, mine, others)
  core.close(loop)
  for _, task in ipairs(in_order(mine)) do
    if not task.done then end_task(task) end
  end
  for _, ticket in ipairs(in_order(others)) do
    if not ticket.n then
      if ticket.disarm then ticket.disarm() end
      ticket.wake(nil, "the loop was closed", "closed")
    end
  end
end

return M
