-- Weak maps when values die: what leaves and when, on_dead, and the safe points. W and L numbers
-- are those of the model's weaknesses and of Lua's own weak tables.
local base = require "lethe.core.base"
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local lethe = require "lethe"
local loop = require "lethe.loop"
local weakmap = require "lethe.weakmap"

local function turn()
  loop.default():step()
end

-- Calls fn with a table that nothing else refers to afterwards.
local function fill(map, n, from)
  for i = from or 1, (from or 1) + n - 1 do
    map:insert(i, { i })
  end
end

local function suite(ordered)
  local function new(options)
    options = options or {}
    options.ordered = ordered
    return weakmap.new(options)
  end

  describe("deaths", function()
    it("is test_basic of the model", function()
      local map, one = new(), {}
      map:insert(1, one)
      do map:insert(2, {}) end
      collectgarbage()
      assert.are.equal(1, map:len())
      assert.are.equal(one, map:get(1))
      assert.is_nil(map:get(2))
      assert.are.equal(1, map:raw_len())
    end)

    it("is test_cleanup, none of 1000 dropped values left", function()
      local map = new()
      for i = 1, 1000 do map:insert(i, {}) end
      collectgarbage()
      assert.are.same({ 0, 0 }, { map:len(), map:raw_len() })
    end)

    it("W03: frees a value at the collection after its last reference, with reads only", function()
      local map = new()
      map:insert(0, map)
      collector.all()
      collectgarbage("stop")
      finally(function() collectgarbage("restart") end)
      local before = collectgarbage("count")
      for i = 1, 8 do map:insert(i, { ("x"):rep(65536 + i) }) end
      assert.is_true(collectgarbage("count") > before + 400)
      collectgarbage()
      for i = 1, 1000 do map:get(i % 8 + 1) end
      collectgarbage()
      assert.is_true(collectgarbage("count") < before + 20)
    end)

    it("W04: asks for the length without a trace", function()
      local map, held = new{ ops_threshold = 5 }, {}
      for i = 1, 4 do
        held[i] = {}
        map:insert(i, held[i])
      end
      for _ = 1, 100 do assert.are.equal(4, #map) end
      assert.are.equal(4, map:ops())
    end)

    it("W05: lets nothing wait for the thousandth write", function()
      local map = new()
      collectgarbage("stop")
      finally(function() collectgarbage("restart") end)
      fill(map, 999)
      assert.are.equal(999, map:raw_len())
      collectgarbage()
      assert.are.equal(0, map:raw_len())
    end)

    it("W06: does not count reads", function()
      local map = new()
      fill(map, 10)
      for i = 1, 15000 do map:get(i % 10) end
      assert.are.equal(10, map:ops())
    end)

    it("W09: asks the function of retain about live entries alone", function()
      local map, live = new(), {}
      fill(map, 20)
      map:insert(21, live)
      collectgarbage()
      local asked = {}
      map:retain(function(k, v)
        asked[#asked + 1] = { k, v }
        return true
      end)
      assert.are.same({ { 21, live } }, asked)
      assert.are.same({ 1, 0 }, { map:raw_len(), map:ops() })
    end)

    it("W10, W16: shows the dead in no walk and no list", function()
      local map, live = new(), {}
      fill(map, 10)
      map:insert(5, live)
      collectgarbage()
      for k, v in pairs(map) do assert.are.same({ 5, live }, { k, v }) end
      assert.are.same({ 5 }, map:keys())
      assert.are.equal(live, map:values()[1])
      assert.are.equal(1, #map:values())
      assert.are.equal(1, #map:upgrade())
    end)

    it("W13: an unused walk leaves no trace", function()
      local map = new{ ops_threshold = 5 }
      map:insert(1, map)
      for _ = 1, 10 do pairs(map) end
      assert.are.equal(1, map:ops())
    end)

    it("W14: copies neither the dead nor the count of mutations", function()
      local map, live = new(), {}
      fill(map, 10)
      map:insert(5, live)
      collectgarbage()
      local copy = map:upgrade():downgrade()
      assert.are.same({ 1, 0 }, { copy:raw_len(), copy:ops() })
    end)

    it("gives back nothing of the dead", function()
      local map = new()
      fill(map, 3)
      collectgarbage()
      assert.is_nil(map:insert(1, map))
      assert.is_nil(map:remove(2))
      assert.is_nil(map:get(3))
      assert.is_false(map:contains(3))
      local _, created = map:get_or_create(3, function() return map end)
      assert.is_true(created)
      assert.are.equal(2, #map)
    end)

    it("W01: equals by what is alive", function()
      local a, b, live = new(), new(), {}
      a:insert(1, live)
      b:insert(1, live)
      fill(a, 5, 2)
      assert.is_false(a == b)
      collectgarbage()
      assert.is_true(a == b)
      assert.is_true(b == a)
      fill(b, 5, 2)
      collectgarbage()
      assert.is_true(a == b)
      assert.is_true(b == a)
      a:insert(1, a)
      assert.is_false(a == b)
      assert.is_false(b == a)
    end)

    it("may have a value under several keys, in several maps", function()
      local a, b = new(), new()
      do
        local v = {}
        for i = 1, 10 do
          a:insert(i, v)
          b:insert(-i, v)
        end
        assert.are.same({ 10, 10 }, { #a, #b })
      end
      collectgarbage()
      assert.are.same({ 0, 0 }, { #a, #b })
    end)

    it("lets go of functions, threads and userdata too", function()
      local map = new()
      do
        local x = 1
        map:insert(1, function() return x end)
        map:insert(2, coroutine.create(function() end))
        map:insert(3, io.tmpfile())
        map:insert(4, weakmap.new())
        map:insert(5, print)
      end
      collectgarbage()
      assert.are.same({ 5 }, map:keys()) -- print is no closure: it never dies
    end)

    it("loses an object of lethe's when that is closed", function()
      local map = new{ on_dead = function() end }
      local object = loop.new{ clock = "virtual" }
      map:insert(1, object)
      map:insert(2, object)
      map:insert(3, map)
      object:close()
      assert.are.same({ 1, 1 }, { map:raw_len(), #map })
      assert.is_nil(map:get(1))
      assert.are.equal(map, map:get(3))
      local message = errors.at_its_line(function() map:insert(1, object) end)
      assert.matches("attempt to use a closed lethe.loop.Loop", message)
    end)

    it("is exact after every collection, however far it has come", function()
      local map, held = new(), {}
      for i = 1, 60 do
        held[i] = { {} }
        map:insert(i, held[i])
      end
      for round = 1, 30 do
        held[2 * round] = nil
        for _ = 1, 3 do
          collectgarbage("step", 1)
          collectgarbage("stop") -- in whatever phase it is
          local n = 0
          for _ in pairs(map) do n = n + 1 end
          assert.are.equal(n, #map)
          collectgarbage("restart")
          local some = { {}, {} } -- luacheck: ignore
        end
      end
      collectgarbage()
      assert.are.equal(30, #map)
      assert.are.equal(30, map:raw_len())
    end)
  end)

  describe("finalizers", function()
    local map, seen, brought_back

    before_each(function()
      map, seen, brought_back = new(), {}, nil
    end)

    local function look(v)
      seen = { get = map:get(1), contains = map:contains(1), len = #map, size = #map:keys() }
      brought_back = v
    end

    local function check()
      collectgarbage()
      assert.are.same({ get = nil, contains = false, len = 0, size = 0 }, seen)
      assert.is_table(brought_back)
      collectgarbage()
      assert.are.same({ nil, 0, 0 }, { map:get(1), #map, map:raw_len() })
    end

    it("L3: run when the entry has left", function()
      map:insert(1, setmetatable({}, { __gc = look }))
      check()
    end)

    it("run when the entry has left, set after it was inserted too", function()
      local v = {}
      map:insert(1, v)
      setmetatable(v, { __gc = look })
      v = nil -- luacheck: ignore
      check()
    end)

    it("may put their object back", function()
      local function again(v)
        assert(map:insert(1, v) == nil)
        brought_back = v
      end
      for _, late in ipairs{ true, false } do
        do
          local v = {}
          if late then map:insert(1, v) end
          setmetatable(v, { __gc = again })
          if not late then map:insert(1, v) end
        end
        collectgarbage()
        collectgarbage()
        assert.are.equal(brought_back, map:get(1))
        assert.are.equal(1, #map)
        brought_back = nil
        collectgarbage()
        assert.are.same({ 0, nil }, { #map, map:get(1) })
      end
    end)

    it("may do anything with the map, wherever they come", function()
      local n, busy = 0, new() -- its finalizers may come in a later test
      local function meddle()
        n = n + 1
        busy:insert(-n, busy)
        busy:get(n)
        busy:remove(-n + 1)
        busy:keys()
        if n < 30 then setmetatable({}, { __gc = meddle }) end
      end
      setmetatable({}, { __gc = meddle })
      for i = 1, 200 do
        busy:insert(i, setmetatable({}, { __gc = function() busy:insert(i + 1000, busy) end }))
        busy:keys()
        if i % 20 == 0 then collectgarbage() end
      end
      collectgarbage()
      local count = 0
      for _ in pairs(busy) do count = count + 1 end
      assert.are.equal(count, #busy)
      assert.is_true(n > 5)
    end)

    it("may close the map in the midst of its calls", function()
      for _, strong in ipairs{ false, true } do
        for _, call in ipairs{ "keys", "values", "upgrade", "cleanup", "len", "first" } do
          local victim = new()
          local held = {}
          for i = 1, 20 do
            held[i] = {}
            victim:insert(i, held[i])
          end
          if strong then victim = victim:upgrade() end
          setmetatable({}, { __gc = function() victim:close() end })
          collectgarbage("step", 1)
          pcall(victim[call], victim)
          pcall(victim.insert, victim, 5, {})
          collectgarbage()
          assert.has_error(function() victim:get(1) end)
        end
      end
    end)
  end)

  describe("on_dead", function()
    local map, told

    before_each(function()
      told = {}
      map = new{ on_dead = function(k) told[#told + 1] = k end }
    end)

    it("is called from a loop's turn, once, with the key", function()
      map:insert(1, {})
      map:insert(2, map)
      collectgarbage()
      assert.are.equal(1, #map)
      assert.are.equal(0, #told) -- no call of the map calls it
      turn()
      assert.are.same({ 1 }, told)
      turn()
      assert.are.equal(0, map:cleanup())
      assert.are.same({ 1 }, told)
    end)

    it("is called from the turn of any loop", function()
      local virtual = loop.new{ clock = "virtual" }
      map:insert(1, {})
      collectgarbage()
      virtual:advance(1)
      assert.are.same({ 1 }, told)
    end)

    it("is called by cleanup, which says how many have left", function()
      fill(map, 10)
      collectgarbage()
      assert.are.equal(10, map:cleanup())
      assert.are.equal(10, #told)
      assert.are.equal(0, map:cleanup())
    end)

    it("keeps a loop from ending before it was called", function()
      map:insert(1, {})
      collectgarbage()
      base.safepoint()
      loop.default():run()
      assert.are.same({ 1 }, told)
    end)

    it("is not called for what was removed, replaced, cleared, popped or closed", function()
      for i = 1, 3 do map:insert(i, {}) end
      map:remove(1)
      map:insert(2, map)
      if ordered then map:pop_last() else map:remove(3) end
      map:insert(4, {})
      map:clear()
      map:insert(5, {})
      map:close()
      collectgarbage()
      turn()
      assert.are.same({}, told)
    end)

    it("is called once for what is replaced, removed or looked at after its death", function()
      for i = 1, 6 do map:insert(i, {}) end
      collectgarbage("stop")
      collectgarbage()
      map:insert(1, map)
      map:remove(2)
      map:get(3)
      pairs(map)(map)
      collectgarbage("restart")
      turn()
      collectgarbage()
      turn()
      table.sort(told)
      assert.are.same({ 1, 2, 3, 4, 5, 6 }, told)
    end)

    it("is called for each key of a value", function()
      do
        local v = {}
        for i = 1, 5 do map:insert(i, v) end
      end
      collectgarbage()
      turn()
      table.sort(told)
      assert.are.same({ 1, 2, 3, 4, 5 }, told)
    end)

    it("is called in the order in which the values came, whatever the collector did", function()
      local v = {}
      for i = 1, 40 do
        v[i] = {}
        map:insert(41 - i, v[i])
      end
      v = nil -- luacheck: ignore
      collectgarbage()
      turn()
      local expected = {}
      for i = 1, 40 do expected[i] = 41 - i end
      assert.are.same(expected, told)
    end)

    it("may fail: that is reported, and the others are called", function()
      local failing = new{ on_dead = function(k)
        told[#told + 1] = k
        error("no " .. k)
      end }
      fill(failing, 3)
      collectgarbage()
      local reports = errors.reported(turn)
      assert.are.equal(3, #told)
      assert.are.equal(3, #reports)
      assert.matches("no 1", reports[1].message)
    end)

    it("may work with its map, and with others", function()
      local other = new()
      local busy
      busy = new{ on_dead = function(k)
        told[#told + 1] = k
        if k <= 3 then busy:insert(k + 100, other) end
        busy:remove(k)
        for _ in pairs(busy) do busy:get(k) end
        if k < 1000 then busy:insert(k + 200, {}) end
        collectgarbage()
        assert(busy:cleanup() <= 1)
      end }
      fill(busy, 3)
      collectgarbage()
      loop.default():run()
      assert.are.equal(18, #told)
      local once = {}
      for _, k in ipairs(told) do
        assert.is_nil(once[k])
        once[k] = true
      end
    end)

    it("may close its map", function()
      local closing
      closing = new{ on_dead = function(k)
        told[#told + 1] = k
        closing:close()
      end }
      fill(closing, 5)
      collectgarbage()
      turn()
      assert.are.equal(1, #told)
    end)

    it("is called for what died before the map was let go", function()
      do
        local short = new{ on_dead = function(k) told[#told + 1] = k end }
        short:insert(1, {})
        collectgarbage()
        assert.are.equal(0, #short)
      end
      collectgarbage()
      collectgarbage()
      turn()
      assert.are.same({ 1 }, told)
    end)

    it("goes with the map when that dies with its values", function()
      do
        local short = new{ on_dead = function(k) told[#told + 1] = k end }
        short:insert(1, {})
      end
      collectgarbage()
      turn()
      assert.are.same({}, told)
    end)

    it("does not keep its map", function()
      local gone = setmetatable({}, { __mode = "v" })
      do
        local self
        self = new{ on_dead = function() return self end }
        gone[1] = self
      end
      collectgarbage()
      assert.is_nil(gone[1])
    end)

    it("is called for a closed object", function()
      local object = loop.new{ clock = "virtual" }
      map:insert(1, object)
      object:close()
      turn()
      assert.are.same({ 1 }, told)
    end)

    if ordered then
      it("moves with what is split off, and is the other's for what is appended", function()
        fill(map, 10)
        local upper, others = map:split_off(6), {}
        local other = new{ on_dead = function(k) others[#others + 1] = k end }
        other:append(upper)
        local last = other:split_off(9)
        assert.are.same({ 5, 0, 3, 2 }, { #map, #upper, #other, #last })
        collectgarbage()
        turn()
        table.sort(told)
        table.sort(others)
        assert.are.same({ 1, 2, 3, 4, 5 }, told)
        assert.are.same({ 6, 7, 8, 9, 10 }, others)
      end)
    end
  end)
end

for _, ordered in ipairs{ true, false } do
  describe(ordered and "ordered" or "hashed", function() suite(ordered) end)
end

describe("ordered calls over the dead", function()
  it("pass by what has died, at either end", function()
    for _, mode in ipairs(collector.modes) do
      mode.enter()
      local map, live = weakmap.new{}, {}
      for i = 1, 9 do map:insert(i, i == 5 and live or {}) end
      collectgarbage()
      assert.are.same({ 5, live }, { map:first() })
      assert.are.same({ 5, live }, { map:last() })
      for k in map:range(2, 8) do assert.are.equal(5, k) end
      for k in map:range_down(8, 2) do assert.are.equal(5, k) end
      assert.are.equal(5, (map:pop_last()))
      assert.is_nil(map:pop_first())
      mode.leave()
    end
  end)
end)

describe("Lua's own weak tables", function()
  it("L1: keep strings and numbers for ever; a map refuses them", function()
    local t, map = setmetatable({ "text" }, { __mode = "v" }), weakmap.new()
    collectgarbage()
    assert.are.equal("text", t[1])
    assert.has_error(function() map:insert(1, "text") end)
    assert.has_error(function() map:insert(1, 1) end)
  end)

  it("L2: show a finalized key until the next collection; an ephemeron does not", function()
    local t, e, inside = setmetatable({}, { __mode = "k" }), weakmap.ephemeron(), nil
    do
      local key
      key = setmetatable({}, { __gc = function(k)
        inside = { t[k], e:get(k), e:len() }
      end })
      t[key] = true
      e:set(key, true)
    end
    collectgarbage()
    assert.are.same({ true, nil, 0 }, inside)
    assert.is_not_nil((next(t)))
    assert.are.equal(0, #e)
  end)

  it("L4: keep the slots of what has died; a map gives its memory back", function()
    local map, held = weakmap.new(), {}
    collector.all()
    for i = 1, 2000 do
      held[i] = {}
      map:insert(i, held[i])
    end
    held = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal(0, map:raw_len()) -- the C test counts the bytes
  end)

  it("L5: bring back what nothing holds any more; so does a map, until it is collected", function()
    local map = weakmap.new()
    map:insert(1, {})
    local v = map:get(1)
    collectgarbage()
    assert.are.equal(v, map:get(1))
    assert.are.equal(1, #map)
    v = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal(0, #map)
  end)
end)

describe("safe points", function()
  it("take entries out in each call, and in each turn of a loop", function()
    local map = weakmap.new()
    map:insert(1, {})
    collectgarbage()
    base.safepoint()
    assert.are.equal(0, map:raw_len())
    map:insert(1, {})
    collectgarbage()
    turn()
    assert.are.equal(0, map:raw_len())
  end)

  it("count nothing of what maps need in the default registry", function()
    local registry = require("lethe.registry").default()
    registry:collect()
    registry:sweep()
    local before = registry:stats()
    local map, held = weakmap.new(), { {}, {}, {} }
    for i, v in ipairs(held) do map:insert(i, v) end
    assert.are.equal(before.live + 1, registry:stats().live)
    assert.are.equal(before.registered + 1, registry:stats().registered)
    held = nil -- luacheck: ignore
    registry:collect()
    assert.are.equal(before.live + 1, registry:stats().live)
    assert.are.equal(before.finalized, registry:stats().finalized)
    assert.are.same({}, registry:sweep())
    map:close()
    assert.are.equal(before.live, registry:stats().live)
  end)

  it("report a map that was not closed as a leak", function()
    local leaks = {}
    require("lethe.registry").default():collect()
    require("lethe.registry").default():sweep()
    local old = lethe.on_leak(function(held) leaks[#leaks + 1] = held end)
    do
      local map = weakmap.new()
      map:insert(1, map)
    end
    local registry = require("lethe.registry").default()
    registry:collect()
    registry:sweep()
    lethe.on_leak(old)
    assert.are.same({ "weakmap.WeakMap" }, leaks)
  end)
end)
