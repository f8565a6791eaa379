-- P1: a flush and a miss that evicted took the cache's two locks in opposite orders, and waited for
-- each other for ever. (spec/c/test_cache_schedules.c runs millions of such meetings.)
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P1: a flush while a miss evicts", function()
  it("ends, and so does the miss", scenario(function(s)
    local store = caches.store{ a = 1, b = 2, c = 3 }
    local counts = s:cache{ backend = caches.store(), limit = 4 }
    local pages = s:cache{ backend = store, limit = 1 }
    local out = caches.start(s.loop, function()
      counts:insert("n", 1)
      pages:insert("a", "A")
      pages:depend_on(counts)
    end)
    assert.is_true(out.done)
    store:shut("flush")
    local flush = caches.start(s.loop, function() return pages:flush() end)
    local miss = caches.start(s.loop, function() return pages:get("b") end)
    local more = caches.start(s.loop, function() return pages:insert("c", "C") end)
    store:open()
    caches.settle(s.loop)
    assert.are.same({ true, 2, true }, { flush[1], miss[1], more[1] })
    assert.are.equal("A", store.data.a)
    assert.is_true(caches.start(s.loop, function() return pages:flush() end)[1])
  end))
end)
