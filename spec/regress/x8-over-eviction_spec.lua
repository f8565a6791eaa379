-- X8: the unit of reclamation was the whole account with all below it: an account of gigabytes died
-- to free one byte, and so did its participants that had nothing.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X8: a little too much", function()
  it("costs a little, where participants give part", scenario(function(s)
    local t = s:quota{ max = "100G", low_water = "95G" }
    local big = participants.holder(t, { age = 1, answer = participants.partial })
    local sibling = participants.object(nil, "partial")
    local p = big.account:participant(sibling)
    local child = participants.holder(t, {
      age = 2,
      bytes = "1G",
      parent = big.account,
      answer = participants.partial,
    })
    big.participation:claim("99G")
    s:advance(0)
    assert.are.equal((95 << 30) - 1, t:used()) -- big gave all: the child was asked for a byte
    assert.are.equal(3, t:stats().participants)
    assert.is_true(p:claim(1) and child.participation:claim(1))
    assert.are.equal(1, #sibling.requests)
  end))

  it("stops within one item of low water", scenario(function(s)
    local t = s:quota{ max = "10M", low_water = "5M" }
    local item <const> = 100 << 10
    local h = participants.holder(t, { age = 1, bytes = 110 * item, answer = function(self)
      self.participation:release(item)
      return "partial"
    end })
    s:advance(0)
    assert.is_true(t:used() <= 5 << 20 and t:used() > (5 << 20) - item)
    assert.are.equal(1, t:stats().accounts)
    assert.is_true(h.participation:claim(1))
  end))
end)
