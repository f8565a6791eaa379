-- Policies of lethe.quota that have a name: what each ranks by, and names that are none.
local quota = require "lethe.quota"
local scenario = require "lethe.spec".scenario
local cities = require "spec.support.city"

local M <const> = 1 << 20
local THREE <const>, OLDEST <const> = cities.THREE, cities.OLDEST
local city, plan, reclaim_all = cities.new, cities.plan, cities.reclaim_all

-- ---- built-in policies ------------------------------------------------------------------------

describe("a built-in policy", function()
  local function both(policy, list, expected, advance)
    return scenario(function(s)
      local tracker = city(s, policy, list)
      if advance then s:advance(advance) end
      assert.are.same(expected, plan(tracker))
      assert.are.same(expected, reclaim_all(s, tracker))
      assert.are.equal(0, tracker:stats().policy_failures)
      assert.is_true(tracker:check())
    end)
  end

  it("is oldest by default", both(nil, THREE, OLDEST))
  it("oldest takes the smallest age first", both("oldest", THREE, OLDEST))
  it("largest takes the most used first", both("largest", THREE, { "a", "c", "b" }))

  it("oldest_weighted takes age times used", both("oldest_weighted", {
    { name = "old and small", bytes = 1 * M, age = 0 },       -- 100 s: 100
    { name = "young and large", bytes = 8 * M, age = 90 },    --  10 s:  80
    { name = "between", bytes = 3 * M, age = 50 },            --  50 s: 150
  }, { "between", "old and small", "young and large" }, 100))

  it("fair_share takes used over the reserve, or over an equal share of max", both("fair_share", {
    { name = "guaranteed", bytes = 8 * M, age = 1, reserve = 6 * M },  -- 1.33
    { name = "small", bytes = 1 * M, age = 2 },                        -- share 16 M: 0.06
    { name = "modest", bytes = 4 * M, age = 3 },                       -- 0.25
    { name = "greedy", bytes = 20 * M, age = 4 },                      -- 1.25
  }, { "guaranteed", "greedy", "modest", "small" }))

  it("priority takes the lowest priority first, then the oldest", both("priority", {
    { name = "high", bytes = M, age = 1, priority = 5 },
    { name = "low and young", bytes = M, age = 9, priority = -1 },
    { name = "low and old", bytes = M, age = 2, priority = -1 },
    { name = "ordinary", bytes = 2 * M, age = 0 },
  }, { "low and old", "low and young", "ordinary", "high" }))

  local EQUAL <const> = {
    { name = "first", bytes = M, age = 7 },
    { name = "second", bytes = M, age = 7 },
    { name = "third", bytes = M, age = 7 },
  }
  for _, name in ipairs{ "oldest", "largest", "oldest_weighted", "fair_share", "priority" } do
    it(name .. " breaks ties by the lowest account id",
      both(name, EQUAL, { "first", "second", "third" }, 10))
  end

  it("takes no account that never told an age, unless it holds more than its caches explain",
    scenario(function(s)
      local tracker = city(s, "largest", {
        { name = "idle", bytes = 0 },
        { name = "liar", bytes = M },
        { name = "honest", bytes = 2 * M, age = 5 },
      })
      assert.are.same({ "honest", "liar" }, plan(tracker))
      assert.is_true(tracker:configure{ policy = "oldest" })
      assert.are.same({ "liar", "honest" }, reclaim_all(s, tracker))
    end))

  it("leaves alone what is within its reserve", scenario(function(s)
    local tracker = city(s, "oldest", {
      { name = "safe", bytes = 2 * M, age = 1, reserve = 4 * M },
      { name = "taken", bytes = 2 * M, age = 2 },
    })
    assert.are.same({ "taken" }, plan(tracker))
    assert.are.same({ "taken" }, reclaim_all(s, tracker))
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
  end))
end)

-- ---- names that are none ----------------------------------------------------------------------

describe("a policy's name", function()
  it("that is unknown is refused with a suggestion", function()
    local tracker, message, code = quota.new{ max = M, policy = "larges" }
    assert.is_nil(tracker)
    assert.are.equal('unknown policy "larges" (did you mean "largest"?)', message)
    assert.are.equal("bad_policy", code)
  end)

  it("that is like no other is refused without one", function()
    local _, message, code = quota.new{ max = M, policy = "zzz" }
    assert.are.equal('unknown policy "zzz"', message)
    assert.are.equal("bad_policy", code)
    assert.are.equal("bad_policy", (select(3, quota.new{ max = M, policy = "" })))
    assert.are.equal("bad_policy", (select(3, quota.new{ max = M, policy = "largest\0" })))
  end)

  it("that is refused leaves limits, deadline and policy as they were", scenario(function(s)
    local tracker = city(s, "largest", THREE)
    local before = tracker:stats()
    local ok, _, code = tracker:configure{ max = 10 * M, deadline = 1, policy = "smallest" }
    assert.is_nil(ok)
    assert.are.equal("bad_policy", code)
    assert.are.equal(before.max, tracker:stats().max)
    assert.are.equal(before.low_water, tracker:stats().low_water)
    assert.are.same({ "a", "c", "b" }, plan(tracker))
  end))

  it("is set with good limits or not at all", scenario(function(s)
    local tracker = city(s, "largest", THREE)
    local ok, _, code = tracker:configure{ max = M, low_water = 2 * M, policy = "oldest" }
    assert.is_nil(ok)
    assert.are.equal("bad_limits", code)
    assert.are.same({ "a", "c", "b" }, plan(tracker))
  end))

  it("of the wrong type raises at the caller's line", function()
    for _, policy in ipairs{ 5, true, io.stdout } do
      local ok, message = pcall(function() quota.new{ max = M, policy = policy } end)
      assert.is_false(ok)
      assert.matches("policy_builtin_spec.lua:%d+: policy must be a name, a function or a table",
        message)
    end
  end)
end)
