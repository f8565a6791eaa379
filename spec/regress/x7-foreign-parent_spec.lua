-- X7: an account of another tracker was taken for a parent: its id then stood for an account of
-- one's own.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

describe("X7: a parent of another tracker", function()
  it("is refused, in every way, and nothing is changed", scenario(function(s)
    local t, other = s:quota{ max = "8M" }, s:quota{ max = "8M" }
    local a = participants.holder(t, { age = 1, bytes = "1M" })
    local alias = participants.holder(other, { age = 1, bytes = "1M" })
    assert.are.equal(a.id, alias.id)
    local ok, message, code = a.account:add_parent(alias.account)
    assert.are.same({ "nil", "string", "other_tracker" }, { type(ok), type(message), code })
    ok, message, code = t:account{ parent = alias.account }
    assert.are.same({ "nil", "string", "other_tracker" }, { type(ok), type(message), code })
    assert.is_true(a.account ~= alias.account)
    assert.are.equal(1, t:stats().accounts)
    other:reclaim("1M")
    assert.are.same({ 0, 1 }, { #a.object.requests, #alias.object.requests })
    assert.is_true(t:check() and other:check())
  end))
end)
