-- P9: the first error of a flush dropped all other writes under way; and an entry was marked clean
-- before its write, so that a dropped one was never written.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P9: an error in a flush", function()
  it("leaves the other writes alone", scenario(function(s)
    local store = caches.store()
    local c = s:cache{ backend = store, limit = 10, write_depth = 3 }
    caches.start(s.loop, function()
      for i = 1, 8 do
        c:insert(i, i)
      end
    end)
    store.broken["flush 1"], store.broken["flush 5"] = 1, 1
    local out = caches.start(s.loop, function() return c:flush() end)
    assert.are.equal("flush_failed", out[3])
    assert.are.same({ 1, 5 }, out[4])
    assert.are.equal(8, store:count("flush"))
    assert.are.equal(2, c:stats().dirty)
    for i = 1, 8 do
      assert.are.equal(i ~= 1 and i ~= 5 and i or nil, store.data[i])
    end
    assert.is_true(caches.start(s.loop, function() return c:flush() end)[1])
    assert.are.same({ 1, 5, 0 }, { store.data[1], store.data[5], c:stats().dirty })
  end))

  it("clears no mark that a later change has set", scenario(function(s)
    local store = caches.store()
    local c = s:cache{ backend = store, limit = 4 }
    caches.start(s.loop, function() c:insert("a", 1) end)
    local hold = caches.start(s.loop, function() return c:hold("a") end)[1]
    store:shut("flush")
    local flush = caches.start(s.loop, function() return c:flush() end)
    hold:set(2)
    store:open()
    caches.settle(s.loop)
    assert.are.same({ true, 1, 1 }, { flush[1], store.data.a, c:stats().dirty })
    caches.start(s.loop, function() return c:flush() end)
    assert.are.same({ 2, 0 }, { store.data.a, c:stats().dirty })
    hold:close()
  end))
end)
