-- A pool of workers: jobs go in through one channel, results come out through another, and a job
-- that never ends is cancelled without the others noticing.
--
--   build/lethe spec/examples/worker_pool.lua [workers]

local worker = require "lethe.worker"

local size = tonumber(arg and arg[1]) or 4
local jobs <close> = worker.channel(size) -- senders wait while that many jobs are waiting
local results <close> = worker.channel()

-- What each worker runs: it shares nothing with this state, so all it needs are arguments.
local function serve(jobs, results) -- luacheck: ignore 431
  local served = 0
  while true do
    local job, _, code = jobs:recv()
    if code == "closed" then return served end
    local digits = 0
    for i = 1, job.n do digits = digits + #tostring(i) end
    results:send{ n = job.n, digits = digits }
    served = served + 1
  end
end

local pool = {}
for i = 1, size do
  local args = { jobs, results }
  pool[i] = worker.new{ run = serve, args = args, name = "server " .. i, memory = "32M" }
end

local stuck = worker.new{ run = function() while true do pcall(error) end end, name = "stuck" }

local count, digits = 40, 0
for i = 1, count do jobs:send{ n = i * 100 } end
jobs:close()
for _ = 1, count do digits = digits + results:recv().digits end

local served = 0
for _, each in ipairs(pool) do served = served + assert(each:join()) end
stuck:cancel()
local _, message, code = stuck:join()
print(("%d jobs, %d digits"):format(served, digits))
print(("%s: %s (%s)"):format(stuck:name(), message, code))
