-- X6: with many idle caches the sum stayed above max: every claim woke a scan of all participants,
-- and who made one real claim was evicted to pay for the caches of the idle.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X6: idle caches", function()
  it("are called back before anybody is evicted", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local idle = {}
    local a = t:account()
    for i = 1, 200 do
      idle[i] = a:participant(participants.object())
    end
    local real = participants.holder(t, { age = 1 })
    real.participation:claim("400K")
    real.participation:claim((1 << 20) - t:used() + 1)
    real.participation:release("500K")
    s:advance(0)
    assert.are.same({ 0, 0 }, { #real.object.requests, t:stats().victims })
    assert.is_true(idle[200]:claim(1))
  end))

  it("do not start a pass with every claim", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local a = t:account()
    local handles = {}
    for i = 1, 2000 do
      handles[i] = a:participant(participants.object())
    end
    s:advance(0)
    local before = t:stats().reclaims
    for i = 1, 2000 do
      assert.is_true(handles[i]:claim(300))
      if i % 100 == 0 then s:advance(0) end
    end
    assert.is_true(t:stats().reclaims - before <= 2)
    assert.are.equal(0, t:stats().victims)
  end))
end)
