-- A cache under a quota account: what it claims, and what it gives back.
local caches = require "spec.support.caches"
local lethe = require "lethe"
local scenario = require("lethe.spec").scenario

local KIB <const> = 1024

local function weigh(_, v)
  return v
end

-- A tracker, an account and a cache of numbers that weigh what they are.
local function place(s, options, limits)
  local tracker = s:quota(limits or { max = "10M", low_water = "5M" })
  local account = tracker:account{ name = "pages", max = options.max }
  local store = caches.store()
  for k = 1, 100 do
    store.data[k] = 64 * KIB
  end
  local c = s:cache{ backend = store, limit = options.limit or 1000, account = account,
    weigh = weigh, wait = 5 }
  return c, store, account, tracker
end

-- Whether the account counts what the cache holds: its handle may cache a little.
local function held(account, c)
  local more = account:used() - c:size()
  return more >= 0 and more <= 16 * KIB
end

describe("a cache with an account", function()
  it("claims what it holds, and releases what leaves", scenario(function(s)
    local c, _, account = place(s, { limit = 3 })
    local out = caches.start(s.loop, function()
      for k = 1, 5 do
        c:get(k)
      end
    end)
    assert.is_true(out.done)
    assert.are.equal(3 * 64 * KIB, c:size())
    assert.is_true(held(account, c))
    c:remove(5)
    assert.is_true(held(account, c))
    c:close()
    assert.are.equal(0, account:used())
  end))

  it("never holds more than the account allows, and what is held", scenario(function(s)
    local c, _, account = place(s, { max = 256 * KIB })
    local most = 0
    local out = caches.start(s.loop, function()
      for k = 1, 50 do
        assert(c:get(k))
        most = math.max(most, account:used())
      end
    end)
    assert.is_true(out.done)
    assert.is_true(most <= 256 * KIB)
    assert.is_true(c:len() >= 3) -- the refusal that taught it started one pass
    local holds = {}
    caches.start(s.loop, function()
      for k = 1, 4 do
        holds[k] = c:hold(k)
      end
    end)
    assert.are.equal(4, #holds)
    local more = caches.start(s.loop, function() return c:get(9) end)
    s:advance(5)
    assert.are.same({ nil, "all_in_use" }, { more[1], more[3] })
    for k = 1, 4 do
      holds[k]:close()
    end
    assert.are.equal(64 * KIB, caches.start(s.loop, function() return c:get(9) end)[1])
  end))

  it("gives back clean entries first, the oldest first", scenario(function(s)
    local c, store, _, tracker = place(s, {})
    caches.start(s.loop, function()
      for k = 1, 8 do
        c:get(k)
      end
      c:insert(20, 64 * KIB)
    end)
    store:said()
    local out = caches.start(s.loop, function() return tracker:reclaim(3 * 64 * KIB) end)
    assert.is_true(out.done)
    assert.is_true(out[1] >= 3 * 64 * KIB)
    assert.are.equal("", store:said())
    assert.are.same({ false, false, false, true }, {
      c:contains(1), c:contains(2), c:contains(3), c:contains(20),
    })
    c:remove(20)
  end))

  it("then writes dirty ones, and stays", scenario(function(s)
    local c, store, account, tracker = place(s, {})
    local told = {}
    c:on_evict(function(k, _, reason) told[#told + 1] = ("%d %s"):format(k, reason) end)
    caches.start(s.loop, function()
      for k = 1, 4 do
        c:insert(k, 64 * KIB)
      end
    end)
    local out = caches.start(s.loop, function() return tracker:reclaim(2 * 64 * KIB) end)
    assert.is_true(out.done)
    assert.are.equal("flush 1, flush 2", store:said())
    assert.are.equal(2, c:len())
    assert.is_true(held(account, c))
    caches.settle(s.loop)
    assert.are.same({ "1 reclaimed", "2 reclaimed" }, told)
    assert.are.equal("complete", tracker:stats().stuck == 0 and "complete")
    assert.is_true(caches.start(s.loop, function() return c:insert(9, 64 * KIB) end)[1])
    c:on_evict(nil)
    c:invalidate()
  end))

  it("gives way when the tracker passes its max", scenario(function(s)
    local c, _, _, tracker = place(s, {}, { max = "2M", low_water = "1M" })
    local out = caches.start(s.loop, function()
      for k = 1, 60 do
        assert(c:get(k))
        s.loop:sleep(0)
      end
    end)
    s:advance(1)
    assert.is_true(out.done)
    assert.is_true(tracker:stats().reclaims > 0)
    assert.is_true(tracker:used() <= 2 * KIB * KIB)
    assert.are.equal(1, tracker:stats().accounts)
    assert.is_true(c:contains(60))
  end))

  it("answers a pass before its deadline, though a write does not end", scenario(function(s)
    local c, store, account, tracker = place(s, {},
      { max = "10M", low_water = "5M", deadline = 2 })
    caches.start(s.loop, function() c:insert(1, 64 * KIB) end)
    store:shut("flush")
    local out = caches.start(s.loop, function() return tracker:reclaim(1) end)
    s:advance(2)
    assert.is_true(out.done)
    assert.is_true(held(account, c))
    store:open()
    caches.settle(s.loop)
    assert.is_true(caches.start(s.loop, function() return c:get(2) end)[1] ~= nil)
    c:invalidate()
  end))

  it("is told when the account is gone: what is loaded is passed on", scenario(function(s)
    local c, _, account = place(s, {})
    caches.start(s.loop, function() c:get(1) end)
    account:close()
    lethe.registry.default():collect()
    local out = caches.start(s.loop, function() return c:get(2) end)
    assert.are.equal(64 * KIB, out[1])
  end))

  it("gives what the pass still needs, where caches share an account", scenario(function(s)
    for _, by_hand in ipairs{ false, true } do
      local tracker = s:quota(by_hand and { max = "10M" } or { max = 100000, low_water = 50000 })
      local account, all = tracker:account{ name = "shared" }, {}
      for i = 1, 3 do
        all[i] = s:cache{ backend = caches.store(), account = account,
          weigh = function() return 1000 end }
      end
      caches.start(s.loop, function()
        for k = 1, 40 do
          for _, c in ipairs(all) do c:insert(k, k) end
        end
      end)
      if by_hand then caches.start(s.loop, function() tracker:reclaim(70000) end) end
      s:advance(1)
      local left = all[1]:size() + all[2]:size() + all[3]:size()
      assert.is_true(left <= (by_hand and 75000 or 50000) and left >= 45000, left)
      assert.is_true(tracker:check())
      for _, c in ipairs(all) do
        c:invalidate()
        c:close()
      end
      tracker:close()
    end
  end))

  it("keeps the account, until it is closed itself", scenario(function(s)
    local tracker = s:quota{ max = "10M" }
    local c = s:cache{ backend = caches.store(), limit = 9, weigh = function() return 1000 end,
      account = tracker:account{ name = "pages" } }
    s:collect()
    caches.start(s.loop, function() c:insert(1, "one") end)
    s:collect()
    assert.are.equal(1, tracker:stats().accounts)
    assert.is_true(tracker:used() >= 1000)
    assert.are.equal("one", c:peek(1))
    c:remove(1)
    c:close()
    s:collect()
    assert.are.same({ 0, 0 }, { tracker:stats().accounts, tracker:used() })
  end))

  it("refuses what is no account, and one that has ended", scenario(function(s)
    local tracker = s:quota{ max = "10M" }
    local account = tracker:account()
    account:close()
    local backend = caches.store()
    local function make()
      return lethe.cache.new{ backend = backend, limit = 1, account = account }
    end
    assert.has_error(make, "account is a closed lethe.quota.Account")
    account = 5
    assert.has_error(make, "account must be a lethe.quota.Account (got number)")
  end))
end)
