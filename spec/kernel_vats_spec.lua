-- Kernel:vat: vats that are Lua states of their own, seen from the kernel's side.
local errors = require "spec.support.errors"
local lethe = require "lethe"
local program = require "spec.support.program"
local raw_vats = require "spec.support.raw_vats"
-- luacheck: read globals E far when promise weak_map weak_set, no self

local vat = lethe.vat

-- A vat that does a bit of everything.
local function busy(v)
  local root, kept = {}, {}
  function root:name() return v.name end
  function root:echo(...) return ... end
  function root:make(n) return far{ get = function() return n end } end
  function root:keep(x) kept[#kept + 1] = x end
  function root:drop() kept = {} end
  function root:ask(x, method, ...) return E(x)[method](...) end
  function root:fail(why) error(why, 0) end
  function root:never() return (promise()) end
  function root:spin() while true do end end
  function root:eat()
    for i = 1, math.huge do kept[i] = ("x"):rep(1000) .. i end
  end
  function root:say(...) print(...) end
  function root:tell(x, method) E(x)[method]() error("after that", 0) end
  function root:tell_and_spin(x, method)
    E(x)[method]()
    while true do pcall(error) end
  end
  return root
end

describe("a vat in a state of its own", function()
  local k, a, b

  before_each(function()
    k = vat.kernel{}
    a, b = k:vat("a", busy), k:vat("b", busy)
  end)

  after_each(function()
    assert.is_true(k:check())
    k:close()
  end)

  local function ask(...)
    return k:await(k:send(...))
  end

  it("answers with what its methods return", function()
    assert.are.equal("a", ask(a, "name"))
    assert.are.same({ 1, { "two" } }, ask(a, "echo", { 1, { "two" } }))
    assert.are.same({ nil, "no", "rejected" }, { ask(a, "fail", "no") })
    assert.are.same({ nil, 'there is no method "dance"', "rejected" }, { ask(a, "dance") })
    assert.are.same({ nil, "stalled" }, { ask(a, "never"), select(3, ask(a, "never")) })
  end)

  it("sends to what it gets, and to what that will be", function()
    assert.are.equal("b", ask(a, "ask", b, "name"))
    assert.are.equal("a", ask(b, "ask", a, "name"))
    local object = ask(a, "make", 7)
    assert.are.equal(7, ask(object, "get"))
    assert.are.equal(7, ask(b, "ask", object, "get"))
    assert.are.equal(object, ask(b, "echo", object))
    assert.are.equal(8, ask(k:send(a, "make", 8), "get"))
    assert.are.equal(9, ask(b, "ask", k:send(a, "make", 9), "get"))
  end)

  it("lets go of what it no longer holds", function()
    do
      ask(b, "keep", ask(a, "make", 1))
      ask(b, "keep", ask(a, "make", 2))
    end
    k:collect()
    assert.are.equal(3, #k:clist("b"))
    ask(b, "drop")
    k:collect()
    assert.are.equal(1, #k:clist("b"))
    assert.are.equal(1, #k:clist("a"))
    assert.are.same({}, k:stats().ended)
  end)

  it("takes builds of every kind", function()
    finally(program.clean)
    local text = "local v = ... return { name = function() return '%s ' .. v.name end }"
    local builds = {
      source = text:format("source"), file = { file = program.file(text:format("file")) },
    }
    for name, build in pairs(builds) do
      assert.are.equal(("%s %s"):format(name, name), ask(k:vat(name, build), "name"))
    end
  end)

  it("refuses builds that are none, at the caller's line", function()
    local up = 1
    local function refusal(build, given)
      return errors.at_its_line(function() k:vat("new", build, given) end)
    end
    assert.matches("upvalue", refusal(function() return { up } end))
    assert.matches("'up'", refusal(function() return { up } end))
    assert.matches("^a build is a function", refusal(7))
    assert.matches("a build returns the root", refusal(function() end))
    assert.matches("on purpose", refusal(function() error("on purpose", 0) end))
    assert.are.equal('unknown option "metre" (did you mean "meter"?)',
      refusal(busy, { metre = 1 }))
    assert.matches("^meter must be a positive integer", refusal(busy, { meter = 0 }))
    assert.are.equal("memory must not be negative (got -1)", refusal(busy, { memory = -1 }))
    assert.matches("^memory is no size", refusal(busy, { memory = "x" }))
    assert.matches("^account must be a lethe.quota.Account", refusal(busy, { account = {} }))
    assert.are.equal('the vat name "a" is in use',
      errors.at_its_line(function() k:vat("a", busy) end))
    assert.are.equal("new", ask(k:vat("new", busy), "name")) -- the name is still free
  end)

  it("takes whole numbers however they are written", function()
    local given = { meter = 1e6, memory = 2e7 }
    k:send(k:vat("floats", function() return { x = function() end } end, given), "x")
    k:gc_schedule(3.0)
    assert.are.equal(1, k:run(1.0))
    assert.is_true(vat.fuzz{
      builds = { a = "return { x = function() end }" },
      play = function(kernel, roots) kernel:send(roots.a, "x") end,
      seeds = 1e0, schedules = 2.0,
    })
    for _, wrong in ipairs{ 1.5, math.huge, 0 / 0, "3" } do
      errors.at_its_line(function() k:vat("wrong", "return {}", { meter = wrong }) end)
      errors.at_its_line(function() k:run(wrong) end)
      errors.at_its_line(function() k:gc_schedule(wrong) end)
    end
  end)

  it("has what it prints in stats().output", function()
    ask(a, "say", "hello", 1, true)
    ask(b, "say", nil)
    assert.are.same({ { vat = "a", line = "hello\t1\ttrue" }, { vat = "b", line = "nil" } },
      k:stats().output)
  end)

  it("ends with its meter: nothing of that crank leaves, its promises are rejected", function()
    local c = k:vat("c", busy, { meter = 100000 })
    assert.are.equal("c", ask(c, "name"))
    local pending = k:send(c, "never")
    k:run()
    local cut = k:send(c, "tell_and_spin", b, "eat") -- b must never hear of it
    k:run()
    for _, each in ipairs{ pending, cut } do
      assert.are.same({ "rejected", "vat c has ended (meter)" }, { each:state(), each:value() })
    end
    assert.are.equal("meter", k:stats().ended.c.code)
    assert.is_string(k:stats().ended.c.message)
    local records = k:transcript()
    assert.are.same({ "c", "meter", {} },
      { records[#records].vat, records[#records].ended, records[#records].syscalls })
    assert.are.equal("b", ask(b, "name"))
    assert.are.same({ nil, "rejected" }, { (ask(c, "name")), select(3, ask(c, "name")) })
  end)

  it("ends with its memory, alone", function()
    local c = k:vat("c", busy, { memory = "4M" })
    local promise = k:send(c, "eat")
    k:run()
    assert.are.equal("vat c has ended (memory)", promise:value())
    assert.are.equal("memory", k:stats().ended.c.code)
    assert.are.equal("a", ask(a, "name"))
  end)

  it("ends in a replay as it did: for its meter by running, for memory by the record", function()
    local bounds = { meter = 2000000, memory = "4M" }
    local c, d = k:vat("c", busy, bounds), k:vat("d", busy, { memory = "4M" })
    ask(c, "echo", 1)
    ask(c, "spin")
    ask(d, "echo", 1)
    ask(d, "eat")
    local records, builds = k:transcript(), { a = busy, b = busy, c = busy, d = busy }
    assert.are.same({ "meter", "memory" }, { k:stats().ended.c.code, k:stats().ended.d.code })
    assert.is_true(vat.replay(records, builds))
    records[1].vats[3].meter = 4000000 -- it would end all the same
    assert.is_true(vat.replay(records, builds))
    builds.d = function() return { echo = function(_, x) return x end } end -- never asked to eat
    assert.is_true(vat.replay(records, builds))
    builds.c = builds.d
    assert.are.equal("diverged", (select(3, vat.replay(records, builds))))
  end)

  it("names its bounds in the transcript's first record", function()
    k:vat("c", busy, { meter = 5000000, memory = "4M" })
    assert.are.same({ { name = "a" }, { name = "b" },
      { name = "c", meter = 5000000, memory = 4 << 20 } }, k:transcript()[1].vats)
  end)

  it("keeps what it sent before an error in the same crank", function()
    local raw = raw_vats.add(k, "raw")
    assert.are.same({ nil, "after that", "rejected" }, { ask(a, "tell", raw.root, "hear") })
    k:run()
    assert.matches("hear", raw:news())
  end)

  it("gets along with raw vats, which may speak in plain values", function()
    local raw = raw_vats.add(k, "raw")
    local name = raw:gets(a)
    raw:act(function(syscall)
      syscall.send(name, "echo", { data = { { 1, "two" } } }, "p+1")
      syscall.send(name, "echo", { slots = { "o+5" } }, "p+2")
      syscall.subscribe("p+1")
      syscall.subscribe("p+2")
    end)
    assert.matches("notify p%+1 fulfilled %(%); notify p%+2 fulfilled %(o%+5%)$", raw:news())
  end)

  it("takes every slot that comes, and lets go of those that nothing speaks of", function()
    local raw = raw_vats.add(k, "raw")
    local name = raw:gets(a)
    raw:act(function(syscall)
      syscall.send(name, "keep", { data = "=1", slots = { "o+5", "o+6" } })
    end)
    assert.are.equal("R", raw:flag("o+5"))
    k:collect()
    assert.is_nil(raw:flag("o+5"))
  end)

  it("is found in cycles with others, and those go when they are dropped", function()
    local function pair()
      return {
        new = function()
          local other
          return far{ set = function(_, x) other = x end, get = function() return other end }
        end,
      }
    end
    local c, d = k:vat("c", pair), k:vat("d", pair)
    do
      local x, y, kept = ask(c, "new"), ask(d, "new"), ask(c, "new")
      ask(x, "set", y)
      ask(y, "set", x)
      ask(b, "keep", kept)
      ask(kept, "set", y)
    end
    k:collect()
    assert.are.same({}, k:cycles())
    ask(b, "drop")
    k:collect()
    local cliques = k:cycles()
    assert.are.equal(1, #cliques)
    assert.are.same({ "c", "d" }, { cliques[1][1].vat, cliques[1][2].vat })
    assert.are.equal(1, k:drop_cycles())
    k:run()
    k:collect()
    assert.are.same({ 1, 1 }, { #k:clist("c"), #k:clist("d") })
    assert.are.same({}, k:stats().ended)
  end)
end)
