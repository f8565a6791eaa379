-- The built-in policies' scripts, lua/lethe/policy/, in caches that are in use: entries that are
-- held, removed and weighed anew, limits that change, the script read again under load. None of it
-- is a strike, and one that is read again goes on where it was.
local cache = require "lethe.cache"
local chance = require "spec.support.chance"
local errors = require "spec.support.errors"
local loop = require "lethe.loop"
local policy = require "lethe.policy"
local requests = require "spec.support.requests"

local FOLDER <const> = "lua/lethe/policy/"
local WORK <const> = chance.WORK
local ROUNDS <const>, STEPS <const> = math.max(2, math.tointeger(8 * WORK // 1)), 600

local function path(name) return FOLDER .. name .. ".lua" end

local function store()
  return { load = function(_, k) return k end, flush = function() end }
end

local function weigh(k) return 1 + k % 9 end

-- What may happen to a cache, drawn at random; `most` is its limit at most.
local function change(c, random, held, resize)
  local key, what = random(random(200)), random(100)
  if what <= 68 then
    c:get(key)
  elseif what <= 72 then
    c:remove(key)
  elseif what <= 84 then
    held[#held + 1] = c:hold(key)
  elseif what <= 94 then
    local hold = table.remove(held, random(math.max(#held, 1)))
    if not hold then return end
    if random(3) == 1 then hold:set(hold.value) end
    hold:close()
  elseif what <= 96 then
    c:insert(key, key)
  elseif what <= 98 then
    resize()
  else
    loop.default():sleep(0)
  end
end

local function live(name, seed)
  local random, held = chance.generator(seed), {}
  local bytes <const> = seed % 2 == 0
  local function limits()
    if bytes then return { bytes = 30 + random(200) } end
    return { limit = 3 + random(30) }
  end
  local options = limits()
  options.backend, options.policy, options.wait = store(), path(name), 0
  options.weigh = bytes and weigh or nil
  local c = assert(cache.new(options))
  for step = 1, STEPS do
    change(c, random, held, function() c:resize(limits()) end)
    if step % 250 == 0 then assert.is_true(c:reload(path(name))) end
  end
  for _, hold in ipairs(held) do hold:close() end
  assert.is_true(c:shutdown())
end

describe("a built-in policy's script", function()
  for _, name in ipairs(policy.names()) do
    it("has no strike in a cache that is in use: " .. name, function()
      assert.are.same({}, errors.reported(function()
        for seed = 1, ROUNDS do live(name, seed) end
      end))
    end)

    it("goes on where it was when it is read again: " .. name, function()
      local once <close> = cache.new{ backend = store(), limit = 50, policy = path(name) }
      local again <close> = cache.new{ backend = store(), limit = 50, policy = path(name) }
      for i, key in ipairs((requests.skewed(7, 3000, 300))) do
        once:get(key)
        again:get(key)
        if i % 700 == 0 then
          assert.is_true(again:reload(path(name)))
          assert.are.equal(50, again:len())
        end
      end
      assert.are.equal(once:stats().misses, again:stats().misses)
    end)
  end
end)
