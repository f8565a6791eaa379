-- A stalled reader: it pins and falls asleep while a writer goes on retiring. Past the bound it is
-- ejected: garbage stops growing, the writer never waits, and the reader is told when it wakes up.
--
--   lethe spec/examples/epoch_stalled.lua [OBJECTS]
local epoch = require "lethe.epoch"
local loop = require("lethe.loop").default()

local OBJECTS <const> = math.tointeger(tonumber(arg and arg[1])) or 100000
local BAGS <const>, BAG <const> = 8, 256 -- sealed bags before a reader is in the way; their size

local manager <close> = epoch.new()
local handle <close> = manager:register()
local config, destroyed, most = { version = 0 }, 0, 0

local function destroy(old)
  old.destroyed = true
  destroyed = destroyed + 1
end

local reader = loop:spawn(function()
  local guard <close> = handle:pin()
  local seen = config
  print(("reader: pinned, sees version %d, and sleeps"):format(seen.version))
  loop:sleep(0.05)
  local ok, message, code = guard:unpin()
  print(("reader: %s (%s); version %d is destroyed: %s"):format(message, code, seen.version,
    seen.destroyed == true))
  assert(not ok and code == "neutralized")
  -- so it does what any reader must: begin again
  return handle:with_pin(function() return config.version end)
end)

loop:step()
for version = 1, OBJECTS do
  local guard <close> = handle:pin()
  local old = config
  config = { version = version }
  guard:retire(old, destroy)
  if version % 64 == 0 then most = math.max(most, manager:stats().limbo) end
end

local bound <const> = (BAGS + 2) * BAG + 1
print(("writer: retired %d objects, %d at most in limbo (bound %d), %d ejection(s)"):format(OBJECTS,
  most, bound, manager:stats().ejections))
assert(most <= bound)

local version = reader:join()
print(("reader: began again, sees version %d"):format(version))
assert(version == OBJECTS)
assert(manager:barrier(5))
print(("in the end %d of %d are destroyed"):format(destroyed, OBJECTS))
assert(destroyed == OBJECTS)
