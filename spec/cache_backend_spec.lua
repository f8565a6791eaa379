-- The tasks in which a backend's functions run: they are used again, and no call of one is seen by
-- the next.
local cache = require "lethe.cache"
local lethe = require "lethe"
local loop = require "lethe.loop"

local function keys(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

describe("a function of a backend", function()
  local on

  before_each(function() on = loop.new() end)
  after_each(function() on:close() end)

  local function new(load, more)
    local backend = { load = load }
    for name, fn in pairs(more or {}) do backend[name] = fn end
    return cache.new{ backend = backend, limit = 1000, loop = on }
  end

  it("runs in one task again and again where it does not wait", function()
    local tasks, n = {}, 0
    local c <close> = new(function(_, key)
      local task = coroutine.running()
      if not tasks[task] then
        tasks[task] = true
        n = n + 1
      end
      return -key
    end)
    for key = 1, 100 do assert.are.equal(-key, c:get(key)) end
    assert.are.equal(1, n)
  end)

  it("gets what belongs to it, and no argument more", function()
    local seen = {}
    local function note(name)
      return function(_, ...)
        seen[#seen + 1] = { name, n = select("#", ...), ... }
        return name == "load" and "old" or nil
      end
    end
    local c <close> = new(note "load",
      { flush = note "flush", evict = note "evict", barrier = note "barrier" })
    c:get("k")
    c:insert("k", "new")
    c:flush()
    c:resize{ limit = 0 }
    assert.are.same({
      { "load", n = 1, "k" }, { "flush", n = 2, "k", "new" }, { "evict", n = 2, "k", "new" },
    }, seen)
  end)

  it("may wait while a hundred others do, and all go on being used", function()
    local running, most = 0, 0
    local c <close> = new(function(_, key)
      running = running + 1
      most = math.max(most, running)
      on:sleep(0.001)
      running = running - 1
      return key
    end)
    local task = on:spawn(function()
      for round = 0, 4 do
        local values, failures = c:get_many(keys(100))
        assert.are.same({}, failures)
        assert.are.same(keys(100), values)
        c:invalidate()
        assert.are.equal(0, running, round)
      end
    end)
    assert.is_true((task:join()) ~= false)
    assert.are.equal(100, most)
  end)

  it("goes on in a later turn where it yields by itself", function()
    local c <close> = new(function(_, key)
      coroutine.yield("anything")
      coroutine.yield()
      return key + 1
    end)
    for key = 1, 3 do assert.are.equal(key + 1, c:get(key)) end
  end)

  it("leaves a coroutine that whoever else resumes does nothing", function()
    local co
    local c <close> = new(function(_, key)
      co = co or coroutine.running()
      return key
    end)
    assert.are.equal(1, c:get(1))
    for _ = 1, 3 do assert.is_true((coroutine.resume(co))) end
    assert.are.equal("suspended", coroutine.status(co))
    assert.are.equal(2, c:get(2))
    assert.is_true(coroutine.close(co))
    assert.are.equal(3, c:get(3))
    assert.are.equal(1, c:get(1))
  end)

  it("answers for good: what its task does later changes nothing", function()
    local c <close> = new(function(_, key)
      if key == "odd" then error{ "no text" } end
      if key == "nothing" then return nil end
      if key == "failed" then return nil, "this is why" end
      return false
    end)
    assert.are.equal(false, c:get("no"))
    assert.are.same({ nil, "this is why", "load_failed" }, { c:get("failed") })
    assert.are.equal("not_found", (select(3, c:get("nothing"))))
    assert.are.equal("load_failed", (select(3, c:get("odd"))))
    assert.are.equal(false, c:get("no"))
  end)

  it("may go through a chain of caches as long as you like", function()
    local chain <const> = {}
    for i = 1, 250 do
      chain[i] = cache.new{ limit = 10, backend = {
        load = function(_, k) return i == 1 and k or assert(chain[i - 1]:get(k)) + 1 end,
        flush = function(_, k, v)
          if i == 1 then return end
          assert(chain[i - 1]:insert(k, v + 1))
          assert(chain[i - 1]:flush())
        end,
      } }
    end
    assert.are.same({ 1249 }, { chain[250]:get(1000) })
    assert.is_true(chain[250]:insert(1, 1))
    assert.are.same({ true }, { chain[250]:flush() })
    assert.are.equal(250, chain[1]:peek(1))
    for _, c in ipairs(chain) do c:close() end
  end)

  it("fails if nobody can ever wake it", function()
    local c <close> = new(function(_, key)
      if key == "lost" then loop.wait(on, function() end) end
      return key
    end)
    local results
    on:spawn(function()
      results = { c:get("lost") }
    end)
    for _ = 1, 5 do
      on:step()
      collectgarbage()
      collectgarbage()
    end
    assert.are.same({ nil, "the backend never answered", "load_failed" }, results)
    assert.are.equal("found", c:get("found"))
  end)

  it("may end its own loop, and the calls of the cache end with it", function()
    local c = new(function(_, key)
      if key == 2 then on:close() end
      return key
    end)
    assert.are.equal(1, c:get(1))
    assert.are.equal(2, c:get(2))
    assert.are.equal(3, c:get(3))
    c:close()
  end)

  it("may close its own cache", function()
    local reports = {}
    local before = lethe.on_error(function(message) reports[#reports + 1] = message end)
    local c
    c = new(function(_, key)
      if key == 2 then c:close() end
      return key
    end)
    assert.are.equal(1, c:get(1))
    local value, _, code = c:get(2)
    assert.are.same({ nil, "closed" }, { value, code })
    assert.error_matches(function() c:get(3) end, "closed lethe.cache.Cache")
    lethe.on_error(before)
    assert.are.same({}, reports)
  end)

  it("leaves no object behind when cache and loop are gone", function()
    local registry = require("lethe.registry").default()
    local running = 0
    local function live_after_one_more()
      local c = new(function(_, key)
        running = running + 1
        if key > 50 then on:sleep(0.001) end
        running = running - 1
        return key
      end)
      for key = 1, 50 do c:get(key) end
      local task = on:spawn(function() c:get_many(keys(100)) end)
      on:step()
      c:close()
      task:join()
      while running > 0 do on:sleep(0.001) end
      registry:collect()
      registry:sweep()
      return registry:stats().live
    end
    local live = live_after_one_more()
    for _ = 1, 3 do assert.are.equal(live, live_after_one_more()) end
  end)
end)
