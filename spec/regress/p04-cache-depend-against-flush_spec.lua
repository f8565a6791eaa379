-- P4: depend_on beside a flush of the other cache hung: two locks of the same kind, in no order.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P4: depend_on while the other is flushed", function()
  it("ends, either way round", scenario(function(s)
    local store = caches.store()
    local a, b = s:cache{ backend = store, limit = 4 }, s:cache{ backend = store, limit = 4 }
    caches.start(s.loop, function() a:insert("a", 1) b:insert("b", 1) end)
    store:shut("flush")
    local flushes = {
      caches.start(s.loop, function() return a:flush() end),
      caches.start(s.loop, function() return b:flush() end),
    }
    local depends = {
      caches.start(s.loop, function() return a:depend_on(b) end),
      caches.start(s.loop, function() return b:depend_on(a) end),
    }
    store:open()
    caches.settle(s.loop)
    for i = 1, 2 do
      assert.are.same({ true, true }, { flushes[i][1], depends[i][1] })
    end
  end))
end)
