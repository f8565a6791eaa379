-- What pinning costs from Lua. Ratios of times that are measured side by side: the two of a row
-- take turns, a ratio is taken in each round, and the median of these counts, so that a machine
-- that slows down meanwhile slows both.
--
--   lethe spec/bench/lua_epoch.lua
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local epoch = require "lethe.epoch"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 3 or 11
local N <const> = math.max(1000, math.floor(1e6 * WORK))

local manager <close> = epoch.new()
local handle <close> = manager:register()
local guard = handle:pin()
guard:unpin()

local pin, unpin, close, with_pin = handle.pin, guard.unpin, guard.close, handle.with_pin
local function nothing() end

-- An empty method: closing a guard that is not pinned checks its argument and gives true.
local function two_empty(n)
  for _ = 1, n do
    close(guard)
    close(guard)
  end
end

local function two_empty_methods(n)
  for _ = 1, n do
    guard:close()
    guard:close()
  end
end

local function cached(n)
  for _ = 1, n do
    unpin(pin(handle))
  end
end

local function methods(n)
  for _ = 1, n do
    handle:pin():unpin()
  end
end

local function scope(n)
  for _ = 1, n do
    local g <close> = pin(handle) -- luacheck: ignore
  end
end

local function section(n)
  for _ = 1, n do
    with_pin(handle, nothing)
  end
end

local function protected(n)
  local pcall <const> = pcall
  for _ = 1, n do
    pcall(nothing)
  end
end

local function nested(n)
  local outer <close> = pin(handle) -- luacheck: ignore
  for _ = 1, n do
    unpin(pin(handle))
  end
end

local function retire_one(g, value)
  g:retire(value, nothing)
end

local function retire(n)
  for i = 1, n do
    with_pin(handle, retire_one, i)
  end
end

local function empty(n)
  for _ = 1, n do -- luacheck: ignore
  end
end

-- What one iteration of each takes in each round, in nanoseconds, and of an empty loop.
local function measure(a, b)
  local times = { {}, {}, {} }
  for round = 0, ROUNDS do
    for i, fn in ipairs{ empty, a, b } do
      local began = os.clock()
      fn(N)
      if round > 0 then times[i][round] = (os.clock() - began) / N * 1e9 end -- the first warms up
    end
  end
  return times[2], times[3], times[1]
end

local function less(x, loop)
  return x - loop
end

local function row(what, a, against, b, target)
  local xs, ys, loops = measure(a, b)
  print(("%s %.1f ns, %s %.1f ns"):format(what, figures.over(less, xs, loops), against,
    figures.over(less, ys, loops)))
  figures.report(what .. " / " .. against, figures.ratio(xs, ys, loops), "<=", target)
end

row("pin + unpin, cached", cached, "two empty methods, cached", two_empty, 1.2)
row("pin + unpin", methods, "two empty methods", two_empty_methods)
row("nested pin + unpin, cached", nested, "pin + unpin, cached", cached)
row("<close> scope", scope, "pin + unpin, cached", cached)
row("with_pin(fn)", section, "pcall(fn)", protected)
row("with_pin(fn)", section, "pin + unpin, cached", cached)
row("with_pin(retire), freed", retire, "with_pin(fn)", section)

collectgarbage("stop")
local before = collectgarbage("count")
cached(N)
section(N)
print(("bytes allocated by %d pins: %d"):format(2 * N, (collectgarbage("count") - before) * 1024))
