-- What shared maps and messages cost from Lua, as ratios of times measured side by side: the two of
-- a line take turns within a round, a ratio is taken in each round, and the median of them counts.
--
--   lethe spec/bench/lua_shared.lua
--
-- The peers of a guarded read are an empty method in C that compares its object's metatable with an
-- address, and a Lua table behind a pthread mutex, in C, with every advantage: it
-- checks nothing, copies nothing, stays within one state, and nobody else wants its lock. The peer
-- of a message's round trip are two threads and two condition variables, without Lua. Both are in
-- harness/lua_peers.c, compiled by this program; where that fails their lines are left out.
-- Targets: 55 ns (40 cached) for a guarded get where an empty checked method is 46 (31); "-" is a
-- figure without one. Two workers can do no more than the machine has for them: the line with
-- "nothing" says how much that was in this run, and the lines per second of processor time, where 1
-- is no loss at all, do not depend on it. LETHE_WORK below 1 makes it short.
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local epoch = require "lethe.epoch"
local shared = require "lethe.shared"
local worker = require "lethe.worker"
local loop = require("lethe.loop").default()

local WORK <const> = math.min(1, tonumber(os.getenv("LETHE_WORK")) or 1)
local ROUNDS <const> = WORK < 1 and 3 or 11
local KEYS <const> = 1000

local function scaled(n)
  return math.max(KEYS, math.floor(n * WORK))
end

-- The process's time where it is what counts, and else the clock on the wall.
local cpu = os.clock
local function wall()
  return loop:now()
end

local function time(clock, fn, n)
  local began = clock()
  fn(n)
  return clock() - began
end

-- The times of a and b in one round, and of `idle` if given; who is first takes turns.
local function one_round(i, clock, a, b, n, idle)
  local x, y
  if i % 2 == 0 then
    x, y = time(clock, a, n), time(clock, b, n)
  else
    y, x = time(clock, b, n), time(clock, a, n)
  end
  return x, y, idle and time(clock, idle, n) or 0
end

-- The median of a's time over b's, less that of `idle` if given.
local function quotient(clock, a, b, n, idle)
  local as, bs, loops = {}, {}, {}
  for i = 0, ROUNDS do
    local x, y, loop_of = one_round(i, clock, a, b, n, idle)
    if i > 0 then as[i], bs[i], loops[i] = x, y, loop_of end -- 0 warms up
  end
  return figures.ratio(as, bs, loops)
end

-- The same of what has two threads, from calm rounds alone.
local function calm_quotient(clock, a, b, n)
  one_round(0, clock, a, b, n)
  return figures.ratio(figures.calm_rounds(ROUNDS, 2, function(i)
    return one_round(i, clock, a, b, n)
  end))
end

-- get, set, ping of the C peers and an object with an empty method, or nothing.
local function peers()
  local path = os.tmpname()
  local include = os.getenv("LUA_INCDIR") or "/usr/include/lua5.4"
  local source = (arg and arg[0] or ""):match("^(.*/)") or "./"
  local built = os.execute(("cc -O2 -fPIC -shared -pthread -I'%s' -o %s '%sharness/lua_peers.c'")
    :format(include, path, source))
  local open = built and package.loadlib(path, "luaopen_peers")
  os.remove(path)
  if open then return open() end
  print("(no peers in C: they could not be compiled)")
end

local locked_get, locked_set, ping, empty = peers()

-- ---- one thread -----------------------------------------------------------------------

local manager <close> = epoch.new()
local handle <close> = manager:register()
local map <close> = shared.map{ epoch = manager }
local plain = {}
for k = 1, KEYS do
  plain[k] = k
  map:set(k, k)
  if locked_set then locked_set(k, k) end
end

local get, set = map.get, map.set

local function each_key(body)
  return function(n)
    for _ = 1, n // KEYS do body() end
  end
end

local nothing = each_key(function() for _ = 1, KEYS do end end) -- luacheck: ignore
local index = each_key(function()
  local x -- luacheck: ignore
  for k = 1, KEYS do x = plain[k] end
end)
local get_method = each_key(function() for k = 1, KEYS do map:get(k) end end)
local get_cached = each_key(function() for k = 1, KEYS do get(map, k) end end)
local get_one = each_key(function() for _ = 1, KEYS do get(map, 1) end end)
local set_method = each_key(function() for k = 1, KEYS do map:set(k, k) end end)
local set_plain = each_key(function() for k = 1, KEYS do plain[k] = k end end)
local get_locked = locked_get
  and each_key(function() for k = 1, KEYS do locked_get(k) end end)
local set_locked = locked_set
  and each_key(function() for k = 1, KEYS do locked_set(k, k) end end)

local function reads()
  local n = scaled(500000)
  local spare_manager <close> = epoch.new()
  local spare = spare_manager:register():pin()
  spare:unpin() -- from here on its close checks its object, and does nothing
  local close = spare.close
  local our_empty = each_key(function() for _ = 1, KEYS do close(spare) end end)

  local guard <close> = handle:pin() -- luacheck: ignore
  if empty then
    local yes = empty.yes
    local empty_method = each_key(function() for _ = 1, KEYS do empty:yes() end end)
    local empty_cached = each_key(function() for _ = 1, KEYS do yes(empty) end end)
    figures.report("guarded get, method, over an empty method",
      quotient(cpu, get_method, empty_method, n, nothing), "<=", 55 / 46)
    figures.report("guarded get, cached, over an empty method, cached",
      quotient(cpu, get_cached, empty_cached, n, nothing), "<=", 40 / 31)
    figures.report("guarded get of one key, cached, over an empty method, cached",
      quotient(cpu, get_one, empty_cached, n, nothing))
  end
  figures.report("guarded get, cached, over a method of ours that does nothing, cached",
    quotient(cpu, get_cached, our_empty, n, nothing))
  figures.report("guarded get, cached, over t[k]", quotient(cpu, get_cached, index, n, nothing))
  if get_locked then
    figures.report("guarded get, cached, over a mutex-protected table",
      quotient(cpu, get_cached, get_locked, n, nothing))
  end
end

reads()
figures.report("get that pins by itself, over t[k]",
  quotient(cpu, get_method, index, scaled(500000), nothing))
figures.report("set, over t[k] = v", quotient(cpu, set_method, set_plain, scaled(200000), nothing))
if set_locked then
  figures.report("set, cached, over a mutex-protected table", quotient(cpu, each_key(function()
    for k = 1, KEYS do set(map, k, k) end
  end), set_locked, scaled(200000), nothing))
end

-- ---- workers --------------------------------------------------------------------------

-- Does n operations each time it is told to, every so many of them a write.
local function work(mine, keys, seed)
  local parent = require("lethe.worker").parent()
  local random = math.random
  math.randomseed(seed)
  while true do
    local job = parent:recv()
    if not job then return end
    for i = 1, job.n do
      local k = random(keys)
      if i % job.write_every == 0 then
        mine:set(k, i)
      elseif job.read then
        mine:get(k)
      end
    end
    parent:send(true)
  end
end

local function throughput()
  local team = {}
  for i = 1, 2 do team[i] = worker.spawn(work, map, KEYS, i) end
  local function with(workers, write_every, read)
    return function(n)
      for i = 1, workers do
        team[i]:send{ n = n // workers, write_every = write_every, read = read }
      end
      for i = 1, workers do assert(team[i]:recv()) end
    end
  end
  for _, row in ipairs{
    { "nothing: what the machine has for 2 workers over 1", 1 << 40, false },
    { "map, reads: 2 workers' throughput over 1's", 1 << 40, true },
    { "map, 9 reads to 1 write: 2 workers' throughput over 1's", 10, true },
    { "map, writes: 2 workers' throughput over 1's", 1, true },
  } do
    local one, two = with(1, row[2], row[3]), with(2, row[2], row[3])
    figures.report(row[1], calm_quotient(wall, one, two, scaled(400000)))
    figures.report(row[1] .. ", per second of processor time",
      calm_quotient(cpu, one, two, scaled(400000)))
  end
  for _, each in ipairs(team) do each:cancel() end
  for _, each in ipairs(team) do each:join() end
end

local function round_trips()
  local echo = worker.spawn(function()
    local parent = require("lethe.worker").parent()
    while true do parent:send(parent:recv()) end
  end)
  local there <close> = worker.channel()
  local back <close> = worker.channel()
  local through = worker.spawn(function(to, from)
    for v in function() return to:recv() end do from:send(v) end
  end, there, back)
  local function messages(n)
    for i = 1, n do
      echo:send(i)
      assert(echo:recv() == i)
    end
  end
  local function channels(n)
    for i = 1, n do
      there:send(i)
      assert(back:recv() == i)
    end
  end
  local n = scaled(5000)
  figures.report("round trip by two channels, over worker:send and recv",
    calm_quotient(wall, channels, messages, n))
  if ping then
    figures.report("message round trip, over two condition variables in C",
      calm_quotient(wall, messages, ping, n))
  end
  echo:cancel()
  echo:join()
  there:close()
  through:join()
end

throughput()
round_trips()
figures.close()
