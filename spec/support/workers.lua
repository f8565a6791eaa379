-- What becomes of workers, for specs.
local worker = require "lethe.worker"

local M = {}

---All that join gives.
---@param w lethe.worker.Worker
---@return table
function M.packed_join(w)
  return table.pack(w:join())
end

---Runs `fn` in a worker and gives what join gives.
---@param fn function
function M.run(fn, ...)
  return worker.spawn(fn, ...):join()
end

return M
