-- Policies given as text: files that run in a state of their own, with a library that charges their
-- budget, little memory, and nothing that reaches the host.
local quota = require "lethe.quota"
local scenario = require "lethe.spec".scenario

local M <const> = 1 << 20
local ALL <const> = 1 << 40
local DATA <const> = "spec/data/policies/"

-- A file with that source, gone when the scenario ends; its path and its name without folders.
local function file(s, source)
  local path = os.tmpname()
  os.remove(path)
  path = path .. ".lua"
  local f <close> = assert(io.open(path, "wb"))
  f:write(source)
  s:own{ close = function() os.remove(path) end }
  return path, path:match("[^/]+$")
end

-- ---- a tracker with tenants -------------------------------------------------------------------

local TENANTS <const> = {
  { name = "guest 1", bytes = 2 * M, age = 30 },
  { name = "member", bytes = 4 * M, age = 10 },
  { name = "owner", bytes = 5 * M, age = 5 },
  { name = "guest 2", bytes = 3 * M, age = 20 },
}
local OLDEST <const> = { "owner", "member", "guest 2", "guest 1" }
local LARGEST <const> = { "owner", "member", "guest 2", "guest 1" }
local SMALLEST <const> = { "guest 1", "guest 2", "member", "owner" }

local function city(s)
  local tracker = assert(s:quota{ max = 64 * M })
  s.names = {}
  for _, t in ipairs(TENANTS) do
    local account = assert(tracker:account{ name = t.name })
    local obj = {
      get_oldest = function() return t.age end,
      reclaim = function() return "collapsing" end,
    }
    local participation = assert(account:participant(obj))
    assert(participation:claim(t.bytes))
    s.names[account:id()] = t.name
    s:own(account)
    s.kept = { participation, s.kept }
  end
  return tracker
end

local function plan(s, tracker)
  local result = {}
  for i, row in ipairs(tracker:plan(ALL)) do
    result[i] = s.names[row.account]
  end
  return result
end

local function reclaim_all(s, tracker)
  tracker:reclaim(ALL)
  local result = {}
  for i, event in ipairs(s:events("victim")) do
    result[i] = event.name
  end
  return result
end

-- What configure answers to a policy with that source.
local function refused(s, source)
  local tracker = city(s)
  local path, name = file(s, source)
  local ok, message, code = tracker:configure{ policy = path }
  assert.is_nil(ok)
  assert.are.equal("bad_policy", code)
  assert.are.same(OLDEST, plan(s, tracker))
  return message, name
end

-- The pass of a policy with that source: it fails, "oldest" takes over; the message.
local function failure(s, source)
  local tracker = city(s)
  local path, name = file(s, source)
  assert(tracker:configure{ policy = path })
  assert.are.same(OLDEST, reclaim_all(s, tracker))
  assert.are.equal(1, tracker:stats().policy_failures)
  assert.is_true(tracker:check())
  return s:events("policy_failed")[1].message, name
end

-- ---- what works -------------------------------------------------------------------------------

describe("a policy file", function()
  it("returns a function", scenario(function(s)
    local tracker = city(s)
    assert.is_true(tracker:configure{ policy = DATA .. "largest.lua" })
    assert.are.same(LARGEST, plan(s, tracker))
    assert.are.same(LARGEST, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("returns a table with an expression", scenario(function(s)
    local tracker = city(s)
    assert.is_true(tracker:configure{ policy = DATA .. "expression.lua" })
    assert.are.same(LARGEST, reclaim_all(s, tracker))
  end))

  it("returns a table with everything", scenario(function(s)
    local tracker = city(s)
    assert.is_true(tracker:configure{ policy = DATA .. "tenants.lua" })
    assert.are.same({ "guest 2", "guest 1", "member", "owner" }, plan(s, tracker))
    assert.are.same({ "guest 2", "guest 1", "member", "owner" }, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
    assert.are.same({}, s:events("policy_failed"))
  end))

  it("is given to new as well", function()
    local tracker <close> = assert(quota.new{ max = M, policy = DATA .. "largest.lua" })
    assert.is_true(tracker:check())
  end)

  it("is read once", scenario(function(s)
    local tracker = city(s)
    local path = file(s, "return function(c) return -c.used end")
    assert(tracker:configure{ policy = path })
    os.remove(path)
    assert.are.same(SMALLEST, reclaim_all(s, tracker))
  end))

  it("has a state of its own, which lives as long as the policy", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      count = (count or 0) + 1
      local calls = 0
      return function(c)
        calls = calls + 1
        return calls > 4 and -c.used or c.used
      end
    ]])) })
    assert.is_nil(rawget(_G, "count"))
    assert.are.same(LARGEST, plan(s, tracker))
    assert.are.same(SMALLEST, plan(s, tracker))
  end))

  it("shares nothing with another tracker's", scenario(function(s)
    local path = file(s, [[
      shared = (shared or 0) + 1
      assert(shared == 1)
      string.shared = (string.shared or 0) + 1
      assert(string.shared == 1)
      return function(c) return c.used end
    ]])
    for _ = 1, 3 do
      assert(s:quota{ max = M, policy = path })
    end
    assert.is_nil(rawget(string, "shared"))
  end))

  it("may keep candidates, and cannot write them", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      local kept = {}
      return function(c)
        for _, old in pairs(kept) do
          assert(old.used > 0)
        end
        kept[#kept + 1] = c
        local ok, message = pcall(function() c.used = 0 end)
        assert(not ok and message:find("read%-only"))
        assert(getmetatable(c) == false)
        assert(not pcall(setmetatable, c, {}))
        assert(not pcall(rawset, c, "used", 0))
        local n = 0
        for _ in pairs(c) do n = n + 1 end
        assert(n >= 14)
        return c.used
      end
    ]])) })
    assert.are.same(LARGEST, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
  end))

  it("reads the tracker in its hooks", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      return {
        score = "used",
        on_start = function(t)
          local stats = t:stats()
          assert(math.type(t:used()) == "integer" and t:used() == stats.used)
          assert(stats.max == 64 * 2 ^ 20 and stats.accounts == 4)
          assert(t:pressure() == 0 and select(2, t:pressure()) == "normal")
          assert(not pcall(function() t:close() end))
          assert(not pcall(function() t.used = 1 end))
          assert(not pcall(t.used, {}))
          assert(tostring(t):find("quota.Tracker"))
        end,
        on_stop = function(t, outcome)
          assert(outcome == "manual" or outcome == "stuck", outcome)
          assert(t:used() == 0)
        end,
      }
    ]])) })
    assert.are.same(LARGEST, reclaim_all(s, tracker))
    assert.are.same({}, s:events("policy_failed"))
  end))

  it("leaves a file's budget to the file, downwards only", scenario(function(s)
    local message = failure(s, "return { budget = 5000, score = function() while true do end end }")
    assert.are.equal("policy passed its budget of 5000 instructions", message)
    local path = file(s, [[
      return { budget = math.maxinteger, score = function() while true do end end }
    ]])
    local tracker = assert(s:quota{ max = M, policy = path })
    local account = s:own(assert(tracker:account{}))
    local participation = assert(account:participant{
      get_oldest = function() return 1 end,
      reclaim = function() end,
    })
    assert(participation:claim(10000))
    tracker:reclaim(ALL)
    assert.are.equal(0, tracker:used())
    assert.matches("budget of 10000000 instructions", s:events("policy_failed")[2].message)
  end))
end)

-- ---- what is refused --------------------------------------------------------------------------

describe("a policy file is refused", function()
  it("when it does not exist, by its name", function()
    for _, path in ipairs{ "no/such/policy.lua", "nowhere.lua", "./x" } do
      local tracker, message, code = quota.new{ max = M, policy = path }
      assert.is_nil(tracker)
      assert.are.equal("bad_policy", code)
      assert.are.equal(('cannot read policy file "%s"'):format(path), message)
    end
  end)

  it("when it is a folder", function()
    local _, message, code = quota.new{ max = M, policy = "spec/data" }
    assert.are.equal("bad_policy", code)
    assert.matches('"spec/data"', message)
  end)

  it("when it is no Lua, with its line", scenario(function(s)
    local message, name = refused(s, "return {\n  score = ,\n}")
    assert.are.equal(name .. ":2: unexpected symbol near ','", message)
  end))

  it("when it raises, with its line", scenario(function(s)
    local message, name = refused(s, "\n\nerror('no luck')")
    assert.are.equal(name .. ":3: no luck", message)
  end))

  it("when it loops", scenario(function(s)
    assert.are.equal("policy passed its budget of 10000000 instructions",
      (refused(s, "while true do pcall(function() while true do end end) end")))
  end))

  it("when it returns nothing, or no policy", scenario(function(s)
    for source, got in pairs{
      [""] = "nil",
      ["return 5"] = "number",
      ["return 'largest'"] = "string",
      ["return true"] = "boolean",
    } do
      local tracker = assert(s:quota{ max = M })
      local path, name = file(s, source)
      local ok, message, code = tracker:configure{ policy = path }
      assert.is_nil(ok)
      assert.are.equal("bad_policy", code)
      local expected = "%s: a policy must be a name, a function or a table (got %s)"
      assert.are.equal(expected:format(name, got), message)
    end
  end))

  it("when its table is wrong", scenario(function(s)
    for source, pattern in pairs{
      ["{ scor = 'used' }"] = 'unknown option "scor" %(did you mean "score"%?%)',
      ["{ score = 5 }"] = "score must be a function or an expression %(got number%)",
      ["{ score = 'usde' }"] = 'bad expression: column 1: unknown name "usde"',
      ["{}"] = "needs a score or an order",
      ["{ order = 'x' }"] = "order must be a function",
      ["{ score = 'used', budget = -1 }"] = "budget must be a number of instructions above 0",
      ["setmetatable({}, { __index = function() error('gotcha') end })"] = ":1: gotcha",
      ["setmetatable({}, { __index = function() while true do end end })"] = "passed its budget",
    } do
      local tracker = assert(s:quota{ max = M })
      local path, name = file(s, "return " .. source)
      local ok, message, code = tracker:configure{ policy = path }
      assert.is_nil(ok)
      assert.are.equal("bad_policy", code)
      assert.matches("^" .. name:gsub("%p", "%%%0") .. ":", message)
      assert.matches(pattern, message)
    end
  end))

  it("when it is a binary chunk", scenario(function(s)
    local message = refused(s, string.dump(function() return {} end))
    assert.matches("binary", message)
  end))

  it("when loading it takes more than 64 MiB", scenario(function(s)
    local message = refused(s, "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(2 ^ 20) .. i end")
    assert.matches("not enough memory", message)
  end))

  it("as a whole: limits and policy stay", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = DATA .. "largest.lua" })
    local ok, _, code = tracker:configure{ max = 32 * M, policy = "nowhere.lua" }
    assert.is_nil(ok)
    assert.are.equal("bad_policy", code)
    assert.are.equal(64 * M, tracker:stats().max)
    assert.are.same(LARGEST, plan(s, tracker))
  end))
end)

-- ---- what it cannot reach ---------------------------------------------------------------------

describe("a policy file has no", function()
  for _, name in ipairs{
    "os", "io", "debug", "package", "require", "dofile", "loadfile", "collectgarbage", "print",
    "arg", "lethe", "warn",
  } do
    it(name, scenario(function(s)
      local source = ("assert(%s == nil and _G.%s == nil) return function() end"):format(name, name)
      assert(s:quota{ max = M, policy = (file(s, source)) })
    end))
  end

  it("finalizers", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      local ran = 0
      local mt = { __gc = function() ran = ran + 1 while true do end end }
      local function litter()
        setmetatable({}, mt)
        local late = {}
        setmetatable(late, late)
        late.__gc = mt.__gc
        setmetatable(late, { __gc = mt.__gc, __mode = "k" })
      end
      for _ = 1, 1000 do litter() end
      return function(c)
        for _ = 1, 1000 do
          litter()
          local _ = ("x"):rep(1000)
        end
        assert(ran == 0)
        return c.used
      end
    ]])) })
    assert.are.same(LARGEST, reclaim_all(s, tracker))
    assert.are.equal(0, tracker:stats().policy_failures)
    tracker:close()
  end))

  it("way into the host's string library", scenario(function(s)
    local path = file(s, [[
      string.format = nil
      getmetatable("").__index.upper = nil
      return function(c) return c.used end
    ]])
    assert(s:quota{ max = M, policy = path })
    assert.are.equal("ABC 5", ("abc"):upper() .. (" %d"):format(5))
  end))
end)

-- ---- budget and memory ------------------------------------------------------------------------

describe("a policy file is charged for", function()
  local function over_budget(name, body)
    it(name, scenario(function(s)
      local message = failure(s, ("return function(c) %s end"):format(body))
      assert.are.equal("policy passed its budget of 10000000 instructions", message)
    end))
  end

  over_budget("a loop", "while true do end")
  over_budget("a loop of pcalls", "while true do pcall(error) end")
  over_budget("a loop in xpcall's handler",
    "while true do xpcall(error, function() while true do end end) end")
  over_budget("a loop in a coroutine", "coroutine.wrap(function() while true do end end)()")
  over_budget("coroutines that make coroutines", [[
    local function go() return coroutine.wrap(go)() end
    while true do pcall(go) end
  ]])
  over_budget("a loop in a comparator", "table.sort({ 3, 2, 1 }, function() while true do end end)")
  over_budget("a loop in a to-be-closed variable", [[
    local x <close> = setmetatable({}, { __close = function() while true do end end })
    return 1
  ]])
  over_budget("string.rep", "while true do local _ = ('x'):rep(1000000) end")
  over_budget("concat", [[
    local t = {}
    for i = 1, 1000 do t[i] = ("x"):rep(1000) end
    while true do local _ = table.concat(t) end
  ]])
  over_budget("sort", [[
    local t = {}
    for i = 1, 10000 do t[i] = (i * 7919) % 10007 end
    while true do table.sort(t, function(a, b) return a > b end) table.sort(t) end
  ]])
  over_budget("a pattern that backtracks", [[
    return ("a"):rep(30000):find(("a*"):rep(20) .. "b") and 1
  ]])
  over_budget("gsub over a large string",
    "local x = ('ab'):rep(100000) while true do x:gsub('a', 'b') end")
end)

describe("a policy file's memory", function()
  it("is capped: past 64 MiB the pass goes on with oldest", scenario(function(s)
    local message = failure(s, [[
      return function(c)
        local t = {}
        for i = 1, 1e6 do t[i] = ("x"):rep(2 ^ 20) .. i end
      end
    ]])
    assert.matches("not enough memory", message)
  end))

  it("is its own: one that catches the error goes on", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      return function(c)
        local ok, message = pcall(function()
          local t = {}
          for i = 1, 1e6 do t[i] = ("x"):rep(2 ^ 22) .. i end
        end)
        assert(not ok and message == "not enough memory")
        return c.used
      end
    ]])) })
    assert.are.same(LARGEST, reclaim_all(s, tracker))
  end))
end)

-- ---- failures ---------------------------------------------------------------------------------

describe("a policy file that fails", function()
  it("is named with its line, without its folder", scenario(function(s)
    local message, name = failure(s, "return function(c)\n  return c.size * 2\nend")
    local expected = ":2: attempt to perform arithmetic on a nil value (field 'size')"
    assert.are.equal(name .. expected, message)
  end))

  it("by what it returns", scenario(function(s)
    assert.are.equal("score must return a number or nil (got string)",
      (failure(s, "return function() return 'x' end")))
  end))

  it("by its order", scenario(function(s)
    assert.matches("order must return a list",
      (failure(s, "return { order = function() return nil end }")))
  end))

  it("is asked again in the next pass", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      local passes = 0
      return {
        on_start = function() passes = passes + 1 end,
        score = function(c)
          if passes == 1 then error("first") end
          return -c.used
        end,
      }
    ]])) })
    tracker:reclaim(4 * M)
    tracker:reclaim(1 * M)
    local victims = s:events("victim")
    assert.are.equal("owner", victims[1].name)
    assert.are.equal("guest 1", victims[2].name)
    assert.are.equal(1, tracker:stats().policy_failures)
  end))

  it("gets its sterner call", scenario(function(s)
    local tracker = city(s)
    assert(tracker:configure{ policy = (file(s, [[
      return { degraded = true, score = function(c)
        while not c.degraded do end
        return -c.used
      end }
    ]])) })
    assert.are.same(SMALLEST, reclaim_all(s, tracker))
    assert.are.equal(1, tracker:stats().policy_failures)
  end))
end)

describe("many policy files", function()
  it("come and go", scenario(function(s)
    local tracker = city(s)
    local path = file(s, "return function(c) return c.used end")
    for i = 1, 30 do
      assert(tracker:configure{ policy = i % 2 == 0 and path or DATA .. "tenants.lua" })
      tracker:reclaim(1)
    end
    assert.are.equal(0, tracker:stats().policy_failures)
  end))
end)
