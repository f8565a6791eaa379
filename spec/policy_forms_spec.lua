-- Policies of lethe.quota: built-in names, functions, tables, expressions; what they see, what they
-- may do, and what becomes of a pass whose policy fails. Text in files is in policy_text_spec.lua.
local quota = require "lethe.quota"
local scenario = require "lethe.spec".scenario

local M <const> = 1 << 20
local ALL <const> = 1 << 40

-- ---- a tracker with tenants -------------------------------------------------------------------

-- One participant: what its account is called and holds, how old it is, what it answers.
local function tenant(s, tracker, t)
  local account = assert(tracker:account{
    name = t.name, parent = t.parent, max = t.max, reserve = t.reserve, priority = t.priority,
  })
  local obj = { asked = 0, account = account }
  function obj.get_oldest() return t.age end
  function obj:reclaim(request)
    self.asked = self.asked + 1
    self.request = request
    if t.partial then
      self.participation:release(math.min(t.partial, self.participation:used()))
      return "partial"
    end
    return "collapsing"
  end
  obj.participation = assert(account:participant(obj))
  assert(obj.participation:claim(t.bytes))
  s:own(account)
  s.kept = { obj, s.kept } -- nobody is to be collected in the midst of a test
  return obj
end

-- A tracker under `policy` with these tenants, by name. Nothing is over max.
local function city(s, policy, list, options)
  options = options or {}
  local tracker = assert(s:quota{ max = options.max or 64 * M, low_water = options.low_water })
  if policy then assert(tracker:configure{ policy = policy }) end
  local tenants = {}
  for _, t in ipairs(list) do
    tenants[t.name] = tenant(s, tracker, t)
  end
  return tracker, tenants
end

local function names(tracker, list)
  local of = {}
  for _, row in tracker:accounts() do
    of[row.account] = row.name
  end
  local result = {}
  for _, row in ipairs(list) do
    result[#result + 1] = of[row.account]
  end
  return result
end

-- The names in the order in which everything would go.
local function plan(tracker)
  return names(tracker, tracker:plan(ALL))
end

local function victims(s)
  local result = {}
  for _, event in ipairs(s:events("victim")) do
    result[#result + 1] = event.name
  end
  return result
end

-- Frees n bytes by hand, in a task, so that victims may take their time; whole MiB that were freed
-- (the unspent caches count too).
local function reclaim(s, tracker, n)
  local task = s.loop:spawn(function() return tracker:reclaim(n) end)
  s:advance(60)
  return task:join() // M
end

-- Takes everything: the order in which a real pass does.
local function reclaim_all(s, tracker)
  reclaim(s, tracker, ALL)
  return victims(s)
end

local THREE <const> = {
  { name = "a", bytes = 3 * M, age = 30 },
  { name = "b", bytes = 1 * M, age = 10 },
  { name = "c", bytes = 2 * M, age = 20 },
}

-- What a broken policy falls back to.
local OLDEST <const> = { "b", "c", "a" }

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
      assert.matches("policy_forms_spec.lua:%d+: policy must be a name, a function or a table",
        message)
    end
  end)
end)

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

-- ---- candidates -------------------------------------------------------------------------------

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
    assert.matches("policy_forms_spec.lua:%d+: a candidate is read%-only %(field used%)", message)
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
    "^[^:]*policy_forms_spec.lua:%d+: no idea$"))
  it("by raising at the line where it went wrong", falls_back(function(c) return c.nonsense + 1 end,
    "^[^:]*policy_forms_spec.lua:%d+: attempt to perform arithmetic on a nil value"))
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
    "policy_forms_spec.lua:%d+: mixed up"))
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

-- ---- partial victims, swaps -------------------------------------------------------------------

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
