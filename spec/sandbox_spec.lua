-- The sandbox's library, as plain Lua in an ordinary state: what it gives, what it withholds, and
-- what it charges. Patterns have a spec of their own; the state with its meter and its memory is
-- the business of spec/c/test_sandbox.c.
local sandbox = require "lethe.sandbox"
local chance = require "spec.support.chance"

-- A library and a function that tells what was charged since the last call.
local function metered()
  local used = 0
  local env = sandbox.build(function(n) used = used + n end)
  return env, function()
    local before = used
    used = 0
    return before
  end
end

-- Runs source in the environment; results, or nil and the message.
local function run(env, source)
  return assert(env.load(source, "=policy"))()
end

local function message(env, source)
  local ok, text = pcall(assert(env.load(source, "=policy")))
  assert.is_false(ok)
  return text
end

local SEED = math.tointeger(tonumber(os.getenv("SEED"))) or 20240

-- ---- sorting and lists --------------------------------------------------------------------------

describe("the sandbox's table library", function()
  local function ordered(t, less)
    less = less or function(a, b) return a < b end
    for i = 2, #t do
      if less(t[i], t[i - 1]) then return false end
    end
    return true
  end

  it("sorts every length, numbers and strings, with and without an order", function()
    local random, sort = chance.generator(SEED), sandbox.build().table.sort
    for n = 0, 70 do
      local numbers, words, sum = {}, {}, 0
      for i = 1, n do
        numbers[i] = random(20)
        words[i] = tostring(random(50))
        sum = sum + numbers[i]
      end
      sort(numbers)
      sort(words, function(a, b) return a > b end)
      assert.is_true(ordered(numbers))
      assert.is_true(ordered(words, function(a, b) return a > b end))
      for i = 1, n do sum = sum - numbers[i] end
      assert.are.equal(0, sum)
    end
  end)

  it("keeps the order of equal elements", function()
    local random, list = chance.generator(SEED), {}
    for i = 1, 200 do list[i] = { key = random(5), at = i } end
    sandbox.build().table.sort(list, function(a, b) return a.key < b.key end)
    assert.is_true(ordered(list, function(a, b)
      return a.key < b.key or a.key == b.key and a.at < b.at
    end))
  end)

  it("survives an order function that contradicts itself, losing nothing", function()
    local random, list = chance.generator(SEED), {}
    for i = 1, 100 do list[i] = i end
    sandbox.build().table.sort(list, function() return random(2) == 1 end)
    local seen = {}
    for _, v in ipairs(list) do seen[v] = true end
    assert.are.equal(100, #seen)
    sandbox.build().table.sort(list, function() return true end)
    assert.are.equal(100, #list)
  end)

  it("names what it cannot compare, at the caller's line", function()
    local env = sandbox.build()
    assert.are.equal("policy:1: attempt to compare string with number",
      message(env, "table.sort({ 1, 'x' })"))
    assert.are.equal("policy:1: attempt to compare two table values",
      message(env, "table.sort({ {}, {} })"))
    assert.are.equal("policy:2: attempt to compare nil with number",
      message(env, "table.sort({ 1, 2 }, function(a, b)\nreturn nil < a end)"))
  end)

  it("leaves the list as it was when the order function raises", function()
    local list, sort = { 3, 1, 2 }, sandbox.build().table.sort
    assert.is_false(pcall(sort, list, function() error("no") end))
    assert.are.same({ 3, 1, 2 }, list)
  end)

  -- Each call on a fresh list, by Lua's library and by ours: results, errors and the list after it.
  it("inserts, removes, moves, joins and unpacks as Lua does", function()
    local ours = sandbox.build().table
    local calls = {
      { "insert", "z" }, { "insert", 1, "z" }, { "insert", 4, "z" }, { "insert", 5, "z" },
      { "insert", 0, "z" }, { "insert" }, { "insert", 1, 2, 3 }, { "insert", "2", "z" },
      { "remove" }, { "remove", 1 }, { "remove", 3 }, { "remove", 4 }, { "remove", 5 },
      { "remove", 0 }, { "remove", 1.5 }, { "move", 1, 3, 2 }, { "move", 2, 3, 1 },
      { "move", 1, 0, 5 }, { "move", 1, 3, 1, {} }, { "move", math.mininteger, math.maxinteger, 1 },
      { "move", 1, math.maxinteger, 2 }, { "concat" }, { "concat", "-" }, { "concat", "-", 2, 3 },
      { "concat", 1, 1, 4 }, { "concat", "", 3, 2 }, { "unpack" }, { "unpack", 2 },
      { "unpack", -1, 1 }, { "unpack", 1, 1e8 }, { "unpack", math.mininteger, math.maxinteger },
    }
    for _, call in ipairs(calls) do
      local mine, theirs = { "a", "b", "c" }, { "a", "b", "c" }
      local got = table.pack(pcall(ours[call[1]], mine, table.unpack(call, 2)))
      local want = table.pack(pcall(table[call[1]], theirs, table.unpack(call, 2)))
      assert.are.equal(want[1], got[1], table.concat({ call[1], tostring(call[2]) }, " "))
      if want[1] and type(want[2]) ~= "table" then assert.are.same(want, got) end
      assert.are.same(theirs, mine)
    end
    local empty = {}
    assert.is_nil(ours.remove(empty))
    assert.is_nil(ours.remove(empty, 0))
    assert.are.same({ n = 3, 1, nil, 3 }, ours.pack(1, nil, 3))
  end)
end)

-- ---- the environment ----------------------------------------------------------------------------

describe("the sandbox's environment", function()
  it("reaches nothing of the host", function()
    local env = sandbox.build()
    for _, name in ipairs { "os", "io", "debug", "package", "require", "dofile", "loadfile",
      "collectgarbage", "print", "warn" } do
      assert.is_nil(env[name], name)
    end
    assert.is_nil(env.string.dump)
    assert.are.equal(env, env._G)
    for _, name in ipairs { "string", "table", "math", "utf8", "coroutine" } do
      assert.are_not.equal(_G[name], env[name])
    end
    assert.are.equal(env.string, env.getmetatable("").__index)
    env.getmetatable("").__index = nil
    assert.are.equal(string, getmetatable("").__index)
  end)

  it("loads text into itself, and no binary chunk", function()
    local env = sandbox.build()
    run(env, "load('x = 1')() load('y = 2', 'y', 't', _G)()")
    assert.are.equal(3, env.x + env.y)
    assert.is_nil(rawget(_G, "x"))
    local dumped = string.dump(function() end)
    assert.is_nil((env.load(dumped)))
    assert.is_nil((env.load(dumped, "x", "b")))
    assert.is_nil((env.load("return 1", "x", "b")))
    local pieces = { "return ", "7", nil }
    local n = 0
    assert.are.equal(7, env.load(function() n = n + 1 return pieces[n] end)())
    assert.are.equal(5, env.load("return x", "x", "t", { x = 5 })())
  end)

  it("shows no path in the names of chunks", function()
    local env = sandbox.build()
    local _, text = env.load("=", "@/home/someone/policy.lua")
    assert.are.equal("policy.lua:1: unexpected symbol near '='", text)
  end)

  it("never arms a __gc, and leaves it in the metatable", function()
    local env = sandbox.build()
    env.died = 0
    run(env, [[
      mt = { __gc = function() died = died + 1 end, __index = { x = 1 } }
      for i = 1, 100 do assert(setmetatable({}, mt).x == 1) end
      assert(mt.__gc)
      local guarded = setmetatable({}, { __metatable = "no", __gc = mt.__gc })
      assert(not pcall(setmetatable, guarded, mt) and mt.__gc)
    ]])
    collectgarbage()
    collectgarbage()
    assert.are.equal(0, env.died)
    assert.are.equal("policy:1: cannot change a protected metatable",
      message(env, "setmetatable(setmetatable({}, { __metatable = 1 }), {})"))
  end)

  it("draws the same random numbers in every sandbox, and leaves the host's alone", function()
    math.randomseed(42)
    local expected = math.random(1000000)
    math.randomseed(42)
    local source = "local t = {} for i = 1, 20 do t[i] = math.random(100) end return t"
    local one, other = run(sandbox.build(), source), run(sandbox.build(), source)
    assert.are.same(one, other)
    assert.are.equal(expected, math.random(1000000))
    local seeded = sandbox.build(nil, { seed = 7 })
    assert.are_not.same(one, run(seeded, source))
    for _, v in ipairs(one) do assert.is_true(v >= 1 and v <= 100) end
    run(seeded, [[
      local x = math.random()
      assert(x >= 0 and x < 1)
      assert(math.random(5, 5) == 5 and math.type(math.random(0)) == "integer")
      math.randomseed(3) local a = math.random(1 << 40)
      math.randomseed(3) assert(a == math.random(1 << 40))
      math.randomseed(3.5)
      assert(not pcall(math.random, 2, 1) and not pcall(math.random, 1, 2, 3))
    ]])
  end)

  it("reports wrong arguments at the policy's line, by the function's name", function()
    local env = sandbox.build()
    local cases = {
      ["local x = string.rep()"] = "bad argument #1 to 'rep' (string expected, got no value)",
      ["local x = string.rep('x', 1.5)"] =
        "bad argument #2 to 'rep' (number has no integer representation)",
      ["local x = string.rep('x', {})"] = "bad argument #2 to 'rep' (number expected, got table)",
      ["local x = string.gsub('x', 'x')"] =
        "bad argument #3 to 'gsub' (string/function/table expected, got nil)",
      ["local x = string.gsub('x', 'x', '%2')"] =
        "invalid capture index %2 in replacement string",
      ["local x = string.gsub('x', '(x)', { x = {} })"] = "invalid replacement value (a table)",
      ["table.insert(nil, 1)"] = "bad argument #1 to 'insert' (table expected, got no value)",
      ["table.insert({}, 5, 1)"] = "bad argument #2 to 'insert' (position out of bounds)",
      ["local x = table.concat({ {} })"] = "invalid value (at index 1) in table for 'concat'",
      ["local x = string.format('%d', 'x')"] =
        "bad argument #2 to 'string.format' (number expected, got string)",
      ["local x = utf8.offset('x', 1, 5)"] =
        "bad argument #3 to 'offset' (position out of bounds)",
      ["coroutine.create(1)"] = "bad argument #1 to 'create' (function expected, got number)",
      ["xpcall(error)"] = "bad argument #2 to 'xpcall' (function expected, got no value)",
    }
    for source, text in pairs(cases) do
      assert.are.equal("policy:1: " .. text, message(env, source))
    end
  end)

  it("passes coroutines' values and errors on as Lua does", function()
    local env = sandbox.build()
    run(env, [[
      local gen = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
      assert(gen(1) == 2 and gen(5) == 10)
      local ok, m = pcall(gen)
      assert(not ok and m:find("cannot resume dead coroutine", 1, true), m)
      local object = {}
      ok, m = pcall(coroutine.wrap(function() error(object) end))
      assert(not ok and m == object)
      local closed = false
      local w = coroutine.wrap(function()
        local x <close> = setmetatable({}, { __close = function() closed = true end })
        error("here", 0)
      end)
      ok, m = pcall(w)
      assert(not ok and closed and m:find("here", 1, true))
      local co = coroutine.create(function() coroutine.yield() end)
      coroutine.resume(co)
      assert(coroutine.close(co) and coroutine.status(co) == "dead")
    ]])
  end)

  it("gives utf8 as Lua has it", function()
    local env = sandbox.build()
    env.check = assert
    run(env, [[
      local s, seen = "a\u{e9}\u{20ac}z", {}
      for at, code in utf8.codes(s) do seen[#seen + 1] = at .. ":" .. code end
      check(table.concat(seen, " ") == "1:97 2:233 4:8364 7:122")
      check(utf8.len(s) == 4 and utf8.char(97, 233) == "a\u{e9}")
      check(utf8.offset(s, 3) == 4 and utf8.offset(s, -1) == 7 and utf8.offset(s, 0, 5) == 4)
      check(utf8.codepoint(s, 1, -1) == 97 and select("#", utf8.codepoint(s, 1, -1)) == 4)
      check(not pcall(function() for _ in utf8.codes("\xff") do end end))
      check(not pcall(function() for _ in utf8.codes("a" .. ("\x80"):rep(100)) do end end))
      check(not pcall(utf8.offset, s, 1, 3) and not pcall(utf8.codepoint, s, 50))
    ]])
  end)
end)

-- ---- charges ------------------------------------------------------------------------------------

describe("the sandbox's charges", function()
  it("grow with the work that C does, before it is done", function()
    local env, used = metered()
    local big = ("x"):rep(100000)
    local work = {
      function() env.string.upper(big) end,
      function() env.string.rep("x", 100000) end,
      function() env.string.rep("x", 100000, ",") end,
      function() env.string.find(big, "y", 1, true) end,
      function() env.string.find(big, "y") end,
      function() env.string.match(big, "^x+") end,
      function() env.string.gsub(big, "x", "y") end,
      function() env.string.byte(big, 1, 10000) end,
      function() env.string.char(big:byte(1, 2000)) end,
      function() env.table.concat({ big, big }) end,
      function() env.table.unpack({}, 1, 5000) end,
      function() env.utf8.len(big) end,
      function() env.load("--" .. big) end,
      function() env.tonumber(big) end,
    }
    for i, fn in ipairs(work) do
      used()
      fn()
      assert.is_true(used() >= 2000, "work " .. i)
    end
    assert.has_error(function()
      sandbox.build(function(n) if n > 1000 then error("spent") end end).string.rep("x", 1 << 40)
    end, "spent")
  end)

  it("hand back what a search did not need", function()
    local env, used = metered()
    local big = ("x"):rep(100000)
    for _, p in ipairs { "x", "^y", "x%d", "(x)" } do
      used()
      env.string.find(big, p)
      if p ~= "x%d" then assert.is_true(used() < 50, p) end
    end
  end)

  it("are small for small things", function()
    local env, used = metered()
    used()
    run(env, [[
      local s = ("key = value"):sub(1, 3)
      local t = { 3, 1, 2 }
      table.sort(t)
      return s:upper() .. table.concat(t, ",")
    ]])
    assert.is_true(used() < 1000)
  end)

  it("end an endless repetition of nothing", function()
    local env = sandbox.build()
    assert.are.equal("", env.string.rep("", 1 << 62))
    assert.are.equal("abababab", env.string.rep("ab", 4))
    assert.are.equal(("ab"):rep(1001), env.string.rep("ab", 1001))
    assert.are.equal(("a"):rep(500, "-"), env.string.rep("a", 500, "-"))
    assert.are.equal("policy:1: resulting string too large",
      message(env, "local x = string.rep('x', 1 << 62)"))
  end)

  it("follow caught errors", function()
    local caught = 0
    local env = sandbox.build(nil, { caught = function() caught = caught + 1 end })
    run(env, "pcall(error) xpcall(error, type) pcall(type, 1)")
    assert.are.equal(2, caught)
  end)
end)
