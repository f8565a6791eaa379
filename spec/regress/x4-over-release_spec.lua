-- X4: who released more than it had claimed lowered the tracker's sum by it, at the cost of all
-- others: one bad participant could take the quota off.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20

describe("X4: an over-release", function()
  it("costs nobody else, and names its culprit", scenario(function(s)
    local t = s:quota{ max = "20M" }
    local honest = participants.holder(t, { name = "honest", age = 1, bytes = "10M" })
    local bad = participants.holder(t, { name = "bad" })
    bad.participation:release("8M")
    assert.is_true(t:used() >= 10 * MIB)
    assert.are.same({ 10 * MIB, 0 }, { honest.participation:used(), bad.participation:used() })
    local event = s:events("over_release")[1]
    assert.are.same({ bad.id, "bad", 8 * MIB }, { event.account, event.name, event.bytes })
    assert.is_true(t:check())
  end))

  it("is none where another handle of the participant claimed it", scenario(function(s)
    local t = s:quota{ max = "20M" }
    local h = participants.holder(t, { bytes = "5M" })
    local clone = h.participation:clone()
    clone:release("5M")
    assert.are.same({}, s:events("over_release"))
    clone:release(1)
    assert.are.equal(1, s:events("over_release")[1].bytes)
    assert.is_true(t:check())
  end))
end)
