-- Runs the jobs of a plan: those that may run elsewhere in a few workers, which take one after the
-- other; functions of the program in its own state meanwhile.

local base = require "lethe.core.base"
local core = require "lethe.core.sim"
local loop = require "lethe.loop"
local replay = require "lethe.sim.replay"
local task = require "lethe.loop.task"
local worker = require "lethe.worker"

local M = {}

local MOST <const> = 64 -- workers

-- Whether the caller may wait at all: in a task, or in no coroutine.
local function can_wait()
  local _, is_main = coroutine.running()
  return base.may_wait() and (is_main or task.current() ~= nil)
end

-- Lets the loop's other tasks run between two steps; false once this one is cancelled.
local function breathe()
  if not task.current() or not can_wait() then return true end
  return (loop.default():sleep(0))
end

local function failed_row(job, message)
  return { policy = job.name, size = job.size, capacity = job.capacity, requests = 0, seconds = 0,
    mreq_s = 0, failed = message }
end

-- ---- workers ----------------------------------------------------------------------------------

local Pool = {}
Pool.__index = Pool

-- Whatever is still running has no reader any more.
function Pool.__close(pool)
  pool.closing = true
  if pool.watcher then pool.watcher:cancel() end
  for _, w in ipairs(pool.workers) do
    w:cancel()
    w:close()
  end
  pool.jobs:close()
  pool.rows:close()
end

-- At most n workers for these jobs; there may be none, where the system refuses threads.
local function hire(pool, trace, jobs, n)
  for i = 1, n do
    local w = worker.spawn({ module = "lethe.sim.worker" }, trace, pool.jobs, pool.rows)
    if not w then break end
    pool.workers[i] = w
  end
  if #pool.workers == 0 then return end
  for _, job in ipairs(jobs) do
    pool.pending[job.number] = job
    pool.jobs:send{ number = job.number, policy = job.policy, name = job.name, size = job.size,
      capacity = job.capacity, unit = job.unit, seed = job.seed }
  end
  pool.jobs:close() -- what is in it will still be taken
end

-- Once all workers have ended, the last rows are there, then no more come.
local function watch_end(pool)
  for _, w in ipairs(pool.workers) do
    local _, message = w:join()
    if pool.closing then return end
    pool.why = pool.why or message
  end
  pool.rows:close()
end

-- Takes all rows; false where the task was cancelled.
local function collect(pool, done)
  if #pool.workers == 0 then return true end
  pool.watcher = loop.default():spawn(watch_end, pool)
  while true do
    local answer, _, code = pool.rows:recv()
    if code == "cancelled" then return false end
    if not answer then break end
    local job <const> = pool.pending[answer.number]
    pool.pending[answer.number] = nil
    done(job, answer.row)
  end
  for _, job in pairs(pool.pending) do
    done(job, failed_row(job, "its worker ended: " .. (pool.why or "nobody knows why")))
  end
  return true
end

-- ---- all --------------------------------------------------------------------------------------

local function share_out(plan, done)
  local here, elsewhere = {}, {}
  for _, job in ipairs(plan.jobs) do
    if job.failed then
      done(job, failed_row(job, job.failed))
    else
      table.insert(job.apart and elsewhere or here, job)
    end
  end
  return here, elsewhere
end

--- Runs a plan. `done(job, row)` is told of each row.
---@param plan lethe.sim.Plan
---@param done fun(job: table, row: lethe.sim.Result)
---@return boolean whole false where the calling task was cancelled
function M.run(plan, done)
  local here, elsewhere = share_out(plan, done)
  local n = math.min(plan.workers or core.processors(), MOST, #elsewhere)
  if n < 2 and #here == 0 or plan.workers == 1 or not can_wait() then n = 0 end
  local pool <close> = setmetatable({ workers = {}, pending = {}, jobs = worker.channel(),
    rows = worker.channel() }, Pool)
  hire(pool, plan.trace, elsewhere, n)
  if #pool.workers == 0 then
    table.move(elsewhere, 1, #elsewhere, #here + 1, here)
  end
  for _, job in ipairs(here) do
    local row = replay.replay(plan.trace, job, breathe)
    if not row then return false end
    done(job, row)
  end
  return collect(pool, done)
end

return M
