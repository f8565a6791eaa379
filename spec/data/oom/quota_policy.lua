-- Policies of every form under want of memory: each is set whole or refused, and passes go on.
local lethe = require "lethe"
local quota = require "lethe.quota"
local loop = lethe.loop.new{ clock = "virtual" }
begin()

local tracker, account, kept

local function new_participant(n)
  local object, p = {}, nil
  function object.get_oldest() return n end
  function object.reclaim(_, request)
    p:release(math.min(request.goal, p:used()))
    return "partial"
  end
  p = got(account:participant(object))
  got(p:claim(n * 10000))
  return p
end

local function policies()
  return {
    "largest",
    function(c) return c.used end,
    function(c)
      if c.degraded == nil then error("no such field") end
      kept = c
      return ("%d"):rep(3):format(c.used, c.account, c.tried) and c.age
    end,
    { score = "used * age / (1 + priority)", degraded = true },
    { score = function() error("not enough memory") end },
    {
      order = function(list)
        table.sort(list, function(a, b) return a.used > b.used end)
        return list
      end,
      on_start = function(t) assert(t:used() >= 0) end,
      on_victim = function(c, freed) assert(freed >= 0 and tostring(c)) end,
      on_stop = function(t, outcome) assert(t and outcome) end,
      budget = 100000,
    },
  }
end

-- A tracker that only its account keeps: the hooks get an object that is made for them.
local function hooks_of_a_lone_tracker()
  local heard = 0
  local function hook() heard = heard + 1 end
  local lone = got(got(quota.new{
    max = "1M",
    loop = loop,
    policy = { score = function(c) return c.used end, on_start = hook, on_stop = hook },
  }):account{})
  local p = got(lone:participant{
    get_oldest = function() return 1 end,
    reclaim = function() end,
  })
  collectgarbage()
  got(p:claim("2M"))
  loop:advance(1)
  assert(heard <= 2 and lone)
end

local function work()
  hooks_of_a_lone_tracker()
  tracker = got(quota.new{ max = "4M", loop = loop, policy = "oldest" })
  account = got(tracker:account{})
  local two = { new_participant(3), new_participant(4) }
  for _, policy in ipairs(policies()) do
    got(tracker:configure{ policy = policy })
    loop:spawn(function() tracker:reclaim(1000) end)
    loop:advance(1)
    tracker:plan(1000)
  end
  for _, policy in ipairs{ "oldets", "nowhere.lua", { score = "usde" }, {} } do
    local ok, message, code = tracker:configure{ policy = policy }
    assert(not ok and (code == "bad_policy" or code == "no_memory"), message)
  end
  local ok, set = pcall(tracker.configure, tracker, { policy = { scroe = 1 } })
  assert(not ok or not set)
  assert(kept == nil or kept.used >= 0)
  assert(two)
end

local function check()
  loop:advance(10)
  if not tracker then return end
  assert(tracker:check())
  assert(tracker:configure{ policy = function(c) return c.used end })
  tracker:plan(1000)
  tracker:close()
  loop:run()
end

return work, check
