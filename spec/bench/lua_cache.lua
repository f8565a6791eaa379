-- What a cache costs from Lua. Ratios of times that are measured side by side: the two of a row
-- take turns, and the medians of their rounds are compared.
--
--   lethe spec/bench/lua_cache.lua
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local resty = require "spec.bench.harness.resty"
local cache = require "lethe.cache"
local loop = require "lethe.loop"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 3 or 11
local N <const> = math.max(1000, math.floor(2e5 * WORK))
local CAPACITY <const> = math.max(100, math.floor(1e5 * math.min(WORK, 1)))

-- ---- a plain LRU in tables: a node for each entry, in a ring ----------------------------------

local Plain = {}
Plain.__index = Plain

local function plain_lru(limit)
  local ring = {}
  ring.next, ring.prev = ring, ring
  return setmetatable({ limit = limit, n = 0, nodes = {}, ring = ring }, Plain)
end

local function unlink(node)
  node.prev.next, node.next.prev = node.next, node.prev
end

local function link(ring, node)
  node.next, node.prev = ring.next, ring
  ring.next.prev, ring.next = node, node
end

function Plain:get(key)
  local node = self.nodes[key]
  if not node then return nil end
  unlink(node)
  link(self.ring, node)
  return node.value
end

function Plain:set(key, value)
  local node = { key = key, value = value }
  if self.n >= self.limit then
    local last = self.ring.prev
    unlink(last)
    self.nodes[last.key] = nil
  else
    self.n = self.n + 1
  end
  self.nodes[key] = node
  link(self.ring, node)
end

-- ---- measuring --------------------------------------------------------------------------------

-- Nanoseconds of one iteration of each, round by round. A function may know its own.
local function measure(n, ...)
  local fns <const> = { ... }
  local times = {}
  for round = 0, ROUNDS do
    for i, fn in ipairs(fns) do
      times[i] = times[i] or {}
      local began = os.clock()
      local own = fn(n)
      if round > 0 then times[i][round] = own or (os.clock() - began) / n * 1e9 end
    end
  end
  return table.unpack(times)
end

local function row(what, xs, against, ys, aim, at_least)
  print(("%s %.1f ns, %s %.1f ns"):format(what, figures.median(xs), against, figures.median(ys)))
  figures.report(what .. " / " .. against, figures.ratio(xs, ys), at_least and ">=" or "<=", aim)
end

local function nothing() end

local draw_state = 1
local function draw(n)
  draw_state = (draw_state * 6364136223846793005 + 1442695040888963407)
  return (draw_state >> 33) % n + 1
end

-- ---- hits and misses --------------------------------------------------------------------------

local backend <const> = { load = function(_, key) return key end, flush = nothing }
local ours <const> = cache.new{ backend = backend, limit = CAPACITY }
local plain <const> = plain_lru(CAPACITY)
for k = 1, CAPACITY do
  ours:get(k)
  plain:set(k, k)
end

local function hits_of(c)
  return function(n)
    for _ = 1, n do
      c:get(draw(CAPACITY))
    end
  end
end
local our_hits <const> = hits_of(ours)

local next_key = CAPACITY

local function our_misses(n)
  for i = 1, n do
    ours:get(next_key + i)
  end
  next_key = next_key + n
end

local next_plain = CAPACITY

local function plain_misses(n)
  for i = 1, n do
    local key = next_plain + i
    if not plain:get(key) then plain:set(key, backend:load(key)) end
  end
  next_plain = next_plain + n
end

-- Popular keys are asked for often: alpha 0.99 over ten times as many keys as there is room.
local function zipf(n, objects)
  local sums, total = {}, 0
  for i = 1, objects do
    total = total + i ^ -0.99
    sums[i] = total
  end
  local keys = {}
  for i = 1, n do
    local x, lo, hi = draw(1 << 30) / (1 << 30) * total, 1, objects
    while lo < hi do
      local mid = (lo + hi) // 2
      if sums[mid] < x then lo = mid + 1 else hi = mid end
    end
    keys[i] = lo * 7919 % objects
  end
  return keys
end

local trace <const> = zipf(5 * N, 10 * CAPACITY)

local function mix_of(c)
  return function(n)
    for i = 1, n do
      c:get(trace[i])
    end
  end
end
local our_mix <const> = mix_of(ours)

-- Of one that leaves loading to its user.
local function loading_mix_of(c)
  return function(n)
    for i = 1, n do
      local key = trace[i]
      if not c:get(key) then c:set(key, backend:load(key)) end
    end
  end
end

local h, p = measure(N, our_hits, hits_of(plain))
row("hit", h, "plain tables", p, 0.5)
h, p = measure(N // 10, our_misses, plain_misses)
row("miss, loaded by a task", h, "plain tables, no task", p)
h, p = measure(#trace, our_mix, loading_mix_of(plain))
row("zipf 0.99, hits and misses", h, "plain tables, no task", p)

-- ---- beside the cache that OpenResty's users take ---------------------------------------------

local Resty <const> = resty.load()
if Resty then
  local theirs <const> = Resty.new(CAPACITY)
  for k = 1, CAPACITY do theirs:set(k, k) end

  ours:invalidate()
  for k = 1, CAPACITY do ours:get(k) end
  h, p = measure(N, our_hits, hits_of(theirs))
  row("hit", h, "lua-resty-lrucache under Lua 5.4", p)
  h, p = measure(#trace, our_mix, loading_mix_of(theirs))
  row("zipf 0.99, hits and misses", h, "lua-resty-lrucache under Lua 5.4", p, 0.25)
else
  print("lua-resty-lrucache is not there: not measured beside it")
end
local under_luajit <const> = resty.on_luajit(trace, CAPACITY)
if under_luajit then
  h, p = measure(#trace, our_mix, under_luajit)
  row("zipf 0.99, hits and misses", h, "lua-resty-lrucache under LuaJIT", p, 1)
else
  print("LuaJIT is not there: not measured beside it")
end
ours:invalidate()

-- ---- a candidate beside the policy ------------------------------------------------------------

local function of_size() return cache.new{ backend = backend, limit = CAPACITY } end
local alone <const>, shadowed <const> = of_size(), of_size()
local beside <const> = assert(shadowed:shadow("sieve", { sample = 1 / 8 }))
h, p = measure(#trace, mix_of(shadowed), mix_of(alone))
row("zipf 0.99, a shadow of 1/8 beside it", h, "without one", p, 1.2)
beside:close()
alone:close()
shadowed:close()

-- ---- what waits -------------------------------------------------------------------------------

-- Hits on other keys while a load is under way.
do
  local on = loop.default()
  local gate
  local slow = cache.new{ limit = 1000, backend = { load = function(_, key)
    if key == "slow" then
      loop.wait(nil, function(wake) gate = wake end)
    end
    return key
  end } }
  for k = 1, 900 do
    slow:get(k)
  end
  local function hits(n)
    for i = 1, n do
      slow:get(i % 900 + 1)
    end
  end
  local waiting
  local function idle(n)
    if waiting then
      gate(true)
      waiting:join()
      gate = nil
      slow:remove("slow")
      waiting = nil
    end
    hits(n)
  end
  local function loading(n)
    if not waiting then
      waiting = on:spawn(function() return slow:get("slow") end)
      while not gate do
        on:step()
      end
    end
    hits(n)
  end
  local a, b = measure(N, idle, loading)
  row("hit, nothing else going on", a, "hit during a load", b, 0.95, true)
  idle(1)
  slow:close()
end

do
  local loads, on = 0, loop.default()
  local one = cache.new{ limit = 10, backend = { load = function(_, key)
    loads = loads + 1
    on:sleep(0.001)
    return key
  end } }
  local asked = {}
  for i = 1, 1000 do
    asked[i] = on:spawn(function() return one:get("a") end)
  end
  for i = 1, 1000 do
    asked[i]:join()
  end
  print(("1,000 waiters on one key: %d load"):format(loads))
  one:close()
end
