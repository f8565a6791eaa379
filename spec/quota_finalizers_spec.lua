-- Finalizers of the program run wherever Lua allocates, so also in the midst of calls of
-- lethe.quota, and may close there what the call works with. The collector never rests here.
local lethe = require "lethe"
local quota = require "lethe.quota"

local function object(answer)
  return {
    get_oldest = function() return 1 end,
    reclaim = function() return answer end,
  }
end

-- A tracker, an account, a participation, a weak account.
local CALLS <const> = {
  participant = function(_, a) a:participant(object("partial")) end,
  participant_with = function(_, a)
    a:participant_with(function(p)
      p:claim(10)
      return object("partial")
    end)
  end,
  ["clone of an account"] = function(_, a) return a:clone() == a end,
  ["clone of a participation"] = function(_, _, p) p:clone() end,
  weak = function(_, a) a:weak() end,
  upgrade = function(_, _, _, w) w:upgrade() end,
  account = function(t, a) t:account{ name = "below", parent = a } end,
  child = function(_, a) a:child{ name = "below" } end,
  add_parent = function(t, a) t:account():add_parent(a) end,
  ["account of a participation"] = function(_, _, p) p:account() end,
  ["tracker of an account"] = function(_, a) a:tracker() end,
  name = function(_, a) return a:name(), tostring(a), a:id() end,
  plan = function(t) t:plan(100) end,
  top = function(t) t:top(5) end,
  stats = function(t) t:stats() end,
  accounts = function(t)
    for weak in t:accounts() do
      weak:upgrade()
    end
  end,
  ["configure by a function"] = function(t)
    t:configure{ policy = function(c) return c.used end }
  end,
  ["configure by a table"] = function(t)
    t:configure{ policy = { score = "used", on_start = function() end } }
  end,
  ["configure by a file"] = function(t)
    t:configure{ policy = "spec/data/policies/largest.lua" }
  end,
  claim = function(_, _, p) p:claim(100000) end,
  ["claim past a limit"] = function(_, _, p) p:claim(5000000) end,
  ["release too much"] = function(_, _, p) p:release(1 << 30) end,
  try_claim = function(_, _, p) p:try_claim(100, function() return nil end) end,
  claim_wait = function(_, _, p) p:claim_wait(3000000, 0.001) end,
  reclaim = function(t) t:reclaim(100) end,
  track_state = function(_, a)
    local p = quota.track_state(a)
    if p then p:close() end
  end,
  queue = function(_, a)
    local tx, rx = quota.queue{ account = a }
    tx:send(1)
    rx:recv()
  end,
}

local DEEDS <const> = {
  ["the account"] = function(_, a) a:close() end,
  ["the participation"] = function(_, _, p) p:close() end,
  ["the participant"] = function(_, _, p) p:destroy() end,
  ["the tracker"] = function(t) t:close() end,
  everything = function(t, a, p)
    p:close()
    a:close()
    t:close()
  end,
}

-- Runs call while a finalizer, the n-th that comes along, does its deed; whether it was in time.
local function meddle(call, deed, n)
  local tracker = assert(quota.new{ max = "2M", on_event = function(event) return { event } end })
  local account = assert(tracker:account{ name = "meddled with", max = "4M" })
  local first = assert(account:participant(object("partial")))
  local second = assert(account:participant(object("collapsing")))
  local weak = account:weak()
  second:claim(1000)
  local meta, seen = {}, 0
  local function litter() setmetatable({}, meta) end
  function meta.__gc()
    seen = seen + 1
    if seen < n then return litter() end
    pcall(deed, tracker, account, first)
    pcall(deed, tracker, account, second)
  end
  local mode = collectgarbage("incremental", 1, 1000)
  collectgarbage() -- from here on it begins anew at once
  litter()
  pcall(call, tracker, account, first, weak)
  local in_time = seen >= n
  collectgarbage(mode)
  collectgarbage("incremental", 200, 100)
  collectgarbage(mode)
  assert(pcall(tracker.check, tracker) or not pcall(tracker.used, tracker))
  pcall(call, tracker, account, first, weak)
  tracker:close()
  return in_time
end

describe("finalizers that run inside a call of lethe.quota", function()
  local heard

  before_each(function() heard = lethe.on_error(function() end) end)
  after_each(function()
    lethe.on_error(heard)
    collectgarbage()
  end)

  for what, deed in pairs(DEEDS) do
    it("may close " .. what, function()
      local in_time = 0
      for _, call in pairs(CALLS) do
        for n = 1, 12 do
          if meddle(call, deed, n) then in_time = in_time + 1 end
        end
      end
      assert.is_true(in_time >= 100)
    end)
  end
end)
