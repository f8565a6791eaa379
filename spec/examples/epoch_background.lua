-- A thread that does nothing but advance the epoch, and workers that retire and reclaim their own
-- objects meanwhile. Nobody frees what another worker retired; what a worker leaves behind is an
-- orphan, and goes to whoever reclaims next.
--
--   lethe spec/examples/epoch_background.lua
local epoch = require "lethe.epoch"
local worker = require "lethe.worker"

local WORKERS <const>, OBJECTS <const> = 2, 100

local manager <close> = epoch.new{ mode = "manual", max_threads = 4 }

local driver = worker.spawn(function(shared)
  local loop = require("lethe.loop").default()
  local parent = require("lethe.worker").parent()
  local stopped = false
  loop:spawn(function() stopped = parent:recv() end)
  while not stopped do
    shared:advance()
    loop:sleep(0.005)
  end
  return shared:epoch()
end, manager)

local function work(shared, objects)
  local handle <close> = shared:register()
  local destroyed, reclaimed = 0, 0
  local function destroy()
    destroyed = destroyed + 1
  end
  for i = 1, objects do
    handle:with_pin(function(guard) guard:retire({ value = i }, destroy) end)
    if i % 10 == 0 then reclaimed = reclaimed + (handle:reclaim() or 0) end
  end
  while handle:limbo() > 0 do -- drain: two epochs after the last retire all is free
    shared:advance()
    reclaimed = reclaimed + (handle:reclaim() or 0)
  end
  return reclaimed, destroyed
end

local workers, total = {}, 0
for i = 1, WORKERS do
  workers[i] = worker.spawn(work, manager, OBJECTS)
end
for i, w in ipairs(workers) do
  local reclaimed, destroyed = w:join()
  assert(reclaimed == destroyed)
  print(("worker %d: reclaimed %d objects"):format(i, reclaimed))
  total = total + reclaimed
end
driver:send(true)
assert(driver:join() > 1)
print(("total reclaimed across workers: %d objects, %d in limbo"):format(total,
  manager:stats().limbo))
assert(total + manager:stats().limbo == WORKERS * OBJECTS)
