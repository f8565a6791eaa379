-- Plain promises, for slot tables that nobody gave others: a state, a value, and jobs that run
-- once the crank's work is done.
--
--   local hooks, run = deferred.hooks()
--   local p = hooks.new()
--   hooks.follow(p, function(rejected, value) ... end)
--   hooks.settle(p, false, 5)
--   run()                        what is due, until nothing is

local M = {}

---@class lethe.vat.Deferred
local Promise = {}
Promise.__index = Promise
Promise.__name = "lethe.vat.Promise"
Promise.__tostring = function() return Promise.__name end
Promise.__metatable = false

--- "pending", "fulfilled" or "rejected".
function Promise:state()
  return self.outcome
end

--- What it was fulfilled with, or the reason of its rejection.
function Promise:value()
  return self.result
end

--- Whether a value is such a promise.
---@param value any
---@return boolean
function M.is(value)
  return type(value) == "table" and debug.getmetatable(value) == Promise
end

--- Promises with a queue of their own: the hooks that vat.slots takes, and run().
---@return table hooks
---@return fun() run
function M.hooks()
  local queue, first, last = {}, 1, 0
  local hooks = { is = M.is }

  local function add(job)
    last = last + 1
    queue[last] = job
  end

  function hooks.new()
    return setmetatable({ outcome = "pending", jobs = {} }, Promise)
  end

  local function settle_now(promise, outcome, value)
    promise.outcome, promise.result = outcome, value
    for _, job in ipairs(promise.jobs) do
      add(job)
    end
    promise.jobs = nil
  end

  local function react(promise, fn)
    local function job()
      fn(promise.outcome == "rejected", promise.result)
    end
    if promise.outcome == "pending" then
      promise.jobs[#promise.jobs + 1] = job
    else
      add(job)
    end
  end

  -- One that is fulfilled with a promise takes over that one's outcome, two jobs later.
  function hooks.settle(promise, rejected, value)
    if promise.outcome ~= "pending" or promise.follows then return end
    if rejected or not M.is(value) then
      settle_now(promise, rejected and "rejected" or "fulfilled", value)
      return
    end
    promise.follows = value
    add(function()
      react(value, function(failed, result)
        settle_now(promise, failed and "rejected" or "fulfilled", result)
      end)
    end)
  end

  hooks.follow = react

  return hooks, function()
    while queue[first] do
      local job = queue[first]
      queue[first] = nil
      first = first + 1
      job()
    end
    first, last = 1, 0
  end
end

return M
