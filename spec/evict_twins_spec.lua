-- Built-in eviction policies and the same as scripts, lua/lethe/policy/: equal misses, on random
-- requests of one size and of many, and on the published simulator's trace: the whole of it once,
-- with LETHE_WORK above 1 at each size. Policies that draw do so with the same dice.
local policy = require "lethe.policy"
local chance = require "spec.support.chance"
local requests = require "spec.support.requests"

local TRACE <const> = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"
local OBJECTS <const>, FOOTPRINT <const> = 48974, 2029769728
local FOLDER <const> = "lua/lethe/policy/"
local WORK <const> = chance.WORK

local function contents(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

local function counted(what, options, records)
  options.policy = what
  local replay <close> = assert(policy.replay(options))
  assert(replay:run(records))
  assert.is_true(replay:check())
  assert.are.same({}, replay:failures())
  local stats <const> = replay:stats()
  return stats.misses, stats.missed
end

local function alike(name, options, records)
  local misses <const>, missed <const> = counted(name, options, records)
  local scripted <const>, bytes <const> = counted(FOLDER .. name .. ".lua", options, records)
  assert.are.same({ misses, missed }, { scripted, bytes })
end

describe("a built-in policy and its script", function()
  local records = contents(TRACE)
  if not records then print(TRACE .. " is not there: nothing is replayed") end

  for _, name in ipairs(policy.names()) do
    it(("miss alike on random requests: %s"):format(name), function()
      for seed = 1, 3 do
        local ids, sizes = requests.skewed(seed, 3000, 300)
        for i, id in ipairs(ids) do sizes[i] = 1 + id % (seed * 3) end
        for _, limit in ipairs{ 30, 47, 200 } do
          alike(name, { limit = limit }, requests.records(ids))
          alike(name, { bytes = limit * 5 }, requests.records(ids, sizes))
        end
      end
    end)

    it(("miss alike where sizes change, past the limit too: %s"):format(name), function()
      for seed = 1, 3 do
        local ids <const>, sizes <const> = requests.skewed(seed, 3000, 60), {}
        for i, id in ipairs(ids) do sizes[i] = 1 + (id * 7 + i // 5 * seed) % 90 end
        for _, limit in ipairs{ 40, 80, 600 } do
          alike(name, { bytes = limit }, requests.records(ids, sizes))
        end
      end
    end)

    if records then
      it(("miss alike on the trace: %s"):format(name), function()
        local few <const> = WORK > 1 and records or records:sub(1, 24 * 20000)
        alike(name, { limit = OBJECTS // 100 }, records)
        alike(name, { limit = OBJECTS // 10 }, few)
        alike(name, { bytes = FOOTPRINT // 10 }, few)
      end)
    end
  end

  -- A table with a field for each entry is built anew for each that comes, where the entries fill
  -- it: the sandbox counts that as a thousand instructions and more.
  for _, name in ipairs{ "arc", "slru", "twoq" } do
    it(("keeps no table of entries: %s"):format(name), function()
      local ids = requests.skewed(4, 6000, 3000)
      local text <const> = contents(FOLDER .. name .. ".lua")
      local budgeted <const>, n = text:gsub('\n  name = "%w+",', "%0 budget = 1000,")
      assert.are.equal(1, n)
      local path <const> = requests.file(budgeted)
      finally(function() os.remove(path) end)
      for _, limit in ipairs{ 512, 1024 } do
        counted(path, { limit = limit }, requests.records(ids))
      end
    end)
  end

  it("are there for every name, and pass a check", function()
    for _, name in ipairs(policy.names()) do
      assert.are.same(true, policy.check(FOLDER .. name .. ".lua"))
    end
  end)
end)
