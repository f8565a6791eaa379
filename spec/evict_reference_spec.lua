-- Built-in eviction policies against a naive reference: random requests of skewed keys, scans and
-- loops, sizes that differ and change, limits that change, in entries and in bytes. Each request
-- must hit or miss as the reference says. SEED= repeats a run; LETHE_WORK multiplies its length.
local core = require "lethe.core.evict"
local chance = require "spec.support.chance"
local simulator = require "spec.support.evict_simulator"

local WORK <const> = chance.WORK
local SEED <const> = chance.SEED
local STEPS <const> = math.max(500, math.tointeger(20000 * WORK // 1)) -- of each policy
local NAMES <const> = {
  "lru", "fifo", "clock", "sieve", "s3fifo", "slru", "twoq", "arc", "lfu", "lirs", "gdsf",
  "wtinylfu", "belady",
}
local ROUND <const> = 700 -- requests that one cache sees

-- A mix of keys: few that come often, many that come rarely, runs that come in order.
local function keys(random)
  local run, at = 0, 0
  return function()
    if run > 0 then
      run, at = run - 1, at + 1
      return at
    end
    local what = random(40)
    if what == 0 then run, at = random(60), 1000 * (1 + random(3)) end
    if what < 20 then return 1 + random(8) end
    return 1 + random(what < 35 and 60 or 400)
  end
end

local function requests(random)
  local key, sizes, list, seen = keys(random), {}, {}, {}
  local changing = random(2) == 0
  for i = 1, ROUND do
    local id = key()
    local size = sizes[id]
    if not size or changing and random(6) == 0 then
      size = 1 + random(random(8) == 0 and 60 or 9)
      sizes[id] = size
    end
    list[i] = { id = id, size = size, next = -1 }
    if seen[id] then list[seen[id]].next = i end
    seen[id] = i
  end
  return list
end

local function new_limit(random, unit)
  if unit then return 1 + random(random(3) == 0 and 150 or 40) end
  return 1 + random(random(3) == 0 and 900 or 200)
end

local function compare(name, seed)
  local random = chance.below(seed)
  local unit = random(2) == 0
  local limit = new_limit(random, unit)
  local ours <close> = core.replay(name, limit, unit)
  local theirs = simulator.new(name, limit)
  for i, r in ipairs(requests(random)) do
    if random(150) == 0 then
      limit = new_limit(random, unit)
      ours:resize(limit)
      theirs:resize(limit)
    end
    local hit <const> = ours:access(r.id, r.size, r.next)
    local expected <const> = theirs:access(r.id, unit and 1 or r.size, r.next)
    local used <const> = ours:stats().used
    if hit ~= expected or used ~= theirs.used then
      local message = "SEED=%d: %s, %s, limit %d, request %d: id %d of %d %s, used %d, expected %d"
      error(message:format(SEED, name, unit and "entries" or "bytes", limit, i, r.id, r.size,
        hit and "hits" or "misses", used, theirs.used), 0)
    end
  end
  assert(ours:check())
end

describe("built-in eviction policies and a naive reference", function()
  for _, name in ipairs(NAMES) do
    it(("hit and miss alike: %s"):format(name), function()
      for i = 1, math.ceil(STEPS / ROUND) do
        assert.has_no.errors(function() compare(name, SEED * 1000 + i) end)
      end
    end)
  end
end)
