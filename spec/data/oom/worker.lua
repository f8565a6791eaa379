-- Workers and channels: births, messages both ways, joins, errors brought home, cancellation. A
-- worker may fail for want of memory as its maker may; what it says is then passed on.
local worker = require "lethe.worker"

local channel = worker.channel(2)
begin()

local function echo(c)
  local parent = require "lethe.worker".parent()
  while true do
    local v = parent:recv()
    if v == nil or v == "end" then return "done" end
    c:send(v)
  end
end

-- The results of a call that may fail for want of memory, in a worker or here.
local function came(...)
  local first, message = ...
  if first == nil and tostring(message):find("not enough memory", 1, true) then
    error "not enough memory"
  end
  return ...
end

local echoing <close> = came(worker.spawn(echo, channel))
came(echoing:send { 1, { 2 } })
came(echoing:send "end")
assert(came(echoing:join()) == "done")
assert(came(channel:recv())[2][1] == 2)

local failing <close> = came(worker.spawn(function() error "boom" end))
local _, message, code = came(failing:join())
assert(code == "failed" and message:find "boom")

local endless <close> = came(worker.spawn(function() while true do end end))
endless:cancel()
assert(select(3, came(endless:join())) == "cancelled")

return nil, function()
  local last <close> = worker.spawn(function() return 42 end)
  assert(last:join() == 42)
end
