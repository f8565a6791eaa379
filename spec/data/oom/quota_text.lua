-- A policy in a file under want of memory: its state is made whole or not at all.
package.path = "lua/?.lua;lua/?/init.lua" -- where the policy's state finds its library
local lethe = require "lethe"
local quota = require "lethe.quota"
local loop = lethe.loop.new{ clock = "virtual" }

local tracker = got(quota.new{ max = "4M", loop = loop })
local account = got(tracker:account{})
local object, p = { get_oldest = function() return 1 end }, nil
function object.reclaim()
  p:release(p:used())
  return "partial"
end
p = got(account:participant(object))
got(p:claim(50000))

local function work()
  local ok, message, code = tracker:configure{ policy = "spec/data/policies/tenants.lua" }
  if not ok and code ~= "no_memory" and code ~= "bad_policy" then error(message, 0) end
  if not ok and not message:find("not enough memory", 1, true) then error(message, 0) end
  tracker:plan(1000)
  loop:spawn(function() tracker:reclaim(1000) end)
  loop:advance(1)
end

local function check()
  loop:advance(10)
  assert(tracker:check())
  assert(tracker:configure{ policy = "spec/data/policies/largest.lua" })
  assert(#tracker:plan(1) <= 1)
  tracker:close()
end

return work, check
