-- Promises of the kernel: who settles them, who hears of it, and what was sent to them meanwhile.
local raw_vats = require "spec.support.raw_vats"
local vat = require "lethe.vat"

describe("a promise of the kernel", function()
  local k, a, b, c

  before_each(function()
    k = vat.kernel{}
    a, b, c = raw_vats.add(k, "a"), raw_vats.add(k, "b"), raw_vats.add(k, "c")
  end)

  after_each(function()
    assert.is_true(k:check())
    k:close()
  end)

  local function fulfill(syscall, vpid, ...)
    syscall.resolve{ { vpid, false, { slots = { ... } } } }
  end

  -- a sends to b and keeps p+1 for the result, which b calls p-1 and does not settle yet.
  local function ask()
    local result
    b.script = function(_, _, vpid) result = vpid end
    a:act(function(syscall, slots)
      syscall.send(slots[1], "act", {}, "p+1")
      syscall.subscribe("p+1")
    end, b.root)
    a:news()
    b:news()
    return result
  end

  it("is settled by who got the message, and its news goes to who subscribed", function()
    local result = ask()
    assert.are.equal("R", a:flag("p+1"))
    b:act(function(syscall) fulfill(syscall, result, "o+7") end)
    assert.are.equal("notify p+1 fulfilled (o-2)", a:news())
  end)

  it("is forgotten by both sides with its settling (R42, R43)", function()
    local result = ask()
    b:act(function(syscall) fulfill(syscall, result) end)
    assert.is_nil(a:flag("p+1"))
    assert.is_nil(b:flag(result))
    a:act(function(syscall) syscall.send("o+0", "m", { slots = { "p+1" } }) end)
    assert.is_nil(a:ended()) -- as a new one
    b:act(function(syscall) syscall.send("o+0", "m", { slots = { result } }) end)
    assert.are.equal("illegal_syscall", b:ended())
  end)

  it("tells each subscriber once, in order of subscription", function()
    local promise = k:send(b.root, "act")
    local result
    b.script = function(_, _, vpid) result = vpid end
    k:run()
    local names = {}
    for _, one in ipairs{ c, a } do
      names[one] = one:gets(promise)
      one:act(function(syscall)
        syscall.subscribe(names[one])
        syscall.subscribe(names[one])
      end)
      one:news()
    end
    b:act(function(syscall) fulfill(syscall, result) end)
    assert.are.equal(("notify %s fulfilled ()"):format(names[a]), a:news())
    assert.are.equal(("notify %s fulfilled ()"):format(names[c]), c:news())
    local order = {}
    for _, record in ipairs(k:transcript()) do
      if record.delivery and record.delivery[1] == "notify" then
        order[#order + 1] = record.vat
      end
    end
    assert.are.same({ "c", "a" }, order)
  end)

  it("tells who subscribes late at once", function()
    local promise = b:act(function(syscall, _, result) fulfill(syscall, result) end)
    local name = c:gets(promise)
    c:news()
    c:act(function(syscall) syscall.subscribe(name) end)
    assert.are.equal(("deliver o+0 act() p-3; notify %s fulfilled ()"):format(name), c:news())
  end)

  it("brings what it was settled with in one batch, as far as that is settled", function()
    local pending = b:act(function() end)
    local settled = b:act(function(syscall, _, vpid) fulfill(syscall, vpid, "o+7") end)
    local outer = b:act(function(syscall, slots, vpid)
      fulfill(syscall, vpid, table.unpack(slots))
    end, pending, settled)
    local name = c:gets(outer)
    c:act(function(syscall) syscall.subscribe(name) end)
    assert.are.equal(("notify %s fulfilled (p-4 p-5); notify p-5 fulfilled (o-1)"):format(name),
      (c:news():gsub("deliver.-; ", "")))
    assert.are.same({ nil, "R", nil }, { c:flag(name), c:flag("p-4"), c:flag("p-5") })
  end)

  it("brings promises that hold each other together, once", function()
    local p, q
    b:act(function(_, _, vpid) p = vpid end)
    local one = k:send(b.root, "act")
    b.script = function(_, _, vpid) q = vpid end
    k:run()
    local name = c:gets(one)
    c:act(function(syscall) syscall.subscribe(name) end)
    c:news()
    b:act(function(syscall)
      syscall.resolve{ { p, false, { slots = { q } } }, { q, false, { slots = { p } } } }
    end)
    assert.are.equal(("notify %s fulfilled (p-4); notify p-4 fulfilled (%s)"):format(name, name),
      c:news())
    assert.are.same({ nil, nil }, { c:flag(name), c:flag("p-4") })
  end)

  it("passes what was sent to it on to the object it is fulfilled with", function()
    local result = ask()
    a:act(function(syscall)
      syscall.send("p+1", "first", {}, "p+2")
      syscall.send("p+1", "second", { slots = { "p+2" } })
    end)
    assert.are.equal("", b:news())
    b:act(function(syscall) fulfill(syscall, result, "o+7") end)
    assert.are.equal("deliver o+0 act() p-2; deliver o+7 first() p-3; deliver o+7 second(p-3)",
      b:news())
  end)

  it("passes it on through promises that it is fulfilled with", function()
    local result = ask()
    a:act(function(syscall) syscall.send("p+1", "hello") end)
    local last
    c:act(function(_, _, vpid) last = vpid end)
    local promise = k:send(c.root, "act")
    c.script = function(_, _, vpid) last = vpid end
    k:run()
    b:act(function(syscall, slots) fulfill(syscall, result, slots[1]) end, promise)
    b:news()
    c:news()
    c:act(function(syscall) fulfill(syscall, last, "o+9") end)
    assert.are.equal("deliver o+9 hello()", (c:news():gsub(".*; ", "")))
  end)

  it("rejects what was sent to plain data, and to what was rejected", function()
    local result = ask()
    a:act(function(syscall)
      syscall.send("p+1", "hello", {}, "p+2")
      syscall.subscribe("p+2")
    end)
    a:news()
    b:act(function(syscall) syscall.resolve{ { result, false, { data = "=5" } } } end)
    assert.are.equal("notify p+1 fulfilled (); notify p+2 rejected ()", a:news())
    local promise = b:act(function(syscall, _, vpid)
      syscall.resolve{ { vpid, true, { data = "why", slots = {} } } }
    end)
    assert.are.same({ nil, "why", "rejected" }, { k:await(k:send(promise, "hello")) })
    promise = b:act(function(syscall, _, vpid) syscall.resolve{ { vpid, false, { data = 5 } } } end)
    assert.are.same({ nil, "cannot send to what is no object", "rejected" },
      { k:await(k:send(promise, "hello")) })
  end)

  it("that leads back to itself rejects what is sent to it", function()
    local p, q
    local one = b:act(function(_, _, vpid) p = vpid end)
    b:act(function(_, _, vpid) q = vpid end)
    b:act(function(syscall)
      syscall.resolve{ { p, false, { slots = { q } } }, { q, false, { slots = { p } } } }
    end)
    assert.are.same({ nil, "promises that stand for each other", "rejected" },
      { k:await(k:send(one, "hello")) })
  end)

  it("moves to who gets the message that names it as its result", function()
    local result = ask()
    local there = b:gets(c.root)
    c.script = function(syscall, _, vpid) fulfill(syscall, vpid, "o+3") end
    b:act(function(syscall) syscall.send(there, "act", {}, result) end)
    assert.are.equal("notify p+1 fulfilled (o-2)", a:news())
    assert.are.equal("R", c:flag("o+3"))
  end)

  it("can come back to who made it", function()
    local result = ask()
    local there = b:gets(a.root)
    a.script = function(syscall, _, vpid)
      assert.are.equal("p+1", vpid)
      fulfill(syscall, vpid)
    end
    b:act(function(syscall) syscall.send(there, "act", {}, result) end)
    assert.is_nil(a:ended())
    assert.is_nil(a:flag("p+1"))
  end)

  it("that nothing names is forgotten, with what waits in its queue", function()
    local silent = k:raw_vat("silent", function() return {} end)
    local promise = k:send(silent, "hello")
    local object = a:object("o+1")
    k:send(promise, "later", object):close()
    k:run()
    local promises = k:stats().promises
    k:terminate("silent")
    assert.are.same({ "rejected", "vat silent has ended (terminated)" },
      { promise:state(), promise:value() })
    k:run()
    promise:close()
    object:close()
    k:reap()
    k:run()
    assert.is_nil(a:flag("o+1"))
    assert.is_true(k:stats().promises < promises)
  end)

  it("that would wait for itself is rejected", function()
    a:act(function(syscall, _, vpid)
      syscall.send(vpid, "m", {}, vpid)
    end)
    local promise = a:act(function(syscall, _, vpid)
      syscall.send("p+1", "m", {}, "p+2")
      syscall.send("p+2", "m", {}, "p+3")
      syscall.send("p+3", "m", { slots = { "o+5" } }, "p+1")
      syscall.subscribe("p+1")
      fulfill(syscall, vpid)
    end)
    assert.are.equal("fulfilled", promise:state())
    assert.matches("notify p%+1 rejected", a:news())
    k:reap()
    k:run()
    assert.is_nil(a:flag("o+5"))
  end)

  it("of a vat that ends is rejected, whoever waits for it", function()
    ask()
    k:terminate("b")
    k:run()
    assert.are.equal("notify p+1 rejected ()", a:news())
    local record = k:transcript()
    assert.are.same({ '="vat b has ended (terminated)"', {} }, {
      record[#record].delivery[2][1].args.data, record[#record].delivery[2][1].args.slots,
    })
  end)
end)

describe("a promise that was fulfilled with a promise", function()
  local k, raw, held

  before_each(function()
    k = vat.kernel{}
    local syscall
    raw = k:raw_vat("raw", function(given)
      syscall, held = given, {}
      return { deliver = function(_, method, args, result)
        if method == "hold" then
          held[#held + 1] = result
        elseif method == "pass" then
          syscall.resolve{ { held[#held], false, { slots = { result } } } }
          held[#held] = result
        elseif method == "finish" then
          syscall.resolve{ { held[#held], false, args }, { result, false, {} } }
        elseif method == "reject" then
          syscall.resolve{ { held[#held], true, args }, { result, false, {} } }
        elseif method == "close" then
          syscall.resolve{
            { held[#held], false, { slots = { result } } }, { result, false, { slots = held } },
          }
        end
      end }
    end)
  end)

  after_each(function()
    assert.is_true(k:check())
    k:close()
  end)

  it("stands as that one does, through however many", function()
    local first = k:send(raw, "hold")
    k:run()
    for _ = 1, 3 do k:send(raw, "pass") end
    k:run()
    assert.are.same({ "pending", nil, n = 2 }, table.pack(first:state(), first:value()))
    assert.matches("%(pending%)$", tostring(first))
    assert.are.same({ nil, "stalled" }, { k:await(first), (select(3, k:await(first))) })
    k:send(raw, "finish", 7)
    assert.are.equal(7, k:await(first))
    assert.are.same({ "fulfilled", 7 }, { first:state(), first:value() })
  end)

  it("is rejected as that one is", function()
    local first = k:send(raw, "hold")
    k:run()
    k:send(raw, "pass")
    k:send(raw, "reject", "why")
    assert.are.same({ nil, "why", "rejected", n = 3 }, table.pack(k:await(first)))
    assert.are.same({ "rejected", "why" }, { first:state(), first:value() })
  end)

  it("is rejected where they stand for each other", function()
    local first = k:send(raw, "hold")
    k:run()
    local second = k:send(raw, "close")
    for _, each in ipairs{ first, second } do
      local value, message, code = k:await(each)
      assert.are.same({ nil, "rejected", "rejected" }, { value, code, each:state() })
      assert.are.same({ message, message },
        { "promises that stand for each other", each:value() })
    end
  end)
end)
