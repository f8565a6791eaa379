-- Background advancement: one thread moves the epoch on, workers retire and reclaim their own.
--
--   lethe spec/examples/background.lua [WORKERS [OBJECTS]]
--
-- Each thread frees what it has retired itself, so the advancing thread can free nothing for the
-- others; but with it the workers find work at each reclaim without ever advancing while they are
-- busy. Before a worker leaves it drains: what it left behind would be freed by whoever reclaims
-- next. The manager, sent to every worker, is the same manager there.
local epoch = require "lethe.epoch"
local worker = require "lethe.worker"

local WORKERS <const>, OBJECTS <const> = 2, 100

-- The advancing thread: every 5 ms, until its maker sends it anything.
local function advance(manager)
  local loop = require("lethe.loop").default()
  local parent = require("lethe.worker").parent()
  local stopped, advances = false, 0
  loop:spawn(function() stopped = parent:recv() end)
  while not stopped do
    manager:advance()
    advances = advances + 1
    loop:sleep(0.005)
  end
  return advances
end

local function work(manager, objects)
  local handle <close> = assert(manager:register())
  local reclaimed, destroyed = 0, 0
  local function destroy()
    destroyed = destroyed + 1
  end
  for i = 1, objects do
    handle:with_pin(function(guard) guard:retire({ value = i }, destroy) end)
    if i % 10 == 0 then reclaimed = reclaimed + (handle:reclaim() or 0) end
  end
  while handle:limbo() > 0 do
    manager:advance()
    reclaimed = reclaimed + (handle:reclaim() or 0)
  end
  return { reclaimed = reclaimed, destroyed = destroyed }
end

local function main(workers, objects)
  workers, objects = math.tointeger(workers) or WORKERS, math.tointeger(objects) or OBJECTS
  local manager <close> = epoch.new{ mode = "manual", max_threads = workers }
  local driver = worker.new{ run = advance, args = { manager }, name = "advance" }
  local team, results, total = {}, {}, 0
  for i = 1, workers do
    team[i] = worker.new{ run = work, args = { manager, objects }, name = "worker " .. i }
  end
  for i, each in ipairs(team) do
    local result = assert(each:join())
    assert(result.reclaimed == result.destroyed)
    print(("%s reclaimed %d objects"):format(each:name(), result.reclaimed))
    results[i] = result
    total = total + result.reclaimed
  end
  driver:send(true)
  local advances = assert(driver:join())
  print(("The background thread advanced %d times; the epoch is %d"):format(advances,
    manager:epoch()))
  print("Total reclaimed across workers: " .. total)
  assert(total == workers * objects and manager:stats().limbo == 0)
  print("Background reclamation example completed successfully")
  return { total = total, advances = advances, epoch = manager:epoch(), workers = results }
end

return main(...)
