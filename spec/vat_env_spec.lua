-- What a vat's code finds around it: Lua's library without what shows hashes, addresses, the
-- collector or the machine.
local lethe = require "lethe"
local program = require "spec.support.program"
local shell = require "spec.support.vat_shell"

local v

local function open()
  v = shell.new()
end

local function close()
  v:close()
end

describe("a vat's globals", function()
  before_each(open)
  after_each(close)

  it("are these and no others", function()
    assert.are.equal("E _G _VERSION assert coroutine error far getmetatable ipairs load math next "
      .. "os pairs pcall print promise rawequal rawget rawlen rawset select setmetatable string "
      .. "table tonumber tostring type utf8 weak_map weak_set when xpcall",
      v:run[[local names = {} for k in pairs(_G) do names[#names + 1] = k end
        return table.concat(names, " ")]])
  end)

  it("reach no more of the host than these", function()
    local function names(of)
      local text = "local t = {} for k in pairs(%s) do t[#t + 1] = k end "
        .. "return table.concat(t, ' ')"
      return v:run(text:format(of))
    end
    assert.are.equal("difftime", names("os"))
    assert.are.equal("byte char find format gmatch gsub len lower match pack packsize rep reverse "
      .. "sub unpack upper", names("string"))
    assert.are.equal("close create isyieldable resume running status wrap yield",
      names("coroutine"))
    assert.are.equal("concat insert move pack remove sort unpack", names("table"))
  end)

  it("tell differences of times, and no time", function()
    assert.are.equal(2.5, v:run"return os.difftime(5.5, 3)")
    assert.are.equal("float", v:run"return math.type(os.difftime(5, 3))")
    assert.are.equal("code:1: bad argument #1 to 'difftime' (number expected, got no value)",
      v:refusal"local x = os.difftime()")
  end)

  it("draw the same numbers in every vat", function()
    local draw = "local t = {} for i = 1, 5 do t[i] = math.random(1000) end return t"
    local other = v.k:vat("w", { file = program.file(
      "return { draw = function() " .. draw .. " end }") })
    finally(program.clean)
    assert.are.same(v:run(draw), v.k:await(v.k:send(other, "draw")))
  end)

  it("load text alone, in the vat's own globals, under names without a path", function()
    assert.are.equal(7, v:run"x = 7 return load('return x')()")
    assert.are.equal(8, v:run"return load('return x', '=c', 't', { x = 8 })()")
    assert.matches("binary chunk", v:run[[return select(2, load("\27Lua"))]])
    assert.matches("binary", v:run[[return select(2, load("\27Lua", "=b", "bt"))]])
    assert.matches("^file.lua:1:",
      v:run"return select(2, pcall(load('error(\"x\")', '@/some/where/file.lua')))")
  end)
end)

-- ---- order ------------------------------------------------------------------------------------

describe("the order of keys in a vat", function()
  before_each(open)
  after_each(close)

  local MIXED <const> = [[
    local t = { [3] = 1, [1] = 1, [-7] = 1, [2^53] = 1, [2.5] = 1, [-0.5] = 1, [math.huge] = 1,
      b = 1, a = 1, ab = 1, [""] = 1, ["a\0"] = 1, ["\255"] = 1, B = 1, [true] = 1, [false] = 1 }
    local list = {}
    %s do list[#list + 1] = type(k) == "string" and ("%%q"):format(k) or tostring(k) end
    return table.concat(list, " ")]]
  local ORDER <const> = [[-7 1 3 9007199254740992 -0.5 2.5 inf "" "B" "a" "a\0" "ab" "b" "]]
    .. "\255" .. [[" false true]]

  it("is integers, other numbers, strings by bytes, false, true", function()
    assert.are.equal(ORDER, v:run(MIXED:format("for k in pairs(t)")))
    assert.are.equal(ORDER, v:run(MIXED:format("for k in next, t")))
  end)

  it("is far objects as they were made so, then presences by number", function()
    local w = v.k:vat("w", "local r = {} function r:far() return far{} end return r")
    local foreign = {}
    for i = 1, 12 do foreign[i] = v.k:await(v.k:send(w, "far")) end
    v:run("early = (...)", foreign[7])
    for i = 1, 12 do v:run("local x = ...", foreign[i]) end
    assert.are.equal("str y x z | 1 2 3", v:run([[
      local last, root = ...
      local z, x, y = {}, {}, {}
      far(y) far(x) far(z)
      local t = { [last] = 0, [x] = "x", [root] = 0, [early] = 0, [z] = "z", [y] = "y", s = "str" }
      local words, numbers, sorted = {}, {}, {}
      for k, value in pairs(t) do
        if value == 0 then
          numbers[#numbers + 1] = tonumber(tostring(k):match("%d+$"))
        else
          assert(not numbers[1])
          words[#words + 1] = value
        end
      end
      for i, n in ipairs(numbers) do sorted[i] = n end
      table.sort(sorted)
      for i, n in ipairs(numbers) do assert(n == sorted[i]) end
      return table.concat(words, " ") .. " | 1 2 " .. #numbers]], foreign[12], w))
  end)

  it("has no place for other tables, functions and threads", function()
    for _, key in ipairs{ "{}", "print", "coroutine.create(print)", "(promise())", "weak_map()" } do
      local text = ("local t = { [%s] = 1 } "):format(key)
      assert.are.equal("code:1: no order for a table key",
        v:refusal(text .. "for _ in pairs(t) do end"))
      assert.are.equal("code:1: no order for a table key", v:refusal(text .. "local k = next(t)"))
    end
    assert.are.equal(5, v:run"local k = {} local t = { [k] = 5 } return t[k]")
  end)

  it("lets fields be cleared and changed on the way", function()
    assert.are.equal("a b d 1 4", v:run[[
      local t, seen = { a = 1, b = 2, c = 3, d = 4 }, {}
      for k in pairs(t) do
        seen[#seen + 1] = k
        if k == "b" then t.c, t.b = nil, nil end
      end
      return table.concat(seen, " ") .. " " .. t.a .. " " .. t.d]])
    assert.are.equal("a b d", v:run[[
      local t, seen = { a = 1, b = 2, c = 3, d = 4 }, {}
      for k in next, t do
        seen[#seen + 1] = k
        t[k], t.c = nil, nil
      end
      return table.concat(seen, " ")]])
    assert.is_nil((v:run"return next({})"))
    assert.are.equal("b", v:run"return (next({ b = 1, a = 1 }, 'a'))")
    assert.are.equal("d", v:run"return (next({ b = 1, d = 1 }, 'c'))") -- a key that has gone
  end)

  it("goes by __pairs where there is one", function()
    assert.are.equal(6, v:run[[
      local t = setmetatable({}, { __pairs = function(t)
        return function(_, i) if i < 3 then return i + 1 end end, t, 0
      end })
      local sum = 0
      for i in pairs(t) do sum = sum + i end
      return sum]])
  end)
end)

describe("a list with holes, in a vat,", function()
  before_each(open)
  after_each(close)

  -- The same elements, come to in different ways.
  local WAYS <const> = {
    "{ 1, 2, nil, 4, nil, nil, 7, 8 }",
    "(function() local t = {} for _, i in ipairs{ 8, 7, 4, 2, 1 } do t[i] = i end return t end)()",
    "(function() local t = {} for i = 1, 8 do t[i] = i end t[3], t[5], t[6] = nil return t end)()",
    "(function() local t = {} for i = 1, 100 do t[i] = i end for i = 9, 100 do t[i] = nil end"
      .. " t[3], t[5], t[6] = nil return t end)()",
    "(function() local t = { x = 1, y = 2, z = 3 } for i = 8, 1, -1 do t[i] = i end"
      .. " t.x, t.y, t.z, t[3], t[5], t[6] = nil return t end)()",
  }

  for name, text in pairs{
    insert = "table.insert(t, 'new') local l = {} for i = 1, 10 do l[i] = tostring(t[i]) end "
      .. "return table.concat(l, ' ')",
    remove = "return tostring(table.remove(t)) .. tostring(t[8]) .. tostring(t[2])",
    unpack = "return select('#', table.unpack(t))",
    rawlen = "return rawlen(t)",
    concat = "return tostring(select(2, pcall(table.concat, t)))",
    sort = "return tostring(select(2, pcall(table.sort, t)))",
  } do
    it(("ends for %s where its elements say"):format(name), function()
      local first = v:run(("local t = %s %s"):format(WAYS[1], text))
      assert.is_not_nil(first)
      for _, way in ipairs(WAYS) do
        assert.are.equal(first, v:run(("local t = %s %s"):format(way, text)))
      end
    end)
  end

  it("is like any other without them", function()
    assert.are.equal("1 2 3 x 4", v:run[[
      local t = { 1, 2, 3, 4 }
      table.insert(t, 4, "x")
      return table.concat(t, " ")]])
    assert.are.equal(100000, v:run[[
      local t = {}
      for i = 1, 100000 do table.insert(t, i) end
      return rawlen(t)]])
    assert.are.equal(7, v:run"return rawlen('seven..') + rawlen({})")
    assert.are.equal(3, v:run[[
      local t = setmetatable({}, { __len = function() return 2 end })
      table.insert(t, "x")
      return next(t)]])
  end)
end)

-- ---- values as text ---------------------------------------------------------------------------

describe("values as text, in a vat,", function()
  before_each(open)
  after_each(close)

  it("have numbers in the place of addresses, given when they are first asked for", function()
    assert.are.equal("table: 1 function: 2 table: 1 thread: 3 function: 4", v:run[[
      local t, f, co = {}, function() end, coroutine.create(print)
      return tostring(t) .. " " .. tostring(f) .. " " .. tostring(t) .. " " .. tostring(co) .. " "
        .. tostring(print)]])
    assert.are.equal("table: 5|  table: 6|tab", v:run[[
      return ("%s|%10s|%.3s"):format({}, {}, {})]])
    assert.are.equal("0x00000008 0x00000008 (null) %p", v:run[[
      local t = {}
      return string.format("%p %p %p %%p", t, t, 1)]])
  end)

  it("show no address wherever the code looks", function()
    local all = v:run([[
      local presence = ...
      local words = {}
      local values = { {}, print, coroutine.create(print), coroutine.running(), presence,
        E(presence), promise(), weak_map(), weak_set(), setmetatable({}, { __name = "Thing" }),
        far{}, (pairs{}), ("x"):gmatch("."), coroutine.wrap(print), io, load"return 1" }
      for _, value in ipairs(values) do
        words[#words + 1] = tostring(value)
        words[#words + 1] = string.format("%s %p", value, value)
        words[#words + 1] = tostring(select(2, pcall(error, value)))
        words[#words + 1] = tostring(select(2, pcall(function() return value + 1 end)))
        words[#words + 1] = tostring(select(2, pcall(function() return value .. "" end)))
        words[#words + 1] = tostring(select(2, pcall(function() return value < value end)))
        words[#words + 1] = tostring(select(2, pcall(function() return value.x.y end)))
        words[#words + 1] = tostring(select(2, pcall(string.rep, value)))
        words[#words + 1] = tostring(select(2, pcall(ipairs)))
        words[#words + 1] = tostring(select(2, pcall(setmetatable, value, value)))
        words[#words + 1] = tostring(select(2, pcall(rawset, value, 1, 1)))
        print(value)
      end
      return table.concat(words, "\n")]], v.k:await(v.k:send(v.k:vat("w",
        "return { far = function() return far{} end }"), "far")))
    all = all .. table.concat(v:lines(), "\n")
    assert.is_nil(all:find("0x[1-9a-f]")) -- those of ours begin with zeros
    assert.is_nil(all:find("%x%x%x%x%x%x%x%x%x"))
    assert.matches("presence: o%-%d+", all)
    assert.matches("Thing: %d+", all)
  end)

  it("are what __tostring says", function()
    assert.are.equal("me me", v:run[[
      local t = setmetatable({}, { __tostring = function() return "me" end })
      return tostring(t) .. (" %s"):format(t)]])
    assert.matches("'__tostring' must return a string",
      v:refusal"tostring(setmetatable({}, { __tostring = function() return 1 end }))")
    assert.are.equal("'x'\t2\ttable: 1", v:run[[
      print(setmetatable({}, { __tostring = function() return "'x'" end }), 2, {}) return 1]]
      and v:lines()[1])
  end)

  it("say where an error was, in the vat's own files", function()
    finally(program.clean)
    local path = program.file("local v = ...\nreturn { fail = function() error('here') end }")
    local w = v.k:vat("w", { file = path })
    local _, message = v.k:await(v.k:send(w, "fail"))
    assert.are.equal(path:match("[^/]*$") .. ":2: here", message)
    local x = v.k:vat("x", function() return { fail = function() error("here") end } end)
    _, message = v.k:await(v.k:send(x, "fail"))
    assert.matches("^x:%d+: here$", message)
  end)
end)

-- ---- metatables -------------------------------------------------------------------------------

describe("metatables in a vat", function()
  before_each(open)
  after_each(close)

  it("never finalize and never weaken, whenever the fields are set", function()
    assert.are.equal("kept kept", v:run[[
      local ran = "kept"
      local early, late = { __mode = "kv", __gc = function() ran = "finalized" end }, {}
      local a, b = setmetatable({}, early), setmetatable({}, late)
      late.__mode, late.__gc = "kv", early.__gc
      setmetatable({}, late) setmetatable({}, early)
      a[1], b[1] = {}, {}
      for i = 1, 30000 do local t = { {}, {} } end
      return (a[1] and b[1] and "kept" or "gone") .. " " .. ran]])
    v.k:reap("v")
    assert.are.equal("kept", v:run[[
      weak = weak or setmetatable({ {} }, { __mode = "v" }) return weak[1] and "kept"]])
    v.k:reap("v")
    assert.are.equal("kept", v:run"return weak[1] and 'kept'")
  end)

  it("are those that were given, and may change at any time", function()
    assert.is_true(v:run[[
      local mt = {}
      local t = setmetatable({}, mt)
      assert(getmetatable(t) == mt)
      mt.__add = function(a, b) return "sum" end
      assert(t + 1 == "sum" and 1 + t == "sum" and t + t == "sum")
      mt.__add = nil
      assert(not pcall(function() return t + 1 end))
      mt.__index = function(_, k) return k .. "!" end
      assert(t.x == "x!")
      mt.__index = { x = 5 }
      assert(t.x == 5)
      mt.__call = function(self, a, b) return a * b, self end
      local product, self = t(6, 7)
      assert(product == 42 and self == t)
      setmetatable(t, nil)
      assert(getmetatable(t) == nil)
      return t.x == nil]])
  end)

  it("are protected by __metatable", function()
    assert.are.equal("locked",
      v:run"return getmetatable(setmetatable({}, { __metatable = 'locked' }))")
    assert.are.equal("code:1: cannot change a protected metatable",
      v:refusal"local t = setmetatable({}, { __metatable = 1 }) local u = setmetatable(t, nil)")
    assert.are.equal("string false false", v:run([[
      local presence = ...
      getmetatable("").__index = nil -- a copy: no program's strings lose their methods
      return type(("x"):rep(2)) .. " " .. tostring(getmetatable(presence)) .. " "
        .. tostring(getmetatable((promise())))]],
      v.k:await(v.k:send(v.k:vat("w", "return { far = function() return far{} end }"), "far"))))
  end)

  it("do what Lua does, for every event", function()
    local test = [[
      local log = {}
      local function say(...)
        local words = table.pack(...)
        for i = 1, words.n do
          local w = words[i]
          words[i] = type(w) == "table" and (rawget(w, "name") or "?") or tostring(w)
        end
        log[#log + 1] = table.concat(words, " ")
      end
      local mt = { name = "mt" }
      for _, event in ipairs{ "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band",
        "bor", "bxor", "shl", "shr", "bnot", "concat", "len", "lt", "le", "eq" } do
        mt["__" .. event] = function(a, b)
          say(event, a, b)
          return event == "lt" or event == "le" or event == "eq" or event
        end
      end
      mt.__index = function(t, k) say("index", t, k) return k end
      mt.__newindex = function(t, k, value) say("newindex", t, k, value) rawset(t, k, value) end
      mt.__call = function(...) say("call", ...) return ... end
      local a = setmetatable({ name = "a" }, mt)
      local b = setmetatable({ name = "b" }, mt)
      local plain = { name = "plain" }
      for _, pair in ipairs{ { a, b }, { a, 1 }, { 1, a }, { a, "s" }, { "s", b }, { a, plain },
        { plain, b }, { a, a }, { "10", a }, { a, "10" } } do
        local x, y = pair[1], pair[2]
        for i, fn in ipairs{
          function() return x + y end, function() return x - y end, function() return x * y end,
          function() return x / y end, function() return x % y end, function() return x ^ y end,
          function() return x // y end, function() return x & y end, function() return x | y end,
          function() return x ~ y end, function() return x << y end, function() return x >> y end,
          function() return x .. y end, function() return x < y end, function() return x <= y end,
          function() return x > y end, function() return x == y end, function() return x ~= y end,
        } do
          local ok, value = pcall(fn)
          say(i, ok, ok and value or "error")
        end
      end
      say(-a, ~a, #a)
      say(a.foo, a[1], rawget(a, "foo"))
      a.bar = 5
      a.bar = 6
      say(a.bar, select("#", a(1, nil, 3, nil)))
      local child = setmetatable({ name = "child" }, { __index = a, __newindex = a })
      say(child.bar, child.other)
      child.more = 1
      say(rawget(a, "more"), rawget(child, "more"))
      local proxy = setmetatable({ name = "proxy" }, { __index = "str", __call = a })
      say(proxy.len == string.len)
      say(pcall(proxy, 1))
      say(pcall(function() return plain + 1 end) == false)
      return table.concat(log, "\n")]]
    assert.are.equal(load(test)(), (v:run(test)))
  end)

  it("say as Lua does what cannot be done", function()
    for _, text in ipairs{
      "local x = {} + 1", "local x = t + 1", "local x = 1 + t", "local x = t .. 'a'",
      "local x = 'a' .. t", "local x = t < t", "local x = t < 1", "local x = 'a' <= t", "t()",
      "local x = t & 1", "local x = -t", "local x = t + '1'", "local x = '1' + t",
    } do
      local plain = select(2, pcall(load("local t = {} " .. text, "=code")))
      plain = plain:gsub(" %(.*%)$", "") -- the variable's name
      assert.are.equal(plain, v:refusal("local t = setmetatable({}, {}) " .. text))
    end
    assert.are.equal("code:1: attempt to perform arithmetic on a Thing value",
      v:refusal"local x = setmetatable({}, { __name = 'Thing' }) + 1")
  end)

  it("may yield in their functions", function()
    assert.are.equal("a b c", v:run[[
      local mt = {}
      for _, event in ipairs{ "index", "add", "call", "concat", "lt", "len", "newindex" } do
        mt["__" .. event] = function(...) return coroutine.yield(event) end
      end
      local co = coroutine.wrap(function()
        local t = setmetatable({}, mt)
        local words = { t.x, t + 1, t(2) }
        local _ = t .. "x", t < t, #t
        t.y = 1
        return table.concat(words, " ")
      end)
      local got, given = {}, { "a", "b", "c", "d", true, 5, 6 }
      local answer = co()
      for i = 1, 7 do
        got[i] = answer
        answer = co(given[i])
      end
      assert(table.concat(got, " ") == "index add call concat lt len newindex")
      return answer]])
  end)

  it("close variables", function()
    assert.are.equal("closed nil|closed boom", v:run[[
      local log = {}
      local function thing()
        return setmetatable({}, { __close = function(_, err) log[#log + 1] = "closed " ..
          tostring(err):match("%w+$") end })
      end
      do local x <close> = thing() end
      pcall(function() local x <close> = thing() error("boom") end)
      return table.concat(log, "|")]])
    assert.are.equal("code:1: variable 'x' got a non-closable value",
      v:refusal"local x <close> = setmetatable({}, {})")
  end)
end)

-- ---- presences --------------------------------------------------------------------------------

describe("a presence", function()
  local presence

  before_each(function()
    open()
    local w = v.k:vat("w", "return { far = function() return far{} end }")
    presence = v.k:await(v.k:send(w, "far"))
  end)
  after_each(close)

  it("cannot be stamped, looked into or taken for another", function()
    for _, text in ipairs{
      "setmetatable(p, {})", "rawset(p, 1, 1)", "p.x = 1", "local y = p.x", "rawget(p, 1)",
      "local n = #p", "rawlen(p)", "next(p)", "for _ in pairs(p) do end", "table.insert(p, 1)",
      "p()",
      "local y = p + 1", "local y = p < p", "far(p)", "local y = p .. ''", "local y = -p",
    } do
      assert.matches("^code:1: ", v:refusal("local p = ... " .. text, presence))
    end
    assert.is_true(v:run("local p, q = ... return p == q and rawequal(p, q) and p ~= {}", presence,
      presence))
  end)

  it("is not what looks like one", function()
    assert.are.equal("code:1: E wants a presence, a promise or a far object (got table)",
      v:refusal"local p = setmetatable({}, { __name = 'lethe.vat.Presence' }) E(p):x()")
    assert.matches("got nil", v:refusal"E(nil):x()")
    assert.matches("got userdata", v:refusal"E(weak_map()):x()")
    assert.matches("which cannot be sent", v:refusal("E((...)):x(weak_map())", presence))
    assert.matches("which cannot be sent", v:refusal("E((...)):x(E((...)))", presence))
  end)
end)

-- ---- builds -----------------------------------------------------------------------------------

describe("a build", function()
  it("may be a module of the host's package.path", function()
    finally(program.clean)
    local k <close> = lethe.vat.kernel{}
    local dir, path = program.directory(), package.path
    local file = assert(io.open(dir .. "/vat_module_here.lua", "w"))
    file:write("local v = ...\nreturn { who = function() return v.name, error('me') end }")
    file:close()
    package.path = dir .. "/?.lua;" .. path
    local ok, root = pcall(k.vat, k, "m", { module = "vat_module_here" })
    package.path = path
    assert.is_true(ok, root)
    assert.are.equal("vat_module_here:2: me", select(2, k:await(k:send(root, "who"))))
  end)

  it("shows no path of the machine in what it says of itself", function()
    local k <close> = lethe.vat.kernel{}
    local root = k:vat("f", function()
      local function inner() error("inside") end
      return { fail = function() inner() end, text = function() return tostring(inner) end }
    end)
    local _, message = k:await(k:send(root, "fail"))
    assert.matches("^f:%d+: inside$", message)
    assert.are.equal("function: 1", k:await(k:send(root, "text")))
  end)
end)
