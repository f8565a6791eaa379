-- Weak maps under want of memory: no call loses what it did not take out, every death is told once.
local base = require "lethe.core.base"
local loop = require "lethe.loop"
local weakmap = require "lethe.weakmap"

local told, entered = {}, {}
for i = 1, 12 do
  told[i], told[i + 100], told[1000] = 0, 0, 0 -- on_dead is to need no memory
end
local function on_dead(k)
  told[k] = told[k] + 1
end

local map = weakmap.new{ on_dead = on_dead, ops_threshold = 5 }
local hashed = weakmap.new{ ordered = false }
local e = weakmap.ephemeron()
local held, objects = {}, { weakmap.new(), weakmap.new() }
begin()

local function put(k, v)
  map:insert(k, v)
  entered[k] = true
end

local function work()
  for i = 1, 12 do
    held[i] = { i }
    put(i, held[i])
    hashed:insert("key " .. i, held[i])
    put(i + 100, { i })
  end
  for i = 1, 12, 2 do held[i] = nil end
  collectgarbage()
  assert(#map <= 12)
  for k, v in pairs(map) do assert(v[1] == k) end
  for k in map:range(2, 9) do assert(k >= 2 and k <= 9) end
  assert(map:first() and map:last())
  loop.default():step()
  local strong = map:upgrade()
  strong:append(map:split_off(200):upgrade())
  assert(strong == map and #strong:keys() == #strong:values())
  local upper = strong:split_off(6)
  assert(#upper + #strong == #map)
  assert(select(2, hashed:get_or_create("made", function() return held end)))
  map:retain(function(k) return k < 1000 end)
  for i, k in ipairs(objects) do
    e:set(k, { k, i })
    e:set(held[2 * i], { held[2 * i] })
    assert(e:get(k)[2] == i)
  end
  assert(#e == 4 and e:remove(held[2]))
  objects[2]:close()
  assert(#e == 2)
  local other = weakmap.new()
  other:insert(1000, held)
  map:append(other)
  map:remove(1000)
  map:cleanup()
end

return work, function()
  held = {}
  collectgarbage()
  collectgarbage()
  base.safepoint()
  for _ = 1, 5 do loop.default():step() end
  assert(#map == 0 and map:raw_len() == 0, "what is dead is still there")
  map:cleanup()
  for k in pairs(entered) do
    assert(told[k] == 1, ("the death of %d was told %s times"):format(k, tostring(told[k])))
  end
  assert(map:insert(1, told) == nil and map:get(1) == told)
  collectgarbage()
  hashed:cleanup()
  for k in pairs(hashed) do assert(k == "made") end
  e:set(map, map)
  assert(e:get(map) == map)
end
