-- Vats whose code wants to hang, to fill the memory, to get out, or to break what is around it:
-- that ends the crank with a clear error, or the vat, and nobody else.
local lethe = require "lethe"
local shell = require "spec.support.vat_shell"

local METER <const>, MEMORY <const> = 400000, "4M"

local v, other

local function open()
  v = shell.new{ meter = METER, memory = MEMORY }
  other = v.k:vat("other", [[
    local heard = 0
    return { hear = function() heard = heard + 1 return heard end,
      heard = function() return heard end, far = function() return far{} end }]])
end

local function close()
  assert.are.equal(0, v.k:await(v.k:send(other, "heard"))) -- nothing reached it
  v:close()
end

-- What the code comes to: how the vat ended, or "value: ...", or "error: ...".
local function fate(source)
  local value, message, code = v:run("local other = ... " .. source, other)
  local ended = v:ended()
  if ended then
    local records = v.k:transcript()
    assert.are.same({ ended, {} }, { records[#records].ended, records[#records].syscalls })
    return ended
  end
  if code then return "error: " .. message end
  return "value: " .. tostring(value)
end

-- ---- what never ends --------------------------------------------------------------------------

local ENDLESS <const> = {
  ["a loop"] = "while true do end",
  ["a loop around pcall"] = "while true do pcall(error) end",
  ["a loop inside pcall, again and again"] =
    "while true do pcall(function() while true do end end) end",
  ["a message handler"] =
    "xpcall(function() while true do end end, function() while true do end end)",
  ["a coroutine"] = "coroutine.wrap(function() while true do end end)()",
  ["coroutines without end"] = "while true do coroutine.wrap(function() end)() end",
  ["coroutines in coroutines"] =
    "local function f() return coroutine.wrap(f)() end while true do pcall(f) end",
  ["coroutines that are kept"] =
    "local t = {} while true do t[#t % 50 + 1] = coroutine.create(print) end",
  ["a to-be-closed variable"] = [[
    local x <close> = setmetatable({}, { __close = function() while true do end end })
    while true do end]],
  ["one in a coroutine"] = [[
    coroutine.wrap(function()
      local x <close> = setmetatable({}, { __close = function() while true do end end })
      while true do end
    end)()]],
  ["a metamethod"] = "local x = setmetatable({}, { __index = function() while true do end end }).x",
  ["an order function"] = "table.sort({ 3, 2, 1 }, function() while true do end end)",
  ["a replacement"] = "string.gsub('abc', '.', function() while true do end end)",
  ["__tostring"] = "print(setmetatable({}, { __tostring = function() while true do end end }))",
  ["__pairs"] = "pairs(setmetatable({}, { __pairs = function() while true do end end }))",
  ["__len"] = "table.insert(setmetatable({}, { __len = function() while true do end end }), 1)",
  ["a huge __len"] = "table.concat(setmetatable({}, { __len = function() return 1 << 60 end,"
    .. " __index = function() return 'x' end }))",
  ["a reader"] = "load(function() return ' ' end)",
  ["a pattern"] = "string.find(('a'):rep(3000), '.-.-.-.-b')",
  ["long texts"] = "local s = ('x'):rep(100000) while true do local t = s .. 'a' end",
  ["walks over a table"] = "local t = { a = 1, b = 2 } while true do for _ in pairs(t) do end end",
  ["next"] = "local t = { a = 1, b = 2 } while true do next(t) end",
  ["numbers for addresses"] = "while true do tostring({}) end",
  ["weak collections"] = "while true do weak_map():set(other, weak_set()) end",
  ["promises"] = "local function f() return when(1, f) end f()",
  ["messages"] = "while true do E(other):hear() end",
  ["messages that cannot be sent"] = "while true do pcall(function() E(other):hear(print) end) end",
  ["large messages"] =
    "local t = {} for i = 1, 999 do t[i] = i end while true do E(other):hear(t) end",
  ["metatables"] = "while true do setmetatable({}, {}) end",
  ["jobs of jobs"] = [[
    local function f() when(promise(), f) local p, r = promise() r(1) when(p, f) when(p, f) end
    f()]],
  ["string methods of its own"] =
    "string.format = function() while true do end end return ('x'):format()",
  ["string methods under the library"] = [[
    for name in pairs(string) do string[name] = function() while true do end end end
    while true do pcall(function() weak_map():set(1, 2) end) pcall(E, 1) end]],
  ["a printed line for each step"] = "while true do print('x') end",
}

describe("what never ends ends its vat with its meter:", function()
  before_each(open)
  after_each(close)

  for name, source in pairs(ENDLESS) do
    it(name, function()
      assert.are.equal("meter", fate("E(other):hear() " .. source))
      assert.are.equal(0, #v:lines())
    end)
  end
end)

-- ---- what fills the memory --------------------------------------------------------------------

local BOMBS <const> = {
  ["a list"] = "local t = {} for i = 1, 1e6 do t[i] = i end",
  ["tables"] = "local t = {} for i = 1, 1e6 do t = { t } end",
  ["a text"] = "local s = 'x' while true do s = s .. s end",
  ["a repeated text"] = "local s = ('x'):rep(1 << 22)",
  ["one that is caught"] = "pcall(string.rep, 'x', 1 << 22) E(other):hear() return 'caught'",
  ["one that is caught again and again"] = "while true do pcall(string.rep, 'x', 1 << 22) end",
  ["a text put together"] =
    "local t = {} for i = 1, 4000 do t[i] = ('x'):rep(1000) end return #table.concat(t)",
  ["a text that grows by gsub"] = "local s = ('x'):rep(4000) return #s:gsub('x', ('y'):rep(2000))",
  ["a deep stack"] = "local function f() return 1 + f() end f()",
  ["weak collections"] = "local t = {} for i = 1, 1e6 do t[i] = weak_map() end",
  ["metatables"] = "local t = {} for i = 1, 1e6 do t[i] = setmetatable({}, {}) end",
  ["promises"] = "local t = {} for i = 1, 1e6 do t[i] = promise() end",
  ["printed lines"] = "local s = ('x'):rep(1000) for i = 1, 1e4 do print(s .. i) end",
  ["a message"] = "E(other):hear(('x'):rep(1 << 21), ('x'):rep(1 << 21))",
}

describe("what fills its memory ends its vat:", function()
  before_each(function()
    v = shell.new{ meter = 100 * METER, memory = MEMORY }
    other = v.k:vat("other",
      "local n = 0 return { hear = function() n = n + 1 end, heard = function() return n end }")
  end)
  after_each(close)

  for name, source in pairs(BOMBS) do
    it(name, function()
      assert.are.equal("memory", fate("E(other):hear() " .. source))
      assert.are.equal(0, #v:lines())
    end)
  end

  it("not what is only garbage", function()
    assert.are.equal("value: 20000", fate[[
      local n = 0
      for i = 1, 20000 do
        local t = { ("x"):rep(1000), { i } }
        n = n + #t[2]
      end
      return n]])
    for _ = 1, 20 do
      assert.are.equal("value: 1000000", fate"return #('x'):rep(1000000)")
    end
  end)
end)

-- ---- what fails clearly -----------------------------------------------------------------------

local CLEAR <const> = {
  ["an error"] = { "error('x')", "code:1: x" },
  ["an error that is nothing"] = { "error()", "nil" },
  ["an error that cannot be sent"] =
    { "error(print)", "the result is a function, which cannot be sent" },
  ["an error that fails to say what it is"] =
    { "error(setmetatable({ 1 }, { __tostring = error }))", "table: 0x[0-9a-f]+" },
  ["a finalizer that fails"] = { "local t = setmetatable({}, { __gc = error }) t = nil"
    .. " for i = 1, 9999 do t = {} end return 'nothing ran'", "value: nothing ran" },
  ["a close that fails"] =
    { "local x <close> = setmetatable({}, { __close = function() error('c') end })", "code:1: c" },
  ["a stack without end"] =
    { "local function f() local t <const> = pcall(f) return t end f() error('far up')",
      "code:1: far up" },
  ["recursion in C"] = { "local function f() return coroutine.wrap(f)() end f()",
    "code:1: C stack overflow" },
  ["a metatable that is its own index"] =
    { "local t = {} setmetatable(t, { __index = t }) return t.x",
      "code:1: '__index' chain too long; possibly a loop" },
  ["a chain of tables that goes round"] = { [[
    local a, b = {}, {}
    setmetatable(a, { __index = b }) setmetatable(b, { __index = a })
    local x = a.x]], "code:3: '__index' chain too long; possibly a loop" },
  ["a length that is none"] =
    { "table.insert(setmetatable({}, { __len = function() return 'x' end }), 1)",
      "code:1: object length is not an integer" },
  ["an unknown method"] = { "return E(far{}):foo()", 'there is no method "foo"' },
  ["a method that is a number"] = { "return E(far{ foo = 7 }):foo()", 'there is no method "foo"' },
  ["a method name that is none"] =
    { "local x = E(far{})[1]", "code:1: a method's name is a string" },
  ["a forged presence"] = { "E({ slot = 'o-1' }):hear()",
    "code:1: E wants a presence, a promise or a far object %(got table%)" },
  ["a promise of itself"] = { "local p, r = promise() r(p) return p",
    "a promise cannot be fulfilled with itself" },
  ["a message to what is no object"] =
    { "local p, r = promise() r(5) return E(p):foo()", "a message cannot be sent to a number" },
  ["a handler that is none"] = { "when(1, 2)",
    "code:1: bad argument #2 to 'when' %(function expected, got number%)" },
  ["yielding out of the vat"] =
    { "coroutine.yield(1)", "attempt to yield from outside a coroutine" },
  ["resuming what runs"] = { "return select(2, coroutine.resume(coroutine.running()))",
    "value: cannot resume non%-suspended coroutine" },
}

describe("what goes wrong in a crank is said clearly, and the vat goes on:", function()
  before_each(open)
  after_each(close)

  for name, case in pairs(CLEAR) do
    it(name, function()
      local got = fate(case[1])
      if not case[2]:find("^value") then got = got:gsub("^error: ", "") end
      assert.matches("^" .. case[2]:gsub("^code:1", "code:%%d"), got)
      assert.are.equal("value: 7", fate"return 7")
    end)
  end
end)

-- ---- what the library stands on ---------------------------------------------------------------

describe("a vat that changes the library it sees", function()
  before_each(open)
  after_each(close)

  it("changes nothing for what runs beside its code", function()
    assert.are.equal("value: 1", fate[[
      for _, lib in ipairs{ string, table, math, coroutine, utf8, os } do
        for name in pairs(lib) do lib[name] = function() error("mine") end end
      end
      for name in pairs(_G) do
        if name ~= "load" and name ~= "assert" and name ~= "weak_map" and name ~= "_G" then
          _G[name] = nil
        end
      end
      kept = weak_map()
      kept:set(other, 1)
      return kept:get(other)]])
    local object = v.k:await(v.k:send(other, "far"))
    assert.are.same({ 1, { "two" }, object },
      { v.k:await(v.k:send(v.root, "echo", 1)), v.k:await(v.k:send(v.root, "echo", { "two" })),
        v.k:await(v.k:send(v.root, "echo", object)) })
    object:close()
    v.k:collect()
    assert.is_nil(v:ended())
  end)

  it("cannot reach the metatable of promises, strings or presences", function()
    assert.are.equal("value: 3 pending", fate[[
      local p = promise()
      for _, x in ipairs{ p, "x", other, E(other) } do
        local mt = getmetatable(x)
        if mt then mt.__gc, mt.__index, mt.__mode = error, error, "kv" end
      end
      assert(not pcall(setmetatable, p, {}) and not pcall(rawset, p, 1, 1))
      return ("abc"):len() .. " pending"]])
  end)
end)

-- ---- deaths that must be noted ----------------------------------------------------------------

describe("a presence that dies while the vat's code is as deep as it gets", function()
  -- There a finalizer of Lua's has no room to run, and what it has to note would be lost.
  local DEEP <const> = [[
    local function waste() for i = 1, 20000 do local t = { {} } end end
    local function c(n) -- a level of the C stack each
      if n == 0 then kept = nil return waste() end
      local ok, message = pcall(c, n - 1)
      if not ok then error(message, 0) end
    end
    local function lua(n) -- the Lua stack
      if n == 0 then kept = nil waste() return 0 end
      return 1 + lua(n - 1)
    end
    local _, message = pcall(%s)
    return tostring(message):match("[%%a ]*overflow") or "done"]]

  for _, call in ipairs{ "c, 180", "c, 190", "c, 193", "c, 194", "c, 195", "c, 196", "c, 197",
    "c, 198", "c, 500", "lua, 100000", "lua, 190000", "lua, 1000000" } do
    it("is dropped all the same: " .. call, function()
      local k <close> = lethe.vat.kernel{}
      local root = k:vat("v",
        "return { run = function(_, text, x) return load(text, '=c')(x) end }", { memory = "256M" })
      local w = k:vat("w", "return { far = function() return far{} end }")
      local deep
      do
        local object = k:await(k:send(w, "far"))
        k:await(k:send(root, "run", "kept = ...", object))
        deep = k:await(k:send(root, "run", DEEP:format(call)))
        object:close()
      end
      if deep:find("overflow") then k:send(root, "run", "kept = nil") end
      k:run()
      k:reap("v")
      local records = k:transcript()
      local last = records[#records]
      assert.are.equal("v", last.vat)
      assert.are.equal("dropImports", last.syscalls[1][1])
      assert.are.equal(1, #k:clist("v"))
      assert.are.same({}, k:stats().ended)
    end)
  end
end)

-- ---- what others send -------------------------------------------------------------------------

describe("a vat that is sent more than it can hold", function()
  local k, small, big

  before_each(function()
    k = lethe.vat.kernel{}
    small = k:vat("small", [[
      local kept = {}
      return { take = function(_, ...) kept = { ... } return "took it" end,
        ask = function(_, x) return when(E(x):give(), function() return "got it" end) end }]],
      { memory = "2M" })
    big = k:vat("big", [[
      return { throw = function(_, x, n, ...) return E(x):take(("x"):rep(n), ...) end,
        tables = function(_, x, n)
          local t = {}
          for i = 1, n do t[i] = {} end
          return E(x):take(t)
        end,
        give = function() return ("x"):rep(1 << 20) end, far = function() return far{} end }]])
  end)
  after_each(function()
    assert.are.same({}, k:stats().ended)
    assert.is_true(k:check())
    k:close()
  end)

  it("refuses that message, and goes on", function()
    for _, case in ipairs{ { "throw", 300000 }, { "throw", 1 << 20 }, { "tables", 7000 },
      { "tables", 100000 } } do
      local value, message, code = k:await(k:send(big, case[1], small, case[2]))
      assert.are.same({ nil, "rejected" }, { value, code })
      assert.matches("^a message of %d+ bytes is too large for a vat with 2097152 of memory$",
        message)
    end
    assert.are.equal("took it", k:await(k:send(big, "throw", small, 200000)))
    assert.are.equal("took it", k:await(k:send(big, "tables", small, 5000)))
  end)

  it("refuses an answer, and holds nothing of what came with either", function()
    assert.matches("too large", select(2, k:await(k:send(small, "ask", big))))
    do
      local object = k:await(k:send(big, "far"))
      assert.matches("too large", select(2, k:await(k:send(big, "throw", small, 300000, object))))
    end
    k:collect()
    assert.are.equal(1, #k:clist("small"))
  end)
end)

-- ---- whose memory it is -----------------------------------------------------------------------

describe("a vat under a quota account", function()
  local tracker, account, k, root

  before_each(function()
    tracker = lethe.quota.new{ max = "1G" }
    account = tracker:account{ name = "vats", max = "2M" }
    k = lethe.vat.kernel{}
    root = k:vat("v", [[
      local kept = {}
      return { eat = function(_, n) for i = 1, n do kept[i] = ("x"):rep(10000) .. i end end,
        waste = function(_, n) for i = 1, n do local t = ("x"):rep(10000) .. i end return n end,
        drop = function() kept = {} end } ]], { account = account })
  end)
  after_each(function()
    k:close()
    assert.are.equal(0, account:used())
    assert.is_true(tracker:check())
    tracker:close()
  end)

  it("claims what it holds, and gives it back", function()
    local before = account:used()
    assert.is_true(before > 100000 and before < 1000000)
    k:await(k:send(root, "eat", 50))
    assert.is_true(account:used() > before + 500000)
    k:await(k:send(root, "drop"))
    k:reap("v")
    assert.is_true(account:used() < before + 100000)
  end)

  it("does with little room what it can", function()
    assert.are.equal(3000, k:await(k:send(root, "waste", 3000)))
    assert.are.same({}, k:stats().ended)
  end)

  it("ends where the account has no room left, and takes no more than there is", function()
    local peak = 0
    local elsewhere = lethe.vat.kernel{}
    local poor = elsewhere:vat("poor", "return { ok = function() return 'ok' end }")
    local promise = k:send(root, "eat", 1000)
    k:run()
    for _, each in ipairs(tracker:top(1)) do peak = each.peak end
    assert.is_true(peak <= 2 << 20)
    assert.are.equal("vat v has ended (memory)", promise:value())
    assert.are.equal(0, account:used())
    assert.are.equal("ok", elsewhere:await(elsewhere:send(poor, "ok")))
    elsewhere:close()
  end)

  it("is not made where there is none", function()
    local small = tracker:account{ name = "small", max = "10K" }
    assert.matches("vat w: .*small",
      select(2, pcall(k.vat, k, "w", "return {}", { account = small })))
    assert.are.equal(0, small:used())
  end)

  it("is collected when a pass asks it for memory", function()
    k:await(k:send(root, "eat", 30))
    k:await(k:send(root, "drop"))
    local before = account:used()
    tracker:reclaim(100000)
    assert.is_true(account:used() < before - 200000)
    assert.are.same({}, k:stats().ended)
    assert.are.equal(1, k:await(k:send(root, "waste", 1)))
  end)
end)
