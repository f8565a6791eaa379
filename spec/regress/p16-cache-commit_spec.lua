-- P16: the victim left before the load was known to succeed; a clean one flushed the other cache;
-- an insert over an entry in use made a second object.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P16: a miss", function()
  it("evicts nobody before its load has succeeded", scenario(function(s)
    local store = caches.store{ a = "A" }
    local c = s:cache{ backend = store, limit = 1 }
    local out = caches.start(s.loop, function() return c:get("a"), c:get("x") end)
    assert.are.same({ "A", nil }, { out[1], out[2] })
    assert.are.equal("A", c:peek("a"))
    store:shut("load b")
    store.data.b = "B"
    local miss = caches.start(s.loop, function() return c:get("b") end)
    assert.are.equal("A", c:peek("a"))
    store:open()
    caches.settle(s.loop)
    assert.are.same({ "B", nil }, { miss[1], c:peek("a") })
  end))

  it("that evicts a clean entry flushes no other cache", scenario(function(s)
    local store, base = caches.store{ a = "A", b = "B" }, caches.store()
    local counts = s:cache{ backend = base, limit = 4 }
    local c = s:cache{ backend = store, limit = 1 }
    caches.start(s.loop, function()
      counts:insert("n", 1)
      c:get("a")
      c:depend_on(counts)
      c:get("b")
    end)
    assert.are.equal("", base:said())
    assert.are.equal("B", c:peek("b"))
    caches.start(s.loop, function() counts:flush() end)
  end))

  it("and an insert over what is held changes nothing", scenario(function(s)
    local store = caches.store{ a = { "A" } }
    local c = s:cache{ backend = store, limit = 2 }
    local hold = caches.start(s.loop, function() return c:hold("a") end)[1]
    local out = caches.start(s.loop, function() return c:insert("a", { "B" }) end)
    assert.are.equal("in_use", out[3])
    assert.is_true(rawequal(hold.value, c:peek("a")))
    hold:close()
  end))
end)
