-- X2: while one reclaim was pending a newcomer claimed more than low water; the round found nobody
-- else to ask, though all were healthy, and the tracker was taken for corrupted.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X2: a newcomer during a slow reclaim", function()
  for _, age in ipairs{ 1, 9 } do
    it("enters the round that runs, be it older or younger: " .. age, scenario(function(s)
      local t = s:quota{ max = "20M", low_water = "15M" }
      local slow = participants.holder(t, { age = 5, bytes = "21M", answer = function()
        s.loop:sleep(1)
      end })
      s:advance(0)
      local late = participants.holder(t, { age = age, bytes = "16M" })
      s:advance(1)
      assert.are.same({ 1, 1 }, { #slow.object.requests, #late.object.requests })
      assert.are.same({ "complete", 0 }, { s:events("reclaim_stop")[1].outcome, t:used() })
      assert.are.equal(1, t:stats().reclaims)
    end))
  end

  it("or one that was idle when the round began", scenario(function(s)
    local t = s:quota{ max = "20M", low_water = "15M" }
    local idle = participants.holder(t, {})
    participants.holder(t, { age = 5, bytes = "21M", answer = function()
      s.loop:sleep(1)
    end })
    s:advance(0)
    idle.object.age = 6
    idle.participation:claim("16M")
    s:advance(1)
    assert.are.same({ 1, 0 }, { #idle.object.requests, t:used() })
    assert.is_true(t:check())
  end))

  it("leaves the tracker at work where it gives nothing", scenario(function(s)
    local t = s:quota{ max = "20M", low_water = "15M" }
    participants.holder(t, { age = 5, bytes = "21M", answer = function() s.loop:sleep(1) end })
    s:advance(0)
    local late = participants.holder(t, { age = 1, bytes = "16M", answer = "partial" })
    s:advance(1)
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    assert.is_true(late.participation:claim(1))
    late.participation:release("16M")
    assert.is_true(t:used() < 1 << 20)
  end))
end)
