-- Values by the thousand that come and go: what stands for them fills blocks of memory, which empty
-- and are used again.
local chance = require "spec.support.chance"
local collector = require "spec.support.collector"
local weakmap = require "lethe.weakmap"

local MANY <const> = 1500

-- Every key leads to its value or, where there is none, to nothing.
local function check(maps, held)
  local n = 0
  for k = 1, MANY do
    n = n + (held[k] and 1 or 0)
    for _, map in ipairs(maps) do
      assert(rawequal(map:get(k), held[k]))
    end
  end
  for _, map in ipairs(maps) do assert.are.equal(n, #map) end
end

local function fill(maps, held)
  for k = 1, MANY do
    held[k] = held[k] or { k }
    for _, map in ipairs(maps) do map:insert(k, held[k]) end
  end
end

-- Nobody holds the value afterwards.
local function come_and_go(maps, k)
  local value = { k }
  for _, map in ipairs(maps) do map:insert(k, value) end
  for _, map in ipairs(maps) do assert(rawequal(map:get(k), value)) end
end

local function new_maps()
  return { weakmap.new(), weakmap.new{ ordered = false } }
end

for _, mode in ipairs{ "incremental", "generational" } do
  describe("many values, " .. mode, function()
    local before, maps, held

    before_each(function()
      before = collectgarbage(mode)
      maps, held = new_maps(), {}
    end)

    after_each(function()
      maps, held = nil, nil
      collector.all()
      collectgarbage(before)
    end)

    it("are found after any of them has gone, and after others have come", function()
      local draw = chance.generator(7)
      for _ = 1, 4 do
        fill(maps, held)
        check(maps, held)
        for _ = 1, MANY do held[draw(MANY)] = nil end
        collector.all()
        check(maps, held)
      end
    end)

    it("go all, and others take their places", function()
      for _ = 1, 4 do
        fill(maps, held)
        check(maps, held)
        held = {}
        collector.all()
        check(maps, held)
      end
    end)

    it("come and go one by one", function()
      for k = 1, MANY do
        come_and_go(maps, k)
        if k % 100 == 0 then
          collector.all()
          assert.are.equal(0, #maps[1])
          assert.are.equal(0, #maps[2])
        end
      end
    end)

    it("leave when they are closed, and others take their places", function()
      for _ = 1, 3 do
        for k = 1, 600 do
          held[k] = weakmap.new()
          maps[1]:insert(k, held[k])
          maps[2]:insert(k, held[k])
        end
        for k = 1, 600 do
          if k % 3 > 0 then
            held[k]:close()
            held[k] = nil
          end
        end
        check(maps, held)
        collector.all()
        check(maps, held)
      end
    end)
  end)
end
