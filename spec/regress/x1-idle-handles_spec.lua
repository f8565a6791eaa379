-- X1: idle participants, each with its first full cache and never used, summed up to exactly one
-- cache a handle, and an off-by-one then took the tracker for corrupted, for ever.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X1: idle handles", function()
  it("never bring a tracker down, however many they are", scenario(function(s)
    local t = s:quota{ max = "20M" }
    local a = t:account()
    local idle = {}
    for i = 1, 1281 do
      idle[i] = a:participant(participants.object())
    end
    s:advance(0)
    t:configure{ max = "1M", low_water = "512K" } -- now their caches are above it
    s:advance(0)
    assert.are.same({ 0, 0, 0 }, { t:used(), t:stats().victims, t:stats().stuck })
    for i = 1, 1281 do
      assert.is_true(idle[i]:claim(100))
    end
    local h = participants.holder(t, { age = 1, bytes = "2M" })
    s:advance(0)
    assert.are.equal(1, #h.object.requests)
    assert.is_true(t:check())
  end))

  it("hold next to nothing after one pass", scenario(function(s)
    local t = s:quota{ max = "20M" }
    local a = t:account()
    local idle = {}
    for i = 1, participants.work(5000) do
      idle[i] = a:participant(participants.object())
    end
    assert.is_true(t:used() > (20 << 20) / 100)
    t:reclaim()
    assert.are.same({ 0, true }, { t:used(), #idle > 0 })
  end))
end)
