-- The simulator: exact counts on traces, several policies and sizes at once, what fails.

local policy = require "lethe.policy"
local program = require "spec.support.program"
local sim = require "lethe.sim"

local SMALL <const> = "spec/data/sqlite.oracleGeneral.bin"
local LARGE <const> = "../shared/data/cloudPhysicsIO.oracleGeneral.bin"

-- Misses of the published simulator: at 1 % and 10 % of the objects, and at 10 % of the bytes with
-- the byte miss ratio.
local PUBLISHED <const> = {
  fifo = { 96518, 91716, 91954, 0.9509 }, lru = { 95420, 91657, 92200, 0.9518 },
  clock = { 95332, 91599, 92082, 0.9520 }, lfu = { 96765, 90040, 89993, 0.9296 },
  slru = { 94590, 90011, 88640, 0.9200 }, twoq = { 94573, 88160, 87627, 0.9017 },
  sieve = { 94419, 90040, 89993, 0.9296 }, s3fifo = { 94559, 85691, 83764, 0.8619 },
  arc = { 94229, 88002, 87541, 0.9026 }, gdsf = { 94688, 91389, 86335, 0.9509 },
  lirs = { 94680, 85609, 84149, 0.8730 }, belady = { 90263, 71620, 74162, 0.7320 },
}
local HYPERBOLIC <const> = { 95072, 91245, 91435, 0.9482 }

local function names_of(published)
  local names = {}
  for name in pairs(published) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- Results by policy and capacity.
local function by_policy(results)
  local found = {}
  for _, row in ipairs(results) do
    found[row.policy] = found[row.policy] or {}
    table.insert(found[row.policy], row)
  end
  return found
end

local function file(text)
  return program.file(text)
end

describe("sim.run on the published trace", function()
  local trace

  before_each(function()
    local there = io.open(LARGE)
    if there then
      there:close()
      trace = assert(sim.open(LARGE))
    end
  end)

  after_each(function()
    if trace then trace:close() end
  end)

  it("knows its footprint", function()
    if not trace then pending("../shared/data is not here") return end
    assert.are.same({ 113872, 48974, 2029769728 }, { trace:len(), trace:objects(), trace:bytes() })
  end)

  it("counts the published misses in objects", function()
    if not trace then pending("../shared/data is not here") return end
    local found = by_policy(sim.run{ trace = trace, policies = names_of(PUBLISHED),
      sizes = { 0.01, 0.1 }, unit = true })
    for name, misses in pairs(PUBLISHED) do
      assert.are.same({ name, 489, 4897, misses[1], misses[2] }, { name, found[name][1].capacity,
        found[name][2].capacity, found[name][1].misses, found[name][2].misses })
    end
  end)

  it("counts the published misses in bytes", function()
    if not trace then pending("../shared/data is not here") return end
    local found = by_policy(sim.run{ trace = trace, policies = names_of(PUBLISHED),
      sizes = { 0.1 } })
    for name, misses in pairs(PUBLISHED) do
      local row = found[name][1]
      assert.are.same({ name, 202976972, misses[3], ("%.4f"):format(misses[4]) },
        { name, row.capacity, row.misses, ("%.4f"):format(row.byte_miss_ratio) })
    end
  end)

  it("comes near what depends on dice", function()
    if not trace then pending("../shared/data is not here") return end
    local unit = sim.run{ trace = trace, policies = { "hyperbolic" }, sizes = { 0.01, 0.1 },
      unit = true }
    local bytes = sim.run{ trace = trace, policies = { "hyperbolic" }, sizes = { 0.1 } }
    assert.is_near(HYPERBOLIC[1], unit[1].misses, 0.003 * HYPERBOLIC[1])
    assert.is_near(HYPERBOLIC[2], unit[2].misses, 0.003 * HYPERBOLIC[2])
    assert.is_near(HYPERBOLIC[3], bytes[1].misses, 0.003 * HYPERBOLIC[3])
    assert.is_near(HYPERBOLIC[4], bytes[1].byte_miss_ratio, 0.003)
  end)
end)

-- ---- the trace of the repository, against plain Lua --------------------------------------------

-- Requests as a list of { id, size }.
local function requests_of(trace)
  local list = {}
  for _, id, size in trace:requests() do
    list[#list + 1] = { id, size }
  end
  return list
end

-- Misses, and bytes missed, of a queue from which the first in the order leaves: fifo; lru, where a
-- hit moves to the end. As short as it can be said.
local function in_lists(requests, capacity, unit, moves)
  local order, sizes, used, misses, missed = {}, {}, 0, 0, 0
  for _, request in ipairs(requests) do
    local id, size = request[1], unit and 1 or request[2]
    if sizes[id] then
      for i, other in ipairs(moves and order or {}) do
        if other == id then
          table.insert(order, table.remove(order, i))
          break
        end
      end
    else
      misses, missed = misses + 1, missed + request[2]
      while size <= capacity and used + size > capacity do
        local victim = table.remove(order, 1)
        used, sizes[victim] = used - sizes[victim], nil
      end
      if size <= capacity then
        order[#order + 1], sizes[id], used = id, size, used + size
      end
    end
  end
  return misses, missed
end

describe("sim.run on a small trace", function()
  local trace

  before_each(function()
    trace = assert(sim.open(SMALL))
  end)

  after_each(function()
    trace:close()
    program.clean()
  end)

  it("counts what plain lists count, in entries and in bytes", function()
    local requests <const> = requests_of(trace)
    for _, unit in ipairs{ true, false } do
      local rows = sim.run{ trace = trace, policies = { "fifo", "lru" }, unit = unit,
        sizes = { 0.01, 0.1 } }
      assert.are.equal(4, #rows)
      for _, row in ipairs(rows) do
        local misses, missed = in_lists(requests, row.capacity, unit, row.policy == "lru")
        assert.are.same({ misses, missed }, { row.misses, row.byte_misses },
          ("%s at %d"):format(row.policy, row.capacity))
      end
    end
  end)

  it("gives a row for each policy and size, in order", function()
    local rows = sim.run{ trace = trace, policies = { "lru", "sieve" }, sizes = { 10, 0.5, 20.0 },
      unit = true }
    local order = {}
    for i, row in ipairs(rows) do
      order[i] = ("%s %s %d"):format(row.policy, row.size, row.capacity)
    end
    local half <const> = trace:objects() // 2
    assert.are.same({ "lru 10 10", "lru 0.5 " .. half, "lru 20.0 20", "sieve 10 10",
      "sieve 0.5 " .. half, "sieve 20.0 20" }, order)
  end)

  it("fills in each field of a result", function()
    local row = sim.run{ trace = trace, policies = { "lru" }, sizes = { "64K" } }[1]
    assert.are.same({ "lru", "64K", 65536, trace:len() },
      { row.policy, row.size, row.capacity, row.requests })
    assert.are.equal(row.misses / row.requests, row.miss_ratio)
    assert.are.equal(row.byte_misses / trace:stats().requested, row.byte_miss_ratio)
    assert.is_true(row.seconds > 0 and row.mreq_s > 0)
    assert.is_nil(row.failed)
  end)

  it("gives the same counts whatever the number of threads", function()
    local function misses(jobs)
      local list = {}
      for i, row in ipairs(sim.run{ trace = trace, sizes = { 0.05, 0.3 }, jobs = jobs }) do
        list[i] = ("%s %d %d"):format(row.policy, row.misses, row.byte_misses)
      end
      return list
    end
    local one <const> = misses(1)
    assert.are.equal(2 * #policy.names(), #one)
    assert.are.same(one, misses(2))
    assert.are.same(one, misses(5))
  end)

  it("calls a script by its name, else by its place", function()
    local path = file "return { score = 'freq' }"
    local rows = sim.run{ trace = trace, sizes = { 100 }, unit = true, policies = {
      { name = "mine", score = "freq" }, { score = "freq" }, path,
      function(freq) return freq end, { name = "hooked", on_evict = function(c)
        return c:queue("main"):back()
      end },
    } }
    local names = {}
    for i, row in ipairs(rows) do
      assert.is_nil(row.failed)
      names[i] = row.policy
    end
    assert.are.same({ "mine", "script 2", path:match("[^/]+$"), "script 4", "hooked" }, names)
    assert.are.equal(sim.run{ trace = trace, policies = { "lru" }, sizes = { 100 },
      unit = true }[1].misses, rows[5].misses)
  end)

  it("calls one that is not fit by its name as well", function()
    local rows = sim.run{ trace = trace, sizes = { 100 }, unit = true, policies = {
      { name = "unfit", score = "frq" }, { score = "frq" }, { name = "broken",
        on_evict = function() error("broken") end } } }
    local names = {}
    for i, row in ipairs(rows) do
      assert.is_nil(row.misses)
      names[i] = row.policy
    end
    assert.are.same({ "unfit", "script 2", "broken" }, names)
  end)

  it("has belady, which no other policy beats", function()
    local rows = sim.run{ trace = trace, sizes = { 50 }, unit = true, policies = {
      "belady", table.unpack(policy.names()) } }
    for i = 2, #rows do
      assert.is_true(rows[i].misses >= rows[1].misses, rows[i].policy)
    end
    local cache, _, code = require("lethe.cache").new{ limit = 10, policy = "belady",
      backend = { load = function() end } }
    assert.are.same({ nil, "bad_policy" }, { cache, code })
  end)
end)

-- ---- what fails ---------------------------------------------------------------------------------

describe("a policy that fails in the simulator", function()
  local trace

  before_each(function()
    trace = assert(sim.synthetic{ kind = "zipf", objects = 500, requests = 5000 })
  end)

  after_each(function()
    trace:close()
    program.clean()
  end)

  it("is one failed row, and the others complete", function()
    local bad <const> = {
      ["raises"] = file "return { score = function() error('enough', 0) end }",
      ["loops"] = file "return { budget = 1000000, score = function() while true do end end }",
      ["swallows"] = file [[return { budget = 1000000, score = function()
        while true do pcall(function() while true do end end) end
      end }]],
      ["fills memory"] = file [[local t = {} return { on_hit = function()
        for i = 1, 10 do t[#t + 1] = ("x"):rep(100000) .. #t end
      end }]],
      ["has a slip"] = file "return { scroe = 'freq' }",
      ["is no Lua"] = file "return {",
    }
    local says <const> = {
      ["raises"] = "enough", ["loops"] = "budget", ["swallows"] = "budget",
      ["fills memory"] = "memory", ["has a slip"] = 'did you mean "score"',
      ["is no Lua"] = "unexpected symbol",
    }
    local policies, whats = { "lru" }, {}
    for what, path in pairs(bad) do
      policies[#policies + 1] = path
      whats[#policies] = what
    end
    policies[#policies + 1] = "sieve"
    for _, jobs in ipairs{ 1, 2 } do
      local rows = sim.run{ trace = trace, policies = policies, sizes = { 50 }, unit = true,
        jobs = jobs }
      for i, row in ipairs(rows) do
        if whats[i] then
          assert.matches(says[whats[i]], row.failed, 1, true)
          assert.is_nil(row.misses)
          assert.is_nil(row.miss_ratio)
        else
          assert.is_nil(row.failed)
          assert.are.equal(5000, row.requests)
        end
      end
      assert.are.equal(#policies, #rows)
    end
  end)

  it("is named where it does not exist, and nearly does", function()
    local rows = sim.run{ trace = trace, policies = { "siev", "no/such.lua", "lru" },
      sizes = { 50 }, unit = true }
    assert.matches('unknown policy "siev" (did you mean "sieve"?)', rows[1].failed, 1, true)
    assert.matches("no/such.lua", rows[2].failed, 1, true)
    assert.are.equal("such.lua", rows[2].policy)
    assert.is_nil(rows[3].failed)
  end)

  it("of the program's own functions ends alone as well", function()
    local kept = {}
    local rows = sim.run{ trace = trace, sizes = { 50 }, unit = true, policies = {
      function() error("no more", 0) end,
      function() while true do end end,
      function(freq)
        for _ = 1, 30 do
          kept[#kept + 1] = ("x"):rep(10000) .. #kept
        end
        return freq
      end,
      function(freq) return freq end,
    } }
    assert.matches("no more", rows[1].failed, 1, true)
    assert.matches("budget", rows[2].failed, 1, true)
    assert.matches("memory", rows[3].failed, 1, true)
    assert.is_nil(rows[4].failed)
  end)
end)

-- ---- misuse -------------------------------------------------------------------------------------

describe("sim.run refuses", function()
  local trace

  before_each(function()
    trace = assert(sim.synthetic{ kind = "loop", objects = 10, requests = 100 })
  end)

  after_each(function()
    trace:close()
  end)

  it("what cannot be meant, at the caller's line", function()
    local function fails(options, message)
      local ok, why = pcall(function() sim.run(options) end)
      assert.is_false(ok)
      assert.matches("sim_spec.lua:%d+: ", why)
      assert.matches(message, why, 1, true)
    end
    fails({ trace = trace, polices = { "lru" } }, 'did you mean "policies"?')
    fails({}, "trace must be a lethe.sim.Trace (got nil)")
    fails({ trace = trace, policies = {} }, "policies must be a list that is not empty")
    fails({ trace = trace, policies = { 7 } }, "(got number)")
    fails({ trace = trace, policies = { { scroe = "freq" } } }, 'did you mean "score"?')
    fails({ trace = trace, sizes = { -1 } }, "got -1")
    fails({ trace = trace, sizes = { 1.5 } }, "got 1.5")
    fails({ trace = trace, sizes = { "much" } }, "much")
    fails({ trace = trace, sizes = { "64K" }, unit = true }, "got string")
    fails({ trace = trace, unit = 1 }, "unit must be a boolean")
    fails({ trace = trace, jobs = 0 }, "jobs must be an integer from 1")
    trace:close()
    fails({ trace = trace }, "trace is a closed lethe.sim.Trace")
  end)

  it("nothing, in a task or a plain coroutine", function()
    local loop = require("lethe.loop").new{}
    local task = loop:spawn(function()
      return #sim.run{ trace = trace, policies = { "lru", "fifo", { score = "freq" } },
        sizes = { 0.5, 5 }, jobs = 2 }
    end)
    assert.are.equal(6, task:join())
    local rows = coroutine.wrap(function()
      return sim.run{ trace = trace, policies = { "lru", "fifo" }, sizes = { 5 }, jobs = 2 }
    end)()
    assert.are.equal(2, #rows)
    loop:close()
  end)
end)
