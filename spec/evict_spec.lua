-- Eviction policies by name: which there are, and what they count on the published simulator's
-- trace.
local cache = require "lethe.cache"
local lethe = require "lethe"
local policy = require "lethe.policy"
local requests = require "spec.support.requests"

local TRACE <const> = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"
local OBJECTS <const>, FOOTPRINT <const> = 48974, 2029769728

-- Misses with a cache of 1 % and 10 % of the objects, and of 10 % of their bytes, with the byte
-- miss ratio there.
local MISSES <const> = {
  fifo = { 96518, 91716, 91954, ".9509" },
  lru = { 95420, 91657, 92200, ".9518" },
  clock = { 95332, 91599, 92082, ".9520" },
  lfu = { 96765, 90040, 89993, ".9296" },
  slru = { 94590, 90011, 88640, ".9200" },
  twoq = { 94573, 88160, 87627, ".9017" },
  sieve = { 94419, 90040, 89993, ".9296" },
  s3fifo = { 94559, 85691, 83764, ".8619" },
  arc = { 94229, 88002, 87541, ".9026" },
  gdsf = { 94688, 91389, 86335, ".9509" },
  lirs = { 94680, 85609, 84149, ".8730" },
  belady = { 90263, 71620, 74162, ".7320" },
}

local function contents(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

describe("policy.names", function()
  it("lists what is built in, in a table of its own", function()
    local names = policy.names()
    assert.are.same({
      "lru", "fifo", "clock", "sieve", "s3fifo", "slru", "twoq", "arc", "lfu", "lirs", "gdsf",
      "wtinylfu", "hyperbolic", "random",
    }, names)
    names[1] = "mine"
    assert.are.equal("lru", policy.names()[1])
  end)
end)

describe("a replay", function()
  it("counts requests that find their key, and what they weigh", function()
    local replay <close> = policy.replay{ policy = "lru", limit = 2 }
    assert.are.equal("policy.Replay", lethe.type(replay))
    assert.is_false(replay:access(1, 10))
    assert.is_false(replay:access(2, 20))
    assert.is_true(replay:access(1, 99))
    assert.is_false(replay:access(3, 30))
    assert.is_false(replay:access(2, 20))
    assert.are.same({
      requests = 5, misses = 4, bytes = 179, missed = 80, entries = 2, used = 2, limit = 2,
    }, replay:stats())
    assert.is_true(replay:check())
  end)

  it("in bytes keeps what fits", function()
    local replay <close> = policy.replay{ policy = "fifo", bytes = "1K" }
    replay:access(1, 1000)
    replay:access(2, 30)
    assert.are.equal(30, replay:stats().used)
    assert.is_false(replay:access(3, 2000))
    assert.is_true(replay:access(2))
    assert.is_true(replay:resize(10))
    assert.are.equal(0, replay:stats().entries)
  end)

  it("takes requests as records, and skips those of size 0", function()
    local replay <close> = policy.replay{ policy = "belady", limit = 1 }
    local records = {}
    for i, id in ipairs{ 7, 7, 8, 7 } do
      records[i] = ("<I4I8I4i8"):pack(i, id, id == 8 and 0 or 5, i < 3 and i + 1 or -1)
    end
    assert.is_true(replay:run(table.concat(records)))
    assert.are.equal(3, replay:stats().requests)
    assert.are.equal(1, replay:stats().misses)
    assert.error_matches(function() replay:run("x") end, "records of 24 bytes")
  end)

  it("refuses a name that nothing has, with a suggestion", function()
    local replay, message, code = policy.replay{ policy = "siev", limit = 5 }
    assert.is_nil(replay)
    assert.are.equal('unknown policy "siev" (did you mean "sieve"?)', message)
    assert.are.equal("bad_policy", code)
    assert.are.equal('unknown policy "none of these"',
      select(2, policy.replay{ policy = "none of these", limit = 5 }))
  end)

  it("raises for what makes no sense", function()
    assert.error_matches(function() policy.replay{ policy = "lru" } end, "either limit or bytes")
    assert.error_matches(function() policy.replay{ policy = "lru", limit = 1, bytes = 1 } end,
      "either limit or bytes")
    assert.error_matches(function() policy.replay{ policy = "lru", limit = -1 } end,
      "limit must be a number of entries %(got %-1%)")
    assert.error_matches(function() policy.replay{ policy = "lru", limt = 1 } end,
      'unknown option "limt" %(did you mean "limit"%?%)')
    assert.error_matches(function() policy.replay{ policy = 5, limit = 1 } end,
      "^policy must be a name, a function or a table %(got number%)")
    assert.error_matches(function() policy.replay{ policy = "lru", limit = 1, seed = "x" } end,
      "seed must be an integer %(got x%)")
  end)

  it("is of no use once closed", function()
    local replay = policy.replay{ policy = "arc", limit = 5 }
    assert.is_true(replay:close())
    assert.is_true(replay:close())
    assert.error_matches(function() replay:stats() end,
      "attempt to use a closed lethe.policy.Replay")
    assert.matches("closed", tostring(replay))
  end)
end)

-- What depends on how keys are hashed, or on dice: a live cache hashes them its own way.
local HASHED <const> = { wtinylfu = true, hyperbolic = true, random = true }

describe("a live cache", function()
  for _, name in ipairs(policy.names()) do
    it(("misses what a replay misses: %s"):format(name), function()
      local ids <const> = requests.skewed(7, 3000, 400)
      local live <close> = cache.new{
        limit = 40, policy = name, backend = { load = function(_, key) return key end },
      }
      local replay <close> = policy.replay{ policy = name, limit = 40 }
      for _, id in ipairs(ids) do
        assert(live:get(id))
        replay:access(id)
      end
      local misses <const>, expected <const> = live:stats().misses, replay:stats().misses
      assert.are.equal(40, live:len())
      assert.is_true(math.abs(misses - expected) <= (HASHED[name] and expected // 20 or 0),
        ("%d, %d"):format(misses, expected))
    end)

    it(("of a few entries stores whatever fits: %s"):format(name), function()
      for limit = 1, 12 do
        local live <close> = cache.new{
          limit = limit, policy = name, backend = { load = function(_, key) return key end },
        }
        for i = 1, 60 do assert(live:get(i * i % 29)) end
        assert.is_true(live:len() > limit // 2 and live:len() <= limit)
      end
    end)
  end
end)

describe("misses on the published simulator's trace", function()
  local records = contents(TRACE)
  if not records then
    print(TRACE .. " is not there: nothing is replayed")
    return
  end

  local function replayed(name, options)
    options.policy = name
    local replay <close> = assert(policy.replay(options))
    assert(replay:run(records))
    assert.is_true(replay:check())
    return replay:stats()
  end

  for name, row in pairs(MISSES) do
    it(("are equal: %s"):format(name), function()
      assert.are.equal(row[1], replayed(name, { limit = OBJECTS // 100 }).misses)
      assert.are.equal(row[2], replayed(name, { limit = OBJECTS // 10 }).misses)
      local bytes = replayed(name, { bytes = FOOTPRINT // 10 })
      assert.are.equal(row[3], bytes.misses)
      assert.are.equal("0" .. row[4], ("%.4f"):format(bytes.missed / bytes.bytes))
    end)
  end

  it("are within three thousandths where a policy draws samples, whatever the seed", function()
    for seed = 1, 3 do
      local function near(expected, options)
        options.seed = seed
        local misses <const> = replayed("hyperbolic", options).misses
        assert.is_true(math.abs(misses / expected - 1) < 0.003, misses)
      end
      near(95072, { limit = OBJECTS // 100 })
      near(91245, { limit = OBJECTS // 10 })
      near(91435, { bytes = FOOTPRINT // 10 })
    end
  end)

  it("are the same for the same seed", function()
    for _, name in ipairs{ "random", "hyperbolic" } do
      local one = replayed(name, { limit = 489, seed = 5 })
      assert.are.same(one, replayed(name, { limit = 489, seed = 5 }))
      assert.are_not.equal(one.misses, replayed(name, { limit = 489, seed = 6 }).misses)
    end
  end)
end)
