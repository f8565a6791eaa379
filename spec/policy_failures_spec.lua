-- What becomes of a pass whose policy fails: the sterner call, and "oldest".
local scenario = require "lethe.spec".scenario
local cities = require "spec.support.city"

local M <const> = 1 << 20
local ALL <const>, THREE <const>, OLDEST <const> = cities.ALL, cities.THREE, cities.OLDEST
local city, tenant, plan = cities.new, cities.tenant, cities.plan
local victims, reclaim, reclaim_all = cities.victims, cities.reclaim, cities.reclaim_all

-- ---- failures ---------------------------------------------------------------------------------

describe("a policy that fails", function()
  -- The pass is finished by "oldest", one failure is counted, the event says why.
  local function falls_back(policy, pattern)
    return scenario(function(s)
      local tracker = city(s, policy, THREE)
      assert.are.same(OLDEST, plan(tracker))
      assert.are.equal(0, tracker:stats().policy_failures)
      assert.are.same(OLDEST, reclaim_all(s, tracker))
      assert.are.equal(1, tracker:stats().policy_failures)
      local failed = s:events("policy_failed")
      assert.are.equal(1, #failed)
      assert.matches(pattern, failed[1].message)
      assert.is_true(tracker:check())
    end)
  end

  it("by raising", falls_back(function() error("no idea") end,
    "^[^:]*policy_failures_spec.lua:%d+: no idea$"))
  it("by raising at the line where it went wrong", falls_back(function(c) return c.nonsense + 1 end,
    "^[^:]*policy_failures_spec.lua:%d+: attempt to perform arithmetic on a nil value"))
  it("by raising a table", falls_back(function() error({}) end, "error object is a table value"))
  it("by raising nothing", falls_back(function() error() end, "."))
  it("by raising an empty message", falls_back(function() error("", 0) end, "."))
  it("by returning a string", falls_back(function() return "12" end,
    "score must return a number or nil %(got string%)"))
  it("by returning a boolean", falls_back(function() return false end, "got boolean"))
  it("by returning a table", falls_back(function() return {} end, "got table"))
  it("by returning NaN", falls_back(function() return 0 / 0 end, "got NaN"))
  it("by looping for ever", falls_back(function() while true do end end,
    "passed its budget of 10000000 instructions"))
  it("by looping in a pcall", falls_back({ budget = 1e5, score = function()
    while true do
      pcall(function() while true do end end)
    end
  end }, "passed its budget of 100000 instructions"))
  it("by looping in coroutines", falls_back({ budget = 1e5, score = function()
    while true do
      local co = coroutine.wrap(function()
        while true do
          pcall(coroutine.yield)
        end
      end)
      for _ = 1, 10 do
        co()
      end
    end
  end }, "passed its budget of 100000 instructions"))
  it("by recursing for ever", falls_back(function()
    local function f() return f() + 1 end
    return f()
  end, "."))
  it("by spending the budget over several candidates", falls_back({
    budget = 20000,
    score = function()
      for _ = 1, 8000 do end
      return 1
    end,
  }, "passed its budget of 20000 instructions"))

  it("by an order that returns nothing", falls_back({ order = function() end },
    "order must return a list %(got nil%)"))
  it("by an order that returns a number", falls_back({ order = function() return 5 end },
    "order must return a list %(got number%)"))
  it("by an order with a foreign entry", falls_back({ order = function(list)
    return { list[1], "b" }
  end }, "order must return candidates of its list %(got another value at 2%)"))
  it("by an order with a candidate twice", falls_back({ order = function(list)
    return { list[1], list[2], list[1] }
  end }, "once"))
  it("by an order that raises", falls_back({ order = function() error("mixed up") end },
    "policy_failures_spec.lua:%d+: mixed up"))
  it("by a score before a good order", falls_back({
    score = function() return "x" end,
    order = function(list) return list end,
  }, "got string"))
  it("by an order after a good score", falls_back({
    score = function(c) return c.name ~= "a" and 1 or nil end,
    order = function() return 1 end,
  }, "order must return a list"))

  it("with a candidate of another time", scenario(function(s)
    local kept = {}
    local tracker = city(s, { order = function(list)
      if not kept[1] then
        kept = { list[3] }
        return {}
      end
      return kept
    end }, THREE)
    assert.are.equal(0, reclaim(s, tracker, ALL))
    tenant(s, tracker, { name = "d", bytes = M, age = 40 })
    tracker:account{ name = "e" }
    assert.are.equal("a", (function()
      for _, row in tracker:accounts() do
        if row.name == "a" then return row.name end
      end
    end)())
    tracker:reclaim(ALL)
    assert.is_true(tracker:check())
  end))

  for _, hook in ipairs{ "on_start", "on_victim", "on_stop" } do
    it("in " .. hook, scenario(function(s)
      local calls = 0
      local tracker = city(s, {
        score = function(c) return c.used end,
        [hook] = function()
          calls = calls + 1
          error("not today")
        end,
      }, THREE)
      local order = reclaim_all(s, tracker)
      assert.are.same(hook == "on_start" and OLDEST or hook == "on_victim" and { "a", "b", "c" }
        or { "a", "c", "b" }, order)
      assert.are.equal(1, calls)
      assert.are.equal(1, tracker:stats().policy_failures)
      assert.matches("not today", s:events("policy_failed")[1].message)
      assert.are.equal(1, #s:events("reclaim_stop"))
    end))
  end

  it("is disabled for that pass only", scenario(function(s)
    local broken = true
    local tracker = city(s, function(c)
      if broken then error("broken") end
      return c.used
    end, THREE)
    assert.is_true(tracker:reclaim(M) >= M)
    broken = false
    tracker:reclaim(M)
    assert.are.same({ "b", "a" }, victims(s))
    assert.are.equal(1, tracker:stats().policy_failures)
  end))

  it("is not asked again in that pass", scenario(function(s)
    local calls = 0
    local tracker = city(s, function()
      calls = calls + 1
      error("once")
    end, THREE)
    reclaim_all(s, tracker)
    assert.are.equal(1, calls)
  end))

  it("midway leaves no half of its ranking", scenario(function(s)
    local tracker = city(s, function(c)
      if c.name == "c" then error("stumbles over c") end
      return c.used
    end, THREE)
    assert.are.same(OLDEST, reclaim_all(s, tracker))
  end))

  it("spends the budget of each pass, and of each plan, anew", scenario(function(s)
    local tracker = city(s, { budget = 5000, score = function()
      for _ = 1, 500 do end
    end }, THREE)
    for _ = 1, 5 do
      assert.are.equal(0, reclaim(s, tracker, M))
      for _ = 1, 5 do
        assert.are.same({}, plan(tracker))
      end
    end
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("leaves the script's own debug hook as it was", scenario(function(s)
    local hits = 0
    local function hook() hits = hits + 1 end
    local before = { debug.gethook() }
    local tracker = city(s, function() while true do end end, THREE)
    debug.sethook(hook, "", 1000000)
    tracker:plan(M)
    local now, mask, count = debug.gethook()
    debug.sethook(table.unpack(before, 1, 3))
    assert.are.equal(hook, now)
    assert.are.equal("", mask)
    assert.are.equal(1000000, count)
  end))
end)

-- ---- degraded ---------------------------------------------------------------------------------

describe("degraded", function()
  it("is called once after a failure, sterner, before oldest takes over", scenario(function(s)
    local calls = {}
    local tracker = city(s, { degraded = true, score = function(c)
      calls[#calls + 1] = c.degraded
      if not c.degraded then error("kindly") end
      return c.used
    end }, THREE)
    assert.are.same({ "a", "c", "b" }, plan(tracker))
    calls = {}
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.same({ false, true, true, true }, calls)
    assert.are.equal(1, tracker:stats().policy_failures)
    assert.matches("kindly", s:events("policy_failed")[1].message)
  end))

  it("hands over to oldest when it fails too", scenario(function(s)
    local calls = 0
    local tracker = city(s, { degraded = true, score = function(c)
      calls = calls + 1
      error(c.degraded and "sternly" or "kindly")
    end }, THREE)
    assert.are.same(OLDEST, reclaim_all(s, tracker))
    assert.are.equal(2, calls)
    assert.are.equal(2, tracker:stats().policy_failures)
    assert.matches("sternly", s:events("policy_failed")[2].message)
  end))

  it("is called when no candidate is left", scenario(function(s)
    local tracker = city(s, { degraded = true, score = function(c)
      if c.degraded then return c.used end
      return c.name == "b" and 1 or nil
    end }, THREE)
    assert.are.same({ "b", "a", "c" }, plan(tracker))
    assert.are.same({ "b", "a", "c" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("sees accounts within their reserve as candidates", scenario(function(s)
    local tracker = city(s, { degraded = true, score = function(c)
      return c.used + (c.degraded and 1 or 0)
    end }, {
      { name = "safe", bytes = 2 * M, age = 1, reserve = 4 * M },
      { name = "taken", bytes = M, age = 2 },
    })
    assert.are.same({ "taken", "safe" }, plan(tracker))
    assert.are.same({ "taken", "safe" }, reclaim_all(s, tracker))
  end))

  it("spares everyone after a failure: the pass ends stuck", scenario(function(s)
    local tracker = city(s, { degraded = true, score = function(c)
      if not c.degraded then error("kindly") end
    end }, THREE)
    assert.are.equal(0, reclaim(s, tracker, M))
    assert.are.same({}, victims(s))
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    assert.are.equal(1, tracker:stats().policy_failures)
  end))

  it("is called once a pass", scenario(function(s)
    local stern = 0
    local tracker = city(s, { degraded = true, score = function(c)
      if c.degraded and c.name == "a" then stern = stern + 1 end
    end }, THREE)
    assert.are.equal(0, reclaim(s, tracker, M))
    assert.are.equal(1, stern)
    assert.are.equal(0, reclaim(s, tracker, M))
    assert.are.equal(2, stern)
  end))

  it("has a budget of its own where the first call spent it", scenario(function(s)
    local tracker = city(s, { degraded = true, budget = 10000, score = function(c)
      while not c.degraded do end
      return c.used
    end }, THREE)
    assert.are.same({ "a", "c", "b" }, plan(tracker))
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.equal(1, tracker:stats().policy_failures)
  end))

  it("is spent for good when the second call loops as well", scenario(function(s)
    local tracker = city(s, { degraded = true, budget = 10000, score = function()
      while true do end
    end }, THREE)
    assert.are.same(OLDEST, reclaim_all(s, tracker))
    assert.are.equal(2, tracker:stats().policy_failures)
  end))

  it("works with an order", scenario(function(s)
    local tracker = city(s, { degraded = true, order = function(list)
      if list[1] and list[1].degraded then return list end
      return {}
    end }, THREE)
    assert.are.same({ "a", "b", "c" }, reclaim_all(s, tracker))
  end))
end)
