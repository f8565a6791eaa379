-- P10: while one key was loaded the whole map was locked: hits on other keys waited, and loads came
-- one after the other.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P10: a slow load", function()
  it("holds up no hit and no other load", scenario(function(s)
    local store = caches.store()
    local c = s:cache{ backend = store, limit = 200 }
    for k = 1, 64 do
      store.data[k] = k
    end
    caches.start(s.loop, function() c:insert("hot", 1) end)
    store:shut("load")
    local loads = {}
    for k = 1, 64 do
      loads[k] = caches.start(s.loop, function() return c:get(k) end)
    end
    assert.are.equal(64, store:count("load")) -- all under way
    local hits = 0
    for _ = 1, 1000 do
      if c:get("hot") == 1 then hits = hits + 1 end
    end
    assert.are.equal(1000, hits)
    store:open()
    caches.settle(s.loop)
    for k = 1, 64 do
      assert.are.equal(k, loads[k][1])
    end
    c:remove("hot")
  end))

  it("a slow flush holds up neither", scenario(function(s)
    local store = caches.store{ x = "X" }
    local c = s:cache{ backend = store, limit = 10 }
    caches.start(s.loop, function() c:insert("hot", 1) end)
    store:shut("flush")
    caches.start(s.loop, function() return c:flush() end)
    assert.are.equal("X", caches.start(s.loop, function() return c:get("x") end)[1])
    assert.are.equal(1, c:get("hot"))
    store:open()
    caches.settle(s.loop)
    assert.are.equal(0, c:stats().dirty)
  end))
end)
