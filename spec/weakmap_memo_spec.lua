-- An ordered map remembers what is looked up again and again. Nobody may see that by anything but
-- the time it takes: a look says what is there, whatever came, went and died since the last one.
local chance = require "spec.support.chance"
local collector = require "spec.support.collector"
local weakmap = require "lethe.weakmap"

local MANY <const> = 300

local makers <const> = {
  weak = weakmap.new,
  strong = function() return weakmap.new():upgrade() end,
}

local function check(map, held)
  for k = 1, MANY do assert(rawequal(map:get(k), held[k])) end
end

-- More looks than it takes to begin.
local function look_often(map, held)
  for _ = 1, 8 do check(map, held) end
end

local function new_map(new)
  local map, held = new(), {}
  for k = 1, MANY do
    held[k] = { k }
    map:insert(k, held[k])
  end
  look_often(map, held)
  return map, held
end

-- What is under the key is another's now, is nobody's, or both.
local function change(map, held, draw)
  local k <const> = draw(MANY)
  local value <const> = draw(3) > 1 and { k } or nil
  if value then
    map:insert(k, value)
  else
    map:remove(k)
  end
  held[k] = value
end

for _, mode in ipairs{ "incremental", "generational" } do
  describe("what is looked up often, " .. mode, function()
    local before

    before_each(function() before = collectgarbage(mode) end)
    after_each(function() collectgarbage(before) end)

    it("is gone when it has died", function()
      local map <const>, held <const> = new_map(weakmap.new)
      for k = 1, MANY, 3 do held[k] = nil end
      collector.all()
      check(map, held)
      assert.are.equal(MANY - (MANY + 2) // 3, #map)
      look_often(map, held)
      for k = 1, MANY do held[k] = nil end
      collector.all()
      check(map, held)
      assert.are.equal(0, #map)
    end)

    it("is gone with the object that was closed", function()
      local map <const>, objects <const> = weakmap.new(), {}
      for k = 1, MANY do
        objects[k] = weakmap.new()
        map:insert(k, objects[k])
      end
      for _ = 1, 8 do
        for k = 1, MANY do assert(rawequal(map:get(k), objects[k])) end
      end
      for k = 1, MANY do
        objects[k]:close()
        assert.is_nil(map:get(k))
        assert.are.equal(MANY - k, #map)
      end
    end)

    for _, kind in ipairs{ "weak", "strong" } do
      it("is what came last, in a " .. kind .. " map", function()
        local map <const>, held <const> = new_map(makers[kind])
        local draw <const> = chance.generator(chance.SEED)
        for _ = 1, 20 do
          for _ = 1, MANY // 50 do change(map, held, draw) end
          look_often(map, held)
        end
        map:clear()
        check(map, {})
      end)
    end

    it("goes with what is split off, and comes with what is appended", function()
      local map <const>, held <const> = new_map(weakmap.new)
      local upper <const> = map:split_off(MANY // 2)
      for k = 1, MANY do
        assert(rawequal(map:get(k), k < MANY // 2 and held[k] or nil))
        assert(rawequal(upper:get(k), k >= MANY // 2 and held[k] or nil))
      end
      local others <const>, new <const> = weakmap.new(), {}
      for k = 1, MANY, 2 do
        new[k] = {}
        others:insert(k, new[k])
      end
      map:append(others)
      for k = 1, MANY do
        assert(rawequal(map:get(k), new[k] or k < MANY // 2 and held[k] or nil))
      end
    end)
  end)
end
