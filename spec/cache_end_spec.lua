-- How a lethe.cache ends: written and closed, closed at once, or only collected.
local caches = require "spec.support.caches"
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local cache = require "lethe.cache"
local loop = require "lethe.loop"

local function specs(mode)
  local store, c, on

  before_each(function()
    mode.enter()
    on = loop.default()
    store = caches.store{ a = "A", b = "B", c = "C" }
    c = cache.new{ backend = store, limit = 3, name = "pages" }
  end)

  after_each(function()
    store:open()
    c:invalidate()
    c:close()
    caches.settle(on)
    mode.leave()
  end)

  describe("shutdown and close", function()
    it("shutdown writes, then closes", function()
      c:insert("x", 1)
      store.broken["flush x"] = 1
      local ok, _, code, keys = c:shutdown()
      assert.is_nil(ok)
      assert.are.equal("flush_failed", code)
      assert.are.same({ "x" }, keys)
      assert.are.equal(1, c:get("x"))
      assert.is_true(c:shutdown())
      assert.are.equal(1, store.data.x)
      assert.has_error(function() c:get("x") end, "attempt to use a closed lethe.cache.Cache")
      c = cache.new{ backend = store, limit = 1 }
    end)

    it("close drops what is dirty, and says so once", function()
      local reports = errors.reported(function()
        c:insert("x", 1)
        c:insert("y", 1)
        c:close()
        c:close()
      end)
      assert.are.equal(1, #reports)
      assert.are.equal('cache "pages" was closed with 2 dirty entries, now dropped: x, y',
        reports[1].message)
      assert.are.same({ "x", "y" }, reports[1].details.keys)
      c = cache.new{ backend = store, limit = 1 }
    end)

    it("an error of evict is reported, and the entry has left", function()
      function store.evict(_, k) error("no way out for " .. k) end
      local d <close> = cache.new{ backend = store, limit = 1, name = "one" }
      local reports = errors.reported(function()
        d:get("a")
        d:get("b")
        caches.settle(on)
      end)
      assert.are.equal(1, #reports)
      assert.matches("no way out for a", reports[1].message)
      assert.are.same({ callback = "evict", cache = "one", key = "a" }, reports[1].details)
      assert.is_false(d:contains("a"))
      assert.is_true(d:contains("b"))
      store.evict = nil
    end)

    it("close answers who waits", function()
      store:shut("load")
      local out = caches.start(on, function() return c:get("a") end)
      c:close()
      caches.settle(on)
      assert.are.same({ nil, "closed" }, { out[1], out[3] })
      c = cache.new{ backend = store, limit = 1 }
    end)

    it("a dirty cache that is only collected is written", function()
      local d = cache.new{ backend = store, limit = 3 }
      d:insert("x", 1)
      d = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      caches.settle(on)
      assert.are.equal(1, store.data.x)
    end)
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("the end of a cache, the collector " .. mode.name, function()
    specs(mode)
  end)
end
