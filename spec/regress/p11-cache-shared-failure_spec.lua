-- P11: a load that failed was tried again for each of those who waited, one after the other.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P11: a load that fails", function()
  it("fails once for all who wait", scenario(function(s)
    local store = caches.store()
    local c = s:cache{ backend = store, limit = 10 }
    store.broken.load = true
    store:shut("load")
    local asked = {}
    for i = 1, 100 do
      asked[i] = caches.start(s.loop, function() return c:get("a") end)
    end
    store:open()
    caches.settle(s.loop)
    for i = 1, 100 do
      assert.are.same({ nil, "input/output error", "load_failed" }, asked[i] and {
        asked[i][1], asked[i][2], asked[i][3],
      })
    end
    assert.are.equal("load a", store:said())
  end))

  it("is remembered for error_ttl", scenario(function(s)
    local store = caches.store()
    local c = s:cache{ backend = store, limit = 10, error_ttl = 30 }
    store.broken.load = 1
    for _ = 1, 5 do
      local out = caches.start(s.loop, function() return c:get("a") end)
      assert.are.equal("load_failed", out[3])
    end
    assert.are.equal("load a", store:said())
    s:advance(30)
    assert.are.equal("not_found", caches.start(s.loop, function() return c:get("a") end)[3])
  end))
end)
