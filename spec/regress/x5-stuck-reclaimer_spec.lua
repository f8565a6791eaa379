-- X5: a reclaim that never answered stopped all reclamation: ten gigabytes on a quota of twenty
-- megabytes, and nobody else was ever asked.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X5: a stuck reclaimer", function()
  it("delays the others by one deadline, no more", scenario(function(s)
    local t = s:quota{ max = "20M", low_water = "10M", deadline = 1 }
    local stuck = participants.holder(t, { age = 1, bytes = "5M", answer = function()
      s.loop:sleep(1e9)
    end })
    local others = {}
    for i = 1, 5 do
      others[i] = participants.holder(t, { age = 1 + i, bytes = "10M" })
    end
    s:advance(0.99)
    assert.are.same({ 1, 0 }, { #stuck.object.requests, #others[1].object.requests })
    s:advance(0.01)
    assert.is_true(t:used() <= 10 << 20)
    assert.are.equal("complete", s:events("reclaim_stop")[1].outcome)
    assert.is_true(others[5].participation:claim("15M"))
    s:advance(0)
    assert.are.same({ 1, 2 }, { #others[5].object.requests, t:stats().reclaims })
    assert.is_true(t:check())
  end))

  it("is not asked twice, and its late answer counts for nothing", scenario(function(s)
    local t = s:quota{ max = "20M", deadline = 1 }
    local stuck = participants.holder(t, { age = 1, bytes = "30M", answer = function(self)
      s.loop:sleep(3)
      self.participation:release("30M")
      return "partial"
    end })
    s:advance(1)
    assert.are.equal(30 << 20, t:stats().condemned)
    s:advance(5)
    assert.are.same({ 1, 0, 0 }, { #stuck.object.requests, t:stats().condemned, t:used() })
    assert.are.equal("account_closed", select(3, stuck.participation:claim(1)))
    assert.are.same({}, s:events("over_release"))
  end))
end)
