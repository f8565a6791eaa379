-- The kernel's calls, as a program makes them; what vats may do is in the specs beside this one.
local errors = require "spec.support.errors"
local lethe = require "lethe"
local raw_vats = require "spec.support.raw_vats"

local vat = lethe.vat

-- Answers with what it got; keeps what it is told to keep.
local function echo(syscall)
  return {
    deliver = function(_, method, args, result)
      if method == "silent" then return end
      syscall.resolve{ { result, method == "refuse", args } }
    end,
  }
end

describe("a kernel", function()
  local k, root

  before_each(function()
    k = vat.kernel{}
    root = k:raw_vat("echo", echo)
  end)

  after_each(function()
    k:close()
  end)

  it("is an object like others", function()
    assert.are.equal("vat.Kernel", lethe.type(k))
    assert.are.equal("vat.Presence", lethe.type(root))
    assert.are.equal("vat.Promise", lethe.type(k:send(root, "hello")))
    assert.matches("^lethe.vat.Kernel: ", tostring(k))
    assert.are.equal("lethe.vat.Presence: ko1 of echo", tostring(root))
    assert.are.equal("lethe.vat.Promise: kp2 (pending)", tostring(k:send(root, "hello")))
    assert.is_true(k:close())
    assert.is_true(k:close())
    assert.are.equal("attempt to use a closed lethe.vat.Kernel",
      errors.at_its_line(function() k:run() end))
  end)

  it("takes its options, and no others", function()
    assert.are.equal('unknown option "reep" (did you mean "reap"?)',
      errors.at_its_line(function() vat.kernel{ reep = "1" } end))
    assert.are.equal("reap_at must be a number above 0 (got -1)",
      errors.at_its_line(function() vat.kernel{ reap_at = -1 } end))
    assert.are.equal("transcript must be a path (got number)",
      errors.at_its_line(function() vat.kernel{ transcript = 7 } end))
    assert.matches("^loop must be an open lethe.loop.Loop",
      errors.at_its_line(function() vat.kernel{ loop = {} } end))
  end)

  it("sends values there and back", function()
    local t = { 1, 2.5, x = { true } }
    t.me = t
    local back = k:await(k:send(root, "echo", t))
    assert.are.same({ 1, 2.5, { true } }, { back[1], back[2], back.x })
    assert.are.equal(back, back.me)
    assert.is_nil((k:await(k:send(root, "echo", nil))))
    assert.is_nil((k:await(k:send(root, "echo"))))
    assert.is_false(k:await(k:send(root, "echo", false)))
  end)

  it("sends objects and promises by reference", function()
    assert.are.equal(root, k:await(k:send(root, "echo", root)))
    local promise = k:send(root, "silent")
    assert.are.equal(promise, k:await(k:send(root, "echo", { promise }))[1])
  end)

  it("refuses what cannot be sent, at the caller's line", function()
    assert.are.equal("argument #2.f is a function, which cannot be sent",
      errors.at_its_line(function() k:send(root, "echo", 1, { f = print }) end))
    assert.are.equal("argument is a userdata, which cannot be sent",
      errors.at_its_line(function() k:send(root, "echo", io.stdout) end))
    local other <close> = vat.kernel{}
    local stranger = other:raw_vat("echo", echo)
    assert.are.equal("a lethe.vat.Presence of another kernel",
      errors.at_its_line(function() k:send(root, "echo", stranger) end))
    local closed = k:send(root, "echo")
    closed:close()
    assert.are.equal("a closed lethe.vat.Promise",
      errors.at_its_line(function() k:send(root, "echo", closed) end))
    assert.matches("^bad argument #1 to 'send' %(presence or promise of this kernel expected",
      errors.at_its_line(function() k:send("echo", "echo") end))
    assert.matches("^bad argument #2 to 'send' %(string expected",
      errors.at_its_line(function() k:send(root) end))
  end)

  it("answers what is fulfilled, rejected, or cannot be settled", function()
    local promise = k:send(root, "echo", "hello")
    assert.are.same({ "pending" }, { promise:state(), promise:value() })
    assert.are.equal("hello", k:await(promise))
    assert.are.same({ "fulfilled", "hello" }, { promise:state(), promise:value() })
    promise = k:send(root, "refuse", "no")
    assert.are.same({ nil, "no", "rejected" }, { k:await(promise) })
    assert.are.same({ "rejected", "no" }, { promise:state(), promise:value() })
    local none, message, code = k:await(k:send(root, "silent"))
    assert.are.same({ nil, "stalled" }, { none, code })
    assert.are.equal("nothing is left to run that could settle this promise", message)
  end)

  it("runs one crank at a time, or so many, or all", function()
    assert.is_nil(k:step())
    for _ = 1, 5 do k:send(root, "echo") end
    local record = k:step()
    assert.are.same({ "echo", "deliver", "o+0", "echo" },
      { record.vat, table.unpack(record.delivery, 1, 3) })
    assert.are.equal("resolve", record.syscalls[1][1])
    assert.are.equal(0, k:run(0))
    assert.are.equal(2, k:run(2))
    assert.are.equal(2, k:run())
    assert.are.equal(0, k:run())
    assert.are.equal(5, k:stats().cranks)
    for _, none in ipairs{ -1, 1.5, "1" } do
      assert.matches("^bad argument #1 to 'run' %(count of cranks expected",
        errors.at_its_line(function() k:run(none) end))
    end
    local promise = k:send(root, "echo")
    promise:close()
    assert.matches("promise of this kernel expected, got a closed lethe.vat.Promise%)",
      errors.at_its_line(function() k:await(promise) end))
  end)

  it("awaits in a task, and lets the others on", function()
    local order = {}
    local loop = lethe.loop.new{ clock = "virtual" }
    local own = vat.kernel{ loop = loop }
    local there = own:raw_vat("echo", echo)
    local task = loop:spawn(function()
      for i = 1, 200 do own:send(there, "echo", i) end
      local value = own:await(own:send(there, "echo", "awaited"))
      order[#order + 1] = value
    end)
    loop:spawn(function() order[#order + 1] = "second" end)
    loop:run()
    task:join()
    assert.are.same({ "second", "awaited" }, order)
    own:close()
    loop:close()
  end)

  it("can be cancelled while it awaits", function()
    local loop = lethe.loop.new{ clock = "virtual" }
    local own = vat.kernel{ loop = loop }
    local there = own:raw_vat("echo", echo)
    local result
    local task = loop:spawn(function()
      for i = 1, 200 do own:send(there, "echo", i) end
      result = table.pack(own:await(own:send(there, "echo")))
    end)
    loop:step()
    task:cancel()
    loop:run()
    assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, result)
    own:close()
    loop:close()
  end)

  it("cannot be turned from inside a crank", function()
    local messages = {}
    local inner = k:raw_vat("inner", function()
      return { deliver = function()
        for _, name in ipairs{ "run", "step", "reap", "collect", "raw_vat", "await", "check" } do
          local _, message = pcall(k[name], k, "echo", echo)
          messages[#messages + 1] = message:match("Kernel:.*")
        end
      end }
    end)
    k:await(k:send(inner, "go"))
    assert.are.equal(7, #messages)
    assert.are.equal("Kernel:run cannot be called inside a crank", messages[1])
  end)

  it("ends a vat from inside a crank once this is over, the crank's own vat too", function()
    local said = {}
    local inner = k:raw_vat("inner", function(syscall)
      return { deliver = function(_, _, _, result)
        said[#said + 1] = k:terminate("echo")
        said[#said + 1] = k:terminate("inner")
        said[#said + 1] = k:terminate("echo") -- it has not ended yet
        syscall.resolve{ { result, false, { data = "done" } } }
      end }
    end)
    local before = #k:transcript()
    assert.are.equal("done", k:await(k:send(inner, "go")))
    assert.are.same({ true, true, true }, said)
    local kinds = {}
    for i, record in ipairs(k:transcript()) do
      if i > before and record.delivery[1] ~= "notify" then
        kinds[#kinds + 1] = record.vat .. " " .. record.delivery[1] .. (record.ended or "")
      end
    end
    assert.are.same({ "inner deliver", "echo terminateterminated", "inner terminateterminated" },
      kinds)
    assert.are.equal("terminated", k:stats().ended.echo.code)
    assert.is_false(k:terminate("inner"))
    assert.is_true(k:check())
  end)

  it("may be closed from inside a crank, which ends with it", function()
    local function closing(how)
      local it <close> = vat.kernel{}
      local ping = it:vat("ping", "return { ping = function() return 1 end }")
      local raw = it:raw_vat("raw", function(syscall)
        return { deliver = function(_, _, args, result)
          if how == "deliver" then it:close() end
          pcall(syscall.resolve, { { result, false, args } })
        end }
      end)
      if how == "schedule" then it:gc_schedule(function() it:close() end) end
      local last = it:send(ping, "ping")
      if how == "deliver" then it:send(raw, "close") end
      it:send(ping, "ping")
      local ok, message, code = it:await(how == "schedule" and last or it:send(raw, "more"))
      assert.are.same({ nil, "the kernel was closed", "closed" }, { ok, message, code })
      for _, call in ipairs{ "run", "await", "step", "reap", "transcript", "stats" } do
        assert.are.equal("attempt to use a closed lethe.vat.Kernel",
          errors.at_its_line(function() it[call](it, last) end))
      end
    end
    closing("deliver")
    closing("schedule")
  end)

  it("looks again once a setup is over", function()
    local it = vat.kernel{}
    local function twice()
      it:raw_vat("twice", echo)
      return {}
    end
    assert.are.equal('the vat name "twice" is in use',
      errors.at_its_line(function() it:raw_vat("twice", twice) end))
    local function closing()
      it:close()
      return {}
    end
    assert.are.equal("attempt to use a closed lethe.vat.Kernel",
      errors.at_its_line(function() it:raw_vat("closing", closing) end))
  end)

  it("knows its vats by name", function()
    assert.are.equal('the vat name "echo" is in use',
      errors.at_its_line(function() k:raw_vat("echo", echo) end))
    assert.are.equal('there is no vat "ecco" (did you mean "echo"?)',
      errors.at_its_line(function() k:clist("ecco") end))
    assert.matches("^bad argument #2 to 'raw_vat' %(function expected",
      errors.at_its_line(function() k:raw_vat("new", {}) end))
    assert.are.equal("setup must return a table of callbacks (got nil)",
      errors.at_its_line(function() k:raw_vat("new", function() end) end))
    assert.are.equal('unknown option "notfy" (did you mean "notify"?)',
      errors.at_its_line(function() k:raw_vat("new", function() return { notfy = 1 } end) end))
    assert.are.equal("notify must be a function (got number)",
      errors.at_its_line(function() k:raw_vat("new", function() return { notify = 1 } end) end))
    assert.are.equal("lethe.vat.Presence", getmetatable(k:raw_vat("new", echo)).__name)
  end)

  it("shows c-lists, oldest first", function()
    local v = raw_vats.add(k, "v")
    local name = v:gets(root)
    assert.are.same({
      { kref = "ko1", vref = name, reachable = true, recognizable = true },
      { kref = "ko2", vref = "o+0", reachable = true, recognizable = true },
      { kref = "kp1", vref = "p-1", reachable = true, recognizable = true },
    }, k:clist("v"))
    v:reap(function(syscall) syscall.dropImports{ name } end)
    assert.are.same({ kref = "ko1", vref = name, reachable = false, recognizable = true },
      k:clist("v")[1])
  end)

  it("terminates a vat: its promises are rejected, messages to it fail", function()
    local pending = k:send(root, "silent")
    k:run()
    local queued = k:send(root, "echo")
    assert.is_true(k:terminate("echo"))
    assert.is_false(k:terminate("echo"))
    assert.are.same({ "rejected", "vat echo has ended (terminated)" },
      { pending:state(), pending:value() })
    assert.are.same({ nil, "the vat of this object has ended", "rejected" }, { k:await(queued) })
    assert.are.same({ echo = { code = "terminated", message = "ended by the program" } },
      k:stats().ended)
    assert.are.same({}, k:clist("echo"))
    assert.are.equal(0, k:reap("echo"))
    assert.is_true(k:check())
  end)

  it("reaps one vat, or all", function()
    local v = raw_vats.add(k, "v")
    assert.are.equal(1, k:reap("v"))
    assert.are.equal("bring_out_your_dead", v:news())
    assert.are.equal(2, k:reap())
    assert.are.equal("bring_out_your_dead", v:news())
    assert.are.equal(3, k:stats().cranks)
  end)

  it("lets go, when it reaps all, of what the program lost", function()
    local v = raw_vats.add(k, "v")
    v:object("o+1")
    k:run()
    assert.are.equal("R", v:flag("o+1"))
    k:reap()
    k:run()
    assert.is_nil(v:flag("o+1"))
    assert.are.same({ 2, 0 }, { k:stats().objects, k:stats().promises })
    assert.is_true(k:check())
  end)

  it("keeps what the program still has", function()
    local v = raw_vats.add(k, "v")
    local object = v:object("o+1")
    k:reap()
    k:run()
    assert.are.equal("R", v:flag("o+1"))
    assert.are.equal(object, k:await(k:send(root, "echo", object)))
  end)

  it("counts", function()
    k:send(root, "silent")
    k:send(root, "echo")
    k:step()
    local stats = k:stats()
    assert.are.same({ 1, 1, 1, 0, 1, 2, 3 }, {
      stats.cranks, stats.vats, stats.queue, stats.gc_actions, stats.objects, stats.promises,
      stats.handles,
    })
    assert.are.same({ {}, {} }, { stats.ended, stats.output })
  end)
end)

describe("a kernel's schedule of collections", function()
  -- After how many deliveries a vat is reaped.
  local function deliveries(given)
    local k <close> = vat.kernel(given)
    local v = raw_vats.add(k, "v")
    for i = 1, 2000 do
      k:send(v.root, "m"):close()
      k:run()
      if v.log[#v.log] == "bring_out_your_dead" then return i end
    end
  end

  it("is by deliveries, a thousand unless told otherwise", function()
    assert.are.equal(1000, deliveries{})
    assert.are.equal(7, deliveries{ reap_at = 7 })
    assert.are.equal(4, deliveries{ reap = "deliveries^2", reap_at = 10 })
    assert.are.equal(3, deliveries{ reap = "deliveries >= 3", reap_at = 1 })
    assert.are.equal(4, deliveries{ reap = "max(floor(deliveries / 2), gc_krefs)", reap_at = 2 })
    assert.are.equal(5, deliveries{ reap = "min(sqrt(deliveries) * log(3), 9)", reap_at = 2.4 })
    assert.is_nil(deliveries{ reap = "0" })
    assert.is_nil(deliveries{ reap_at = math.huge })
    assert.is_nil(deliveries{ reap = "1 // (deliveries - 2)" }) -- an error is no reason
  end)

  it("counts the names of collections elsewhere", function()
    local k <close> = vat.kernel{ reap_at = 100 }
    local v = raw_vats.add(k, "v")
    local objects = { v:object("o+1"), v:object("o+2"), v:object("o+3") }
    k:reap() -- what the messages were settled with
    v:news()
    for _, object in ipairs(objects) do object:close() end
    k:run()
    assert.are.equal("drop_exports o+1 o+2 o+3; retire_exports o+1 o+2 o+3; bring_out_your_dead",
      v:news())
  end)

  it("refuses what is no expression", function()
    local function refusal(text)
      return errors.at_its_line(function() vat.kernel{ reap = text } end)
    end
    assert.are.equal("reap must be an expression (got number)", refusal(5))
    assert.are.equal('bad option reap: unknown name "delivery" (did you mean "deliveries"?)'
      .. ' in "delivery"', refusal("delivery"))
    assert.matches('^bad option reap: unexpected ";"', refusal("1; 2"))
    assert.matches("^bad option reap: unknown name", refusal("os.exit()"))
    assert.matches("^bad option reap: unexpected symbol", refusal("deliveries +"))
    assert.matches("^bad option reap: no number comes of it", refusal("deliveries()"))
    assert.matches("^bad option reap: no number comes of it", refusal("deliveries // 0"))
  end)
end)
