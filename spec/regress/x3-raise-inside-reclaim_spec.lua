-- X3: an error raised inside reclaim before it first waited was not caught: the pass was over for
-- good, nothing said so, and the quota was silently off.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X3: an error inside reclaim", function()
  it("tears down its participant, and passes go on", scenario(function(s)
    local t = s:quota{ max = "20M" }
    local h = participants.holder(t, { age = 1, bytes = "21M", answer = function()
      error("at once")
    end })
    local list = errors.reported(function() s:advance(0) end)
    assert.are.equal(1, #list)
    assert.matches("at once", list[1].message)
    assert.are.equal("account_closed", select(3, h.participation:claim(1)))
    for i = 1, 10 do
      local other = participants.holder(t, { age = i, bytes = "100M" })
      s:advance(0)
      assert.are.same({ 1, true }, { #other.object.requests, t:used() <= 20 << 20 })
    end
    assert.are.equal(11, t:stats().reclaims)
  end))
end)
