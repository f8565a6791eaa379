-- An eviction policy in a file under want of memory: its state is made whole or not at all.
package.path = "lua/?.lua;lua/?/init.lua" -- where the policies' states find their library
local cache = require "lethe.cache"
local lethe = require "lethe"
local policy = require "lethe.policy"
local loop = lethe.loop.new{ clock = "virtual" }
require "lethe.cache.policy"

local function load(_, key)
  return key
end

local cached
begin()

local function work()
  local text <close> = got(policy.load("lua/lethe/policy/sieve.lua"))
  cached = got(cache.new{ backend = { load = load }, limit = 3, loop = loop, policy = text })
  for key = 1, 6 do cached:get(key) end
end

local function check()
  loop:advance(1)
  if not cached then return end
  for key = 1, 9 do assert(cached:get(key) == key) end
  assert(cached:len() <= 3)
  cached:close()
end

return work, check
