-- Periodic reclamation: an advance every 5 operations, a reclaim every 10.
--
--   lethe spec/examples/periodic.lua
--
-- The manager is in manual mode: nothing is freed but by the calls made here. Each operation puts a
-- node in the place of another and retires that one, as a reader may still hold it; the destructor
-- is called once no reader can. What was retired in epoch E is freed when E < safe epoch - 1, so
-- each reclaim leaves the nodes of the last epochs to the next one.
local epoch = require "lethe.epoch"

local OPERATIONS <const>, ADVANCE_EVERY <const>, RECLAIM_EVERY <const> = 50, 5, 10

local function main()
  local manager <close> = epoch.new{ mode = "manual" }
  local handle <close> = manager:register()
  local current = { value = -1 }
  local destroyed, counts, total = {}, {}, 0

  local function destroy(node)
    destroyed[#destroyed + 1] = node.value
  end

  local function operate(guard, i)
    local old = current
    current = { value = i }
    guard:retire(old, destroy)
  end

  for i = 0, OPERATIONS - 1 do
    handle:with_pin(operate, i)
    if i % ADVANCE_EVERY == 0 then manager:advance() end
    if i % RECLAIM_EVERY == RECLAIM_EVERY - 1 then
      -- handle:reclaim() takes these steps in one
      local state, ready = handle:reclaim_start():load_epochs():check_safe()
      if state == "ready" then
        local count = ready:try_reclaim()
        counts[#counts + 1] = count
        total = total + count
        print(("Operation %d: reclaimed %d objects"):format(i, count))
      else
        print(("Operation %d: reclamation blocked"):format(i))
      end
    end
  end
  print(("Total reclaimed: %d objects"):format(total))
  assert(#destroyed == total and handle:limbo() == OPERATIONS - total)
  print("Periodic reclamation example completed successfully")
  return { counts = counts, total = total, destroyed = destroyed }
end

return main()
