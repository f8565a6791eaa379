-- P15: nothing was synced between a dependency and what depends on it: after a power failure the
-- one could be there without the other.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P15: between a dependency and its dependent", function()
  it("there is a barrier, one for all that are ready", scenario(function(s)
    local store, base = caches.store(), caches.store()
    local counts = s:cache{ backend = base, limit = 9 }
    local dependents = {}
    caches.start(s.loop, function()
      counts:insert("n", 1)
      for i = 1, 3 do
        dependents[i] = s:cache{ backend = store, limit = 9 }
        dependents[i]:insert(i, "v")
        dependents[i]:depend_on(counts)
      end
    end)
    base:shut("flush")
    local flushes = {}
    for i = 1, 3 do
      flushes[i] = caches.start(s.loop, function() return dependents[i]:flush() end)
    end
    base:open()
    base:shut("barrier")
    caches.settle(s.loop)
    assert.are.equal("flush n, barrier", base:said())
    assert.are.equal("", store:said())
    base:open()
    caches.settle(s.loop)
    for i = 1, 3 do
      assert.is_true(flushes[i][1])
    end
    assert.are.equal("", base:said())
    assert.are.equal(3, store:count("flush"))
  end))

  it("a barrier that fails keeps the order, and what is dirty", scenario(function(s)
    local store = caches.store()
    local counts, c = s:cache{ backend = store, limit = 9 }, s:cache{ backend = store, limit = 9 }
    store.broken.barrier = 1
    local out = caches.start(s.loop, function()
      counts:insert("n", 1)
      c:insert("a", 1)
      c:depend_on(counts)
      return c:flush()
    end)
    assert.are.same({ nil, "flush_failed" }, { out[1], out[3] })
    assert.are.same({ nil, 1 }, { store.data.a, c:stats().dirty })
    assert.is_true(caches.start(s.loop, function() return c:flush() end)[1])
    assert.are.equal("flush n, barrier, barrier, flush a", store:said())
  end))
end)
