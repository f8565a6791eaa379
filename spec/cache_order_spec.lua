-- Order between caches: depend_on, what a flush writes first, and what barriers are for.
local at_its_line = require("spec.support.errors").at_its_line
local caches = require "spec.support.caches"
local errors = require "spec.support.errors"
local cache = require "lethe.cache"
local scenario = require("lethe.spec").scenario

-- Caches over one store, one log, by name.
local function set(s, names)
  local store, list = caches.store(), {}
  for name in names:gmatch("%a") do
    list[name] = s:cache{ backend = store, limit = 8, name = name }
  end
  return store, list
end

-- Runs fn as a task that must not be left waiting; its results.
local function done(s, fn)
  local out = caches.start(s.loop, fn)
  assert.is_true(out.done)
  return table.unpack(out, 1, out.n)
end

describe("depend_on", function()
  it("has the other written and synced first, once", scenario(function(s)
    local store, c = set(s, "ab")
    done(s, function()
      c.a:insert("a1", 1)
      c.b:insert("b1", 1)
      assert.is_true(c.a:depend_on(c.b))
      assert.is_true(c.a:depend_on(c.b))
      assert.is_true(c.a:flush())
    end)
    assert.are.equal("flush b1, barrier, flush a1", store:said())
    done(s, function()
      c.a:insert("a2", 1)
      c.b:insert("b2", 1)
      c.a:flush()
    end)
    assert.are.equal("flush a2", store:said())
    c.b:remove("b2")
  end))

  it("holds for whatever makes an entry be written", scenario(function(s)
    local store, c = set(s, "ab")
    local small = s:cache{ backend = store, limit = 1, loop = s.loop }
    local old = s:cache{ backend = store, limit = 8, ttl = 10 }
    store.data.x = "X"
    local ways = {
      function(of) return of:flush("k") end,
      function(of) return of:insert("k", 2) end,
      function(of) return of:shutdown() end,
    }
    for i, way in ipairs(ways) do
      local of = i < 3 and c.a or s:cache{ backend = store, limit = 8 }
      done(s, function()
        of:insert("k", 1)
        c.b:insert("b", i)
        of:depend_on(c.b)
        store:said()
        way(of)
      end)
      assert.is_truthy(store:said():find("^flush b, barrier, flush k"))
      if i == 2 then done(s, function() c.a:flush() end) end
    end
    done(s, function() -- evicted
      small:insert("k", 1)
      c.b:insert("b", 9)
      small:depend_on(c.b)
      store:said()
      small:get("x")
    end)
    assert.are.equal("load x, flush b, barrier, flush k", store:said())
    done(s, function() -- grown old
      old:insert("k", 1)
      c.b:insert("b", 10)
      old:depend_on(c.b)
      store:said()
    end)
    s:advance(10)
    assert.are.equal("flush b, barrier, flush k", store:said())
    assert.are.equal(0, old:len())
  end))

  it("goes on through what the other depends on", scenario(function(s)
    local store, c = set(s, "abcd")
    done(s, function()
      for _, name in ipairs{ "a", "b", "c", "d" } do
        c[name]:insert(name, 1)
      end
      c.a:depend_on(c.b)
      c.b:depend_on(c.c)
      c.c:depend_on(c.d)
      c.a:flush()
    end)
    assert.are.equal("flush d, barrier, flush c, barrier, flush b, barrier, flush a", store:said())
  end))

  it("flushes what it depends on though it has nothing to write itself", scenario(function(s)
    local store, c = set(s, "ab")
    done(s, function()
      c.b:insert("b", 1)
      c.a:depend_on(c.b)
      c.a:flush()
    end)
    assert.are.equal("flush b, barrier", store:said())
  end))

  it("lets what is being written go on, and holds back the rest", scenario(function(s)
    local store, c = set(s, "ab")
    done(s, function() c.a:insert("a1", 1) end)
    store:shut("flush a1")
    local flush = caches.start(s.loop, function() return c.a:flush() end)
    done(s, function()
      c.b:insert("b", 1)
      c.a:insert("a2", 1)
      c.a:depend_on(c.b)
    end)
    local again = caches.start(s.loop, function() return c.a:flush() end)
    store:open()
    caches.settle(s.loop)
    assert.is_true(flush[1] and again[1])
    assert.are.equal("flush a1, flush b, barrier, flush a2", store:said())
  end))

  it("is wanted anew while it is at work: then it begins once more", scenario(function(s)
    local store, c = set(s, "ab")
    done(s, function()
      c.a:insert("a", 1)
      c.b:insert("b1", 1)
      c.a:depend_on(c.b)
    end)
    store:shut("flush b1")
    local flush = caches.start(s.loop, function() return c.a:flush() end)
    done(s, function()
      c.b:insert("b2", 1)
      c.a:depend_on(c.b)
    end)
    store:open()
    caches.settle(s.loop)
    assert.is_true(flush[1])
    assert.are.equal("flush b1, barrier, flush b2, barrier, flush a", store:said())
  end))

  it("ends with the other cache", scenario(function(s)
    local store, c = set(s, "ab")
    errors.reported(function()
      done(s, function()
        c.a:insert("a", 1)
        c.b:insert("b", 1)
        c.a:depend_on(c.b)
        c.b:close()
        assert.is_true(c.a:flush())
      end)
    end)
    assert.are.equal("flush a", store:said())
  end))

  it("asks for no barrier where nothing was written since the last one", scenario(function(s)
    local store, c = set(s, "abc")
    done(s, function()
      c.c:insert("c", 1)
      c.a:insert("a", 1)
      c.b:insert("b", 1)
      c.a:depend_on(c.c)
      c.b:depend_on(c.c)
      c.a:flush()
      c.b:flush()
    end)
    assert.are.equal("flush c, barrier, flush a, flush b", store:said())
  end))

  it("works without a barrier in the backend", scenario(function(s)
    local data = {}
    local backend = { load = function() end, flush = function(_, k) data[#data + 1] = k end }
    local a = s:cache{ backend = backend, limit = 2 }
    local b = s:cache{ backend = backend, limit = 2 }
    done(s, function()
      a:insert("a", 1)
      b:insert("b", 1)
      a:depend_on(b)
      a:flush()
    end)
    assert.are.same({ "b", "a" }, data)
  end))

  it("drops its edges where invalidate drops everything", scenario(function(s)
    local store, c = set(s, "ab")
    done(s, function()
      c.a:insert("a", 1)
      c.b:insert("b", 1)
      c.a:depend_on(c.b)
      assert.is_true(c.a:invalidate())
      c.a:insert("a2", 1)
      c.a:flush()
    end)
    assert.are.equal("flush a2", store:said())
    c.b:invalidate()
  end))

  it("refuses what is no cache, at the line of the call", function()
    local store = caches.store()
    local a, b = cache.new{ backend = store, limit = 1 }, cache.new{ backend = store, limit = 1 }
    b:close()
    assert.are.equal("bad argument #1 to 'depend_on' (lethe.cache.Cache expected, got table)",
      at_its_line(function() a:depend_on({}) end))
    assert.are.equal("bad argument #1 to 'depend_on' (a closed lethe.cache.Cache)",
      at_its_line(function() a:depend_on(b) end))
    a:close()
  end)
end)
