-- Shadows: how far one that looks at an eighth of the keys is off what the whole would have
-- counted, on a made-up trace and on the published simulator's, whatever seed keys are hashed with;
-- and what scripts see in them.
local cache = require "lethe.cache"
local core = require "lethe.core.cache"
local make = require "lethe.evict.make"
local policy = require "lethe.policy"
local requests = require "spec.support.requests"
local sim = require "lethe.sim"

local TRACE <const> = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"
local POLICIES <const> = { "lru", "sieve" }
local SAMPLE <const>, SEEDS <const> = 1 / 8, 8

local recorded = sim.open(TRACE)
if not recorded then print(TRACE .. " is not there: shadows see what is made up alone") end

-- A shadow of that seed: Cache:shadow has one seed for all.
local function seeded(c, name, limit, seed)
  local made <close> = assert(make.make(name, core.shadow_limit(limit, SAMPLE), 1, false, 1))
  return core.shadow(c, made, SAMPLE, true, seed)
end

-- Each seed's and policy's distance from the exact ratio, the largest first; each is within its
-- own bound.
local function errors(trace, limit)
  local c <close> = cache.new{ limit = limit, policy = "fifo", backend = {
    load = function(_, k) return k end,
  } }
  local shadows, off = {}, {}
  for _, name in ipairs(POLICIES) do
    shadows[name] = {}
    for seed = 1, SEEDS do shadows[name][seed] = seeded(c, name, limit, seed) end
  end
  for _, id in trace:requests() do c:get(id) end
  for _, result in ipairs(sim.run{
    trace = trace, policies = POLICIES, sizes = { limit }, unit = true,
  }) do
    for _, shadow in ipairs(shadows[result.policy]) do
      local stats <const> = shadow:stats()
      off[#off + 1] = math.abs(stats.miss_ratio - result.miss_ratio)
      assert.is_true(off[#off] <= stats.error_bound)
      shadow:close()
    end
  end
  table.sort(off, function(a, b) return a > b end)
  return off
end

local function near(trace, limit)
  local off <const> = errors(trace, limit)
  local most <const> = #off // 4 -- of all but so many
  assert.is_true(off[1] <= 0.03, ("the worst is off by %.4f"):format(off[1]))
  assert.is_true(off[most + 1] <= 0.01, ("%d are off by %.4f"):format(most + 1, off[most + 1]))
end

describe("a shadow of an eighth", function()
  it("is near the whole, on what is made up", function()
    local trace <close> = sim.synthetic{
      kind = "zipf", objects = 20000, requests = 60000, alpha = 0.9, seed = 5,
    }
    near(trace, 4000)
  end)

  if recorded then
    for _, limit in ipairs{ 489, 4897 } do
      it(("is near the whole, on the trace: %d"):format(limit), function()
        near(recorded, limit)
      end)
    end
  end
end)

describe("a shadow of a script", function()
  it("tells it the key that is asked for, before there is an entry", function()
    local c <close> = cache.new{ limit = 2, backend = { load = function(_, k) return k end } }
    local asked = {}
    local shadow <close> = assert(c:shadow({
      admit = function(x)
        asked[#asked + 1] = x:key()
        return true
      end,
      on_evict = function(x) return x:queue("main"):back() end,
    }, { sample = 1 }))
    for _, key in ipairs{ "a", 7, "b", "a" } do c:get(key) end
    assert.are.same({ "a", 7, "b", "a" }, asked)
    assert.are.equal(0, shadow:stats().strikes)
  end)

  for _, name in ipairs(policy.names()) do
    it("has no strike where keys are strings: " .. name, function()
      local c <close> = cache.new{ limit = 20, backend = { load = function(_, k) return k end } }
      local shadow <close> = assert(c:shadow("lua/lethe/policy/" .. name .. ".lua", { sample = 1 }))
      for _, id in ipairs((requests.skewed(3, 600, 90))) do c:get("key " .. id) end
      local stats <const> = shadow:stats()
      assert.are.same({ 0, 600 }, { stats.strikes, stats.hits + stats.misses })
    end)
  end
end)
