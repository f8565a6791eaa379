-- What the quota tracker costs from Lua, as ratios: each operation beside something plain, in
-- alternating rounds of one run, the median of the rounds' quotients. A line for each figure: its
-- name, what was measured, the target or "-", and whether it was reached. LETHE_WORK below 1 makes
-- it short.
--
--   build/lethe spec/bench/lua_quota.lua
--
-- The empty method is C, in harness/quota_peer.c, compiled by this program; where that fails its
-- lines are left out.
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local quota = require "lethe.quota"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 3 or 21
local HERE <const> = arg and arg[0] and arg[0]:match("^(.*/)") or "spec/bench/"

local function scaled(n)
  return math.max(100, math.tointeger(n * WORK // 1))
end

-- ---- measuring --------------------------------------------------------------------------------

local function report(name, ratio, target)
  figures.report(name, ratio, "<=", target)
end

-- Seconds that fn(n) takes, after what is set up before on nobody's time.
local function seconds(fn, n, set_up)
  if set_up then set_up() end
  local began = os.clock()
  fn(n)
  return os.clock() - began
end

-- Seconds of each function (or { function, set-up }), for every round; they take turns, and so does
-- who is first.
local function rounds(n, ...)
  local fns, times = { ... }, {}
  for i = 0, ROUNDS do -- the first warms up
    collectgarbage()
    times[i] = {}
    for j = 1, #fns do
      local k = (i + j) % #fns + 1
      if type(fns[k]) == "table" then
        times[i][k] = seconds(fns[k][1], n, fns[k][2])
      else
        times[i][k] = seconds(fns[k], n)
      end
    end
  end
  return times
end

-- The median over all rounds of what `of` makes of a round's times.
local function over(times, of)
  local list = {}
  for i, round in ipairs(times) do
    list[i] = of(table.unpack(round))
  end
  return figures.median(list)
end

local function empty_loop(n)
  for _ = 1, n do -- luacheck: ignore 542
  end
end

-- ---- claim and release --------------------------------------------------------------------------

local function load_peer()
  local library = os.tmpname()
  local command <const> = "%s -O2 -fPIC -shared -I'%s' -o %s '%sharness/quota_peer.c'"
  local built = os.execute(command:format(os.getenv("CC") or "gcc",
    os.getenv("LUA_INCDIR") or "/usr/include/lua5.4", library, HERE))
  local open = built and package.loadlib(library, "luaopen_peer")
  os.remove(library)
  if open then return open() end
  print("(no empty method: it could not be compiled)")
end

local function less_loop(a, b, loop)
  return (a - loop) / (b - loop)
end

local function bench_calls(p, peer)
  local n <const> = scaled(200000)
  local function claim(times)
    for _ = 1, times do
      p:claim(0)
    end
  end
  local function release(times)
    for _ = 1, times do
      p:release(0)
    end
  end
  local function both(times)
    for _ = 1, times do
      p:claim(64)
      p:release(64)
    end
  end
  local function slow(times)
    for _ = 1, times do
      p:claim(100000)
      p:release(100000)
    end
  end
  local function yes(times)
    for _ = 1, times do
      peer:yes(0)
    end
  end
  local function nothing(times)
    for _ = 1, times do
      peer:nothing(0)
    end
  end
  local function two(times)
    for _ = 1, times do
      peer:yes(64)
      peer:nothing(64)
    end
  end
  report("claim, cached / an empty method that checks its self",
    over(rounds(n, claim, yes, empty_loop), less_loop), 1.3)
  report("release, cached / an empty method that checks its self",
    over(rounds(n, release, nothing, empty_loop), less_loop), 1.3)
  report("claim + release, cached / two empty methods",
    over(rounds(n, both, two, empty_loop), less_loop), 1.3)
  report("claim + release, past the cache / two empty methods",
    over(rounds(n, slow, two, empty_loop), less_loop))
end

-- ---- policies ---------------------------------------------------------------------------------

local POLICIES <const> = {
  { "a function", function(c) return c.used * c.age end },
  { "an expression", { score = "used * age" } },
  { "a file", "spec/data/policies/largest.lua" },
  { "an order", { order = function(list)
    table.sort(list, function(a, b) return a.used > b.used end)
    return list
  end } },
}

-- What a candidate costs, ranked by a plan over many accounts, beside a plain call with two reads.
local function bench_policies()
  local n <const> = scaled(10000)
  local tracker <close> = assert(quota.new{ max = "16G" })
  local accounts, kept = {}, {}
  local object = { get_oldest = function() return 1 end, reclaim = function() end }
  for i = 1, n do
    accounts[i] = assert(tracker:account{})
    kept[i] = assert(accounts[i]:participant(object))
    kept[i]:claim(20000 + i)
  end
  local goal <const> = tracker:used() // 2 -- more than the caches, which a plan counts first
  local function plan_by(policy)
    return {
      function() assert(#tracker:plan(goal) > 0) end,
      function() assert(tracker:configure{ policy = policy }) end,
    }
  end
  local function plain_calls(times)
    local t = { used = 1, age = 2 }
    local function f(c) return c.used * c.age end
    for _ = 1, times do
      f(t)
    end
  end
  local calls <const> = 10 * n
  local function plain() plain_calls(calls) end
  report("plan: a candidate under a built-in / f(t) with two reads",
    over(rounds(1, plan_by("largest"), plain), function(a, b) return 10 * a / b end))
  for _, policy in ipairs(POLICIES) do
    local times = rounds(1, plan_by(policy[2]), plan_by("largest"), plain)
    report(("plan: what %s adds for a candidate / f(t)"):format(policy[1]),
      over(times, function(a, builtin, b) return 10 * (a - builtin) / b end))
  end
end

-- ---- main -------------------------------------------------------------------------------------

local tracker <close> = assert(quota.new{ max = "1G" })
local account <close> = assert(tracker:account{})
local participation <close> = assert(account:participant{
  get_oldest = function() return 1 end,
  reclaim = function() end,
})
local peer = load_peer()
if peer then bench_calls(participation, peer) end
bench_policies()
