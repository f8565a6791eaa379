-- The forms of a policy of lethe.quota: functions, tables, expressions. Built-in names are in
-- policy_builtin_spec.lua, text in files is in policy_text_spec.lua.
local quota = require "lethe.quota"
local scenario = require "lethe.spec".scenario
local cities = require "spec.support.city"

local M <const> = 1 << 20
local ALL <const>, THREE <const>, OLDEST <const> = cities.ALL, cities.THREE, cities.OLDEST
local city, names, plan = cities.new, cities.names, cities.plan
local victims, reclaim, reclaim_all = cities.victims, cities.reclaim, cities.reclaim_all

-- ---- functions --------------------------------------------------------------------------------

describe("a policy that is a function", function()
  it("is asked once for each candidate, and the highest score goes first", scenario(function(s)
    local asked = {}
    local scores <const> = { a = 1, b = 3, c = 2 }
    local tracker = city(s, function(c)
      asked[#asked + 1] = c.name
      return scores[c.name]
    end, THREE)
    assert.are.same({ "b", "c", "a" }, reclaim_all(s, tracker))
    table.sort(asked)
    assert.are.same({ "a", "b", "c" }, asked)
  end))

  it("spares a candidate by nil", scenario(function(s)
    local tracker = city(s, function(c) return c.name ~= "b" and c.used or nil end, THREE)
    assert.are.same({ "a", "c" }, plan(tracker))
    assert.are.same({ "a", "c" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("may score with infinities, and breaks ties by the lowest account id", scenario(function(s)
    local tracker = city(s, function(c)
      return c.name == "a" and -math.huge or math.huge
    end, THREE)
    assert.are.same({ "b", "c", "a" }, reclaim_all(s, tracker))
  end))

  it("spares everyone: the pass ends stuck, which is no failure", scenario(function(s)
    local tracker = city(s, function() return nil end, THREE)
    assert.are.equal(0, reclaim(s, tracker, 2 * M))
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    assert.are.equal(0, tracker:stats().policy_failures)
    assert.are.equal(1, tracker:stats().stuck)
    assert.are.same({}, victims(s))
  end))

  it("is what plan goes by, with the score of each", scenario(function(s)
    local tracker = city(s, function(c) return -c.used end, THREE)
    local list = tracker:plan(M)
    assert.are.equal(1, #list)
    assert.are.same({ "b" }, names(tracker, list))
    assert.are.near(-M, list[1].score, 32768)
    assert.are.equal(1, list[1].participants)
    assert.are.equal(0, tracker:stats().reclaims)
  end))

  it("runs in the caller's state, upvalues and all", scenario(function(s)
    local favourite = "c"
    local tracker = city(s, function(c) return c.name == favourite and 1 or 0 end, THREE)
    assert.are.equal("c", plan(tracker)[1])
    favourite = "a"
    assert.are.equal("a", plan(tracker)[1])
  end))

  it("may call the engine from score", scenario(function(s)
    local tracker, tenants
    local seen = {}
    tracker, tenants = city(s, function(c)
      seen.used = tracker:used()
      seen.stats = tracker:stats().accounts
      seen.account = tenants.a.account:used()
      local extra <close> = assert(tracker:account{ name = "made in score" })
      local p <close> = assert(extra:participant(tenants.a))
      assert(p:claim(100))
      p:release(100)
      assert(tracker:configure{ deadline = 2 })
      seen.check = tracker:check()
      return c.used
    end, THREE)
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
    assert.is_true(seen.used > 0 and seen.account > 0 and seen.stats >= 3)
    assert.is_true(seen.check)
  end))

  it("may close the accounts that it ranks, and the tracker itself", scenario(function(s)
    local tracker, tenants
    tracker, tenants = city(s, function(c)
      for _, t in pairs(tenants) do
        t.account:close()
      end
      return c.used
    end, THREE)
    assert.are.equal(0, tracker:reclaim(ALL) - 6 * M > 0 and 1 or 0)
    assert.are.equal(0, tracker:stats().accounts)
    assert.is_true(tracker:check())
  end))

  it("may shut the tracker down in the midst of a pass", scenario(function(s)
    local tracker
    tracker = city(s, function(c)
      tracker:close()
      return c.used
    end, THREE)
    local freed, _, code = tracker:reclaim(ALL)
    assert.is_nil(freed)
    assert.are.equal("tracker_shutdown", code)
  end))

  it("may plan in the midst of a pass", scenario(function(s)
    local tracker
    local planned
    tracker = city(s, function(c)
      if not planned then
        planned = {}
        planned = plan(tracker)
      end
      return c.used
    end, THREE)
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.same({ "a", "c", "b" }, planned)
  end))

  it("cannot wait", scenario(function(s)
    local tracker
    tracker = city(s, function()
      tracker:reclaim(1)
    end, THREE)
    assert.are.same(OLDEST, reclaim_all(s, tracker))
    assert.matches("cannot wait here", s:events("policy_failed")[1].message)
  end))

  it("is let go of when another takes its place", scenario(function(s)
    local kept = setmetatable({}, { __mode = "v" })
    local tracker = assert(s:quota{ max = M })
    for i = 1, 3 do
      local anchor = {}
      kept[i] = anchor
      assert(tracker:configure{ policy = function() return anchor and 1 end })
    end
    s:collect()
    assert.is_nil(kept[1])
    assert.is_nil(kept[2])
    assert.is_not_nil(kept[3])
    tracker:configure{ policy = "oldest" }
    tracker:used()
    s:collect()
    assert.is_nil(kept[3])
  end))

  it("is let go of when its tracker is closed, though it holds the tracker; so is on_event",
    function()
      local kept = setmetatable({}, { __mode = "k" })
      for _ = 1, 3 do
        local tracker, account
        tracker = assert(quota.new{ max = M, on_event = function() return tracker, account end })
        account = assert(tracker:account{})
        assert(tracker:configure{ policy = function() return tracker and account and 1 end })
        kept[tracker] = true
        tracker:close()
      end
      quota.new{ max = M }:close()
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(kept))
    end)

  it("is let go of with its tracker, also when the tracker's loop was closed before", function()
    local kept = setmetatable({}, { __mode = "v" })
    local loop = require("lethe.loop").new{ clock = "virtual" }
    do
      local anchor = {}
      kept[1] = anchor
      local tracker = assert(quota.new{ max = M, loop = loop, policy = {
        score = function() return anchor and 1 end,
        order = function(list) return anchor and list end,
      } })
      loop:close()
      tracker:close()
    end
    quota.new{ max = M }:close()
    collectgarbage()
    collectgarbage()
    assert.is_nil(kept[1])
  end)
end)

-- ---- tables -----------------------------------------------------------------------------------

describe("a policy that is a table", function()
  it("takes a score function", scenario(function(s)
    local tracker = city(s, { score = function(c) return c.used end }, THREE)
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
  end))

  it("takes an order, which gets all candidates and says who goes when", scenario(function(s)
    local given
    local tracker = city(s, {
      order = function(list)
        given = given or #list
        table.sort(list, function(x, y) return x.name > y.name end)
        return list
      end,
    }, THREE)
    assert.are.same({ "c", "b", "a" }, plan(tracker))
    assert.are.same({ "c", "b", "a" }, reclaim_all(s, tracker))
    assert.are.equal(3, given)
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("hands its scores to order: sorted, without the spared", scenario(function(s)
    local given = {}
    local tracker = city(s, {
      score = function(c) return c.name ~= "c" and c.used or nil end,
      order = function(list)
        for i, c in ipairs(list) do
          given[i] = c.name
        end
        return { list[2], list[1] }
      end,
    }, THREE)
    assert.are.same({ "b", "a" }, plan(tracker))
    assert.are.same({ "a", "b" }, given)
    assert.are.same({ "b", "a" }, reclaim_all(s, tracker))
  end))

  it("spares whom order leaves out", scenario(function(s)
    local tracker = city(s, { order = function(list) return { list[2] } end }, THREE)
    assert.are.same({ "b" }, plan(tracker))
    assert.are.equal(1, reclaim(s, tracker, M))
    assert.are.same({ "b" }, victims(s))
  end))

  it("may order nobody: the pass ends stuck", scenario(function(s)
    local tracker = city(s, { order = function() return {} end }, THREE)
    assert.are.same({}, plan(tracker))
    assert.are.equal(0, reclaim(s, tracker, M))
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("hears of the start, of each victim and of the stop", scenario(function(s)
    local heard = {}
    local tracker
    tracker = city(s, {
      score = function(c) return c.used end,
      on_start = function(t)
        assert.are.equal(tracker, t)
        heard[#heard + 1] = "start"
      end,
      on_victim = function(c, freed) heard[#heard + 1] = c.name .. " " .. freed // M end,
      on_stop = function(t, outcome)
        assert.are.equal(tracker, t)
        heard[#heard + 1] = outcome
      end,
    }, THREE)
    assert.are.equal(5, reclaim(s, tracker, 4 * M))
    assert.are.same({ "start", "a 3", "c 2", "manual" }, heard)
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("hears how a pass ended that max began, and one that got stuck", scenario(function(s)
    local heard = {}
    local tracker, tenants = city(s, {
      score = function(c) return c.name ~= "b" and c.used or nil end,
      on_stop = function(_, outcome) heard[#heard + 1] = outcome end,
    }, THREE, { max = 8 * M, low_water = 4 * M })
    tenants.b.participation:claim(3 * M)
    s.loop:run()
    assert.are.same({ "b" }, names(tracker, tracker:top(5)))
    tenants.b.participation:claim(5 * M)
    s.loop:run()
    assert.are.same({ "complete", "stuck" }, heard)
  end))

  it("may be an expression with hooks", scenario(function(s)
    local heard = {}
    local tracker = city(s, {
      score = "used",
      on_victim = function(c) heard[#heard + 1] = c.name end,
    }, THREE)
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
    assert.are.same({ "a", "c", "b" }, heard)
  end))

  it("raises for a name that it does not know, with the nearest one", function()
    local here <const> = "^[^:]*policy_forms_spec.lua:%d+: unknown option "
    local ok, message = pcall(function() quota.new{ max = M, policy = { scroe = "used" } } end)
    assert.is_false(ok)
    assert.matches(here .. '"scroe" %(did you mean "score"%?%)$', message)
    local tracker <close> = assert(quota.new{ max = M })
    ok, message = pcall(function()
      local _ = tracker:configure{ policy = { score = "used", onstart = print } }
    end)
    assert.is_false(ok)
    assert.matches(here .. '"onstart" %(did you mean "on_start"%?%)$', message)
  end)

  it("raises for fields of the wrong type", function()
    local tracker <close> = assert(quota.new{ max = M })
    local wrong <const> = {
      { { score = 5 }, "score must be a function or an expression %(got number%)" },
      { { score = {} }, "score must be a function or an expression %(got table%)" },
      { { order = "used" }, "order must be a function %(got string%)" },
      { { score = "used", on_start = true }, "on_start must be a function %(got boolean%)" },
      { { score = "used", on_victim = 1 }, "on_victim must be a function %(got number%)" },
      { { score = "used", on_stop = "x" }, "on_stop must be a function %(got string%)" },
      { { score = "used", degraded = 1 }, "degraded must be a boolean %(got number%)" },
      { { score = "used", budget = "many" }, "budget must be a number of instructions above 0" },
      { { score = "used", budget = 0 }, "budget must be a number of instructions above 0" },
      { { score = "used", budget = -5 }, "budget must be a number of instructions above 0" },
      { { score = "used", budget = 1.5 }, "budget must be a number of instructions above 0" },
    }
    for _, case in ipairs(wrong) do
      local ok, message = pcall(function() local _ = tracker:configure{ policy = case[1] } end)
      assert.is_false(ok)
      assert.matches("policy_forms_spec.lua:%d+: " .. case[2], message)
    end
  end)

  it("is refused when it has neither score nor order", function()
    local tracker, message, code = quota.new{ max = M, policy = { on_start = print } }
    assert.is_nil(tracker)
    assert.matches("needs a score or an order", message)
    assert.are.equal("bad_policy", code)
  end)

  it("may close the tracker while it is read", function()
    local tracker = assert(quota.new{ max = M })
    local policy = setmetatable({ score = "used" }, { __index = function() tracker:close() end })
    local ok, message = pcall(function() local _ = tracker:configure{ policy = policy } end)
    assert.is_false(ok)
    assert.matches("attempt to use a closed lethe.quota.Tracker", message)
  end)

  it("is read once: what is done to the table later changes nothing", scenario(function(s)
    local policy = { score = function(c) return c.used end }
    local tracker = city(s, policy, THREE)
    policy.score = nil
    policy.order = error
    assert.are.same({ "a", "c", "b" }, reclaim_all(s, tracker))
  end))
end)

-- ---- expressions ------------------------------------------------------------------------------

describe("a policy that is an expression", function()
  local function ranks(expression, expected, list, advance)
    return scenario(function(s)
      local tracker = city(s, { score = expression }, list or THREE)
      s:advance(advance or 0)
      assert.are.same(expected, plan(tracker))
      assert.are.same(expected, reclaim_all(s, tracker))
      assert.are.equal(0, tracker:stats().policy_failures)
    end)
  end

  it("computes with fields", ranks("used * age / (1 + priority)", { "a", "c", "b" }, nil, 1000))
  it("compares, and chooses with and, or", ranks("used < 1572864 and 100 or age",
    { "b", "c", "a" }, THREE, 50))
  it("has min max log sqrt floor", ranks("min(used, 2500000) + max(0, floor(log(sqrt(age))))",
    { "a", "c", "b" }, THREE, 1000))
  it("spares by nil", ranks("used > 1572864 and used or nil", { "a", "c" }))
  it("spares by a condition that does not hold", ranks("used > 1572864 and used", { "a", "c" }))
  it("knows that an account without a limit has an infinite one", ranks("1 / limit + used",
    { "a", "c", "b" }))

  local function fails(expression, pattern)
    return scenario(function(s)
      local tracker = city(s, { score = expression }, THREE)
      assert.are.same(OLDEST, reclaim_all(s, tracker))
      assert.are.equal(1, tracker:stats().policy_failures)
      assert.matches(pattern, s:events("policy_failed")[1].message)
    end)
  end

  it("fails when it is true", fails("used > 0", "score must be a number or nil %(got a boolean%)"))
  it("fails when it is NaN", fails("0 / 0 * used", "score must be a number or nil %(got NaN%)"))
  it("fails when it computes with nil", fails("nil + used", "."))

  it("is refused with the word that offends", function()
    for expression, pattern in pairs{
      ["usde * 2"] = 'unknown name "usde" %(did you mean "used"%?%)',
      ["used *"] = "column",
      ["used ** 2"] = '"%*%*"',
      ["os.exit()"] = '"os"',
      ["(used"] = "column",
      ["name"] = '"name"',
      [""] = "bad expression",
      ["used \0 + 1"] = "zero byte",
    } do
      local tracker, message, code = quota.new{ max = M, policy = { score = expression } }
      assert.is_nil(tracker)
      assert.are.equal("bad_policy", code)
      assert.matches("bad expression: ", message)
      assert.matches(pattern, message)
    end
  end)
end)
