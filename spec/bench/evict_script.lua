-- What scripted eviction policies cost, beside the built-in ones and beside what a Lua program
-- would write: whole replays in alternating rounds of one run, the median of the rounds' quotients.
-- A line for each figure: its name, what was measured, the target or "-", and whether it was
-- reached. Ratios are speeds: more is faster. LETHE_WORK below 1 makes it short.
--
--   build/lethe spec/bench/evict_script.lua [TRACE.oracleGeneral.bin]
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local policy = require "lethe.policy"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 1 or 9
local CAPACITY <const>, COLLAPSE <const> = 4897, 4096

-- ---- the trace --------------------------------------------------------------------------------

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

local trace = arg and arg[1] and assert(read(arg[1]), "no such trace")
  or read("../shared/data/cloudPhysicsIO.oracleGeneral.bin")
  or assert(read("spec/data/sqlite.oracleGeneral.bin"))
if WORK < 1 then trace = trace:sub(1, 24 * math.max(6000, math.tointeger(#trace * WORK // 24))) end

local ids = {}
for i = 1, #trace, 24 do
  ids[#ids + 1] = string.unpack("<I8", trace, i + 4)
end

-- ---- measuring --------------------------------------------------------------------------------

local function report(name, ratio, target)
  figures.report(name, ratio, ">=", target)
end

-- Seconds for each request, and the misses.
local function ours(what, limit, records)
  records = records or trace
  return function()
    local replay <close> = assert(policy.replay{ policy = what, limit = limit })
    local began = os.clock()
    assert(replay:run(records))
    local seconds = os.clock() - began
    assert(#replay:failures() == 0)
    return seconds / (#records / 24), replay:stats().misses
  end
end

-- The LRU that a Lua program has: nodes in a list and a table of them by key, get and set.
local Lru = {}
Lru.__index = Lru

local function unlink(node)
  node.prev.next, node.next.prev = node.next, node.prev
end

local function link(head, node)
  node.next, node.prev = head.next, head
  head.next.prev, head.next = node, node
end

local function new_lru(limit)
  local head = {}
  head.next, head.prev = head, head
  return setmetatable({ limit = limit, len = 0, map = {}, head = head }, Lru)
end

function Lru:get(key)
  local node = self.map[key]
  if not node then return nil end
  unlink(node)
  link(self.head, node)
  return node.value
end

function Lru:set(key, value)
  local node = self.map[key]
  if node then
    node.value = value
    unlink(node)
    return link(self.head, node)
  end
  if self.len >= self.limit then
    local last = self.head.prev
    unlink(last)
    self.map[last.key] = nil
    self.len = self.len - 1
  end
  node = { key = key, value = value }
  self.map[key] = node
  link(self.head, node)
  self.len = self.len + 1
end

-- Requests `from` + 1 to `to`; those before warm it up.
local function plain_tables(limit, from, to)
  return function()
    local lru, misses, began = new_lru(limit), 0, nil
    for i = 1, to do
      if i == from + 1 then began = os.clock() end
      if not lru:get(ids[i]) then
        misses = misses + 1
        lru:set(ids[i], true)
      end
    end
    return (os.clock() - began) / (to - from), misses
  end
end

-- The median over the rounds of what `of` makes of the two's times.
local function compared(first, second, of)
  local values = {}
  for i = 0, ROUNDS do -- the first warms up
    collectgarbage()
    local a, b
    if i % 2 == 0 then a, b = first(), second() else b, a = second(), first() end
    if i > 0 then values[i] = of(a, b) end
  end
  return figures.median(values)
end

local function faster(first, second)
  return compared(first, second, function(a, b) return a / b end)
end

local function same_misses(first, second)
  local _, a = first()
  local _, b = second()
  assert(a == b, ("%d and %d misses"):format(a, b))
end

-- ---- policies ---------------------------------------------------------------------------------

local function gdsf(freq, _, _, size, _, L)
  return L + freq * 1e6 / size
end

local function back(c)
  return c:queue("main"):back()
end

local SIEVE <const> = {
  init = function(c) c.q = c:queue("main") end,
  on_insert = function(c, h) c.q:push_front(h) end,
  on_hit = function(c, h) c:mark(h, true) end,
  on_evict = function(c)
    local victim
    victim, c.hand = c.q:scan(c.hand)
    return victim
  end,
}

local CLOCK <const> = {
  queues = { all = 1 },
  rules = { on_evict = { all = "freq >= 1 and reinsert(freq = 0) or drop" } },
}

-- ---- figures ----------------------------------------------------------------------------------

local native <const> = ours("gdsf", CAPACITY)
local by_expression <const> = ours({ score = "L + freq * 1e6 / size" }, CAPACITY)
same_misses(native, by_expression)
report("score as an expression / built-in gdsf", faster(native, by_expression), 0.75)

local by_function <const> = ours({ score = gdsf }, CAPACITY)
same_misses(native, by_function)
report("score as a Lua function, its budget armed / built-in gdsf",
  faster(native, by_function), 0.5)

report("clock as rules / built-in clock", faster(ours("clock", CAPACITY), ours(CLOCK, CAPACITY)))
report("sieve in Lua hooks / built-in sieve",
  faster(ours("sieve", CAPACITY), ours(SIEVE, CAPACITY)))

-- In a file, as what nobody vouches for is; in a table, as part of the program.
local file <const> = "spec/data/policies/empty.lua"
local hooks <const> = ours(file, CAPACITY)
local tables <const> = plain_tables(CAPACITY, 0, #ids)
same_misses(hooks, tables)
report("lru, Lua at eviction alone / plain Lua tables", faster(tables, hooks), 4)
report("the same in a table, its queue found by name each time",
  faster(tables, ours({ on_evict = back }, CAPACITY)))
report("lru, Lua at eviction alone / built-in lru", faster(ours("lru", CAPACITY), hooks))
local _, misses <const> = hooks()
figures.report("what Lua adds to an eviction, ns",
  compared(hooks, ours("lru", CAPACITY), function(a, b)
    return (a - b) * 1e9 * #ids / (misses - CAPACITY)
  end), "<=", 150)

-- A table of 4096 keys is full: each key that comes for another has it built anew.
local last <const> = math.min(#ids, WORK < 1 and 5200 or 16000)
local begin <const> = math.min(last - 100, WORK < 1 and 5000 or 15000)
local ROUND <const> = plain_tables(COLLAPSE, begin, last)
report("the same where a table of 4096 keys is full", faster(ROUND, ours(file, COLLAPSE)), 500)

-- A policy of a file in place of another: read, tried in a state of its own, made in another one,
-- and given what the other knew.
local cache <const> = require("lethe.cache").new{
  backend = { load = function(_, key) return key end }, limit = 1000, policy = file,
}
for key = 1, 1000 do cache:get(key) end
for _, name in ipairs{ "sieve", "s3fifo" } do
  local path <const>, times, n = ("lua/lethe/policy/%s.lua"):format(name), {}, WORK < 1 and 3 or 50
  for i = 1, ROUNDS do
    local began <const> = os.clock()
    for _ = 1, n do assert(cache:reload(path)) end
    times[i] = (os.clock() - began) / n * 1000
  end
  figures.report(name .. ".lua put in charge of 1,000 entries, ms", figures.median(times), "<=", 1)
end
cache:close()
