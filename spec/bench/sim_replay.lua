-- What the simulator costs. Ratios of times that are measured side by side: those of a row take
-- turns, and the medians of their rounds are compared.
--
--   lethe spec/bench/sim_replay.lua
local core = require "lethe.core.cli"
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local policy = require "lethe.policy"
local sim = require "lethe.sim"

local WORK <const> = tonumber(os.getenv("LETHE_WORK")) or 1
local ROUNDS <const> = WORK < 1 and 1 or 5

-- The published trace where it is there; else as many requests, made up, of which as many miss.
local function open()
  local trace = WORK >= 1 and sim.open("../shared/data/cloudPhysicsIO.oracleGeneral.bin")
  if trace then return trace end
  return assert(sim.synthetic{ kind = "mixed", objects = 49000, size = { 512, 65536 },
    requests = math.max(1000, math.floor(113872 * math.min(WORK, 1))) })
end

local trace <const> = open()
local ENTRIES <const> = trace:objects() // 10
local FRACTIONS <const> = { 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8 }

-- GDSF as a candidate comes to the simulator: a file with a score in Lua.
local CANDIDATE <const> = os.tmpname()
do
  local file <close> = assert(io.open(CANDIDATE, "w"))
  file:write("return { score = function(freq, age, since, size, cost, L)\n",
    "  return L + freq * cost * 1e6 / size\nend }\n")
end

local function seconds(fn)
  local began = core.now()
  fn()
  return core.now() - began
end

local function one(name)
  return seconds(function()
    local row = sim.run{ trace = trace, policies = { name }, sizes = { ENTRIES }, unit = true,
      jobs = 1 }[1]
    assert(not row.failed, row.failed)
  end)
end

local function all()
  return seconds(function()
    for _, row in ipairs(sim.run{ trace = trace, sizes = FRACTIONS, unit = true }) do
      assert(not row.failed, row.failed)
    end
  end)
end

local function candidate()
  return seconds(function()
    local text <close> = assert(policy.load(CANDIDATE))
    local row = sim.run{ trace = trace, policies = { text }, sizes = { ENTRIES }, unit = true,
      jobs = 1 }[1]
    assert(not row.failed, row.failed)
  end)
end

local function opened()
  return seconds(function()
    open():close()
  end)
end

-- Times by name, in rounds after one that warms up; and the median of a ratio.
-- `all` runs on as many threads as the machine has processors: its rounds are calm ones.
local function round()
  return one "lru", all(), one "gdsf", candidate(), opened(), one "belady"
end

round() -- warms up
local times = {}
times.lru, times.all, times.gdsf, times.candidate, times.open, times.belady =
  figures.calm_rounds(ROUNDS, 6, round)
figures.close()
os.remove(CANDIDATE)

local function milliseconds(list)
  return 1000 * (figures.median(list) or 0)
end

local function row(what, x, y, aim)
  print(("%s: %.1f ms"):format(what, milliseconds(times[x])))
  figures.report(what, figures.ratio(times[x], times[y]), "<=", aim)
end

print(("%d requests; one run of lru: %.1f ms, of gdsf: %.1f ms"):format(#trace,
  milliseconds(times.lru), milliseconds(times.gdsf)))
row("14 policies x 8 sizes / one run of lru", "all", "lru", 500)
row("load and replay of a score in Lua / one run of gdsf", "candidate", "gdsf", 4)
row("belady / one run of lru", "belady", "lru")
row("opening the trace / one run of lru", "open", "lru")
