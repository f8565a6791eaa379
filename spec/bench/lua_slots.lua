-- What import tracking costs: bytes of a live import, times beside the same done with plain Lua
-- tables, and how long one budgeted bring_out_your_dead takes.
--
--   lethe spec/bench/lua_slots.lua
--
-- The peer does the same with plain tables: it looks whether a name is one, has a weak table of
-- presences and one of their names, what the kernel reaches and recognizes by name, presences whose
-- __gc puts their names into a dead-set, and lists sorted by bytes when the dead are brought out.
-- It knows nothing of exports, stores and weak collections but that it asks for them.
--
-- Times are taken side by side in each round, and the median ratio counts. Drops are timed once the
-- collector has found them, and without the collections that bring_out_your_dead makes itself.
-- LETHE_WORK below 1 makes it short.
local base = require "lethe.core.base"
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local vat = require "lethe.vat"
local loop = require("lethe.loop").default()

local WORK <const> = math.min(1, tonumber(os.getenv("LETHE_WORK")) or 1)
local ROUNDS <const> = 3
local MANY <const> = math.max(1000, math.floor(1e6 * WORK))

local function now()
  return loop:now()
end

local function line(name, value, unit, target)
  figures.report(name, value, "<=", target, unit)
end

-- ---- the peer ---------------------------------------------------------------------------------

local Naive = {}
Naive.__index = Naive

local function new_naive()
  local self = setmetatable({ dead = {}, reachable = {}, recognizable = {}, vdata = {} }, Naive)
  self.recognizers, self.said = {}, {}
  self.values = setmetatable({}, { __mode = "v" })
  self.slots = setmetatable({}, { __mode = "k" })
  self.class = { __gc = function(presence) self.dead[presence.vref] = true end }
  return self
end

function Naive:import(vref)
  local kind, sign = vref:match("^([opd])([+-])%d+$")
  if not kind then error("no vref") end
  local presence = self.values[vref]
  if not presence and kind == "o" and sign == "-" then
    presence = setmetatable({ vref = vref }, self.class)
    self.values[vref], self.slots[presence] = presence, vref
    self.dead[vref] = nil
  end
  self.reachable[vref], self.recognizable[vref] = true, true
  return presence
end

function Naive:bring_out_your_dead()
  local drop, retire = {}, {}
  for vref in pairs(self.dead) do
    if not self.values[vref] and not self.vdata[vref] and self.reachable[vref] then
      drop[#drop + 1] = vref
      self.reachable[vref] = nil
      if not self.recognizers[vref] then
        retire[#retire + 1] = vref
        self.recognizable[vref] = nil
      end
    end
  end
  self.dead = {}
  table.sort(drop, base.less)
  table.sort(retire, base.less)
  self.said = { drop, retire }
end

-- ---- rounds -----------------------------------------------------------------------------------

local names = {}
for i = 1, MANY do
  names[i] = "o-" .. i
end

local function new_ours()
  return vat.slots{ syscall = { dropImports = function() end, retireImports = function() end } }
end

local function full()
  local began = now()
  collectgarbage()
  return now() - began
end

local function import_all(slots)
  local kept = table.move(names, 1, MANY, 1, {})
  collectgarbage()
  collectgarbage("stop")
  local before = collectgarbage("count") * 1024
  local began = now()
  for i = 1, MANY do
    kept[i] = slots:import(names[i])
  end
  local first = now() - began
  local bytes = collectgarbage("count") * 1024 - before
  began = now()
  for i = 1, MANY do
    if slots:import(names[i]) ~= kept[i] then error("not the same") end
  end
  local again = now() - began
  collectgarbage("restart")
  return first, again, bytes
end

-- Seconds of a first import, a re-delivery and a drop, of MANY of them; bytes of one.
local function measure(slots, ours)
  local empty = ours and slots:stats().bytes or 0
  local first, again, bytes = import_all(slots)
  if ours then bytes = bytes + slots:stats().bytes - empty end
  full()
  full()
  local began = now()
  slots:bring_out_your_dead()
  local drop = now() - began
  -- it looks until it finds nothing: twice, since the first time it ran callbacks
  if ours then drop = drop - full() - full() end
  return first, again, math.max(drop, 1e-9), bytes / MANY
end

local function compare()
  local ratios, times, bytes, naive_bytes = { {}, {}, {} }, { {}, {}, {} }, {}, {}
  for round = 1, ROUNDS do
    local ours, theirs = new_ours(), new_naive()
    local a, b
    if round % 2 == 1 then
      a, b = { measure(ours, true) }, { measure(theirs, false) }
    else
      b, a = { measure(theirs, false) }, { measure(ours, true) }
    end
    for i = 1, 3 do
      ratios[i][round], times[i][round] = a[i] / b[i], a[i] / MANY
    end
    bytes[round], naive_bytes[round] = a[4], b[4]
    ours:close()
  end
  line("bytes of a live import, presence included", figures.median(bytes), "bytes", 160)
  line("  with plain Lua tables", figures.median(naive_bytes), "bytes")
  for i, what in ipairs{ "a first import", "a re-delivery", "a drop with its retirement" } do
    line(what .. " / with plain Lua tables", figures.median(ratios[i]), "x", 1 / 3)
    line("  time of one", figures.over(function(t) return t * 1e9 end, times[i]), "ns")
  end
end

-- ---- what is left ------------------------------------------------------------------------------

local function left_of_each()
  local slots <close> = new_ours()
  slots:bring_out_your_dead()
  full()
  local before = collectgarbage("count") * 1024 + slots:stats().bytes
  for i = 1, MANY do
    slots:import(names[i])
  end
  slots:bring_out_your_dead()
  for _ = 1, 12 do -- Lua halves its table of strings once a cycle
    full()
  end
  local after = collectgarbage("count") * 1024 + slots:stats().bytes
  return (after - before) / MANY
end

local function residue()
  local left = {}
  for round = 1, ROUNDS do left[round] = left_of_each() end
  line("bytes left of each once all are retired", figures.median(left), "bytes", 8)
end

-- ---- budgets ----------------------------------------------------------------------------------

local BUDGET <const> = 1000

-- How many names a call says; milliseconds of the first and of the longest of the others.
local function judge(n)
  local slots <close> = new_ours()
  for i = 1, n do
    slots:import(names[i])
  end
  full()
  local pauses, collections = {}, nil
  repeat
    local began = now()
    local done = slots:bring_out_your_dead(BUDGET)
    pauses[#pauses + 1] = now() - began
    collections = collections or full() + full()
  until done
  local first = table.remove(pauses, 1) - collections
  return n / (#pauses + 1), first * 1e3, math.max(0, table.unpack(pauses)) * 1e3
end

local function budgets()
  local n <const>, said, first, longest = math.max(MANY // 10, 2000), {}, {}, {}
  for round = 1, ROUNDS do said[round], first[round], longest[round] = judge(n) end
  print(("one call of %d with a budget of %d:"):format(n, BUDGET))
  line("  names that it says", figures.median(said), "names")
  line("  the first call, which judges all, less its collections", figures.median(first), "ms")
  line("  the longest of the others", figures.median(longest), "ms", 2)
end

compare()
residue()
budgets()
