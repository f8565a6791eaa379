-- The shared structures from Lua: what each call answers, what may be a key and a value, walks,
-- names.

local errors = require "spec.support.errors"
local epoch = require "lethe.epoch"
local shared = require "lethe.shared"

describe("shared.map", function()
  local manager, map

  before_each(function()
    manager = epoch.new{}
    map = shared.map{ epoch = manager }
  end)

  after_each(function()
    map:close()
    manager:close()
  end)

  it("gets what was set, nil for what was not", function()
    assert.is_nil(map:get("k"))
    assert.is_true(map:set("k", "v"))
    assert.are.equal("v", map:get("k"))
    assert.is_true(map:set("k", 2))
    assert.are.equal(2, map:get("k"))
  end)

  it("keeps booleans, numbers, strings and tables of these, copied", function()
    local t = { 1, 2.5, "x", { deep = true, [false] = "no" } }
    t.self = t
    for k, v in pairs{ a = true, b = false, c = 1, d = 1.5, e = "s\0z", f = math.mininteger } do
      map:set(k, v)
      assert.are.equal(v, map:get(k))
      assert.are.equal(math.type(v), math.type(map:get(k)))
    end
    map:set("t", t)
    t[1] = "changed after"
    local copy = map:get("t")
    assert.are.same({ 1, 2.5, "x" }, { copy[1], copy[2], copy[3] })
    assert.are.same({ deep = true, [false] = "no" }, copy[4])
    assert.are.equal(copy, copy.self)
  end)

  it("takes strings and integers as keys, integral floats being those integers", function()
    map:set(1, "integer")
    assert.are.equal("integer", map:get(1.0))
    assert.is_nil(map:get("1"))
    map:set("", "empty")
    assert.are.equal("empty", map:get(""))
    local long = ("k"):rep(1000)
    map:set(long, "long")
    assert.are.equal("long", map:get(long))
    assert.error_matches(function() map:get(1.5) end, "string or an integer")
    assert.error_matches(function() map:set({}, 1) end, "string or an integer")
    assert.error_matches(function() map:set(nil, 1) end, "string or an integer")
  end)

  it("refuses values that cannot be shared, naming the path", function()
    assert.error_matches(function() map:set("k", print) end, "value is a function")
    assert.error_matches(function() map:set("k", { list = { 1, {}, print } }) end, "list%[3%]")
    assert.error_matches(function() map:set("k", manager) end, "value")
    assert.is_nil(map:get("k"))
  end)

  it("set of nil deletes", function()
    map:set("k", 1)
    assert.is_true(map:set("k", nil))
    assert.is_nil(map:get("k"))
    assert.are.equal(0, map:len())
    assert.has_error(function() map:set("k") end)
  end)

  it("add refuses a key that is there", function()
    assert.is_true(map:add("k", 1))
    local ok, message, code = map:add("k", 2)
    assert.are.same({ nil, "exists" }, { ok, code })
    assert.is_string(message)
    assert.are.equal(1, map:get("k"))
  end)

  it("delete says whether it was there", function()
    map:set("k", false)
    assert.is_true(map:delete("k"))
    assert.is_false(map:delete("k"))
  end)

  it("cas compares as == does, nil being absence on either side", function()
    assert.is_false(map:cas("k", 1, 2))
    assert.is_true(map:cas("k", nil, 1))
    assert.is_true(map:cas("k", 1.0, "one"))
    assert.is_false(map:cas("k", "two", 2))
    assert.is_true(map:cas("k", "one", { 1 }))
    assert.is_false(map:cas("k", "one", 1))
    assert.error_matches(function() map:cas("k", {}, 1) end, "table")
    map:set("k", true)
    assert.is_true(map:cas("k", true, nil))
    assert.is_nil(map:get("k"))
    assert.is_true(map:cas("k", nil, nil))
  end)

  it("is made of an open manager only", function()
    local closed = epoch.new()
    closed:close()
    for _, make in ipairs{ shared.map, shared.queue, shared.stack } do
      for _, case in ipairs{
        { closed, "epoch is a closed lethe.epoch.Manager" },
        { nil, "epoch must be a lethe.epoch.Manager (got nil)" },
        { 1, "epoch must be a lethe.epoch.Manager (got number)" },
      } do
        assert.are.equal(case[2], errors.at_its_line(function() make{ epoch = case[1] } end))
      end
    end
  end)

  it("cas refuses what can be no value, whether or not it would go through", function()
    for _, v in ipairs{ print, coroutine.create(print), io.stdout, map } do
      assert.error_matches(function() map:cas("k", v, 1) end, "bad argument #2 to 'cas'")
      assert.error_matches(function() map:cas("k", "other", v) end, "bad argument #3 to 'cas'")
    end
    assert.is_nil(map:get("k"))
    assert.error_matches(function() map:set("k", { map }) end,
      "value%[1%] is a lethe.shared.Map, which goes in messages only$")
  end)

  it("incr adds to what is there; an absent key becomes init + n", function()
    local n, _, code = map:incr("k", 1)
    assert.are.same({ nil, "not_found" }, { n, code })
    assert.are.equal(11, map:incr("k", 1, 10))
    assert.are.equal(13.5, map:incr("k", 2.5, 10))
    assert.are.equal(13.5, map:get("k"))
    map:set("s", "text")
    n, _, code = map:incr("s", 1)
    assert.are.same({ nil, "not_a_number" }, { n, code })
    assert.are.equal("text", map:get("s"))
    assert.has_error(function() map:incr("k", "1") end)
  end)

  it("has a length", function()
    for i = 1, 1000 do
      map:set(i, i)
    end
    assert.are.equal(1000, map:len())
    assert.are.equal(1000, #map)
  end)

  it("pairs sees every key that stays exactly once, while others come and go", function()
    for i = 1, 500 do
      map:set(i, i * 2)
    end
    local seen, extra = {}, 1000
    for k, v in pairs(map) do
      if k <= 500 then
        assert.is_nil(seen[k])
        seen[k] = v
        for _ = 1, 5 do
          extra = extra + 1
          map:set(extra, true)
        end
        map:delete(extra - 3)
      end
    end
    for i = 1, 500 do
      assert.are.equal(i * 2, seen[i])
    end
  end)

  it("pairs may delete what it stands on", function()
    for i = 1, 100 do
      map:set("k" .. i, i)
    end
    for k in pairs(map) do
      assert.is_true(map:delete(k))
    end
    assert.are.equal(0, #map)
  end)

  it("answers neutralized inside a guard that was, and pairs raises an object with it", function()
    local manual = epoch.new{ mode = "manual" }
    local m = shared.map{ epoch = manual }
    m:set("k", 1)
    local handle = manual:register()
    local guard = handle:pin()
    for _ = 1, 5 do
      manual:advance()
    end
    -- never the caller: another coroutine neutralizes
    assert.are.equal(1, coroutine.wrap(function() return manual:neutralize(2) end)())
    local value, message, code = m:get("k")
    assert.are.same({ nil, "neutralized" }, { value, code })
    assert.is_string(message)
    assert.are.equal("neutralized", select(3, m:set("k", 2)))
    local ok, err = pcall(function()
      for _ in pairs(m) do
        error("unreachable")
      end
    end)
    assert.is_false(ok)
    assert.are.equal("neutralized", err.code)
    guard:unpin()
    assert.are.equal(1, m:get("k"))
  end)

  it("has a name as long as anybody holds it", function()
    local named = assert(shared.map{ epoch = manager, name = "spec map" })
    named:set("k", "v")
    local m, message, code = shared.map{ epoch = manager, name = "spec map" }
    assert.are.same({ nil, "exists" }, { m, code })
    assert.matches("spec map", message)
    local found = assert(shared.open("spec map"))
    named:close()
    assert.are.equal("v", found:get("k"))
    found:close()
    m, message, code = shared.open("spec map")
    assert.are.same({ nil, "unknown" }, { m, code })
    assert.matches("spec map", message)
  end)

  it("has a name that is not cut at a zero byte", function()
    local cut <close> = shared.map{ epoch = manager, name = "spec map" }
    assert.are.equal("unknown", select(3, shared.open("spec map\0")))
    assert.has_error(function() shared.map{ epoch = manager, name = "spec map\0" } end,
      "name must not have a zero byte")
    assert.is_truthy(cut)
  end)

  it("raises for misuse, and once it is closed", function()
    assert.error_matches(function() shared.map{ epcoh = manager } end, 'did you mean "epoch"')
    assert.error_matches(function() shared.map{} end, "epoch must be")
    assert.error_matches(function() shared.map{ epoch = manager, name = 1 } end, "name must be")
    local m = shared.map{ epoch = manager }
    assert.is_true(m:close())
    assert.is_true(m:close())
    assert.error_matches(function() m:get("k") end, "attempt to use a closed lethe.shared.Map")
  end)

  it("has methods that take no other object for theirs", function()
    local handle <close> = manager:register()
    local guard <close> = handle:pin()
    local queue <close> = shared.queue{ epoch = manager }
    local get, pop, pin, unpin = map.get, queue.pop, handle.pin, guard.unpin
    local box = ("x"):rep(24) -- as long as an object
    for _, other in ipairs{ manager, io.stdout, box, {}, 24, true, print } do
      assert.error_matches(function() get(other, "k") end, "lethe.shared.Map expected")
      assert.error_matches(function() pop(other) end, "lethe.shared.Queue expected")
      assert.error_matches(function() pin(other) end, "lethe.epoch.Handle expected")
      assert.error_matches(function() unpin(other) end, "lethe.epoch.Guard expected")
    end
    assert.error_matches(function() get(queue, "k") end, "Map expected, got lethe.shared.Queue")
    assert.error_matches(function() pop(map) end, "Queue expected, got lethe.shared.Map")
    assert.error_matches(function() pin(guard) end, "Handle expected, got lethe.epoch.Guard")
    assert.error_matches(function() unpin(handle) end, "Guard expected, got lethe.epoch.Handle")
    assert.error_matches(function() get() end, "lethe.shared.Map expected, got no value")
  end)
end)

describe("shared.queue", function()
  it("is first in, first out, and full at its capacity", function()
    local q = shared.queue{ epoch = epoch.new{}, capacity = 2 }
    assert.are.equal("empty", select(3, q:pop()))
    assert.is_true(q:push("one"))
    assert.is_true(q:push{ 2 })
    local ok, message, code = q:push(3)
    assert.are.same({ nil, "full" }, { ok, code })
    assert.is_string(message)
    assert.are.equal("one", q:pop())
    assert.are.same({ 2 }, q:pop())
    assert.are.equal("empty", select(3, q:pop()))
    assert.has_error(function() q:push(nil) end)
  end)

  it("may carry false", function()
    local q = shared.queue{ epoch = epoch.new{} }
    q:push(false)
    assert.is_false(q:pop())
  end)

  it("raises for misuse", function()
    local m = epoch.new{}
    assert.error_matches(function() shared.queue{ epoch = m, capacity = 0 } end, "capacity")
    assert.error_matches(function() shared.queue{ epoch = m, capactiy = 1 } end, "did you mean")
  end)
end)

describe("shared.stack", function()
  it("is last in, first out", function()
    local s = shared.stack{ epoch = epoch.new{} }
    assert.are.equal("empty", select(3, s:pop()))
    assert.is_true(s:push(1))
    assert.is_true(s:push("two"))
    assert.are.equal("two", s:pop())
    assert.are.equal(1, s:pop())
    assert.are.equal("empty", select(3, s:pop()))
    assert.has_error(function() s:push(nil) end)
  end)
end)
