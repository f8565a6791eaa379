-- The sandbox's math library: Lua's own but for `random`, which is a generator of the sandbox
-- itself (xoshiro256**, the one Lua uses), seeded the same in every sandbox, so that the same
-- policy draws the same numbers in every run and the host's generator is left alone.
local check = require "lethe.sandbox.check"

local error, math, pairs, select = error, math, pairs, select
local pack, unpack = string.pack, string.unpack
local int = check.int

local M = {}

local function rotl(x, n)
  return x << n | x >> (64 - n)
end

-- next() -> 64 random bits; seed(a, b) starts it anew.
local function generator()
  local s0, s1, s2, s3
  local function next_bits()
    local result = rotl(s1 * 5, 7) * 9
    local t = s1 << 17
    s2, s3 = s2 ~ s0, s3 ~ s1
    s1, s0 = s1 ~ s2, s0 ~ s3
    s2, s3 = s2 ~ t, rotl(s3, 45)
    return result
  end
  local function seed(a, b)
    s0, s1, s2, s3 = a, 0xff, b, 0
    for _ = 1, 16 do next_bits() end
  end
  return next_bits, seed
end

-- A uniform integer from 0 to limit (unsigned): bits beyond the smallest mask are drawn again.
local function project(next_bits, limit)
  local mask = limit
  for shift = 0, 5 do mask = mask | mask >> (1 << shift) end
  while true do
    local value = next_bits() & mask
    if not math.ult(limit, value) then return value end
  end
end

--- A math library.
---@param seed? integer of its generator; 0 by default
---@return table
function M.library(seed)
  local lib = {}
  for name, value in pairs(math) do lib[name] = value end
  local next_bits, restart = generator()
  restart(seed or 0, 0)

  function lib.randomseed(a, b)
    if a == nil then
      restart(seed or 0, 0)
    else
      local number = math.tointeger(a) or a
      if math.type(number) == "float" then number = unpack("i8", pack("d", number)) end
      restart(int(number, 1, "randomseed"), int(b, 2, "randomseed", 0))
    end
  end

  function lib.random(...)
    local given = select("#", ...)
    if given == 0 then return (next_bits() >> 11) * 2.0 ^ -53 end
    local low, high = 1, int((...), 1, "random")
    if given == 1 and high == 0 then return next_bits() end
    if given == 2 then
      low, high = high, int((select(2, ...)), 2, "random")
    elseif given > 2 then
      error("wrong number of arguments", 2)
    end
    if low > high then check.bad(given, "random", "interval is empty") end
    return low + project(next_bits, high - low)
  end

  return lib
end

return M
