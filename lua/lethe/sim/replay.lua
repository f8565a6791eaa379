-- One replay: a trace, a policy and a capacity become one row of results. Runs in whichever state
-- the policy can run in: a worker, or the program's own.

local core = require "lethe.core.sim"
local make = require "lethe.evict.make"

local M = {}

local STEP <const> = 65536 -- requests between two looks at anything else
-- What a script may take: so many seconds, and so many for each request.
local SECONDS <const>, SECONDS_EACH <const> = 10, 1e-4

-- Fills in what the replay counted.
local function count(row, run)
  local requests, misses, bytes, missed, seconds = run:stats()
  row.requests, row.seconds = requests, seconds
  row.mreq_s = seconds > 0 and requests / seconds / 1e6 or 0
  if row.failed then return end
  row.misses, row.byte_misses = misses, missed
  row.miss_ratio = requests > 0 and misses / requests or 0
  row.byte_miss_ratio = bytes > 0 and missed / bytes or 0
end

-- The policy, made anew; or nil and why there is none.
local function make_policy(job)
  if job.policy == "belady" then return "belady" end
  local ok, made, message = pcall(make.make, job.policy, job.capacity, job.seed, true, 1)
  if ok then return made, message end
  return nil, tostring(made)
end

---@class lethe.sim.Job
---@field policy string|table|function|lethe.policy.Text
---@field name string what it is called where it does not say so itself
---@field size number|string as it was given
---@field capacity integer
---@field unit boolean
---@field seed integer

--- Replays; `breathe` is called now and then, and ends it where it returns false.
---@param trace lethe.sim.Trace
---@param job lethe.sim.Job
---@param breathe (fun(): boolean)?
---@return lethe.sim.Result? row nil where breathe ended it
function M.replay(trace, job, breathe)
  local row = { policy = job.name, size = job.size, capacity = job.capacity, requests = 0,
    seconds = 0, mreq_s = 0 }
  local policy, message = make_policy(job)
  local most <const> = SECONDS + SECONDS_EACH * trace:len()
  local run, why
  if policy then
    run, why = core.run(trace, policy, job.capacity, job.unit, job.seed, most)
  end
  if not run then
    row.failed = message or why
    return row
  end
  local _ <close> = run
  if run:name() ~= "" then row.policy = run:name() end
  local done
  repeat
    done, row.failed = run:step(STEP)
    if not done and not row.failed and breathe and not breathe() then return nil end
  until done or row.failed
  count(row, run)
  return row
end

return M
