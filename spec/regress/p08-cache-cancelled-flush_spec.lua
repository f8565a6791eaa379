-- P8: a flush that was cancelled had taken the dependency out of its list already: the next write
-- overtook what it depended on.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P8: a flush that is cancelled", function()
  for _, gate in ipairs{ "flush n", "barrier" } do
    it("keeps the order, cancelled in its " .. gate, scenario(function(s)
      local store = caches.store()
      local counts = s:cache{ backend = store, limit = 4 }
      local c = s:cache{ backend = store, limit = 4 }
      caches.start(s.loop, function()
        counts:insert("n", 1)
        c:insert("a", 1)
        c:depend_on(counts)
      end)
      store:shut(gate)
      local flush = caches.start(s.loop, function() return c:flush() end)
      flush.task:cancel()
      caches.settle(s.loop)
      assert.is_true(flush.done)
      local again = caches.start(s.loop, function() return c:flush() end)
      assert.is_nil(store.data.a)
      store:open()
      caches.settle(s.loop)
      assert.is_true(again[1])
      assert.are.equal("flush n, barrier, flush a", store:said())
    end))
  end
end)
