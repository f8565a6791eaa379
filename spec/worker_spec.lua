-- Workers: threads with a state and a loop each, what they send each other, and how they end. How a
-- process ends that has workers is in worker_end_spec.lua, what messages are in message_spec.lua.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local workers = require "spec.support.workers"
local lethe = require "lethe"
local loop = require "lethe.loop"
local worker = require "lethe.worker"

local packed_join = workers.packed_join
local run = workers.run

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

  it("is the one value that its maker gets, and what is sent succeeds with one", function()
    local list = {}
    table.insert(list, worker.spawn(function() return 1 end))
    table.insert(list, worker.new{ run = function() return 2 end })
    for i, w in ipairs(list) do assert.are.equal(i, w:join()) end
    local channel <close> = worker.channel()
    table.insert(list, channel:send(1))
    assert.are.equal(true, list[3])
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
      assert.matches("^nothing is left to run that could end the worker's wait\nstack traceback:\n",
        got[2])
      assert.matches("\n\t[^\n]*worker_spec.lua:%d+: in local 'fn'\n", got[2])
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
