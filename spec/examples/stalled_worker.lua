-- A worker that stalls while it reads: it is ejected, and told so.
--
--   lethe spec/examples/stalled_worker.lua [UPDATES [SECONDS]]
--
-- The worker pins, reads, and blocks its whole thread. Meanwhile this thread replaces a value over
-- and over; each old one has to wait for readers that may hold it. With a plain epoch scheme all of
-- them would wait until the worker wakes. Here the writer ejects it once 8 bags of 256 are full, so
-- with two threads no more than 2,562 objects ever wait. When the worker wakes, nothing that it
-- reads under its old pin is believed: each call answers "neutralized", so it begins again.
local epoch = require "lethe.epoch"
local shared = require "lethe.shared"
local worker = require "lethe.worker"

local UPDATES <const>, SECONDS <const>, BOUND <const> = 1000000, 1, (8 + 2) * 256 + 2

local function stall(manager, map, seconds)
  local parent = require("lethe.worker").parent()
  local handle <close> = assert(manager:register())
  local guard <close> = handle:pin()
  local result = { before = map:get("version") }
  parent:send("pinned")
  for _ = 1, 20 do -- more than once on a slow machine
    os.execute("sleep " .. seconds) -- no turn of the loop, no call of lethe's
    result.ejected = handle:neutralized()
    if result.ejected then break end
  end
  result.read = select(3, map:get("version"))
  local _, message, code = guard:unpin()
  result.message, result.code = message, code
  parent:recv() -- the writer is done
  -- begin again: with_pin does so by itself when it is ejected before it changed anything
  result.after = handle:with_pin(function() return map:get("version") end)
  return result
end

-- The most objects that a thread had waiting at any time.
local function peak(manager)
  local most = 0
  for _, thread in ipairs(manager:stats().threads) do most = math.max(most, thread.peak) end
  return most
end

local function main(updates, seconds)
  updates, seconds = math.tointeger(updates) or UPDATES, tonumber(seconds) or SECONDS
  local manager <close> = epoch.new{}
  local map <close> = shared.map{ epoch = manager }
  map:set("version", 0)
  local stalled = worker.new{ run = stall, args = { manager, map, seconds }, name = "stalled" }
  assert(stalled:recv() == "pinned")
  for version = 1, updates do map:set("version", version) end
  stalled:send("done")
  local ejections, most = manager:stats().ejections, peak(manager)
  print(("the writer made %d updates, of which at most %d waited to be freed (bound %d)")
    :format(updates, most, BOUND))

  local result = assert(stalled:join())
  print(("the worker read version %d, then stalled"):format(result.before))
  print(("when it woke: neutralized %s; reading answered %q, unpinning %q (%s)"):format(
    result.ejected, result.read, result.code, result.message))
  print(("it began again and read version %d"):format(result.after))
  assert(ejections >= 1 and most <= BOUND)
  assert(result.before == 0 and result.ejected and result.code == "neutralized")
  assert(manager:barrier(10))
  print(("in the end %d objects are in limbo"):format(manager:stats().limbo))
  result.peak, result.bound, result.ejections = most, BOUND, ejections
  result.limbo = manager:stats().limbo
  return result
end

return main(...)
