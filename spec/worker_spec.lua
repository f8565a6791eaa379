-- Workers: threads with a state and a loop each, what they send each other, and how they end. How a
-- process ends that has workers is in worker_end_spec.lua, what messages are in message_spec.lua.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local chance = require "spec.support.chance"
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local collector = require "spec.support.collector"
local lethe = require "lethe"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local worker = require "lethe.worker"

-- Work for sanitizers and torture: LETHE_WORK.
local WORK <const> = chance.WORK

local function packed_join(w)
  return table.pack(w:join())
end

-- Runs `fn` in a worker and gives what join gives.
local function run(fn, ...)
  return worker.spawn(fn, ...):join()
end

describe("a worker", function()
  it("runs a function in a state of its own and brings its results home", function()
    package.loaded.only_here = true
    local w = worker.spawn(function(a, b)
      return a + b, package.loaded.only_here, { list = { a, b } }, nil
    end, 1, 2)
    package.loaded.only_here = nil
    assert.are.equal("worker.Worker", lethe.type(w))
    local got = packed_join(w)
    assert.are.same({ 3, nil, { list = { 1, 2 } }, nil, n = 4 }, got)
  end)

  it("gives the same results to every join", function()
    local w = worker.spawn(function() return 1, { 2 } end)
    assert.are.same(packed_join(w), packed_join(w))
    local joined = {}
    w = worker.spawn(function() require("lethe.worker").parent():recv() return "x" end)
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = loop.default():spawn(function() joined[i] = w:join() end)
    end
    loop.default():step()
    w:send(true)
    for _, task in ipairs(tasks) do task:join() end
    assert.are.same({ "x", "x", "x" }, joined)
  end)

  it("may return nothing", function()
    assert.are.same({ n = 0 }, table.pack(run(function() end)))
  end)

  it("runs its function as a task", function()
    assert.are.same({ true, false, true, n = 3 }, table.pack(run(function()
      local co, is_main = coroutine.running()
      return coroutine.isyieldable(), is_main, type(co) == "thread"
    end)))
    assert.is_true((run(function() return require("lethe.loop").default():sleep(0.001) end)))
  end)

  it("runs while its loop has something left", function()
    local w = worker.spawn(function()
      local parent = require("lethe.worker").parent()
      require("lethe.loop").default():spawn(function()
        require("lethe.loop").default():sleep(0.01)
        parent:send("later")
      end)
      return "returned"
    end)
    assert.are.equal("returned", w:join())
    assert.are.equal("later", w:recv())
  end)

  it("takes its arguments as messages, nils too", function()
    assert.are.same({ 3, nil, "x", nil, n = 4 }, table.pack(run(function(...)
      return select("#", ...), ...
    end, nil, "x", nil)))
    local w = worker.new{ run = function(...) return select("#", ...), ... end,
      args = { nil, 2, n = 3 } }
    assert.are.same({ 3, nil, 2, nil, n = 4 }, packed_join(w))
  end)

  it("finds lethe's modules, and those of the maker's package.path", function()
    local directory = program.directory()
    local file <close> = assert(io.open(directory .. "/sent_module.lua", "w"))
    file:write("local name, path = ... return function(n) return n * 2, name, path end")
    file:close()
    local path = package.path
    package.path = directory .. "/?.lua;" .. path
    local w = worker.spawn({ module = "sent_module" }, 21)
    package.path = path
    assert.are.same({ 42, "sent_module", directory .. "/sent_module.lua", n = 3 }, packed_join(w))
    w = worker.spawn({ file = directory .. "/sent_module.lua" }, 4)
    assert.are.equal(8, (w:join()))
    program.clean()
  end)

  it("has a name", function()
    local w = worker.new{ run = function() end, name = "reader" }
    assert.are.equal("reader", w:name())
    assert.is_nil(worker.spawn(function() end):name())
    w:join()
  end)

  it("has no parent outside of it", function()
    assert.is_true(worker.parent() == nil or lethe.type(worker.parent()) == "worker.Parent")
    assert.are.same({ "worker.Parent", true, n = 2 }, table.pack(run(function()
      local m = require("lethe.worker")
      return require("lethe").type(m.parent()), m.parent() == m.parent()
    end)))
  end)

  describe("that fails", function()
    it("brings the error home with its traceback", function()
      local w = worker.spawn(function()
        local function inner() error("broken") end
        inner()
      end)
      local got = packed_join(w)
      assert.is_nil(got[1])
      assert.is_truthy(got[2]:find("worker_spec.lua:%d+: broken"))
      assert.is_truthy(got[2]:find("stack traceback:"))
      assert.is_truthy(got[2]:find("upvalue 'inner'") or got[2]:find("local 'inner'"))
      assert.are.equal("failed", got[3])
      assert.are.same(got, packed_join(w))
    end)

    it("says what an error object says", function()
      local _, message = run(function()
        error(setmetatable({}, { __tostring = function() return "spoken" end }))
      end)
      assert.is_truthy(message:find("^spoken"))
      _, message = run(function() error({}) end)
      assert.is_truthy(message:find("^table: "))
      _, message = run(function() error() end)
      assert.is_truthy(message:find("^nil"))
    end)

    it("says which result cannot go", function()
      local got = packed_join(worker.spawn(function() return 1, { f = print } end))
      assert.is_truthy(got[2]:find("^result #2.f is a function"))
      assert.are.equal("failed", got[3])
    end)

    it("says what module or file does not load", function()
      local got = packed_join(worker.spawn{ module = "no.such.module" })
      assert.is_truthy(got[2]:find("module 'no.such.module' not found", 1, true))
      got = packed_join(worker.spawn{ file = "/no/such/file.lua" })
      assert.is_truthy(got[2]:find("cannot open /no/such/file.lua", 1, true))
      got = packed_join(worker.spawn{ module = "lethe.loop" })
      assert.is_truthy(got[2]:find("module 'lethe.loop' must return the function to run", 1, true))
      assert.are.equal("failed", got[3])
    end)

    it("is not confused with one that returns such values", function()
      assert.are.same({ nil, "message", "failed", n = 3 },
        table.pack(run(function() return nil, "message", "failed" end)))
    end)

    it("says so when nothing can end its wait", function()
      local got = packed_join(worker.spawn(function() require("lethe.worker").channel():recv() end))
      assert.is_truthy(got[2]:find("nothing is left to run that could end the worker's wait"))
      assert.are.equal("failed", got[3])
    end)

    it("is reported, like a task, unless it is joined", function()
      local list = errors.reported(function()
        local w = worker.new{ run = function() error("unheard") end, name = "quiet" }
        for _ = 1, 500 do
          if w:send(1) == nil then break end
          loop.default():sleep(0.002)
        end
        loop.default():sleep(0.02)
        assert.are.equal("failed", (select(3, w:join())))
      end)
      assert.are.equal(1, #list)
      assert.is_truthy(list[1].message:find("unheard"))
      assert.are.same({ worker = true, name = "quiet" }, list[1].details)
      list = errors.reported(function()
        local w = worker.spawn(function() error("heard") end)
        w:join()
        loop.default():sleep(0.01)
      end)
      assert.are.same({}, list)
    end)
  end)

  describe("and its maker", function()
    it("send each other messages", function()
      local w = worker.spawn(function()
        local parent = require("lethe.worker").parent()
        while true do
          local n, _, code = parent:recv()
          if code or n == "end" then return "ended" end
          parent:send{ n, n * n }
        end
      end)
      for i = 1, 100 do
        assert.is_true(w:send(i))
      end
      for i = 1, 100 do
        assert.are.same({ i, i * i }, w:recv())
      end
      w:send("end")
      assert.are.equal("ended", w:join())
    end)

    it("find the other closed once it has ended, drained first", function()
      local w = worker.spawn(function()
        local parent = require("lethe.worker").parent()
        parent:send(1)
        parent:send(2)
      end)
      w:join()
      assert.are.same({ nil, "the worker has ended", "closed", n = 3 }, table.pack(w:send(1)))
      assert.are.same({ 1, 2 }, { w:recv(), w:recv() })
      assert.are.same({ nil, "the worker has ended", "closed", n = 3 }, table.pack(w:recv()))
    end)

    it("end each other's waits when they end", function()
      local w = worker.spawn(function() require("lethe.loop").default():sleep(0.02) end)
      assert.are.same({ nil, "the worker has ended", "closed", n = 3 }, table.pack(w:recv()))
      -- a maker that ends: its worker hears of it through a channel of ours
      local channel = worker.channel()
      w = worker.spawn(function(channel)
        local inner = require("lethe.worker").spawn(function(channel)
          local parent = require("lethe.worker").parent()
          local _ <close> = setmetatable({}, { __close = function()
            channel:send{ table.pack(parent:recv()), table.pack(parent:send(1)) }
          end })
          channel:send("ready")
          parent:recv()
        end, channel)
        require("lethe.loop").default():sleep(0.01)
        return inner ~= nil
      end, channel)
      assert.are.equal("ready", channel:recv())
      assert.is_true(w:join())
      local gone = { nil, "the worker's maker has ended", "closed", n = 3 }
      assert.are.same({ gone, gone }, channel:recv())
    end)

    it("part when the maker ends: its worker finds it closed, and goes on", function()
      local channel = worker.channel()
      local w = worker.spawn(function(channel)
        local spawn = require("lethe.worker").spawn
        spawn(function(channel)
          local parent = require("lethe.worker").parent()
          local own = require("lethe.worker").spawn(function()
            return require("lethe.worker").parent():recv()
          end)
          own:send("still here")
          channel:send{ parent:recv() }
          channel:send{ table.pack(parent:recv()), table.pack(parent:send(1)) }
          channel:send(own:join())
        end, channel):send("drained first")
      end, channel)
      assert.is_true(select("#", w:join()) == 0)
      assert.are.same({ "drained first" }, channel:recv())
      local gone = { nil, "the worker's maker has ended", "closed", n = 3 }
      assert.are.same({ gone, gone }, channel:recv())
      assert.are.equal("still here", channel:recv())
    end)

    it("part in a long line, each made by the one before", function()
      local channel = worker.channel()
      local function body(channel, n, body)
        if n == 0 then return channel:send{ require("lethe.worker").parent():recv() } end
        require("lethe.worker").spawn(load(body), channel, n - 1, body)
      end
      worker.spawn(body, channel, 40, string.dump(body))
      assert.are.same({ nil, "the worker's maker has ended", "closed" }, channel:recv())
    end)

    it("end together when the maker is cancelled", function()
      local channel = worker.channel()
      local w = worker.spawn(function(channel)
        require("lethe.worker").spawn(function(channel)
          local _ <close> = setmetatable({}, { __close = function() channel:send("closed") end })
          channel:send("ready")
          while true do end
        end, channel)
        require("lethe.loop").default():sleep(100)
      end, channel)
      assert.are.equal("ready", channel:recv())
      w:cancel()
      assert.are.equal("cancelled", select(3, w:join()))
      assert.are.equal("closed", channel:recv())
    end)

    it("wait on their loops: other tasks go on", function()
      local ticks = 0
      local function tick() ticks = ticks + 1 end
      local _ <close> = loop.default():timer(0.001, tick, { every = true })
      run(function() require("lethe.loop").default():sleep(0.03) end)
      assert.is_true(ticks > 3)
    end)
  end)

  describe("misused", function()
    it("names the upvalue", function()
      local count = 0
      local message = "a worker's function cannot have upvalues: '%s' belongs to this state"
        .. " (pass it as an argument)"
      assert.are.equal(message:format("count"),
        errors.at_its_line(function() worker.spawn(function() count = count + 1 end) end))
      assert.are.equal(message:format("worker"),
        errors.at_its_line(function() worker.new{ run = function() return print, worker end } end))
      assert.are.equal("a worker's function cannot be a C function",
        errors.at_its_line(function() worker.spawn(print) end))
    end)

    it("says what a worker runs", function()
      local message = "a worker runs a function, { module = name } or { file = path }"
      assert.are.equal(message .. " (got nil)",
        errors.at_its_line(function() worker.spawn() end))
      assert.are.equal(message .. " (got string)",
        errors.at_its_line(function() worker.new{ run = "x" } end))
      assert.are.equal(message,
        errors.at_its_line(function() worker.spawn{ module = "a", file = "b" } end))
      assert.are.equal('unknown option "modul" (did you mean "module"?)',
        errors.at_its_line(function() worker.spawn{ modul = "a" } end))
    end)

    it("checks its options", function()
      assert.are.equal('unknown option "memmory" (did you mean "memory"?)',
        errors.at_its_line(function() worker.new{ run = function() end, memmory = 1 } end))
      assert.are.equal("name must be a string (got number)",
        errors.at_its_line(function() worker.new{ run = function() end, name = 1 } end))
      assert.are.equal("account must be a lethe.quota.Account (got table)",
        errors.at_its_line(function() worker.new{ run = function() end, account = {} } end))
      assert.are.equal("a table of options expected, got function",
        errors.at_its_line(function() worker.new(function() end) end))
      assert.are.equal("memory must not be negative (got -1)",
        errors.at_its_line(function() worker.new{ run = function() end, memory = -1 } end))
      assert.are.equal("bad argument #1 to 'channel' (a capacity expected, got -1)",
        errors.at_its_line(function() worker.channel(-1) end))
    end)

    it("does not mistake one object for another", function()
      local w = worker.spawn(function() end)
      local channel = worker.channel()
      local wrong = "calling '%s' on bad self (lethe.worker.%s expected, got %s)"
      assert.are.equal(wrong:format("join", "Worker", "lethe.worker.Channel"),
        errors.at_its_line(function() w.join(channel) end))
      assert.are.equal(wrong:format("recv", "Channel", "nil"),
        errors.at_its_line(function() channel.recv() end))
      w:join()
      w:close()
      w:close()
      assert.are.equal("attempt to use a closed lethe.worker.Worker",
        errors.at_its_line(function() w:join() end))
    end)
  end)
end)

describe("a channel", function()
  it("passes between any workers", function()
    local to, from = worker.channel(), worker.channel()
    local function square(to, from)
      while true do
        local n, _, code = to:recv()
        if code == "closed" then return "done" end
        from:send(n * n)
      end
    end
    local a, b = worker.spawn(square, to, from), worker.spawn(square, to, from)
    local sum = 0
    for i = 1, 200 do to:send(i) end
    for _ = 1, 200 do sum = sum + from:recv() end
    to:close()
    assert.are.equal(200 * 201 * 401 // 6, sum)
    assert.are.same({ "done", "done" }, { a:join(), b:join() })
  end)

  it("keeps the order of each sender", function()
    local channel = worker.channel(2)
    local w = worker.spawn(function(channel)
      for i = 1, 300 do channel:send(i) end
    end, channel)
    for i = 1, 300 do assert.are.equal(i, channel:recv()) end
    w:join()
  end)

  it("makes senders wait when it is full", function()
    local channel = worker.channel(2)
    local sent = 0
    local task = loop.default():spawn(function()
      for i = 1, 4 do
        channel:send(i)
        sent = sent + 1
      end
    end)
    for _ = 1, 5 do loop.default():step() end
    assert.are.equal(2, sent)
    assert.are.equal(1, channel:recv())
    for _ = 1, 5 do loop.default():step() end
    assert.are.equal(3, sent)
    assert.are.same({ 2, 3, 4 }, { channel:recv(), channel:recv(), channel:recv() })
    task:join()
    assert.are.equal(4, sent)
  end)

  it("without a capacity is a rendezvous", function()
    local channel = worker.channel(0)
    local log = {}
    local task = loop.default():spawn(function()
      log[#log + 1] = "sending"
      log[#log + 1] = tostring(channel:send("x"))
    end)
    for _ = 1, 5 do loop.default():step() end
    assert.are.same({ "sending" }, log)
    assert.are.equal("x", channel:recv())
    task:join()
    assert.are.same({ "sending", "true" }, log)
    -- and a receiver that waits lets a sender go on at once
    local got
    task = loop.default():spawn(function() got = channel:recv() end)
    loop.default():step()
    assert.is_true(channel:send("y"))
    task:join()
    assert.are.equal("y", got)
  end)

  it("closes for all holders: what is in it is received first", function()
    local channel = worker.channel()
    local w = worker.spawn(function(channel)
      require("lethe.worker").parent():recv()
      local got = {}
      while true do
        local n, message, code = channel:recv()
        if code then return got, message, code, table.pack(channel:send(1)) end
        got[#got + 1] = n
      end
    end, channel)
    channel:send(1)
    channel:send(2)
    assert.is_true(channel:close())
    assert.is_true(channel:close())
    local closed = { nil, "the channel is closed", "closed", n = 3 }
    assert.are.same(closed, table.pack(channel:send(3)))
    w:send("go")
    assert.are.same({ { 1, 2 }, "the channel is closed", "closed", closed, n = 4 }, packed_join(w))
    assert.are.same(closed, table.pack(channel:recv()))
    assert.is_truthy(tostring(channel):find("^lethe.worker.Channel: .* %(closed%)$"))
  end)

  it("drains on the closer's own object", function()
    local channel = worker.channel()
    channel:send("kept")
    channel:close()
    assert.are.equal("kept", channel:recv())
    assert.are.equal("closed", select(3, channel:recv()))
  end)

  it("ends waits when it is closed, of senders and receivers", function()
    local full, empty = worker.channel(0), worker.channel()
    local sender = worker.spawn(function(c) return c:send("lost") end, full)
    local receiver = worker.spawn(function(c) return c:recv() end, empty)
    loop.default():sleep(0.02)
    full:close()
    empty:close()
    local closed = { nil, "the channel is closed", "closed", n = 3 }
    assert.are.same(closed, packed_join(sender))
    assert.are.same(closed, packed_join(receiver))
    assert.are.same(closed, table.pack(full:recv()))
  end)

  it("is to be closed", function()
    local kept
    do
      local channel <close> = worker.channel()
      kept = channel
    end
    assert.are.equal("closed", select(3, kept:send(1)))
  end)

  it("loses nothing to a receiver that was cancelled", function()
    local channel = worker.channel()
    local got = {}
    local first = loop.default():spawn(function() got.first = table.pack(channel:recv()) end)
    loop.default():step()
    channel:send("x") -- the answer is on its way to the first
    first:cancel()
    first:join()
    assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, got.first)
    assert.are.equal("x", channel:recv())
  end)

  it("serves those who wait in their order", function()
    local channel = worker.channel()
    local log, tasks = {}, {}
    for i = 1, 3 do
      tasks[i] = loop.default():spawn(function()
        local got = channel:recv()
        log[#log + 1] = i .. got
      end)
    end
    loop.default():step()
    for _, each in ipairs{ "a", "b", "c" } do channel:send(each) end
    for _, task in ipairs(tasks) do task:join() end
    assert.are.same({ "1a", "2b", "3c" }, log)
  end)

  it("that nobody else holds can end no wait", function()
    local channel = worker.channel()
    local w = worker.spawn(function(c) c:send("last") end, channel)
    assert.are.equal("last", channel:recv())
    w:join()
    local got = table.pack(worker.spawn(function()
      local alone = require("lethe.worker").channel()
      require("lethe.worker").parent():send("waits")
      return alone:recv()
    end):join())
    assert.is_truthy(got[2]:find("^nothing is left"))
    if coroutine.isyieldable() then return end -- a spec runs outside any task, as a rule
    local ok, message = pcall(channel.recv, channel)
    assert.is_false(ok)
    assert.is_truthy(message:find("nothing is left to run that could end this wait"))
  end)

  it("in messages of its own, or of others that they hold, goes with its holders", function()
    local tracker <close> = quota.new{ max = "1M" }
    local account = tracker:account()
    do
      local itself = worker.channel()
      itself:send{ itself, account }
      local a, b, c, kept = worker.channel(), worker.channel(), worker.channel(), worker.channel()
      a:send{ b, account }
      b:send{ c, a, c, account }
      c:send(a)
      c:send("plain")
      kept:send(kept)
      a:send(kept)
    end
    collector.all()
    assert.are.equal(1, tracker:stats().accounts)
    account:close()
    collector.all()
    assert.are.equal(0, tracker:stats().accounts)
  end)

  it("in a message of another that is in reach stays", function()
    local a = worker.channel()
    do
      local b = worker.channel()
      b:send(a)
      b:send("kept")
      a:send(b)
    end
    collector.all()
    local b = a:recv()
    assert.are.equal(a, b:recv())
    assert.are.equal("kept", b:recv())
  end)
end)

describe("a worker that is cancelled", function()
  local function ready(fn, ...)
    local w = worker.spawn(fn, ...)
    assert.are.equal("ready", w:recv())
    return w
  end

  local cancelled = { nil, "the worker was cancelled", "cancelled", n = 3 }

  it("leaves its wait", function()
    local waits = {
      function()
        local parent = require("lethe.worker").parent()
        parent:send("ready")
        parent:recv()
      end,
      function()
        require("lethe.worker").parent():send("ready")
        require("lethe.loop").default():sleep(100)
      end,
      function(c) require("lethe.worker").parent():send("ready") c:send(1) end,
      function()
        local m = require("lethe.worker")
        local w = m.spawn(function() require("lethe.loop").default():sleep(100) end)
        m.parent():send("ready")
        w:join()
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do coroutine.yield() end
      end,
    }
    for _, wait in ipairs(waits) do
      local w = ready(wait, worker.channel(0))
      w:cancel()
      w:cancel()
      assert.are.same(cancelled, packed_join(w))
      assert.are.same(cancelled, packed_join(w))
    end
  end)

  it("stops at the next instruction, however often that is caught", function()
    local loops = {
      function() require("lethe.worker").parent():send("ready") while true do end end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do pcall(function() while true do pcall(error) end end) end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local function again() return xpcall(again, function() return again() end) end
        while true do again() end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do
          pcall(coroutine.wrap(function() while true do pcall(string.rep, "x", 10) end end))
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do coroutine.resume(coroutine.create(function() while true do end end)) end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local t = {}
        for i = 1, 500 do t[i] = i end
        while true do
          pcall(table.sort, t, function(a, b)
            while pcall(function() for _ = 1, 100 do end end) do end
            return a > b
          end)
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local function unhook() for _ = 1, 10 do debug.sethook() end end
        while true do
          unhook()
          pcall(string.gsub, ("x"):rep(100), ".", unhook)
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local t = setmetatable({}, {
          __index = function() while true do pcall(pcall, pcall) end end,
        })
        while true do pcall(function() return t.x end) end
      end,
    }
    for i, body in ipairs(loops) do
      local w = ready(body)
      w:cancel()
      assert.are.same(cancelled, packed_join(w), "loop " .. i)
    end
  end)

  it("runs what is to be closed, and holds back while it does", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local function closer(name)
        return setmetatable({}, { __close = function()
          local n = 0
          for i = 1, 20000 do n = n + i % 2 end
          local co = coroutine.wrap(function()
            for i = 1, 100 do n = n + 0 * i end
            return n
          end)
          channel:send(name .. " " .. co())
        end })
      end
      local _ <close> = closer("outer")
      pcall(function()
        local _ <close> = closer("inner")
        coroutine.wrap(function()
          local _ <close> = closer("innermost")
          require("lethe.worker").parent():send("ready")
          while true do pcall(function() while true do end end) end
        end)()
        channel:send("never")
      end)
      channel:send("never")
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    local got = {}
    for name in function() return channel:recv() end do got[#got + 1] = name end
    assert.are.same({ "innermost 10000", "inner 10000", "outer 10000" }, got)
  end)

  it("lets a __close finish in which it is, tail calls apart, and wait", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local parent = require("lethe.worker").parent()
      do
        local _ <close> = setmetatable({}, { __close = function()
          parent:send("ready")
          for _ = 1, 20 do
            require("lethe.loop").default():sleep(0.001)
            for _ = 1, 1000 do end
          end
          channel:send("closed")
        end })
      end
      channel:send("never")
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    assert.are.equal("closed", channel:recv())
    assert.are.equal("closed", select(3, channel:recv()))
  end)

  it("runs what is to be closed in its other tasks, where they wait", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local main = require("lethe.loop").default()
      for i = 1, 3 do
        main:spawn(function()
          local _ <close> = setmetatable({}, { __close = function() channel:send(i) end })
          main:sleep(100)
          channel:send("never")
        end)
      end
      main:sleep(0.001)
      require("lethe.worker").parent():send("ready")
      main:sleep(100)
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    local got = {}
    for name in function() return channel:recv() end do got[#got + 1] = name end
    assert.are.same({ 1, 2, 3 }, got)
  end)

  it("may not have begun, or have ended", function()
    for _ = 1, 20 do
      local w = worker.spawn(function() while true do end end)
      w:cancel()
      assert.are.same(cancelled, packed_join(w))
    end
    local w = worker.spawn(function() return 1 end)
    assert.are.equal(1, w:join())
    w:cancel()
    assert.are.equal(1, w:join())
  end)

  it("is so by close, and by a to-be-closed variable", function()
    local channel = worker.channel(1)
    do
      local w <close> = ready(function(channel) -- luacheck: ignore 211
        local _ <close> = setmetatable({}, { __close = function() channel:send("gone") end })
        require("lethe.worker").parent():send("ready")
        while true do end
      end, channel)
    end
    assert.are.equal("gone", channel:recv())
  end)

  it("is not reported", function()
    assert.are.same({}, errors.reported(function()
      local w = ready(function()
        require("lethe.worker").parent():send("ready")
        while true do end
      end)
      w:cancel()
      repeat
        loop.default():sleep(0.002)
      until w:send(1) == nil
      loop.default():sleep(0.005)
    end))
  end)
end)

describe("a worker's memory", function()
  local function grow()
    local t = {}
    while true do t[#t + 1] = ("x"):rep(1000) .. #t end
  end

  it("has a limit", function()
    local w = worker.new{ run = grow, memory = "4M" }
    assert.are.same({ nil, "not enough memory", "failed", n = 3 }, packed_join(w))
  end)

  it("runs out as Lua's always does: it can be caught", function()
    local w = worker.new{ memory = "4M", run = function()
      local ok, message = pcall(string.rep, "x", 1 << 24)
      return ok, message, #("x"):rep(100000)
    end }
    assert.are.same({ false, "not enough memory", 100000, n = 3 }, packed_join(w))
  end)

  it("must suffice for a state", function()
    assert.are.same({ nil, "not enough memory", "no_memory", n = 3 },
      table.pack(worker.new{ run = grow, memory = "1K" }))
  end)

  it("is claimed under an account, and given back", function()
    local tracker <close> = quota.new{ max = "64M" }
    local account = tracker:account{ name = "worker" }
    local w = worker.new{ account = account, run = function()
      local parent = require("lethe.worker").parent()
      local s = ("x"):rep(1 << 20)
      parent:send("grown")
      parent:recv()
      return #s
    end }
    assert.are.equal("grown", w:recv())
    assert.is_true(account:used() > 1 << 20)
    assert.are.equal(account:used(), tracker:used())
    w:send("end")
    assert.are.equal(1 << 20, (w:join()))
    assert.are.equal(0, tracker:used())
    assert.is_true(tracker:check())
  end)

  it("is limited by the account's max", function()
    local tracker <close> = quota.new{ max = "64M" }
    local account = tracker:account{ max = "4M" }
    assert.are.same({ nil, "not enough memory", "failed", n = 3 },
      packed_join(worker.new{ account = account, run = grow }))
    local small = tracker:account{ max = "4K" }
    local got = packed_join(worker.new{ account = small, run = grow })
    assert.is_truthy(got[2]:find("^not enough memory"))
    assert.are.equal("failed", got[3])
    assert.are.equal(0, tracker:used())
  end)
end)

describe("engines that workers share", function()
  it("ask a participant in the state that registered it", function()
    local tracker <close> = quota.new{ max = "8M", low_water = "4M" }
    local account = tracker:account{ name = "workers'" }
    local w = worker.spawn(function(account)
      local parent = require("lethe.worker").parent()
      local participation
      local here = coroutine.running
      participation = account:participant{
        get_oldest = function() return 1 end,
        reclaim = function(_, request)
          participation:destroy()
          parent:send{ "asked", request.reason, type(here()) }
          return "collapsing"
        end,
      }
      parent:send{ "claimed", participation:claim(5000000) }
      parent:recv()
      return account:used()
    end, account)
    assert.are.same({ "claimed", true }, w:recv())
    local mine = tracker:account{ name = "mine" }
    local p = mine:participant{ get_oldest = function() return 2 end,
      reclaim = function() return "partial" end }
    assert.is_true(p:claim(4000000))
    assert.are.same({ "asked", "max", "thread" }, w:recv())
    w:send("end")
    assert.are.equal(0, w:join())
    assert.is_true(tracker:check())
    assert.is_true(tracker:used() < 5000000)
    p:destroy()
  end)

  it("run a policy in the state that set it", function()
    local asked = 0
    local tracker <close> = quota.new{ max = "8M", low_water = "4M", policy = function(c)
      asked = asked + 1
      return c.name == "worse" and 2 or 1
    end }
    local w = worker.spawn(function(tracker)
      local parent = require("lethe.worker").parent()
      local log, kept = {}, {}
      for i, name in ipairs{ "better", "worse" } do
        local account = tracker:account{ name = name }
        local p
        p = account:participant{ get_oldest = function() return i end, reclaim = function()
          log[#log + 1] = name
          p:destroy()
        end }
        p:claim(3000000)
        kept[i] = { account, p }
      end
      parent:send("claimed")
      parent:recv()
      return log, #kept
    end, tracker)
    assert.are.equal("claimed", w:recv())
    assert.is_true(tracker:reclaim(1000000) > 0)
    w:send("end")
    assert.are.same({ "worse" }, (w:join()))
    assert.is_true(asked > 0)
  end)

  it("lose a participant with the worker that registered it", function()
    local tracker <close> = quota.new{ max = "8M" }
    local account = tracker:account()
    local got = packed_join(worker.spawn(function(account)
      local object = { get_oldest = function() return 1 end, reclaim = function() end }
      kept = account:participant(object) -- luacheck: ignore
      kept:claim(1000000) -- luacheck: ignore
      return account:used()
    end, account))
    assert.is_true(got[1] >= 1000000)
    assert.are.equal(0, tracker:used())
    assert.are.equal(0, tracker:stats().participants)
  end)
end)

describe("many workers", function()
  it("are born and die without a trace", function()
    local base = require "lethe.core.base"
    local tracker <close> = quota.new{ max = "1G" }
    local account = tracker:account()
    local function births(n)
      for i = 1, n do
        local w = worker.spawn(function(i, account) return i, account:name() end, i, account)
        if i % 3 == 0 then
          w:cancel()
        end
        if i % 4 ~= 0 then w:join() end
        w:close()
      end
    end
    births(8)
    loop.default():sleep(0.05)
    collector.all()
    local alive, used = base.objects(), collectgarbage("count")
    births(WORK >= 1 and 200 or 50)
    for _ = 1, 100 do
      loop.default():sleep(0.002)
      collector.all()
      if base.objects() == alive then break end
    end
    assert.are.equal(alive, (base.objects()))
    assert.is_true(collectgarbage("count") < used + 64)
    assert.are.equal(1, tracker:stats().accounts)
  end)

  it("send through shared channels without loss", function()
    local work, done = worker.channel(8), worker.channel(0)
    local workers, n = {}, 2000
    for i = 1, 4 do
      workers[i] = worker.spawn(function(work, done)
        local count = 0
        while true do
          local job, _, code = work:recv()
          if code then return count end
          count = count + 1
          done:send{ job = job, by = { job } }
        end
      end, work, done)
    end
    local feeder = loop.default():spawn(function()
      for i = 1, n do work:send(i) end
      work:close()
    end)
    local seen, count = {}, 0
    for _ = 1, n do
      local message = done:recv()
      assert.are.equal(message.job, message.by[1])
      assert.is_nil(seen[message.job])
      seen[message.job] = true
    end
    feeder:join()
    for i = 1, 4 do count = count + workers[i]:join() end
    assert.are.equal(n, count)
  end)

  it("end in the midst of everything", function()
    local channel = worker.channel(1)
    for round = 1, 20 do
      local workers = {}
      for i = 1, 4 do
        workers[i] = worker.spawn(function(channel, round, i)
          local main = require("lethe.loop").default()
          for k = 1, 3 do
            main:spawn(function()
              while true do
                if (k + i) % 2 == 0 then channel:send{ round, i, channel } else channel:recv() end
              end
            end)
          end
          while true do channel:recv() end
        end, channel, round, i)
      end
      loop.default():sleep(0.001 * (round % 4))
      for i = 1, 4 do workers[i]:cancel() end
      for i = 1, 4 do assert.are.equal("cancelled", (select(3, workers[i]:join()))) end
    end
    channel:close()
  end)
end)
