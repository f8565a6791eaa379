-- P5: a dependency that could not be flushed lost the dirty victim that needed it: it had left the
-- map already, later flushes could not write it, and the next get loaded what was old.
local caches = require "spec.support.caches"
local errors = require "spec.support.errors"
local scenario = require("lethe.spec").scenario

describe("P5: a victim whose dependency fails", function()
  it("stays, dirty, and is written later", scenario(function(s)
    local store, base = caches.store{ b = "B" }, caches.store()
    local counts = s:cache{ backend = base, limit = 4 }
    local c = s:cache{ backend = store, limit = 1 }
    base.broken.flush = true
    local out
    local reports = errors.reported(function()
      out = caches.start(s.loop, function()
        counts:insert("n", 1)
        c:insert("a", "changed")
        c:depend_on(counts)
        return c:get("b")
      end)
    end)
    assert.are.same({ nil, "flush_failed" }, { out[1], out[3] })
    assert.are.equal(1, #reports) -- nobody waited for that write
    assert.are.equal("changed", c:peek("a"))
    assert.are.same({ 1, 1 }, { c:stats().dirty, counts:stats().dirty })
    base.broken = {}
    assert.is_true(caches.start(s.loop, function() return c:flush() end)[1])
    assert.are.same({ "changed", 1 }, { store.data.a, base.data.n })
  end))

  it("is conserved whichever write fails", scenario(function(s)
    for n = 1, 8 do
      local store = caches.store()
      local a, b = s:cache{ backend = store, limit = 2 }, s:cache{ backend = store, limit = 2 }
      local calls, inserted = 0, {}
      function store:flush(key, value)
        calls = calls + 1
        if calls == n then error("input/output error", 0) end
        self.data[key] = value
      end
      local out
      errors.reported(function()
        caches.start(s.loop, function()
          for i = 1, 4 do
            inserted["a" .. i] = a:insert("a" .. i, i)
            inserted["b" .. i] = b:insert("b" .. i, i)
            a:depend_on(b)
          end
        end)
        s:advance(1)
        out = caches.start(s.loop, function()
          a:flush()
          return a:shutdown(), b:shutdown()
        end)
      end)
      assert.are.same({ true, true }, { out[1], out[2] })
      for key in pairs(inserted) do
        assert.are.equal(tonumber(key:sub(2)), store.data[key])
      end
    end
  end))
end)
