-- Managers, pins and retired values under want of memory: what was retired is destroyed once, what
-- was not is not, and nothing stays pinned.
local epoch = require "lethe.epoch"
local lethe = require "lethe"
begin()

local VALUES <const> = 12
local retired, destroyed = {}, {}
for i = 1, VALUES do
  retired[i], destroyed[i] = false, 0 -- what is noted in them later allocates nothing
end
local manager, handle

local function destroy(i)
  destroyed[i] = destroyed[i] + 1
end

local function retire(i)
  local guard <close> = handle:pin()
  guard:retire(i, destroy, 100)
  retired[i] = true
end

local function work()
  manager = assert(epoch.new{ mode = "manual", bag_size = 2 })
  handle = assert(manager:register())
  for i = 1, 4 do
    retire(i)
  end
  -- a coroutine that keeps its pin, and retires on a record of its own
  local reader = coroutine.create(function()
    retire(5)
    local outer <close> = handle:pin()
    coroutine.yield()
    retire(6)
    local inner <close> = handle:pin()
    coroutine.yield(inner, outer)
  end)
  assert(coroutine.resume(reader))
  retire(7)
  manager:advance()
  assert(coroutine.resume(reader))
  assert(#manager:stats().threads == 1)
  assert(coroutine.close(reader))
  for i = 8, VALUES do
    handle:with_pin(function() retire(i) end)
  end
  manager:advance()
  manager:advance()
  local kind, ready = handle:reclaim_start():load_epochs():check_safe()
  assert(kind == "ready" and ready:try_reclaim() > 0)
  assert(handle:reclaim())
  local task = lethe.loop.default():spawn(function()
    local guard <close> = handle:pin()
    lethe.loop.default():sleep(0)
    return guard:unpin()
  end)
  task:join()
  assert(manager:barrier(10))
end

local function check()
  if manager then
    collectgarbage()
    collectgarbage()
    if handle and #manager:stats().threads == 1 then
      assert(not manager:stats().threads[1].pinned)
      manager:advance()
      manager:advance()
      assert(manager:safe_epoch() == manager:epoch(), "something stayed pinned")
      handle:unregister()
    end
    manager:close()
  end
  lethe.registry.default():collect()
  lethe.registry.default():sweep()
  for i = 1, VALUES do
    local times <const> = retired[i] and 1 or 0
    assert(destroyed[i] == times or (destroyed[i] == 1 and not retired[i]),
      ("value %d was destroyed %d times"):format(i, destroyed[i]))
  end
end

return work, check
