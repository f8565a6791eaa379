-- track_state under want of memory: the allocator below fails while ours is in front of it, and the
-- count stays exact.
local lethe = require "lethe"
local quota = require "lethe.quota"
local tracker = assert(quota.new{ max = "64M" })
local account = assert(tracker:account{})
begin()

local p, clone

local function held()
  return math.tointeger(collectgarbage("count") * 1024)
end

local function fill()
  local t = {}
  for i = 1, 100 do
    t[i] = { i, ("x"):rep(i) .. i, coroutine.create(fill) }
  end
  collectgarbage()
  return t
end

local function work()
  p = got(quota.track_state(account, { limit = "32M" }))
  clone = got(p:clone())
  fill()
  assert(not quota.track_state(account))
  p:close()
  p = got(quota.track_state(account))
  fill()
end

local function check()
  held()
  if p and lethe.type(p) and pcall(p.used, p) then
    local used, now = account:used(), held()
    assert(used == now or used == 0, ("%d used, %d held"):format(used, now))
    p:close()
  end
  if clone then clone:close() end
  collectgarbage()
  assert(tracker:check())
end

return work, check
