-- Policies in passes: victims that give a part, a policy that is exchanged, an account's own pass.
local scenario = require "lethe.spec".scenario
local cities = require "spec.support.city"

local M <const> = 1 << 20
local THREE <const> = cities.THREE
local city, tenant, plan = cities.new, cities.tenant, cities.plan
local victims, reclaim, reclaim_all = cities.victims, cities.reclaim, cities.reclaim_all

describe("a partial victim", function()
  local function partial_city(s, policy)
    return city(s, policy, {
      { name = "a", bytes = 4 * M, age = 1, partial = M },
      { name = "b", bytes = 3 * M, age = 2, partial = M },
    })
  end

  it("goes back among the candidates with a fresh score", scenario(function(s)
    local tracker = partial_city(s, function(c) return c.used end)
    assert.are.equal(4, reclaim(s, tracker, 4 * M))
    assert.are.same({ "a", "a", "b", "a" }, victims(s))
  end))

  it("does so under the built-ins", scenario(function(s)
    local tracker = partial_city(s, "largest")
    assert.are.equal(4, reclaim(s, tracker, 4 * M))
    assert.are.same({ "a", "a", "b", "a" }, victims(s))
  end))

  it("does so under an expression and an order", function()
    for _, policy in ipairs{ { score = "used" }, { order = function(list)
      table.sort(list, function(x, y)
        if x.used ~= y.used then return x.used > y.used end
        return x.account < y.account
      end)
      return list
    end } } do
      scenario(function(s)
        local tracker = partial_city(s, policy)
        assert.are.equal(4, reclaim(s, tracker, 4 * M))
        assert.are.same({ "a", "a", "b", "a" }, victims(s))
      end)()
    end
  end)

  it("that gave nothing is not asked again in the pass", scenario(function(s)
    local asked = 0
    local tracker, tenants = city(s, function(c)
      asked = asked + 1
      return c.used
    end, { { name = "a", bytes = M, age = 1 } })
    function tenants.a.reclaim() return "partial" end
    assert.are.equal(0, reclaim(s, tracker, M))
    assert.are.equal(1, asked)
    assert.are.same({ "a" }, victims(s))
  end))
end)

describe("configure", function()
  it("swaps the policy, whatever its form, for the next pass", scenario(function(s)
    local tracker = city(s, "oldest", THREE)
    local function first() return plan(tracker)[1] end
    assert.are.equal("b", first())
    assert.is_true(tracker:configure{ policy = function(c) return c.used end })
    assert.are.equal("a", first())
    assert.is_true(tracker:configure{ policy = { score = "0 - used" } })
    assert.are.equal("b", first())
    assert.is_true(tracker:configure{ policy = { order = function(list) return { list[3] } end } })
    assert.are.equal("c", first())
    assert.is_true(tracker:configure{ policy = "largest" })
    assert.are.equal("a", first())
    assert.is_true(tracker:configure{ max = 32 * M })
    assert.are.equal("a", first())
  end))

  it("from inside a policy takes effect in the next pass", scenario(function(s)
    local tracker
    tracker = city(s, function(c)
      assert(tracker:configure{ policy = "oldest" })
      collectgarbage()
      return c.used
    end, THREE)
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("swaps while a victim is being asked; the pass goes on with the old one", scenario(function(s)
    local tracker, tenants = city(s, function(c) return c.used end, THREE)
    function tenants.a.reclaim()
      assert(tracker:configure{ policy = function() error("new") end })
      s.loop:sleep(1)
    end
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))
end)

describe("a pass", function()
  it("ranks newcomers by the policy that runs it", scenario(function(s)
    local tracker, tenants = city(s, function(c) return c.used end, THREE)
    function tenants.a.reclaim()
      tenant(s, tracker, { name = "new", bytes = 10 * M, age = 99 })
    end
    assert.are.same({ "a", "new", "c", "b" }, reclaim_all(s, tracker))
  end))

  it("has each candidate scored once", scenario(function(s)
    local list = {}
    for i = 1, 500 do
      list[i] = { name = "t" .. i, bytes = 20000 + i, age = i }
    end
    local calls = 0
    local tracker = city(s, function(c)
      calls = calls + 1
      return c.used
    end, list)
    assert.are.equal(10, reclaim(s, tracker, 10 * M))
    assert.are.equal(500, calls)
    assert.are.equal("t500", victims(s)[1])
  end))
end)
