-- What a worker of the simulator runs: jobs as they come, each answered by its number and its row.

local replay = require "lethe.sim.replay"

---@param trace lethe.sim.Trace
---@param jobs lethe.worker.Channel
---@param rows lethe.worker.Channel
return function(trace, jobs, rows)
  local job = jobs:recv()
  while job do
    rows:send{ number = job.number, row = replay.replay(trace, job) }
    job = jobs:recv()
  end
end
