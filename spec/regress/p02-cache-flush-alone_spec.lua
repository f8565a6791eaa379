-- P2: the same without any dependency: a miss, an insert or an invalidate beside a flush hung.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P2: miss, insert and invalidate beside a flush", function()
  it("all end", scenario(function(s)
    local store = caches.store{ a = 1, b = 2, c = 3 }
    local c = s:cache{ backend = store, limit = 2 }
    caches.start(s.loop, function() c:insert("a", "A") c:insert("b", "B") end)
    store:shut("flush")
    local flush = caches.start(s.loop, function() return c:flush() end)
    local miss = caches.start(s.loop, function() return c:get("c") end)
    local insert = caches.start(s.loop, function() return c:insert("d", "D") end)
    assert.are.same({ false, false, false }, { flush.done, miss.done, insert.done })
    assert.is_true(caches.start(s.loop, function() return c:invalidate() end).done)
    store:open()
    caches.settle(s.loop)
    assert.are.same({ true, true, true }, { flush.done, miss.done, insert.done })
    assert.are.equal(3, miss[1])
    c:invalidate()
  end))
end)
