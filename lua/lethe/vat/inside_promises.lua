-- A vat's promises: a state, a value, and jobs that run one after the other once the code that
-- settled them has returned. To the vat's code a promise is an object of which nothing can be seen.

local core = require "lethe.core.inside"

local object, pcall = core.object, pcall

local M = {}

local PROMISE <const> = { __name = "promise", __metatable = false }

-- What is known of a promise: { rejected, value, jobs, follows }; nil for any other value.
local function insides(value)
  return core.insides(value, PROMISE)
end

---@return table promises
function M.new()
  local queue, first, last = {}, 1, 0
  local promises = {}

  --- Runs `fn` when the jobs before it have.
  function promises.job(fn)
    last = last + 1
    queue[last] = fn
  end

  local function run_first()
    local job = queue[first]
    queue[first] = nil
    first = first + 1
    job()
  end

  --- Runs jobs until none is left.
  function promises.run()
    while queue[first] do
      run_first()
    end
    first, last = 1, 0
  end

  function promises.is(value)
    return insides(value) ~= nil
  end

  function promises.new()
    return object(PROMISE, { jobs = {} })
  end

  local function settle_now(promise, rejected, value)
    local of = insides(promise)
    of.rejected, of.value = rejected, value
    for _, job in ipairs(of.jobs) do
      promises.job(job)
    end
    of.jobs = nil
  end

  --- Calls fn(rejected, value) in a job once it is settled.
  function promises.follow(promise, fn)
    local of = insides(promise)
    local function job()
      fn(of.rejected, of.value)
    end
    if of.jobs then
      of.jobs[#of.jobs + 1] = job
    else
      promises.job(job)
    end
  end

  --- Settles it, once; fulfilled with a promise, it takes over that one's outcome.
  function promises.settle(promise, rejected, value)
    local of = insides(promise)
    if not of.jobs or of.follows then return end
    if rejected or not promises.is(value) then return settle_now(promise, rejected, value) end
    if value == promise then
      return settle_now(promise, true, "a promise cannot be fulfilled with itself")
    end
    of.follows = true
    promises.follow(value, function(failed, result)
      settle_now(promise, failed, result)
    end)
  end

  --- Whether it was rejected, and with what; nil while it is pending.
  function promises.outcome(promise)
    local of = insides(promise)
    if of.jobs then return nil end
    return of.rejected, of.value
  end

  function promises.settled(rejected, value)
    local promise = promises.new()
    promises.settle(promise, rejected, value)
    return promise
  end

  --- A promise of what `ok` or `err` makes of x, which may be a plain value.
  function promises.after(x, ok, err)
    local result = promises.new()
    local source = promises.is(x) and x or promises.settled(false, x)
    promises.follow(source, function(rejected, value)
      local handler = err
      if not rejected then handler = ok end
      if not handler then return promises.settle(result, rejected, value) end
      local good, outcome = pcall(handler, value)
      promises.settle(result, not good, outcome)
    end)
    return result
  end

  --- A promise, and the functions that settle it.
  function promises.make()
    local promise = promises.new()
    return promise, function(value) promises.settle(promise, false, value) end,
      function(reason) promises.settle(promise, true, reason) end
  end

  return promises
end

return M
