-- P6: an entry that came into use between its choice as a victim and its removal was dropped all
-- the same: the next get made a second object of the same key.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P6: a victim that is held while it is written", function()
  it("stays, the same object, and another leaves", scenario(function(s)
    local store = caches.store{ c = { "c" } }
    local c = s:cache{ backend = store, limit = 2 }
    local a = { "a" }
    caches.start(s.loop, function() c:insert("a", a) c:insert("b", { "b" }) end)
    store:shut("flush a")
    local miss = caches.start(s.loop, function() return c:get("c") end)
    assert.are.equal("load c, flush a", store:said())
    local hold = caches.start(s.loop, function() return c:hold("a") end)[1]
    store:open()
    caches.settle(s.loop)
    assert.is_true(miss.done)
    assert.is_true(rawequal(a, hold.value))
    assert.is_true(rawequal(a, c:peek("a")))
    assert.is_false(c:contains("b"))
    hold:close()
  end))
end)
