-- What a policy of lethe.quota sees of an account.
local scenario = require "lethe.spec".scenario
local cities = require "spec.support.city"

local M <const> = 1 << 20
local ALL <const> = cities.ALL
local city, tenant, reclaim = cities.new, cities.tenant, cities.reclaim

describe("a candidate", function()
  -- The candidate of the one account called "a".
  local function candidate(s, options)
    local kept
    local tracker, tenants = city(s, function(c)
      if c.name == "a" or not options.name then kept = c end
      return nil
    end, {}, options)
    if options.prepare then options.prepare(tracker, tenants) end
    s:advance(options.advance or 0)
    tenants.a = tenant(s, tracker, options)
    tracker:reclaim(ALL)
    return kept, tracker, tenants
  end

  it("has all the fields of the contract", scenario(function(s)
    local c = candidate(s, {
      name = "a", bytes = 3 * M, age = 30, priority = 2, reserve = 4096, max = "16M", advance = 100,
    })
    local row = s._owned[1]:top(1)[1]
    assert.are.equal(row.account, c.account)
    assert.are.equal("integer", math.type(c.account))
    assert.are.equal("a", c.name)
    assert.are.equal(1, c.participants)
    assert.are.equal(3 * M, c.used)
    assert.is_true(c.peak >= 3 * M)
    assert.are.equal(30, c.oldest)
    assert.are.equal(70, c.age)
    assert.are.equal(2, c.priority)
    assert.are.equal(4096, c.reserve)
    assert.are.equal(16 * M, c.limit)
    assert.are.equal(0, c.children_used)
    assert.are.equal(0, c.tried)
    assert.are.equal(0, c.freed)
    assert.are.equal(0, c.reclaims)
    assert.are.equal(0, c.cost)
    assert.is_false(c.degraded)
  end))

  it("has no name and no limit where there is none", scenario(function(s)
    local c = candidate(s, { bytes = M, age = 1 })
    assert.is_nil(c.name)
    assert.is_nil(c.limit)
    assert.is_nil(c.nonsense)
    assert.is_nil(c[1])
  end))

  it("counts what is below it apart", scenario(function(s)
    local seen = {}
    local tracker, tenants = city(s, function(c)
      seen[c.name] = c
      return nil
    end, { { name = "parent", bytes = M, age = 1 } })
    tenant(s, tracker, { name = "child", bytes = 2 * M, age = 2, parent = tenants.parent.account })
    tracker:reclaim(ALL)
    assert.are.equal(M, seen.parent.used)
    assert.are.equal(2 * M, seen.parent.children_used)
    assert.are.equal(0, seen.child.children_used)
  end))

  it("tells the oldest of an account's participants", scenario(function(s)
    local seen
    local tracker, tenants = city(s, function(c)
      seen = c
      return nil
    end, { { name = "a", bytes = M, age = 30 } })
    local more = { get_oldest = function() return 12 end, reclaim = function() end }
    local p <close> = assert(tenants.a.account:participant(more))
    assert(p:claim(10))
    tracker:reclaim(ALL)
    assert.are.equal(12, seen.oldest)
    assert.are.equal(2, seen.participants)
  end))

  it("cannot be written, and says which field was tried", scenario(function(s)
    local c = candidate(s, { name = "a", bytes = M, age = 1 })
    local ok, message = pcall(function() c.used = 5 end)
    assert.is_false(ok)
    assert.matches("policy_candidates_spec.lua:%d+: a candidate is read%-only %(field used%)",
      message)
    assert.is_false(pcall(function() c.fresh = 1 end))
    assert.is_false(pcall(rawset, c, "used", 5))
    assert.are.equal(M, c.used)
    assert.is_false(getmetatable(c))
  end))

  it("may be kept, and stays what it was", scenario(function(s)
    local c, tracker, tenants = candidate(s, { name = "a", bytes = M, age = 1 })
    tenants.a.participation:release(M)
    tenants.a.account:close()
    tracker:close()
    collectgarbage()
    assert.are.equal(M, c.used)
    assert.are.equal("a", c.name)
  end))

  it("can be looked through with pairs, and printed", scenario(function(s)
    local c = candidate(s, { name = "a", bytes = M, age = 1 })
    local fields = {}
    for name, value in pairs(c) do
      fields[name] = value
    end
    assert.are.equal(M, fields.used)
    assert.are.equal("a", fields.name)
    assert.is_false(fields.degraded)
    assert.is_nil(fields.limit)
    assert.matches("lethe.quota.Candidate.* a, 1048576 bytes", tostring(c))
  end))

  it("counts how often it was tried and what it gave, and knows what its reclaims cost",
    scenario(function(s)
      local seen = {}
      local tracker, tenants = city(s, function(c)
        seen[#seen + 1] = { tried = c.tried, freed = c.freed, reclaims = c.reclaims, used = c.used,
          cost = c.cost }
        return 1
      end, { { name = "a", bytes = 3 * M, age = 1 } })
      function tenants.a:reclaim()
        s.loop:sleep(2)
        self.participation:release(M)
        return "partial"
      end
      assert.are.equal(2, reclaim(s, tracker, 2 * M))
      assert.are.equal(0, seen[1].tried)
      assert.are.same({ 1, M, 1, 2 * M },
        { seen[2].tried, seen[2].freed, seen[2].reclaims, seen[2].used })
      assert.are.near(2 / M, seen[2].cost, 1e-9)
    end))
end)
