-- What weak maps cost from Lua. Ratios of times that are measured side by side: the two of a row
-- take turns, and the medians of their rounds' ratios are printed.
--
--   lethe spec/bench/lua_weakmap.lua
--
-- A look-up stands beside a method of a binding that does as little as one can: it checks its
-- object and the key, finds a number in a plain hash table, and pushes what stands under it in a
-- Lua table (harness/weak_lua_peer.c, compiled by this program; where that fails its lines are left
-- out). So ordered maps are measured against a hash table too. They can keep up because keys are
-- looked up again and again here, which they remember; what a map costs whose keys are looked up
-- for the first time, down its tree, is a line of its own, and so is the plain B-tree that it is
-- like. A chain of ephemerons stands beside Lua's own weak-keyed table.
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local weakmap = require "lethe.weakmap"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 3 or 11
local GETS <const> = math.max(1000, math.floor(1e6 * math.min(WORK, 1)))

-- ---- measuring --------------------------------------------------------------------------------

local function time(fn, ...)
  local began = os.clock()
  fn(...)
  return os.clock() - began
end

-- The medians of a's time over b's and of both, in seconds; each is first in every other round.
local function compare(rounds, a, b)
  local ratios, as, bs = {}, {}, {}
  for round = 0, rounds do
    local x, y
    if round % 2 == 0 then
      x, y = time(a), time(b)
    else
      y, x = time(b), time(a)
    end
    if round > 0 or rounds == 1 then -- 0 warms up
      ratios[#ratios + 1], as[#as + 1], bs[#bs + 1] = x / y, x, y
    end
    if rounds == 1 then break end
  end
  local x, y <const> = figures.median(as), figures.median(bs)
  return figures.median(ratios), x, y
end

local function line(what, value, unit, aim, at_least)
  figures.report(what, value, at_least and ">=" or "<=", aim, unit)
end

-- new() of the binding beside which ours stands, or nil.
local function peer()
  local path = os.tmpname()
  local include = os.getenv("LUA_INCDIR") or "/usr/include/lua5.4"
  local source = (arg and arg[0] or ""):match("^(.*/)") or "./"
  local built = os.execute(
    ("cc -O2 -fPIC -shared -D_GNU_SOURCE -I'%s' -o %s '%sharness/weak_lua_peer.c'")
    :format(include, path, source))
  local open = built and package.loadlib(path, "luaopen_peer")
  os.remove(path)
  if open then return open() end
  print("(no peer in C: it could not be compiled)")
end

local new_peer <const> = peer()

-- Keys from 1 to n in an order that no branch predictor learns.
local function draws(n, times)
  local state, keys = 1, {}
  for i = 1, times do
    state = state * 6364136223846793005 + 1442695040888963407
    keys[i] = (state >> 33) % n + 1
  end
  return keys
end

-- ---- chains -----------------------------------------------------------------------------------

-- A chain of n links, each the value of the one before, in a random order of making; the first.
local function chain(n, make, set)
  local links, order = {}, {}
  for i = 1, n do links[i], order[i] = make(), i end
  local at <const> = draws(n, n)
  for i = 1, n do order[i], order[at[i]] = order[at[i]], order[i] end
  for _, i in ipairs(order) do
    if i < n then set(links[i], { links[i + 1] }) end
  end
  return links[1]
end

local function collect() collectgarbage() end

-- Seconds of full collections, and how many values were held all the time.
local function timed_collection(rounds, ...)
  local held, seconds = table.pack(...), {}
  collectgarbage()
  for i = 1, rounds do seconds[i] = time(collect) end
  return seconds, held.n
end

-- The same while fn's results are held, less what it takes without them.
local function collection(rounds, fn)
  local with = timed_collection(rounds, fn())
  for _ = 1, 3 do collectgarbage() end
  local without, differences = timed_collection(rounds), {}
  for i = 1, rounds do differences[i] = with[i] - without[i] end
  return differences
end

-- Objects of lethe's, without and with values under them.
local function objects(n)
  return function()
    local held = {}
    for i = 1, n do held[i] = weakmap.new() end
    return held
  end
end

local function our_chain(n)
  return function()
    local e = weakmap.ephemeron()
    return e, chain(n, weakmap.new, function(k, v) e:set(k, v) end)
  end
end

local function table_chain(n)
  return function()
    local t = setmetatable({}, { __mode = "k" })
    return t, chain(n, function() return {} end, function(k, v) t[k] = v end)
  end
end

-- First of all, in memory that nobody has used before.
do
  collectgarbage("stop")
  local n <const> = math.max(1000, math.floor(30000 * math.min(WORK, 1)))
  local ours <const> = collection(ROUNDS, our_chain(n))
  local bare <const> = collection(ROUNDS, objects(n))
  local theirs <const> = collection(1, table_chain(n))
  local longer <const> = collection(ROUNDS, our_chain(4 * n))
  print(("a chain of %d ephemerons, from an object to the next"):format(n))
  line("  a full collection, beyond one without it",
    figures.over(function(x) return x * 1e3 end, ours), "ms")
  line("  the same, beyond one with as many objects and no chain",
    figures.over(function(x, y) return (x - y) * 1e3 end, ours, bare), "ms", 5)
  line("  one of Lua's weak-keyed tables / ours",
    figures.over(function(x) return theirs[1] / x end, ours), "", 100, true)
  line("  ours with four times the links / this (a square would be 16)",
    figures.ratio(longer, ours), "", 8)
  collectgarbage("restart")
end

-- ---- looking up -------------------------------------------------------------------------------

local function looking_up(map, keys)
  return function()
    local get = map.get
    for i = 1, #keys do get(map, keys[i]) end
  end
end

local function looking_up_in_table(t, keys)
  return function()
    local x -- luacheck: ignore
    for i = 1, #keys do x = t[keys[i]] end
  end
end

-- All keys once, in random order.
local function permutation(n)
  local keys, at = {}, draws(n, n)
  for i = 1, n do keys[i] = i end
  for i = 1, n do keys[i], keys[at[i]] = keys[at[i]], keys[i] end
  return keys
end

-- What a map holds, looked up for the first time; none is asked for a key more than three times.
local function bench_first_gets(held)
  local n <const>, keys, maps = #held, permutation(#held), {}
  local table_peer, tree_peer = new_peer(), new_peer(true)
  for i = 1, ROUNDS // 3 + 1 do maps[i] = weakmap.new() end
  for k = 1, n do
    for _, map in ipairs(maps) do map:insert(k, held[k]) end
    table_peer:set(k, held[k])
    tree_peer:set(k, held[k])
  end
  local turn = -1
  local function ours()
    turn = turn + 1
    looking_up(maps[turn // 3 % #maps + 1], keys)()
  end
  line("  get, ordered, for the first time / a binding's method",
    compare(ROUNDS, ours, looking_up(table_peer, keys)), "")
  for i = 1, #maps do maps[i]:clear() end
  for k = 1, n do
    for _, map in ipairs(maps) do map:insert(k, held[k]) end
  end
  turn = -1
  line("  the same / a method over a plain B-tree",
    compare(ROUNDS, ours, looking_up(tree_peer, keys)), "")
end

local function bench_gets(n)
  local held, ordered, hashed = {}, weakmap.new(), weakmap.new{ ordered = false }
  local other, plain = new_peer and new_peer(), setmetatable({}, { __mode = "v" })
  for k = 1, n do
    held[k] = {}
    ordered:insert(k, held[k])
    hashed:insert(k, held[k])
    plain[k] = held[k]
    if other then other:set(k, held[k]) end
  end
  local keys <const> = draws(n, GETS)
  local in_peer = other and looking_up(other, keys)
  print(("among %d values"):format(n))
  for _, name in ipairs{ "ordered", "hashed" } do
    local ours = looking_up(name == "ordered" and ordered or hashed, keys)
    if in_peer then
      local ratio, seconds = compare(ROUNDS, ours, in_peer)
      line(("  get, %s (%.0f ns) / a binding's method"):format(name, seconds / GETS * 1e9), ratio,
        "", 1.25)
    end
    line(("  get, %s / one of Lua's weak tables"):format(name),
      compare(ROUNDS, ours, looking_up_in_table(plain, keys)), "")
  end
  if other then bench_first_gets(held) end
  return ordered, held
end

local function lengths(map)
  return function()
    for _ = 1, GETS // 10 do map:len() end
  end
end

do
  local small, small_held = bench_gets(1000)
  local large, large_held = bench_gets(math.max(2000, math.floor(1e5 * WORK)))
  line(("len of %d / of %d"):format(#large, #small),
    compare(ROUNDS, lengths(large), lengths(small)), "", 1.25)
  assert(#large_held == #large and #small_held == #small)
end
