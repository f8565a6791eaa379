-- Maps of lethe.weakmap while nothing dies: what all four forms owe, and how maps are made.
local collector = require "spec.support.collector"
local contract = require "spec.contract.weakmap"
local errors = require "spec.support.errors"
local lethe = require "lethe"
local weakmap = require "lethe.weakmap"

-- A function that makes maps of one form with further options.
local function maker(ordered, strong)
  return function(options)
    options = options or {}
    options.ordered = ordered
    local map = weakmap.new(options)
    return strong and map:upgrade() or map
  end
end

for _, mode in ipairs(collector.modes) do
  describe("maps under " .. mode.name, function()
    before_each(mode.enter)
    after_each(mode.leave)
    contract(_ENV, "weak and ordered", { ordered = true, new = maker(true) })
    contract(_ENV, "strong and hashed", { ordered = false, new = maker(false, true) })
    if mode.name == "a restless collector" then return end -- half will do: it takes its time
    contract(_ENV, "weak and hashed", { ordered = false, new = maker(false) })
    contract(_ENV, "strong and ordered", { ordered = true, new = maker(true, true) })
  end)
end

describe("making maps", function()
  it("is ordered, with a threshold of 1000, unless told otherwise", function()
    assert.is_nil((weakmap.new():first()))
    assert.is_nil((weakmap.new{}:first()))
    assert.has_error(function() weakmap.new{ ordered = false }:first() end)
  end)

  it("refuses options that are none, and suggests the nearest", function()
    local message = errors.at_its_line(function() weakmap.new{ orderd = false } end)
    assert.are.equal('unknown option "orderd" (did you mean "ordered"?)', message)
    for _, options in ipairs{ { ordered = 1 }, { ops_threshold = 0 }, { ops_threshold = 1.5 },
      { ops_threshold = "1" }, { on_dead = {} }, 5 } do
      assert.has_error(function() weakmap.new(options) end)
    end
  end)

  it("points at the caller of get_or_create, which looks the key up first", function()
    local maps = { weakmap.new(), weakmap.new{ ordered = false }, weakmap.new():upgrade() }
    for _, map in ipairs(maps) do
      local make = function() return {} end
      map:insert(1, map)
      assert.are.equal("bad argument #1 to 'get_or_create' (number or string expected, got nil)",
        errors.at_its_line(function() map:get_or_create(nil, make) end))
      assert.are.equal("bad argument #1 to 'get_or_create' (a key cannot be nan)",
        errors.at_its_line(function() map:get_or_create(0 / 0, make) end))
      assert.are.equal(
        "bad argument #1 to 'get_or_create' (the keys of this map are numbers (got a string))",
        errors.at_its_line(function() map:get_or_create("one", make) end))
      assert.are.equal("bad argument #2 to 'get_or_create' (function expected, got nil)",
        errors.at_its_line(function() map:get_or_create(2) end))
      map:close()
      assert.are.equal("attempt to use a closed lethe." .. lethe.type(map),
        errors.at_its_line(function() map:get_or_create(1, make) end))
    end
  end)

  it("names its classes", function()
    local map = weakmap.new()
    assert.are.equal("weakmap.WeakMap", lethe.type(map))
    assert.are.equal("weakmap.StrongMap", lethe.type(map:upgrade()))
    assert.are.equal("weakmap.Ephemeron", lethe.type(weakmap.ephemeron()))
    assert.matches("^lethe.weakmap.WeakMap: ", tostring(map))
  end)

  it("is reached through lethe", function()
    assert.are.equal(weakmap, lethe.weakmap)
  end)
end)

describe("weak and strong", function()
  local weak, held

  before_each(function()
    weak, held = weakmap.new{ ops_threshold = 7 }, {}
    for i = 1, 50 do
      held[i] = {}
      weak:insert(i, held[i])
    end
  end)

  it("upgrades and downgrades", function()
    local strong = weak:upgrade()
    assert.is_true(strong == weak)
    assert.is_true(weak == strong)
    assert.are.equal(50, #strong)
    assert.are.equal(0, strong:ops())
    local again = strong:downgrade()
    assert.is_true(again == weak)
    assert.are.equal("weakmap.WeakMap", lethe.type(again))
    assert.are.same(weak:keys(), again:keys())
    local other = strong:upgrade() -- a strong one has the same calls
    assert.is_true(other == strong)
    assert.are.equal("weakmap.StrongMap", lethe.type(other))
    other:remove(1)
    assert.are.same({ 49, 50 }, { #other, #strong })
  end)

  it("holds in a strong map what nothing else holds", function()
    local strong = weak:upgrade()
    held = nil
    collector.all()
    assert.are.equal(50, #weak)
    strong:remove(1)
    strong:insert(2, {})
    collector.all()
    assert.are.equal(48, #weak)
    strong:pop_first()
    strong:retain(function(k) return k % 2 == 0 end)
    collector.all()
    assert.are.equal(24, #weak)
    strong:clear()
    collector.all()
    assert.are.equal(0, #weak)
  end)

  it("may be closed by what it calls back, which its caller is told", function()
    for _, ordered in ipairs{ true, false } do
      local function filled()
        local map = weakmap.new{ ordered = ordered }
        map:insert(1, print)
        map:insert(2, print)
        return map
      end
      local gone <const> = "attempt to use a closed lethe.weakmap.WeakMap"
      local map = filled()
      local function close()
        map:close()
        return print
      end
      assert.are.equal(gone, errors.at_its_line(function() map:retain(close) end))
      map = filled()
      assert.are.equal(gone, errors.at_its_line(function() map:get_or_create(3, close) end))
    end
  end)

  it("lets go of what a strong map held when that is closed or collected", function()
    local strong = weak:upgrade()
    held = nil
    strong:close()
    collector.all()
    assert.are.equal(0, #weak)
    weak:insert(1, {})
    strong = weak:upgrade()
    collector.all()
    assert.are.equal(1, #strong)
    strong = nil -- luacheck: ignore
    collector.all()
    assert.are.equal(0, #weak)
  end)

  it("does not append one to the other", function()
    local strong = weak:upgrade()
    assert.has_error(function() weak:append(strong) end)
    assert.has_error(function() strong:append(weak) end)
    assert.are.same({ 50, 50 }, { #weak, #strong })
  end)
end)
