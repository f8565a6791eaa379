-- P7: a get that evicted and was cancelled, by a timeout for example, lost the victim.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P7: a get that is cancelled", function()
  for _, gate in ipairs{ "load b", "flush a" } do
    it("loses nothing, waiting for " .. gate, scenario(function(s)
      local store = caches.store{ b = "B" }
      local c = s:cache{ backend = store, limit = 1 }
      caches.start(s.loop, function() c:insert("a", "changed") end)
      store:shut(gate)
      local miss = caches.start(s.loop, function() return c:get("b") end)
      assert.is_false(miss.done)
      miss.task:cancel()
      caches.settle(s.loop)
      assert.are.same({ nil, "cancelled" }, { miss[1], miss[3] })
      assert.are.equal("changed", c:peek("a"))
      store:open()
      caches.settle(s.loop)
      assert.are.equal("B", c:peek("b")) -- the load was the cache's own, and went on
      assert.are.equal("changed", store.data.a)
    end))
  end
end)
