-- X9: what a participant held counted as freed as soon as it said that it would collapse; nothing
-- looked whether it did.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X9: memory that is said to be freed", function()
  it("stands as condemned until it is, and is reported if it is not", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "4M", deadline = 1 }
    local liar = participants.holder(t, { name = "liar", age = 1, bytes = "9M" })
    s:advance(0)
    assert.are.same({ 0, 9 << 20 }, { t:used(), t:stats().condemned })
    s:advance(1)
    local event = s:events("not_freed")[1]
    assert.are.same({ liar.id, 9 << 20 }, { event.account, event.bytes })
    liar.participation:release("9M")
    assert.are.equal(0, t:stats().condemned)
  end))

  it("is believed once the object is gone", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "4M", deadline = 1 }
    local a = t:account()
    local object = participants.object(1)
    local p = a:participant(object)
    p:claim("9M")
    s:advance(0)
    assert.are.same({ 9 << 20, 1 }, { t:stats().condemned, #object.requests })
    object = nil
    s:collect()
    s:advance(5)
    assert.are.same({ 0, 0 }, { t:stats().condemned, #s:events("not_freed") })
    assert.is_nil(object)
  end))
end)
