-- lethe.cache, call by call: what each answers, and what the backend is asked for it.
local caches = require "spec.support.caches"
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local cache = require "lethe.cache"
local lethe = require "lethe"
local loop = require "lethe.loop"

local function specs(mode)
  local store, c, on

  before_each(function()
    mode.enter()
    on = loop.default()
    store = caches.store{ a = "A", b = "B", c = "C", [1] = "one", [2] = false }
    c = cache.new{ backend = store, limit = 3, name = "pages" }
  end)

  after_each(function()
    store:open()
    c:invalidate()
    c:close()
    caches.settle(on)
    mode.leave()
  end)

  describe("new", function()
    it("makes caches", function()
      assert.are.equal("cache.Cache", lethe.type(c))
      assert.are.equal(0, #c)
    end)

    it("refuses what it does not know, at the line of the call", function()
      assert.are.equal('unknown option "limt" (did you mean "limit"?)',
        errors.at_its_line(function() cache.new{ backend = store, limt = 3 } end))
      assert.are.equal("backend must have a function load (got nil)",
        errors.at_its_line(function() cache.new{ backend = {}, limit = 3 } end))
      assert.are.equal("backend must be an object with a method load (got nil)",
        errors.at_its_line(function() cache.new{ limit = 3 } end))
      assert.are.equal("limit must be a number of entries from 0 (got -1)",
        errors.at_its_line(function() cache.new{ backend = store, limit = -1 } end))
      assert.are.equal("ttl must be a number of seconds above 0 (got 0)",
        errors.at_its_line(function() cache.new{ backend = store, limit = 1, ttl = 0 } end))
      assert.are.equal("write_depth must be an integer from 1 to 65536 (got 0)",
        errors.at_its_line(function() cache.new{ backend = store, limit = 1, write_depth = 0 } end))
      assert.are.equal("policy must be a name, a function or a table (got number)",
        errors.at_its_line(function() cache.new{ backend = store, limit = 1, policy = 3 } end))
    end)

    it("takes math.huge for a time that never ends", function()
      local own <close> = cache.new{ backend = store, limit = 1, wait = math.huge, ttl = math.huge,
        idle = math.huge, error_ttl = math.huge }
      local hold = own:hold("a")
      local out = caches.start(on, function() return own:get("b") end)
      caches.settle(on)
      assert.is_false(out.done)
      hold:close()
      caches.settle(on)
      assert.are.equal("B", out[1])
      assert.are.equal("not_found", select(3, own:get("x")))
      assert.are.equal("not_found", select(3, own:get("x")))
      assert.are.equal("load a, load b, load x", store:said())
    end)

    it("answers bad_policy, with the nearest name", function()
      local none, message, code = cache.new{ backend = store, limit = 3, policy = "fifoo" }
      assert.is_nil(none)
      assert.are.equal("bad_policy", code)
      assert.is_truthy(message:find('did you mean "fifo"?', 1, true))
    end)
  end)

  describe("get", function()
    it("loads what is missing, and no more than that", function()
      assert.are.equal("A", c:get("a"))
      assert.are.equal("A", c:get("a"))
      assert.are.equal("one", c:get(1))
      assert.are.equal("one", c:get(1.0))
      assert.are.equal("load a, load 1", store:said())
      local stats = c:stats()
      assert.are.same({ 2, 2, 2, 2 }, { stats.hits, stats.misses, stats.loads, stats.entries })
    end)

    it("gives false as a value", function()
      assert.are.equal(false, c:get(2))
      assert.are.equal(false, c:get(2))
      assert.are.equal("load 2", store:said())
    end)

    it("answers not_found where a load returns nothing", function()
      local v, message, code = c:get("x")
      assert.is_nil(v)
      assert.are.equal("string", type(message))
      assert.are.equal("not_found", code)
      assert.are.equal(0, c:len())
    end)

    it("answers load_failed where it raises or returns a message", function()
      store.broken["load a"] = 1
      assert.are.same({ nil, "input/output error", "load_failed" }, { c:get("a") })
      assert.are.equal("A", c:get("a"))
      function store.load() return nil, "no such disk" end
      assert.are.same({ nil, "no such disk", "load_failed" }, { c:get("b") })
      assert.are.equal(2, c:stats().load_failures)
    end)

    it("loads once however many ask", function()
      local n = mode.name == "as it is" and 1000 or 20
      store:shut("load")
      local asked = {}
      for i = 1, n do
        asked[i] = on:spawn(function() return c:get("a") end)
      end
      caches.settle(on)
      store:open()
      for i = 1, n do
        assert.are.equal("A", (asked[i]:join()))
      end
      assert.are.equal("load a", store:said())
    end)

    it("remembers a failure for error_ttl", function()
      local clock = loop.new{ clock = "virtual" }
      local d = cache.new{ backend = store, limit = 3, error_ttl = 10, loop = clock }
      for _ = 1, 3 do
        assert.are.equal("not_found", (select(3, d:get("x"))))
      end
      assert.are.equal("load x", store:said())
      store.data.x = "X"
      clock:advance(10)
      assert.are.equal("X", d:get("x"))
      d:close()
      clock:close()
    end)

    it("raises for keys that are none, at the line of the call", function()
      assert.are.equal("a key must be a string or an integer (got table)",
        errors.at_its_line(function() c:get({}) end))
      assert.are.equal("a key must be a string or an integer (got 1.5)",
        errors.at_its_line(function() c:get(1.5) end))
      assert.are.equal("a key must be a string or an integer (got nil)",
        errors.at_its_line(function() c:hold() end))
      assert.are.equal("a key must be a string or an integer (got boolean)",
        errors.at_its_line(function() c:insert(true, 1) end))
    end)

    it("cannot wait in a coroutine of the script's", function()
      store:shut("load")
      local co = coroutine.create(function() return c:get("a") end)
      local ok, message = coroutine.resume(co)
      assert.is_false(ok)
      assert.is_truthy(message:find("cannot wait here; use Loop:spawn", 1, true))
    end)
  end)

  describe("get_many", function()
    it("loads beside each other, and tells what failed", function()
      store:shut("load")
      store.broken["load b"] = true
      local out = caches.start(on, function() return c:get_many{ "a", "b", "c", "x", "a" } end)
      assert.are.equal("load a, load b, load c, load x", store:said())
      store:open()
      caches.settle(on)
      local values, failures = out[1], out[2]
      assert.are.same({ "A", nil, "C", nil, "A" }, values)
      assert.are.equal("load_failed", failures.b.code)
      assert.are.equal("input/output error", failures.b.message)
      assert.are.equal("not_found", failures.x.code)
      assert.is_nil(failures.a)
    end)

    it("answers closed for what a cache that is closed meanwhile has not loaded", function()
      store:shut("load")
      local keys, own = { "a", "b" }, cache.new{ backend = store, limit = 3 }
      local out = caches.start(on, function() return own:get_many(keys) end)
      own:close()
      table.remove(keys)
      store:open()
      caches.settle(on)
      assert.are.same({}, out[1])
      assert.are.equal("closed", out[2].a.code)
      assert.are.equal("the cache was closed", out[2].b.message)
    end)

    it("answers closed where the first load closes it", function()
      local own
      own = cache.new{ limit = 3, backend = { load = function(_, k)
        own:close()
        return k
      end } }
      local values, failures = own:get_many{ "a", "b" }
      assert.are.same({}, values)
      assert.are.equal("closed", failures.a.code)
      assert.are.equal("closed", failures.b.code)
      assert.are.equal(failures.a.message, failures.b.message)
    end)
  end)

  describe("hold", function()
    it("keeps an entry in use", function()
      local hold = c:hold("a")
      assert.are.equal("cache.Hold", lethe.type(hold))
      assert.are.equal("A", hold.value)
      for k = 1, 10 do
        store.data[k] = k
        c:get(k)
      end
      assert.is_true(c:contains("a"))
      assert.are.equal(1, c:stats().in_use)
      hold:close()
      assert.are.equal(0, c:stats().in_use)
      assert.has_error(function() return hold.value end)
      assert.is_true(hold:close())
    end)

    it("changes its value, which is written then", function()
      do
        local hold <close> = c:hold("a")
        assert.is_true(hold:set("new"))
        assert.are.equal("new", hold.value)
      end
      assert.are.equal("new", c:get("a"))
      assert.are.equal(1, c:stats().dirty)
      assert.is_true(c:flush())
      assert.are.equal("new", store.data.a)
    end)

    it("marks a value dirty that was changed in place", function()
      store.data.t = { 1 }
      local hold <close> = c:hold("t")
      hold.value[1] = 2
      hold:mark_dirty()
      store:said()
      c:flush()
      assert.are.equal("flush t", store:said())
    end)
  end)

  describe("insert", function()
    it("puts a dirty value", function()
      assert.is_true(c:insert("n", "N"))
      assert.are.equal("N", c:peek("n"))
      assert.are.equal("", store:said())
      assert.are.equal(1, c:stats().dirty)
    end)

    it("writes what is there first, if it is dirty", function()
      c:insert("a", 1)
      c:insert("a", 2)
      assert.are.equal("flush a", store:said())
      assert.are.equal(1, store.data.a)
      assert.are.equal(2, c:get("a"))
    end)

    it("answers in_use where the entry is held", function()
      local hold <close> = c:hold("a")
      assert.are.equal("in_use", (select(3, c:insert("a", 1))))
      assert.are.equal("A", hold.value)
    end)

    it("answers flush_failed, and keeps what is there", function()
      c:insert("a", 1)
      store.broken["flush a"] = 1
      assert.are.equal("flush_failed", (select(3, c:insert("a", 2))))
      assert.are.equal(1, c:get("a"))
      assert.are.equal(1, c:stats().dirty)
    end)
  end)

  describe("peek and contains", function()
    it("touch nothing", function()
      c:get("a")
      c:get("b")
      c:get("c")
      store:said()
      assert.are.equal("A", c:peek("a"))
      assert.is_true(c:contains("a"))
      assert.is_nil(c:peek("x"))
      assert.is_false(c:contains("x"))
      store.data.d = "D"
      c:get("d")
      assert.is_false(c:contains("a"))
      assert.are.equal("load d", store:said())
    end)
  end)

  describe("flush", function()
    it("writes every dirty entry, or one", function()
      c:insert("x", 1)
      c:insert("y", 2)
      assert.is_true(c:flush("y"))
      assert.are.equal("flush y", store:said())
      assert.is_true(c:flush())
      assert.are.equal("flush x", store:said())
      assert.is_true(c:flush())
      assert.are.equal("", store:said())
      assert.are.equal(2, c:len())
    end)

    it("tries each, and names those that failed", function()
      for _, k in ipairs{ "x", "y", "z" } do
        c:insert(k, k)
      end
      store.broken["flush x"] = 1
      local ok, message, code, keys = c:flush()
      assert.is_nil(ok)
      assert.are.equal("input/output error", message)
      assert.are.equal("flush_failed", code)
      assert.are.same({ "x" }, keys)
      assert.are.equal(1, c:stats().dirty)
      assert.is_true(c:flush())
      assert.are.equal("x", store.data.x)
    end)
  end)

  describe("remove and invalidate", function()
    it("drop without writing", function()
      c:insert("a", 1)
      assert.is_true(c:remove("a"))
      assert.is_true(c:remove("a"))
      assert.are.equal("A", c:get("a"))
      assert.are.equal("load a", store:said())
    end)

    it("leave what is in use", function()
      local hold <close> = c:hold("a")
      c:insert("b", 1)
      assert.are.equal("in_use", (select(3, c:remove("a"))))
      local ok, _, code, keys = c:invalidate()
      assert.is_nil(ok)
      assert.are.equal("in_use", code)
      assert.are.same({ "a" }, keys)
      assert.are.equal(1, c:len())
      hold:close()
      assert.is_true(c:invalidate())
      assert.are.equal(0, c:len())
    end)

    it("call evict", function()
      local evicted = {}
      function store.evict(_, k, v) evicted[#evicted + 1] = k .. "=" .. v end
      local d = cache.new{ backend = store, limit = 3 }
      d:get("a")
      d:get("b")
      d:remove("a")
      d:invalidate()
      assert.are.same({ "a=A", "b=B" }, evicted)
      d:close()
    end)
  end)

  it("tells who has left, and why", function()
    local told = {}
    c:on_evict(function(k, v, reason)
      told[#told + 1] = ("%s=%s %s"):format(k, v, reason)
      on:sleep(0)
      c:contains("a")
    end)
    for _, k in ipairs{ "a", "b", "c", 1 } do
      c:get(k)
    end
    c:remove("b")
    assert.are.same({}, told)
    caches.settle(on)
    assert.are.same({ "a=A capacity", "b=B removed" }, told)
    c:on_evict(nil)
    on:sleep(0)
  end)

  it("lets entries grow old", function()
    local clock = loop.new{ clock = "virtual" }
    local d = cache.new{ backend = store, limit = 3, ttl = 10, idle = 4, loop = clock }
    d:get("a")
    clock:advance(3)
    d:get("a")
    clock:advance(3)
    assert.is_true(d:contains("a"))
    d:get("a")
    clock:advance(3.5)
    d:get("a")
    clock:advance(0.5)
    assert.is_false(d:contains("a"))
    d:get("b")
    clock:advance(4)
    assert.is_false(d:contains("b"))
    assert.are.equal(0, d:len())
    d:close()
    clock:close()
  end)

  it("counts bytes as they are weighed", function()
    local d = cache.new{ backend = store, bytes = 10, weigh = function(_, v) return #v end }
    d:insert("x", "12345")
    d:insert("y", "12345")
    assert.are.equal(10, d:size())
    d:insert("z", "1")
    assert.are.equal(6, d:size())
    assert.are.equal("flush x", store:said())
    d:resize{ bytes = "5" }
    assert.is_true(d:size() <= 5)
    assert.are.equal("all_in_use", (select(3, d:insert("w", "123456"))))
    d:invalidate()
    d:close()
  end)

  it("takes an entry that weigh fails for as if there were no weigh, and answers all the same",
  function()
    local d = cache.new{ bytes = 1000, weigh = function() error("no scales") end,
      backend = { load = function(_, k) return "loaded " .. k end } }
    local said = errors.reported(function()
      for i = 1, 20 do
        local size = d:size()
        assert.are.equal(1, select("#", d:insert(i, "v")))
        assert.are.equal(1, select("#", d:get(-i)))
        assert.is_true(d:size() > size)
      end
    end)
    assert.are.equal(40, #said)
    assert.matches("no scales", said[1].message)
    assert.are.equal("loaded -7", d:get(-7))
    d:invalidate()
    d:close()
  end)

  it("answers with one value where it succeeds, whether or not it waited for it", function()
    local home = loop.default()
    local d = cache.new{ limit = 5, backend = {
      load = function(_, k)
        if k > 1 then home:sleep(0) end
        return k
      end,
      flush = function() home:sleep(0) end,
    } }
    local other = cache.new{ limit = 5, backend = store }
    local list = {}
    local function count(...) list[#list + 1] = select("#", ...) end
    for _ = 1, 2 do
      count(d:get(1))
      count(d:get(2))
      count(d:hold(3))
    end
    count(d:insert(4, 4))
    count(d:depend_on(other))
    count(d:flush())
    count(d:reload("sieve"))
    count(d:shadow("lru"))
    count(d:shutdown())
    assert.are.same({ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, list)
    other:close()
  end)

  it("answers all_in_use when it may have no entry", function()
    local d = cache.new{ backend = store, limit = 0 }
    assert.are.equal("all_in_use", (select(3, d:get("a"))))
    d:close()
  end)

  it("waits for room so long and no longer when all is in use", function()
    local clock = loop.new{ clock = "virtual" }
    local d = cache.new{ backend = store, limit = 1, wait = 5, loop = clock }
    local hold
    clock:spawn(function() hold = d:hold("a") end)
    caches.settle(clock)
    local first = caches.start(clock, function() return d:get("b") end)
    local second = caches.start(clock, function() return d:get("c") end)
    clock:advance(4)
    assert.is_false(first.done)
    hold:close()
    caches.settle(clock)
    assert.are.same({ "B", "C" }, { first[1], second[1] })
    clock:spawn(function() hold = d:hold("a") end)
    caches.settle(clock)
    first = caches.start(clock, function() return d:get("b") end)
    clock:advance(5)
    assert.are.same({ nil, "all_in_use" }, { first[1], first[3] })
    hold:close()
    d:close()
    clock:close()
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("a cache, the collector " .. mode.name, function()
    specs(mode)
  end)
end
