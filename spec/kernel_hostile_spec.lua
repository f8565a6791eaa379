-- Raw vats that break rules, raise, or call at the wrong time: each ends alone.
local lethe = require "lethe"
local raw_vats = require "spec.support.raw_vats"

local vat = lethe.vat

describe("a vat that breaks a rule", function()
  local k, a, b, reports, on_error

  before_each(function()
    reports = {}
    on_error = lethe.on_error(function(message) reports[#reports + 1] = message end)
    k = vat.kernel{}
    a, b = raw_vats.add(k, "a"), raw_vats.add(k, "b")
  end)

  after_each(function()
    lethe.on_error(on_error)
    assert.is_true(k:check())
    assert.is_nil(b:ended())
    assert.are.equal("hello", k:await(b:act(function(syscall, _, result)
      syscall.resolve{ { result, false, { data = "hello" } } }
    end)))
    k:close()
  end)

  -- `fn(syscall, slots, result)` must end the vat, with this message.
  local function refused(message, fn, ...)
    local went_on = false
    local promise = a:act(function(...)
      fn(...)
      went_on = true
    end, ...)
    assert.is_false(went_on)
    assert.are.same({ "illegal_syscall", message }, { a:ended() })
    assert.are.equal("rejected", promise:state())
    assert.are.equal("vat a has ended (illegal_syscall)", promise:value())
    assert.are.same({}, reports)
  end

  it("names an import that it never got", function()
    refused("send: o-1 is not known to the vat", function(syscall)
      syscall.send("o-1", "hello")
    end)
  end)

  it("sends as an argument what it never got", function()
    refused("send: p-9 is not known to the vat", function(syscall)
      syscall.send("o+0", "hello", { slots = { "p-9" } })
    end)
  end)

  it("resolves with what it never got", function()
    refused("resolve: o-7 is not known to the vat", function(syscall, _, result)
      syscall.resolve{ { result, false, { slots = { "o-7" } } } }
    end)
  end)

  it("says names that are none", function()
    for _, name in ipairs{ "", "o", "o-", "x+1", "o+01", "o--1", "o+1.5", "o+1/2", "o-v1/2",
      "o+d1", "o+d1/", "o+d1/2:", "o+0\0", "o-1 ", "p+d1/2", "o+" .. ("9"):rep(400) } do
      local one = raw_vats.add(k, "says " .. name)
      one:act(function(syscall) syscall.send("o+0", "hello", { slots = { name } }) end)
      local code, message = one:ended()
      assert.are.equal("illegal_syscall", code)
      assert.are.equal(("send: %q is no name of an object"):format(name), message)
    end
  end)

  it("says names of stored objects, which are in order", function()
    b:act(function(syscall)
      syscall.send("o+0", "hello", { slots = { "o+d1/2", "o+v3/4:5", "o+v12/0:0" } })
    end)
    assert.is_nil(b:ended())
  end)

  it("speaks of a device", function()
    refused("send: there is no device d-1", function(syscall)
      syscall.send("d-1", "hello")
    end)
  end)

  it("subscribes to what is no promise, or to one that it does not know", function()
    refused('subscribe: "o+0" is no name of a promise', function(syscall)
      syscall.subscribe("o+0")
    end)
    for _, name in ipairs{ "p-1000", "p+1000" } do
      local one = raw_vats.add(k, name)
      one:act(function(syscall) syscall.subscribe(name) end)
      assert.are.equal("illegal_syscall", one:ended())
    end
  end)

  it("settles a promise of somebody else", function()
    refused("resolve: the vat does not decide p-1", function(syscall, slots)
      syscall.resolve{ { slots[1], false, {} } }
    end, b:act(function() end))
  end)

  it("settles a promise twice", function()
    refused("resolve: p-1 is not known to the vat", function(syscall, _, result)
      syscall.resolve{ { result, false, {} } }
      syscall.resolve{ { result, false, {} } }
    end)
  end)

  it("settles a promise twice in one batch", function()
    refused("resolve: p-1 is settled twice", function(syscall, _, result)
      syscall.resolve{ { result, false, {} }, { result, true, {} } }
    end)
  end)

  it("settles what it has passed on", function()
    refused("resolve: the vat does not decide p-1", function(syscall, _, result)
      syscall.send("o+0", "hello", {}, result)
      syscall.resolve{ { result, false, {} } }
    end)
  end)

  it("passes on a result that it does not decide", function()
    refused("send: the vat does not decide p+5", function(syscall)
      syscall.send("o+0", "hello", {}, "p+5")
      syscall.send("o+0", "hello", {}, "p+5")
    end)
  end)

  it("wants a result that is no promise", function()
    refused('send: "o+4" is no name of a promise', function(syscall)
      syscall.send("o+0", "hello", {}, "o+4")
    end)
  end)

  it("drops or retires outside of bringOutYourDead (R60)", function()
    for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
      local one = raw_vats.add(k, name)
      one:act(function(syscall) syscall[name]{} end)
      assert.are.same({ "illegal_syscall", name .. ": only in bringOutYourDead" },
        { one:ended() })
    end
  end)

  it("drops or retires it while it is told of collections", function()
    local object = a:object("o+1")
    a.drop_exports = function(syscall) syscall.retireExports{ "o+1" } end
    object:close()
    k:reap()
    k:run()
    assert.are.same({ "illegal_syscall", "retireExports: only in bringOutYourDead" },
      { a:ended() })
  end)

  it("drops or retires names of the wrong kind", function()
    local wrong = {
      { "dropImports", "o+0", '"o+0" is no import' },
      { "dropImports", "p-1", '"p-1" is no import' },
      { "dropImports", "o-44", "o-44 is not known to the vat" },
      { "retireImports", "o+0", '"o+0" is no import' },
      { "retireImports", "o-44", "o-44 is not known to the vat" },
      { "retireExports", "o-1", '"o-1" is no export' },
      { "retireExports", "o+0", "o+0 is still reachable from elsewhere" },
      { "retireExports", "o+44", "o+44 is not known to the vat" },
    }
    for i, case in ipairs(wrong) do
      local one = raw_vats.add(k, "wrong " .. i)
      one:gets(b.root)
      one:reap(function(syscall) syscall[case[1]]{ case[2] } end)
      assert.are.same({ "illegal_syscall", case[1] .. ": " .. case[3] }, { one:ended() })
    end
  end)

  it("hands over what is no syscall at all", function()
    local wrong = {
      { "send", "send: a message needs the name of a target" },
      { "send", "send: a message needs the name of a method", "o+0" },
      { "send", "send: args must be { data, slots } (got string)", "o+0", "m", "args" },
      { "send", "send: slots must be a list of names (got number)", "o+0", "m", { slots = 1 } },
      { "send", "send: slots must be a list of names (element 1 is a table)", "o+0", "m",
        { slots = { {} } } },
      { "send", "send: slots must be a list of names (element 1 is a nil)", "o+0", "m",
        { slots = { [2] = "o+0" } } },
      { "send", "send: data holds a function", "o+0", "m", { data = { print } } },
      { "send", "send: data has a key that is a table", "o+0", "m", { data = { [{}] = 1 } } },
      { "send", "send: a result must be the name of a promise (got boolean)", "o+0", "m", {},
        true },
      { "subscribe", "subscribe: the name of a promise expected", {} },
      { "resolve", "resolve: a list of resolutions expected", "p-1" },
      { "resolve", "resolve: a resolution must be { vpid, rejected, args } (got string)",
        { "p-1" } },
      { "resolve", "resolve: a resolution names a promise first (got nil)", { {} } },
      { "dropImports", "dropImports: the argument must be a list of names (got nil)" },
    }
    for i, case in ipairs(wrong) do
      local one = raw_vats.add(k, "wrong " .. i)
      one:reap(function(syscall) syscall[case[1]](table.unpack(case, 3)) end)
      assert.are.same({ "illegal_syscall", case[2] }, { one:ended() })
    end
  end)

  it("hands over data without an end", function()
    local data = {}
    data.me = data
    refused("send: data is nested too deeply", function(syscall)
      syscall.send("o+0", "hello", { data = data })
    end)
  end)

  it("is not saved by pcall, and nothing of its crank leaves", function()
    local log = #b.log
    local name = a:gets(b.root)
    a:act(function(syscall)
      syscall.send(name, "before")
      local _, message = pcall(syscall.send, "o-99", "hello")
      local _, again = pcall(syscall.send, name, "after")
      assert(message:find("o%-99 is not known") and again:find("o%-99 is not known"))
    end)
    assert.are.equal("illegal_syscall", a:ended())
    assert.are.equal(log, #b.log)
    local records = k:transcript()
    local last = records[#records]
    assert.are.same({ "a", "illegal_syscall", {} }, { last.vat, last.ended, last.syscalls })
  end)

  it("may change what it got and what it gave", function()
    local slots = { "o+1" }
    local name = a:gets(b.root)
    a:act(function(syscall, got)
      got[1] = "o-77"
      local args = { data = { 1 }, slots = slots }
      syscall.send(name, "hello", args)
      args.data[1], args.slots[1] = 2, "o-88"
    end, b.root)
    assert.is_nil(a:ended())
    assert.are.equal("deliver o+0 hello(o-1)", b:news())
  end)
end)

describe("a vat that fails", function()
  local k, a, b, reports, on_error

  before_each(function()
    reports = {}
    on_error = lethe.on_error(function(message) reports[#reports + 1] = message end)
    k = vat.kernel{}
    a, b = raw_vats.add(k, "a"), raw_vats.add(k, "b")
  end)

  after_each(function()
    lethe.on_error(on_error)
    assert.is_true(k:check())
    assert.is_nil(b:ended())
    k:close()
  end)

  it("raises in deliver: it ends, the error is reported once, its results are rejected", function()
    local promise = a:act(function() error("of my own") end)
    local code, message = a:ended()
    assert.are.equal("terminated", code)
    assert.matches("of my own", message)
    assert.are.equal(1, #reports)
    assert.are.same({ nil, "vat a has ended (terminated)", "rejected" }, { k:await(promise) })
  end)

  -- What makes the kernel call each of the other callbacks.
  local provoke = {
    notify = function(one)
      one:act(function(syscall, slots)
        syscall.send(slots[1], "act", {}, "p+1")
        syscall.subscribe("p+1")
      end, b.root)
    end,
    drop_exports = function(one)
      one:object("o+1")
      k:reap()
      k:run()
    end,
    retire_imports = function(one)
      local name = one:gets(b:object("o+1"))
      one:reap(function(syscall) syscall.dropImports{ name } end)
      k:reap()
      b:reap(function(syscall) syscall.retireExports{ "o+1" } end)
    end,
  }
  provoke.retire_exports = provoke.drop_exports
  function provoke.bring_out_your_dead(one) one:reap(function() error("on purpose") end) end

  for name, how in pairs(provoke) do
    it("raises in " .. name, function()
      b.script = function(syscall, _, result) syscall.resolve{ { result, false, {} } } end
      a[name] = function() error("on purpose") end
      how(a)
      local code, message = a:ended()
      assert.are.equal("terminated", code)
      assert.matches("on purpose", message)
      assert.are.equal(1, #reports)
    end)
  end

  it("raises what is no string", function()
    a:act(function() error(setmetatable({}, { __tostring = function() return "odd" end })) end)
    assert.are.equal("terminated", a:ended())
    assert.matches("odd", select(2, a:ended()))
  end)

  it("tries to wait", function()
    a:act(function() lethe.loop.default():sleep(0) end)
    assert.matches("cannot wait here", select(2, a:ended()))
    b:act(function() pcall(coroutine.yield) end)
    local code, message = b:ended()
    assert.are.same({ "terminated", "a raw vat cannot wait" }, { code, message })
    b = raw_vats.add(k, "c")
  end)

  it("makes a syscall while no crank runs: it ends at once", function()
    local promise = a:act(function() end)
    local ok, message = pcall(a.syscall.send, "o+0", "hello")
    assert.is_false(ok)
    assert.matches("outside of a crank", message)
    assert.are.equal("illegal_syscall", a:ended())
    assert.are.equal("rejected", promise:state())
    ok, message = pcall(a.syscall.send, "o+0", "hello")
    assert.is_false(ok)
    assert.matches("vat a has ended", message)
  end)

  it("makes a syscall in another vat's crank: it ends after that, the other does not", function()
    local name = b:gets(a.root)
    b:act(function(syscall)
      assert(not pcall(a.syscall.send, "o+0", "hello"))
      assert(not pcall(a.syscall.subscribe, "p-1"))
      syscall.send(name, "hello", {}, "p+1")
      syscall.subscribe("p+1")
    end)
    assert.are.equal("illegal_syscall", a:ended())
    assert.are.equal("deliver o+0 act(o-1) p-1; deliver o+0 act() p-2; notify p+1 rejected ()",
      b:news())
  end)

  it("makes a syscall in its setup", function()
    k:raw_vat("eager", function(syscall)
      pcall(syscall.send, "o+0", "hello")
      return {}
    end)
    assert.are.equal("illegal_syscall", k:stats().ended.eager.code)
  end)

  it("has its name taken for good", function()
    k:terminate("a")
    assert.has_error(function() raw_vats.add(k, "a") end, 'the vat name "a" is in use')
  end)
end)
