-- What every map of lethe.weakmap owes, weak or strong, ordered or hashed: a suite for its specs.
--
--   contract(_ENV, "ordered", { ordered = true, new = function(options) return a map end })

local errors = require "spec.support.errors"

local describe, it, before_each, assert -- the spec file's

-- Keys of both kinds, each list in rising order.
local NUMBERS <const> = { -math.huge, math.mininteger, -2.5, -1, 0, 0.5, 1, 2, 2 ^ 53, 1e300 }
local STRINGS <const> = { "", "\0", "A", "Z", "a", "a\0", "aa", "b", "zebra", "\195\164", "\255" }

local function shuffled(list)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = (i * 7919) % i + 1
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

-- Live entries as pairs gives them.
local function listed(map)
  local keys, values = {}, {}
  for k, v in pairs(map) do
    keys[#keys + 1] = k
    values[#values + 1] = v
  end
  return keys, values
end

local function entries(new)
  local map, held

  before_each(function()
    map, held = new(), {}
  end)

  local function put(k, v)
    held[k] = v or {}
    return map:insert(k, held[k])
  end

  it("leads from keys to values", function()
    assert.is_nil(put("a"))
    assert.is_nil(put("b"))
    assert.are.equal(held.a, map:get("a"))
    assert.are.equal(held.b, map:get("b"))
    assert.is_nil(map:get("c"))
    assert.are.same({ true, false }, { map:contains("a"), map:contains("c") })
    assert.are.same({ 2, 2, 2 }, { map:len(), #map, map:raw_len() })
  end)

  it("gives back what an insert replaces and a remove takes", function()
    local first = {}
    put(1, first)
    assert.are.equal(first, put(1))
    assert.are.equal(held[1], map:remove(1))
    assert.is_nil(map:remove(1))
    assert.are.equal(0, #map)
  end)

  it("holds values of any collectable kind", function()
    local kinds = { {}, function() end, coroutine.create(print), io.stdout, map, print }
    for i, v in ipairs(kinds) do
      map:insert(i, v)
      assert.are.equal(v, map:get(i))
    end
    assert.are.equal(#kinds, #map)
  end)

  it("refuses other values, naming the argument and the caller's line", function()
    for _, v in ipairs{ 1, "s", true } do
      local message = errors.at_its_line(function() map:insert(1, v) end)
      assert.matches("bad argument #2 to 'insert' %(table, userdata, function or thread", message)
    end
    assert.has_error(function() map:insert(1) end)
    assert.are.equal(0, #map)
  end)

  it("refuses keys that are neither numbers nor strings, and nan", function()
    for _, call in ipairs{ "insert", "get", "contains", "remove" } do
      for _, k in ipairs{ {}, true, print } do
        assert.has_error(function() map[call](map, k, {}) end)
      end
      local ok, message = pcall(map[call], map, 0 / 0, {})
      assert.is_false(ok)
      assert.matches("nan", message)
    end
  end)

  it("refuses to mix numbers and strings, until it is cleared", function()
    put(1)
    for _, call in ipairs{ "insert", "get", "contains", "remove" } do
      local ok, message = pcall(map[call], map, "1", {})
      assert.is_false(ok)
      assert.matches("the keys of this map are numbers %(got a string%)", message)
    end
    map:remove(1)
    assert.has_error(function() put("a") end) -- still: it must not depend on what has died
    map:clear()
    assert.is_nil(put("a"))
    assert.has_error(function() map:get(1) end)
  end)

  it("takes numbers for equal as Lua does", function()
    put(1)
    assert.are.equal(held[1], map:get(1.0))
    local second = {}
    assert.are.equal(held[1], map:insert(1.0, second))
    assert.are.equal(second, map:get(1))
    assert.are.equal("float", math.type(map:keys()[1])) -- the new key object
    local zero = {}
    map:insert(0.0, zero)
    assert.are.equal(zero, map:get(-0.0))
    local big = { {}, {} }
    map:insert(2 ^ 53, big[1])
    map:insert((1 << 53) + 1, big[2])
    assert.are.equal(big[1], map:get(1 << 53))
    assert.are.equal(big[2], map:get((1 << 53) + 1))
    assert.are.equal(4, #map)
  end)

  it("clears", function()
    for i = 1, 40 do put(i) end
    map:clear()
    assert.are.same({ 0, 0 }, { #map, map:raw_len() })
    assert.is_nil(map:get(1))
    assert.is_nil(put(1))
  end)

  it("makes what is not there", function()
    local function make(k)
      held[k] = { k }
      return held[k]
    end
    local v, created = map:get_or_create("k", make)
    assert.are.same({ held.k, true }, { v, created })
    v, created = map:get_or_create("k", error)
    assert.are.same({ held.k, false }, { v, created })
  end)

  it("leaves nothing behind when the making fails, and yields to what it inserted", function()
    assert.has_error(function() map:get_or_create(1, function() error("no") end) end)
    assert.has_error(function() map:get_or_create(1, function() return 5 end) end)
    assert.has_error(function() map:get_or_create(1) end)
    assert.are.equal(0, #map)
    local v, created = map:get_or_create(1, function(k)
      put(k)
      return {}
    end)
    assert.are.equal(held[1], v)
    assert.is_false(created)
  end)

  it("may make in a coroutine that yields", function()
    local co = coroutine.wrap(function()
      return map:get_or_create(1, function() return coroutine.yield() end)
    end)
    co()
    held[1] = {}
    assert.are.equal(held[1], co(held[1]))
    assert.are.equal(held[1], map:get(1))
  end)

  it("counts mutations until it looks for dead entries", function()
    put(1)
    put(2)
    map:get(1)
    map:contains(2)
    assert.are.equal(2, map:ops())
    map:remove(2)
    assert.are.equal(3, map:ops())
    assert.are.equal(0, map:cleanup())
    assert.are.equal(0, map:ops())
    put(3)
    map:retain(function() return true end)
    assert.are.equal(0, map:ops())
    put(4)
    map:clear()
    assert.are.equal(0, map:ops())
  end)

  it("looks after ops_threshold mutations, or as many as it has entries", function()
    local small <close> = new{ ops_threshold = 10 }
    for i = 1, 9 do
      held[i] = {}
      small:insert(i, held[i])
    end
    assert.are.equal(9, small:ops())
    held[10] = {}
    small:insert(10, held[10])
    assert.are.equal(0, small:ops())
    for i = 11, 100 do
      held[i] = {}
      small:insert(i, held[i])
    end
    local before = small:ops()
    for _ = 1, 100 - before - 1 do small:insert(1, held[1]) end
    assert.are.equal(99, small:ops())
    small:insert(1, held[1])
    assert.are.equal(0, small:ops())
  end)

  it("raises once it is closed, and closes twice", function()
    put(1)
    assert.is_true(map:close())
    assert.is_true(map:close())
    for _, call in ipairs{ "insert", "get", "contains", "remove", "clear", "get_or_create", "len",
      "raw_len", "cleanup", "retain", "ops", "keys", "values", "range", "first", "split_off",
      "append" } do
      local ok, message = pcall(map[call], map, 1, print)
      assert.is_false(ok)
      assert.matches("attempt to use a closed lethe%.weakmap%.", message)
    end
    assert.has_error(function() return #map end)
    assert.has_error(function() pairs(map) end)
    assert.is_false(map == new())
    assert.matches("%(closed%)$", tostring(map))
  end)
end

local function order(new, ordered)
  local map, held

  before_each(function()
    map, held = new(), {}
  end)

  local function fill(list)
    for _, k in ipairs(shuffled(list)) do
      held[k] = {}
      map:insert(k, held[k])
    end
  end

  it("is listed whole, its order that of the keys if it has one", function()
    for _, list in ipairs{ NUMBERS, STRINGS } do
      map:clear()
      fill(list)
      local keys, values = listed(map)
      assert.are.same(keys, map:keys())
      assert.are.same(values, map:values())
      for i, k in ipairs(keys) do
        assert.are.equal(held[k], values[i])
      end
      if ordered then
        assert.are.same(list, keys)
      else
        assert.are.equal(#list, #keys)
      end
    end
  end)

  it("goes on over what changes under way", function()
    for i = 1, 90 do
      held[i] = {}
      map:insert(i, held[i])
    end
    local seen = {}
    for k, v in pairs(map) do
      assert.is_nil(seen[k])
      seen[k] = true
      if k <= 90 then assert.are.equal(held[k], v) end
      if k % 3 == 0 then map:remove(k) end
      if k <= 90 and k % 5 == 0 then
        held[-k] = {}
        map:insert(k + 1000, held[-k])
      end
    end
    for i = 1, 90 do
      assert.is_true(seen[i])
    end
  end)

  it("ends a walk when it is cleared, and raises when it is closed", function()
    fill(NUMBERS)
    local n = 0
    for _ in pairs(map) do
      n = n + 1
      map:clear()
      map:insert("of the other kind", held)
    end
    assert.are.equal(1, n)
    assert.has_error(function()
      for _ in pairs(map) do map:close() end
    end)
  end)

  it("keeps what a function says", function()
    fill(NUMBERS)
    map:retain(function(k, v) return k > 0 and v == held[k] end)
    assert.are.equal(5, #map)
    assert.is_nil(map:get(0))
    assert.are.equal(held[2], map:get(2))
    assert.has_error(function() map:retain(error) end)
    assert.are.equal(5, #map)
    local put = {}
    map:retain(function(k) -- who replaces what it is asked about keeps the new one
      map:insert(k, put)
      return false
    end)
    assert.are.equal(5, #map)
  end)

  it("equals a map with the same keys and values, both ways", function()
    fill(NUMBERS)
    local other = new()
    assert.is_false(map == other)
    assert.is_false(other == map)
    for k, v in pairs(map) do other:insert(k, v) end
    assert.is_true(map == other)
    assert.is_true(other == map)
    other:insert(1, {})
    assert.is_false(map == other)
    assert.is_false(other == map)
    other:insert(1, held[1])
    other:insert(77, held)
    assert.is_false(map == other)
    assert.is_false(other == map)
    assert.is_true(new() == new())
    assert.is_false(map == io.stdout)
  end)
end

local function ordered_calls(new)
  local map, held

  before_each(function()
    map, held = new(), {}
    for i = 2, 20, 2 do
      held[i] = { i }
      map:insert(i, held[i])
    end
  end)

  local function keys_of(iterator)
    local keys = {}
    for k, v in iterator do
      assert.are.equal(held[k], v)
      keys[#keys + 1] = k
    end
    return keys
  end

  it("gives ranges, both ends included, nil being open", function()
    assert.are.same({ 4, 6, 8 }, keys_of(map:range(4, 8)))
    assert.are.same({ 4, 6, 8 }, keys_of(map:range(3, 9)))
    assert.are.same({ 2, 4 }, keys_of(map:range(nil, 4.5)))
    assert.are.same({ 18, 20 }, keys_of(map:range(17.5)))
    assert.are.equal(10, #keys_of(map:range()))
    assert.are.same({}, keys_of(map:range(9, 9)))
    assert.are.same({}, keys_of(map:range(8, 4)))
    assert.are.same({ 8, 6, 4 }, keys_of(map:range_down(8, 4)))
    assert.are.same({ 20, 18 }, keys_of(map:range_down(nil, 18)))
    assert.are.same({ 4, 2 }, keys_of(map:range_down(5)))
    assert.are.equal(20, keys_of(map:range_down())[1])
  end)

  it("refuses ends that are no keys of it", function()
    for _, call in ipairs{ "range", "range_down" } do
      assert.has_error(function() map[call](map, "a") end)
      assert.has_error(function() map[call](map, 1, "a") end)
      assert.has_error(function() map[call](map, 0 / 0) end)
      assert.has_error(function() map[call](map, nil, {}) end)
      local none <close> = new()
      assert.has_error(function() none[call](none, 1, "a") end)
    end
  end)

  it("goes over a range that changes under way", function()
    local seen = {}
    for k in map:range(4, 16) do
      seen[#seen + 1] = k
      map:remove(k)
      map:remove(k + 2)
      held[k + 3] = {}
      map:insert(k + 3, held[k + 3])
      held[k - 1] = {}
      map:insert(k - 1, held[k - 1])
    end
    assert.are.same({ 4, 7, 8, 11, 12, 15, 16 }, seen)
  end)

  it("has ends, and takes from them", function()
    assert.are.same({ 2, held[2] }, { map:first() })
    assert.are.same({ 20, held[20] }, { map:last() })
    assert.are.same({ 2, held[2] }, { map:pop_first() })
    assert.are.same({ 20, held[20] }, { map:pop_last() })
    assert.are.same({ 4, 18, 8 }, { map:first(), map:last(), #map })
    map:clear()
    assert.are.same({}, { map:first(), map:last(), map:pop_first(), map:pop_last() })
  end)

  it("splits", function()
    local upper = map:split_off(11)
    assert.are.same({ 2, 4, 6, 8, 10 }, map:keys())
    assert.are.same({ 12, 14, 16, 18, 20 }, upper:keys())
    assert.are.equal(require("lethe").type(map), require("lethe").type(upper))
    assert.are.equal(held[14], upper:get(14))
    assert.are.equal(0, #upper:split_off(21))
    assert.are.equal(5, #map:split_off(-1))
    assert.are.equal(0, #map)
    assert.has_error(function() upper:split_off("a") end)
    assert.has_error(function() upper:split_off() end)
    assert.are.equal(5, #upper)
  end)

  it("takes in another map, whose values win while its own keys stay", function()
    local other, wins = new(), {}
    other:insert(4.0, wins)
    held[5] = {}
    other:insert(5, held[5])
    map:append(other)
    assert.are.equal(0, #other)
    assert.are.equal(11, #map)
    assert.are.equal(wins, map:get(4))
    assert.are.equal("integer", math.type(map:keys()[2]))
    assert.are.equal(held[5], map:get(5))
    other:insert(1, wins)
    assert.are.equal(1, #other)
  end)

  it("does not append what does not fit", function()
    local strings = new()
    strings:append(new())
    strings:insert("a", held)
    for _, other in ipairs{ map, strings, {}, 5 } do
      assert.has_error(function() map:append(other) end)
    end
    assert.has_error(function() map:append() end)
    local closed = new()
    closed:close()
    assert.has_error(function() map:append(closed) end)
    assert.are.same({ 10, 1 }, { #map, #strings })
  end)
end

local function no_order(new)
  it("refuses the calls that need an order, and says so", function()
    local map = new()
    for _, call in ipairs{ "range", "range_down", "first", "last", "pop_first", "pop_last",
      "split_off", "append" } do
      local ok, message = pcall(map[call], map, 1)
      assert.is_false(ok)
      assert.matches(("'%s' needs an ordered map"):format(call), message, 1, true)
    end
  end)
end

---@param words table the spec file's environment
---@param name string
---@param form { ordered: boolean, new: fun(options: table?): lethe.weakmap.WeakMap }
return function(words, name, form)
  describe, it, before_each = words.describe, words.it, words.before_each
  assert = words.assert
  describe(name, function()
    describe("entries", function() entries(form.new) end)
    describe("all entries", function() order(form.new, form.ordered) end)
    if form.ordered then
      describe("in order", function() ordered_calls(form.new) end)
    else
      describe("without order", function() no_order(form.new) end)
    end
  end)
end
