-- Replays through eviction policies under want of memory, built-in ones and scripts: a request that
-- fails may be made again, and no policy loses count.
local policy = require "lethe.policy"

local WHAT <const> = {
  "lru", "sieve", "s3fifo", "twoq", "arc", "lfu", "lirs", "gdsf", "wtinylfu", "hyperbolic", "random",
  dofile("lua/lethe/policy/gdsf.lua"), dofile("lua/lethe/policy/s3fifo.lua"),
  dofile("lua/lethe/policy/twoq.lua"),
}
local replays = {}
begin()

local function got(value, message, code)
  if value == nil then error(code == "no_memory" and "not enough memory" or message, 0) end
  return value
end

local function request(r, i)
  return r:access(i * i % 83, 1 + i % 3)
end

local function work()
  for i, what in ipairs(WHAT) do
    if not replays[i] then replays[i] = got(policy.replay{ policy = what, bytes = 60 }) end
    local r <const> = replays[i]
    for k = 1, 150 do
      got(request(r, k))
    end
    got(r:resize(40))
  end
end

local function check()
  for i in ipairs(WHAT) do
    local r <const> = replays[i]
    if r then
      for k = 1, 50 do
        assert(request(r, k) ~= nil)
      end
      assert(r:check())
      local stats <const> = r:stats()
      assert(stats.used <= stats.limit and stats.misses <= stats.requests and stats.entries > 0)
      assert(#r:failures() == 0 or type(WHAT[i]) == "table")
      r:close()
    end
  end
end

return work, check
