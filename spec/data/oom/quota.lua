-- Trackers, accounts, participants, claims and passes under want of memory: nothing is lost, no sum
-- is off, and all of it can be closed.
local lethe = require "lethe"
local quota = require "lethe.quota"
require "lethe.quota.queue"
local loop = lethe.loop.new{ clock = "virtual" }
begin()

-- What raises, or fails for want of memory.
local function fails(fn, ...)
  local ok, value, _, code = pcall(fn, ...)
  assert(not ok or value == nil and code == "no_memory")
end

-- What a call answers to want of memory is as good as an error.
local tracker, other, rx

local function on_event(event)
  assert(event.type)
end

-- An object that gives what is asked and stays, or collapses.
local function new_object(answer, p)
  local object = { participation = p }
  function object.get_oldest() return 1 end
  function object:reclaim(request)
    if answer == "partial" then
      self.participation:release(math.min(request.goal, self.participation:used()))
    end
    return answer
  end
  return object
end

local function accounts()
  local a = got(tracker:account{ name = "a", max = "1M", reserve = 10, priority = 1 })
  local b = got(a:child{ name = "b" })
  local c = got(tracker:account{ parent = b })
  local clone = got(b:clone())
  local weak = got(b:weak())
  got(c:add_parent(a))
  assert(not a:add_parent(c))
  assert(not a:add_parent(got(other:account{})))
  local again = got(weak:upgrade())
  assert(again == clone and weak:name() == "b" and a:tracker() == tracker)
  assert(tostring(a) and a:used() == 0 and a:id() ~= b:id())
  c:close()
  assert(not c.nonsense)
end

local function claims(account)
  local p = got(account:participant(new_object("partial")))
  got(p:claim(5000))
  got(p:claim(50000))
  local clone = got(p:clone())
  clone:release(100)
  p:release(10000000)
  assert(not p:claim(1 << 40))
  assert(got(p:try_claim(10, function(x) return x end, "kept")) == "kept")
  fails(p.try_claim, p, 10, error, "not enough memory")
  got(p:account())
  loop:spawn(function() p:claim_wait(10, 5) end)
  loop:spawn(function() p:claim_wait(900000, 5) end)
  loop:advance(10)
  clone:close()
  p:destroy()
end

local function participants(account)
  local object = got(account:participant_with(function(p)
    got(p:claim(70000))
    return new_object("partial", p)
  end))
  fails(account.participant_with, account, function() error("not enough memory") end)
  local weak = got(account:participant(new_object("collapsing"), { weak = true }))
  got(weak:claim(10000))
  local failing = got(account:participant(new_object("collapsing")))
  got(failing:claim(20000))
  return { object, weak, failing }
end

local function passes(account)
  local kept = participants(account)
  loop:spawn(function() tracker:reclaim(1000) end)
  loop:advance(10)
  loop:spawn(function() tracker:reclaim() end)
  got(kept[1].participation:claim(5 << 20))
  loop:advance(10)
  tracker:plan(1000)
  tracker:top(3)
  for weak, row in tracker:accounts() do
    assert(weak:id() == row.account)
  end
  assert(tracker:stats().max and tracker:pressure())
end

local function queues(account)
  local function cost(v) return #v end
  local tx, receiver, code = quota.queue{ account = account, capacity = 2, loop = loop, cost = cost }
  got(tx, receiver, code)
  rx = receiver
  rx:on_collapse(function() end)
  got(tx:send("first"))
  got(tx:try_send("second"))
  assert(not tx:try_send("third"))
  loop:spawn(function() tx:send("fourth") end)
  loop:run()
  rx:recv()
  loop:run()
  rx:try_recv()
  tx:close()
end

local function work()
  tracker = got(quota.new{ max = "4M", loop = loop, on_event = on_event, deadline = 2 })
  other = got(quota.new{ max = "1M", loop = loop })
  local noop = got(quota.noop())
  got(got(noop:account{}):participant(new_object("partial"))):claim(10)
  accounts()
  got(tracker:configure{ max = "3M", low_water = "auto", deadline = 1 })
  assert(not tracker:configure{ max = "lots" })
  local account = got(tracker:account{ name = "main", max = "8M" })
  claims(account)
  passes(account)
  queues(got(tracker:account{}))
  lethe.registry.default():collect()
  loop:run()
  noop:close()
end

-- Whatever came of it, the sums are right, and all of it can end.
local function check()
  loop:advance(100)
  lethe.registry.default():collect()
  loop:advance(100)
  if not tracker then return end
  assert(tracker:check())
  local account <close> = assert(tracker:account{})
  local p <close> = assert(account:participant(new_object("collapsing")))
  assert(p:claim(1000))
  assert(p:used() == 1000 and tracker:check())
  rx = nil
  tracker:close()
  if other then other:close() end
  assert(select(3, p:claim(1)) == "tracker_shutdown")
  loop:run()
end

return work, check
