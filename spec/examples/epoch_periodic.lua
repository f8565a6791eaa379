-- Periodic reclamation: every operation retires a node; the epoch advances every 5th time, and a
-- reclaim is tried every 10th. Nothing is freed but by these calls: the manager is in manual mode.
--
--   lethe spec/examples/epoch_periodic.lua
local epoch = require "lethe.epoch"

local OPERATIONS <const>, ADVANCE <const>, RECLAIM <const> = 50, 5, 10

local manager <close> = epoch.new{ mode = "manual" }
local handle <close> = manager:register()
local freed, total = {}, 0

-- A shared cell whose value is replaced; readers may still hold the old one.
local cell = { value = -1 }

local function destroy(node)
  freed[#freed + 1] = node.value
end

local function replace(guard, value)
  local old = cell
  cell = { value = value }
  guard:retire(old, destroy)
end

for i = 0, OPERATIONS - 1 do
  handle:with_pin(replace, i)
  if i % ADVANCE == 0 then manager:advance() end
  if i % RECLAIM == RECLAIM - 1 then
    -- handle:reclaim() does these steps in one
    local state, ready = handle:reclaim_start():load_epochs():check_safe()
    if state == "ready" then
      local count = ready:try_reclaim()
      total = total + count
      print(("operation %d: reclaimed %d objects"):format(i, count))
    else
      print(("operation %d: reclamation blocked"):format(i))
    end
  end
end

print(("total reclaimed: %d objects, %d in limbo"):format(total, handle:limbo()))
assert(total == #freed and total + handle:limbo() == OPERATIONS)
