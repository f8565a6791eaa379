-- P3: only the direct dependency was looked at: A on B on C on A was accepted, and a flush hung; so
-- did a cache that depends on itself.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

-- Caches that each have one dirty entry, and one log.
local function ring(s, n)
  local store = caches.store()
  local list = {}
  for i = 1, n do
    list[i] = s:cache{ backend = store, limit = 4 }
  end
  return store, list, caches.start(s.loop, function()
    for i = 1, n do
      list[i]:insert(i, "v")
    end
    for i = 1, n do
      local ok, message = list[i]:depend_on(list[i % n + 1])
      if not ok then return ok, message end
    end
    return true
  end)
end

describe("P3: a cycle of dependencies", function()
  for _, n in ipairs{ 2, 3, 4, 7, 16, 33, 64 } do
    it(("of length %d is flushed first"):format(n), scenario(function(s)
      local store, list, out = ring(s, n)
      assert.are.same({ true, true }, { out.done, out[1] })
      assert.are.equal(n, store:count("flush")) -- the path, which is all of them
      local again = caches.start(s.loop, function() return list[n]:flush() end)
      assert.is_true(again[1])
    end))
  end

  it("of length 1 is flushed, and adds nothing", scenario(function(s)
    local store, _, out = ring(s, 1)
    assert.is_true(out[1])
    assert.are.equal("flush 1", store:said())
  end))

  it("that cannot be flushed is refused", scenario(function(s)
    local store = caches.store()
    local a, b = s:cache{ backend = store, limit = 4 }, s:cache{ backend = store, limit = 4 }
    local out = caches.start(s.loop, function()
      a:insert("a", 1)
      b:insert("b", 1)
      a:depend_on(b)
      store.broken["flush b"] = 1
      return b:depend_on(a)
    end)
    assert.are.same({ nil, "flush_failed" }, { out[1], out[3] })
    out = caches.start(s.loop, function() return b:depend_on(a), b:flush() end)
    assert.are.same({ true, true }, { out[1], out[2] })
    assert.are.equal("flush b, flush b, barrier, flush a, barrier", store:said())
  end))
end)
