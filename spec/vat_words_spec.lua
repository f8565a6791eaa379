-- The words that a vat's code has beside Lua's: E, when, promise, far, weak_map, weak_set, print.
local lethe = require "lethe"
local shell = require "spec.support.vat_shell"

local v

local function open()
  v = shell.new()
end

local function close()
  v:close()
end

-- ---- messages ---------------------------------------------------------------------------------

describe("E in a vat", function()
  local w

  before_each(function()
    open()
    w = v.k:vat("w", [[
      local root, log = {}, {}
      function root:note(...) log[#log + 1] = table.concat({ ... }, " ") return #log end
      function root:log() return log end
      function root:me() return self == root, rawequal(self, root) end
      function root:thing(n) return far{ add = function(_, m) n = n + m return n end } end
      function root:later()
        local p, resolve = promise()
        pending = resolve
        return p
      end
      function root:now(value) pending(value) end
      function root:pass(x) return x end
      function root:fail(why) error(why, 0) end
      function root:send(x, ...) return E(x):hear(...) end
      return root]])
  end)
  after_each(close)

  it("calls a method of the object, with a colon or a dot", function()
    assert.are.equal(2, v:run([[
      local w = ...
      E(w):note("a", 1)
      return E(w).note("b", 2)]], w))
    assert.are.same({ "a 1", "b 2" }, v.k:await(v.k:send(w, "log")))
    assert.is_true(v:run("return E((...)):me()", w))
    assert.is_true(v:run("return E((...)).me()", w))
  end)

  it("sends what it is given, the proxy's own place apart", function()
    assert.are.equal("x nil", v:run([[
      local w = ...
      return when(E(w):pass("x"), function(x)
        return when(E(w).pass(), function(y) return x .. " " .. tostring(y) end)
      end)]], w))
  end)

  it("always leaves with the crank, for objects of the vat's own too", function()
    assert.are.same({ "after", "heard" }, v:run[[
      local log = {}
      local mine = far{ hear = function() log[#log + 1] = "heard" return log end }
      local p = E(mine):hear()
      log[#log + 1] = "after"
      return p]])
    local records = v.k:transcript()
    assert.are.equal("send", records[2].syscalls[1][1])
    assert.are.equal("hear", records[3].delivery[3])
  end)

  it("takes promises for what they will be, without a way back and forth", function()
    assert.are.equal(12, v:run([[
      local w = ...
      local thing = E(w):thing(5)
      local p, resolve = promise()
      local after = E(p):add(3)
      resolve(thing)
      return when(E(thing):add(4), function() return after end)]], w))
    v.k:run()
    v:run([[
      local w = ...
      local thing = E(w):thing(1)
      sum = E(E(w):pass(thing)):add(1)]], w)
    assert.are.equal(2, v:run"return sum")
  end)

  it("keeps messages to one promise in their order, whenever it is settled", function()
    v:run([[
      local w = ...
      local p, resolve = promise()
      E(p):note("first")
      resolve(w)
      E(p):note("second")
      when(p, function() E(p):note("third") E(w):note("fourth") end)]], w)
    v.k:run()
    assert.are.same({ "first", "second", "third", "fourth" }, v.k:await(v.k:send(w, "log")))
  end)

  it("rejects what was sent to a promise that is rejected, or fulfilled with no object", function()
    assert.are.equal("why", v:refusal[[
      local p, _, reject = promise()
      local q = E(p):foo()
      reject("why")
      return q]])
    assert.are.equal("why", v:refusal"local p, _, r = promise() r('why') return E(p):foo()")
    assert.are.equal("a message cannot be sent to a string",
      v:refusal"local p, r = promise() r('x') return E(p):foo()")
    assert.are.equal("no", v:refusal("return E(E((...)):fail('no')):foo()", w))
    assert.are.equal("no", v:refusal("return E((...)):fail('no')", w))
  end)

  it("copies tables with their cycles and sharing, and refuses code", function()
    assert.is_true(v:run([[
      local w = ...
      local shared = { 1 }
      local t = { shared, shared, f = { g = shared } }
      t.self = t
      return when(E(w):pass(t), function(got)
        return got ~= t and got.self == got and got[1] == got[2] and got.f.g == got[1]
          and got[1][1] == 1 and getmetatable(got) == nil
      end)]], w))
    for text, message in pairs{
      ["{ { print } }"] = "argument%[1%]%[1%] is a function, which cannot be sent",
      ["coroutine.create(print)"] = "argument is a thread, which cannot be sent",
      ["1, { [{}] = 1 }"] = "argument #2 has a key that is a table",
      ["{ f = function() end }"] = "argument%.f is a function, which cannot be sent",
    } do
      assert.matches("^code:1: " .. message, v:refusal(
        ("local w = ... local p = E(w):pass(%s)"):format(text), w))
    end
    assert.matches("the result.* is a function", v:refusal"return { print }")
    assert.are.equal("seen", v:run[[
      local t = setmetatable({ 1 }, { __pairs = error, __index = error, __len = error })
      local eye = far{ see = function(_, x) return getmetatable(x) == nil and "seen" end }
      return E(eye):see(t)]])
  end)

  it("keeps numbers, texts and keys as they are", function()
    assert.is_true(v:run([[
      local w = ...
      local values = { 1, 1.0, -0.0, math.huge, -math.huge, math.maxinteger, math.mininteger, 0.1,
        "", "a\0b\255\n\"|}", true, false, { [1.5] = 1, [true] = 2, x = 3, [-1] = 4 } }
      return when(E(w):pass(values), function(got)
        for i, value in ipairs(values) do
          if type(value) ~= "table" then
            assert(math.type(got[i]) == math.type(value) and got[i] == value)
          end
        end
        assert(1 / got[3] == -math.huge)
        for k, value in pairs(values[#values]) do assert(got[#values][k] == value) end
        return when(E(w):pass(0 / 0), function(nan) return nan ~= nan end)
      end)]], w))
  end)

  it("goes to whoever was built before, or to itself, from within a build", function()
    local k <close> = lethe.vat.kernel{}
    local root = k:vat("early", [[
      local log, root = {}, {}
      function root:log() return log end
      E(far{ start = function() log[#log + 1] = "started" end }):start()
      print("built")
      return root]])
    k:run()
    assert.are.same({ { vat = "early", line = "built" } }, k:stats().output)
    assert.are.same({ "started" }, k:await(k:send(root, "log")))
    assert.is_true(lethe.vat.replay(k:transcript(), { early = [[
      local log, root = {}, {}
      function root:log() return log end
      E(far{ start = function() log[#log + 1] = "started" end }):start()
      return root]] }))
    assert.matches("the root was sent before the build returned it",
      select(2, pcall(k.vat, k, "bad", "local root = far{} E(root):start() return root")))
  end)
end)

-- ---- promises ---------------------------------------------------------------------------------

describe("when in a vat", function()
  before_each(open)
  after_each(close)

  it("gives what its functions return", function()
    assert.are.equal(8, v:run"return when(7, function(x) return x + 1 end)")
    assert.are.equal(7, v:run"return when(7)")
    assert.are.equal("caught why", v:run[[
      local p, _, reject = promise()
      reject("why")
      return when(p, nil, function(e) return "caught " .. e end)]])
    assert.are.equal("why",
      v:refusal"local p, _, reject = promise() reject('why') return when(p, print)")
    assert.are.equal("code:1: oh", v:refusal"return when(1, function() error('oh') end)")
    assert.are.equal("back", v:run[[
      local p, _, reject = promise()
      reject(1)
      return when(p, nil, function() return when(2, function() return "back" end) end)]])
    assert.are.equal("still", v:refusal[[
      local p, _, reject = promise()
      reject(1)
      return when(p, nil, function() error("still", 0) end)]])
  end)

  it("calls nothing before the code that runs has returned", function()
    assert.are.same({ "code", "first", "second", "third" }, v:run[[
      local log = {}
      when(1, function() log[#log + 1] = "first" end)
      when(2, function()
        log[#log + 1] = "second"
        when(3, function() log[#log + 1] = "third" end)
      end)
      log[#log + 1] = "code"
      return when(1, function() return when(1, function() return when(1, function() return log end)
        end) end)]])
  end)

  it("waits for one that comes from elsewhere", function()
    local w = v.k:vat("w", [[
      local resolve, reject
      return { wait = function() local p p, resolve, reject = promise() return p end,
        yes = function(_, x) resolve(x) end, no = function(_, x) reject(x) end }]])
    for _, case in ipairs{ { "yes", "ok 5" }, { "no", "err 5" } } do
      local answer = v.k:send(v.root, "run", [[
        return when(E((...)):wait(), function(x) return "ok " .. x end,
          function(x) return "err " .. x end)]], w)
      v.k:run()
      assert.are.equal("pending", answer:state())
      v.k:send(w, case[1], 5)
      assert.are.equal(case[2], v.k:await(answer))
    end
  end)
end)

describe("promise in a vat", function()
  before_each(open)
  after_each(close)

  it("is settled once, by whoever comes first", function()
    assert.are.equal(1, v:run"local p, a, b = promise() a(1) a(2) b(3) return p")
    assert.are.equal("b", v:refusal"local p, a, b = promise() b('b') a(2) return p")
    assert.are.equal(3, v:run[[
      local p, a, b = promise()
      local q, c = promise()
      a(q) a(1) b(2) c(3)
      return p]])
  end)

  it("goes where others go, as itself", function()
    local w = v.k:vat("w", [[
      return { same = function(_, p, q) return p == q end,
        value = function(_, t) return t.p end }]])
    assert.is_true(v:run("local p = promise() return E((...)):same(p, p)", w))
    assert.are.equal(9, v:run([[
      local p, resolve = promise()
      local answer = E((...)):value({ p = p })
      resolve(9)
      return answer]], w))
    assert.are.equal(9, v:run([[
      local p, resolve = promise()
      resolve(9)
      return when(E((...)):value({ p = p }), function(x) return x end)]], w))
  end)

  it("keeps nothing of an outcome that cannot be sent", function()
    assert.are.equal("the result is a function, which cannot be sent",
      v:refusal"local p, resolve = promise() resolve(print) return p")
    assert.is_true(v:run[[ -- inside the vat it is a value like any other
      local p, resolve = promise()
      resolve(print)
      return when(p, function(f) return f == print end)]])
  end)
end)

-- ---- objects ----------------------------------------------------------------------------------

describe("far in a vat", function()
  before_each(open)
  after_each(close)

  it("gives the same table, which goes by reference from then on", function()
    assert.is_true(v:run"local t = {} return far(t) == t and far(t) == t")
    local w = v.k:vat("w", "return { pass = function(_, x) return x, kept end }")
    assert.is_true(v:run([[
      local w, t = (...), far{}
      return when(E(w):pass(t), function(back) return back == t end)]], w))
    assert.are.equal("code:1: bad argument #1 to 'far' (table expected, got number)",
      v:refusal"local t = far(1)")
  end)

  it("is not needed for the root, whatever became of the word", function()
    for i, change in ipairs{
      "far = nil", "far = error", "far = function() end", "rawset(_G, 'far', 7)",
      "local G = _G for name in pairs(G) do G[name] = nil end",
    } do
      local root = v.k:vat("without" .. i, change .. " return { ping = function() return 7 end }")
      assert.are.equal(7, v.k:await(v.k:send(root, "ping")))
    end
  end)

  it("finds methods as Lua does, by metatables too", function()
    assert.are.equal("base 5", v:run[[
      local Base = {}
      Base.__index = Base
      function Base:get() return "base " .. self.n end
      return E(far(setmetatable({ n = 5 }, Base))):get()]])
    assert.are.equal("called 1", v:run[[
      local callable = setmetatable({}, { __call = function(_, self, x) return "called " .. x end })
      return E(far{ m = callable }):m(1)]])
  end)
end)

describe("weak collections in a vat", function()
  before_each(open)
  after_each(close)

  it("know presences by name, whatever became of the object", function()
    local w = v.k:vat("w", "local x = far{} return { get = function() return x end }")
    local x = v.k:await(v.k:send(w, "get"))
    v:run("map, set = weak_map(), weak_set() map:set((...), 'note') set:add((...))", x)
    for _ = 1, 3 do
      v.k:reap("v")
      assert.are.equal("note true true", v:run([[
        local x = ...
        return map:get(x) .. " " .. tostring(map:has(x)) .. " " .. tostring(set:has(x))]], x))
    end
    assert.are.equal("true false nil", v:run([[
      local x = ...
      return tostring(map:delete(x)) .. " " .. tostring(map:delete(x)) .. " "
        .. tostring(map:get(x))]], x))
  end)

  it("take objects of the vat's own, and refuse what is none", function()
    assert.is_true(v:run[[
      local map, t = weak_map(), {}
      map:set(t, 1)
      map:set(print, 2)
      assert(map:get({}) == nil and map:get(1) == nil)
      return map:get(t) == 1 and map:get(print) == 2]])
    assert.matches("^code:1: bad argument #1 to 'set' %(an object expected as key, got string%)",
      v:refusal"local m = weak_map():set('x', 1)")
    assert.matches("^code:1: bad argument #1 to 'add'", v:refusal"local m = weak_set():add(nil)")
  end)
end)

describe("print in a vat", function()
  it("keeps lines for the kernel, in order, those of an error's crank too", function()
    open()
    v:run"print('a', 1, nil, true) print() print({})"
    v:refusal"print('before') error('x')"
    assert.are.same({ "a\t1\tnil\ttrue", "", "table: 1", "before" }, v:lines())
    close()
  end)
end)
