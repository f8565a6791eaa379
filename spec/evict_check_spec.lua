-- policy.check: what is wrong with a policy, found by trying it.
local collector = require "spec.support.collector"
local policy = require "lethe.policy"
local requests = require "spec.support.requests"

describe("policy.check", function()
  it("finds nothing wrong with what is right", function()
    for _, value in ipairs{
      "lru", "oldest", "spec/data/policies/largest.lua", "spec/data/policies/tenants.lua",
      { score = "freq / (age + 1)" }, { score = "used * age" },
      { on_evict = function(c) return c:queue("main"):back() end },
    } do
      assert.is_true(policy.check(value))
    end
  end)

  it("lists what is wrong", function()
    for message, value in pairs{
      ['unknown policy "lruu"'] = "lruu",
      ["on_evict: on_evict returned no victim"] = { on_evict = function() end },
      ["score: score must be a number"] = { score = "freq > 1" },
      ["order must return a list"] = { order = function() return 5 end },
    } do
      local problems = policy.check(value)
      assert.are.equal("table", type(problems))
      assert.matches(message, problems[1])
    end
  end)

  it("says no line of its own where the mistake is in a table", function()
    for message, value in pairs{
      ['unknown option "on_evit" (did you mean "on_evict"?)'] = { on_evit = print },
      ['unknown option "inser" (did you mean "insert"?)'] = {
        queues = { a = 1 }, rules = { inser = "a" },
      },
      ["score must be a function or an expression (got number)"] = { score = 5 },
    } do
      assert.are.same({ message }, policy.check(value))
    end
  end)

  for _, mode in ipairs(collector.modes) do
    it("tries it on accounts that are there, the collector " .. mode.name, function()
      mode.enter()
      finally(mode.leave)
      local wrong <const> = { score = function(c) return c.nothing + 1 end }
      for _ = 1, 3 do
        assert.are.equal("table", type(policy.check(wrong)))
      end
    end)
  end

  it("knows the names of the built-in ones", function()
    local names = policy.names()
    assert.are.equal(14, #names)
    for _, name in ipairs(names) do
      assert.are.equal(0, #requests.replay(name, 10, requests.records({ 1, 2, 1 })).failures)
    end
  end)
end)
