-- P12: one entry that could not be written failed every miss, though there were others that could
-- leave.
local caches = require "spec.support.caches"
local errors = require "spec.support.errors"
local scenario = require("lethe.spec").scenario

describe("P12: an entry that cannot be written", function()
  it("is passed over and reported, and tried again later", scenario(function(s)
    local store = caches.store{ y = "Y", z = "Z" }
    local c = s:cache{ backend = store, limit = 8, name = "pages" }
    for k = 1, 7 do
      store.data[k] = k
    end
    caches.start(s.loop, function()
      c:insert("bad", 1)
      for k = 1, 7 do
        c:get(k)
      end
    end)
    store.broken["flush bad"] = true
    local reports = errors.reported(function()
      for _, k in ipairs{ "y", "z", 1, 2, "y", "z" } do
        local out = caches.start(s.loop, function() return c:get(k) end)
        assert.are.equal(store.data[k], out[1])
      end
    end)
    assert.are.equal(1, #reports)
    assert.are.equal('cache "pages" could not write key bad: input/output error',
      reports[1].message)
    assert.are.equal(1, store:count("flush bad")) -- it backs off
    assert.are.same({ 1, 8 }, { c:peek("bad"), c:len() })
    store.broken = {}
    s:advance(10)
    caches.start(s.loop, function() return c:flush() end)
    assert.are.equal(1, store.data.bad)
  end))

  it("leaves as soon as it is written, where it is what is too much", scenario(function(s)
    local store = caches.store{}
    local c = s:cache{ backend = store, limit = 2 }
    store.broken["flush a"], store.broken["flush b"] = true, true
    errors.reported(function()
      caches.start(s.loop, function()
        c:insert("a", 1)
        c:insert("b", 2)
      end)
      c:resize{ limit = 1 }
      caches.settle(s.loop)
    end)
    assert.are.equal(2, c:len())
    store.broken = {}
    local out = caches.start(s.loop, function()
      local ok = c:flush()
      return ok, c:len()
    end)
    assert.are.same({ true, 1 }, { out[1], out[2] })
    assert.are.same({ a = 1, b = 2 }, store.data)
  end))
end)
