-- Random vat scripts against the naive model of the same rules (spec/support/slots_reference.lua),
-- under both engines, and under schedules of Lua's collector. LETHE_WORK scales how many; SEED
-- picks the first.
local chance = require "spec.support.chance"
local logs = require "spec.support.vat_logs"
local script = require "lethe.vat.script"
local scripts = require "spec.support.slots_scripts"

local WORK <const> = chance.WORK
local SEED <const> = chance.SEED
local SCRIPTS <const> = math.max(math.floor(100 * WORK), 10)
local LENGTH <const> = WORK > 1 and 120 or 60

local KINDS <const> = {
  { gc = "manual", tier = 1 }, { gc = "manual", tier = 2 },
  { gc = "forced", tier = 1 }, { gc = "forced", tier = 2 },
}

local function kind(i)
  local of = KINDS[i % #KINDS + 1]
  return { gc = of.gc, tier = of.tier, length = LENGTH }
end

-- Plays a script and compares; the seed is in the message.
local function check(seed, header, list, log, level, options)
  local difference = logs.difference(log, script.play(header, list, options), level)
  if difference then error(("SEED=%d: %s"):format(seed, difference), 0) end
end

describe("random vat scripts", function()
  it("give the model's log under the engine that they ask for", function()
    for seed = SEED, SEED + SCRIPTS - 1 do
      local header, list, log = scripts.generate(seed, kind(seed))
      check(seed, header, list, log, header.gc == "manual" and "all" or "answer")
    end
  end)

  it("give it under the simulated collector, forced or not", function()
    for seed = SEED, SEED + SCRIPTS // 2 - 1 do
      local header, list, log = scripts.generate(seed, kind(seed))
      check(seed, header, list, log, "all", { engine = "manual" })
    end
  end)

  it("say the same under each schedule of Lua's collector", function()
    for seed = SEED, SEED + SCRIPTS // 4 - 1 do
      local header, list, log = scripts.generate(seed, kind(2 + seed % 2))
      for schedule = seed * 16 + 1, seed * 16 + 4 do
        check(seed, header, list, log, "answer", { engine = "lua", schedule = schedule })
      end
      header, list, log = scripts.generate(seed, kind(seed % 2))
      check(seed, header, list, log, "all", { engine = "manual", schedule = seed })
    end
  end)

  it("give one transcript whenever the collector's operations come", function()
    for seed = SEED, SEED + SCRIPTS // 10 - 1 do
      local header, list, log = scripts.generate(seed, { gc = "forced", tier = 2, length = LENGTH })
      local names = {}
      for _, prefix in ipairs{ "o-", "o+", "w", "o+v2/", "o+v3/" } do
        for n = 1, 12 do
          names[#names + 1] = prefix .. n
        end
      end
      local expected = logs.transcript(log)
      for other = 0, 4 do
        local changed = scripts.reschedule(list, other > 0 and seed * 8 + other or nil, names)
        for _, engine in ipairs{ "lua", "manual" } do
          local got = logs.transcript(script.play(header, changed, { engine = engine }))
          if got ~= expected then
            error(("SEED=%d, variant %d, %s"):format(seed, other, engine), 0)
          end
        end
      end
    end
  end)
end)
