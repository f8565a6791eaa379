-- Loops, clocks, timers and signals. Tasks, and how they wait, are in loop_tasks_spec.lua.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local lethe = require "lethe"
local loop = require "lethe.loop"

local function specs(mode)
  local main, virtual, log

  before_each(mode.enter)
  after_each(mode.leave)

  local function say(text)
    return function() log[#log + 1] = text end
  end

  local function said()
    return table.concat(log, " ")
  end

  before_each(function()
    main = loop.default()
    virtual = loop.new{ clock = "virtual" }
    log = {}
  end)

  after_each(function()
    virtual:close()
    if lethe.type(main) and pcall(main.now, main) then main:run() end
  end)

  describe("loops", function()
    it("are there by default, always the same", function()
      assert.are.equal(loop.default(), loop.default())
      assert.are.equal("loop.Loop", lethe.type(main))
    end)

    it("are made with a real clock unless told otherwise", function()
      local real <close> = loop.new()
      local named <close> = loop.new{ clock = "real" }
      assert.is_true(real:now() > 0)
      assert.near(real:now(), named:now(), 0.5)
      assert.are.equal(0, virtual:now())
    end)

    it("refuse other clocks and options, where they were asked for", function()
      assert.are.equal('clock must be "real" or "virtual" (got fake)',
        errors.at_its_line(function() loop.new{ clock = "fake" } end))
      assert.are.equal('clock must be "real" or "virtual" (got false)',
        errors.at_its_line(function() loop.new{ clock = false } end))
      assert.are.equal('unknown option "clok" (did you mean "clock"?)',
        errors.at_its_line(function() loop.new{ clok = "real" } end))
      assert.are.equal("a table of options expected, got number",
        errors.at_its_line(function() loop.new(5) end))
      assert.are.equal("a table of options expected, got boolean",
        errors.at_its_line(function() loop.new(false) end))
    end)

    it("name what is called on something else", function()
      assert.are.equal("calling 'sleep' on bad self (lethe.loop.Loop expected, got number)",
        errors.at_its_line(function() main.sleep(1) end))
      assert.are.equal("calling 'close' on bad self (lethe.loop.Loop expected, got nil)",
        errors.at_its_line(function() main.close() end))
      local timer <close> = virtual:timer(1, print)
      assert.are.equal("calling 'run' on bad self (lethe.loop.Loop expected, got lethe.loop.Timer)",
        errors.at_its_line(function() main.run(timer) end))
    end)

    it("cannot be used once they are closed", function()
      virtual:close()
      local message = "attempt to use a closed lethe.loop.Loop"
      for _, use in ipairs{
        function() virtual:spawn(print) end, function() virtual:run() end,
        function() virtual:step() end, function() virtual:stop() end,
        function() virtual:sleep(0) end, function() virtual:timer(0, print) end,
        function() virtual:signal("HUP", print) end, function() virtual:now() end,
        function() virtual:advance(0) end,
      } do
        assert.are.equal(message, errors.at_its_line(use))
      end
    end)

    it("close once, and closing again is nothing", function()
      assert.is_true(virtual:close())
      assert.is_true(virtual:close())
      assert.are.equal("lethe.loop.Loop (closed)", tostring(virtual))
      assert.are.equal("loop.Loop", lethe.type(virtual))
    end)

    it("may be to-be-closed variables", function()
      local kept
      do
        local scoped <close> = loop.new()
        kept = scoped
      end
      assert.has_error(function() kept:now() end)
    end)

    it("may close in one of their own timers", function()
      virtual:timer(1, function() virtual:close() end)
      virtual:timer(1, say "never")
      virtual:advance(5)
      assert.are.equal("", said())
      assert.has_error(function() virtual:now() end)
    end)

    it("give the default's place to a new one when that is closed", function()
      local out, err, code = program.script([[
        local loop = require "lethe.loop"
        local other = loop.new()
        local first = loop.default()
        first:close()
        local second = loop.default()
        assert(second ~= first and loop.default() == second)
        local woken
        other:timer(0.001, function() woken = true end)
        second:spawn(function() other:sleep(0.002) print(woken) end):join()
      ]])
      assert.are.same({ "true\n", "", 0 }, { out, err, code })
    end)
  end)

  describe("clocks", function()
    it("are monotonic", function()
      local before = main:now()
      for _ = 1, 100 do
        local now = main:now()
        assert.is_true(now >= before)
        before = now
      end
    end)

    it("move by advance alone when they are virtual", function()
      virtual:timer(10, say "ten")
      virtual:run()
      virtual:step()
      assert.are.equal(0, virtual:now())
      assert.is_nil(virtual:advance(9.5))
      assert.are.equal(9.5, virtual:now())
      assert.are.equal("", said())
      virtual:advance(0.5)
      assert.are.equal("ten", said())
    end)

    it("count nanoseconds: ten steps of 0.1 are one of 1", function()
      virtual:timer(1, say "one")
      for _ = 1, 10 do
        assert.are.equal("", said())
        virtual:advance(0.1)
      end
      assert.are.equal("one", said())
      assert.are.equal(1, virtual:now())
    end)

    it("cannot be advanced when they are real, nor back, nor for ever", function()
      assert.are.equal("only a virtual loop's clock can be advanced",
        errors.at_its_line(function() main:advance(1) end))
      assert.are.equal("bad argument #1 to 'advance' (a clock cannot move by -1)",
        errors.at_its_line(function() virtual:advance(-1) end))
      assert.are.equal("bad argument #1 to 'advance' (a clock cannot move by inf)",
        errors.at_its_line(function() virtual:advance(math.huge) end))
      assert.are.equal("bad argument #1 to 'advance' (seconds expected, got nan)",
        errors.at_its_line(function() virtual:advance(0 / 0) end))
      assert.are.equal("bad argument #1 to 'advance' (number expected, got nil)",
        errors.at_its_line(function() virtual:advance() end))
      assert.are.equal(0, virtual:now())
    end)

    it("run what falls due in order of due time, then of creation", function()
      virtual:timer(2, say "c")
      virtual:timer(1, say "a")
      virtual:timer(2, say "d")
      virtual:timer(1, say "b")
      virtual:advance(2)
      assert.are.equal("a b c d", said())
    end)

    it("run what becomes due on the way, at its own time", function()
      virtual:timer(1, function()
        log[#log + 1] = "a@" .. virtual:now()
        virtual:timer(1, function() log[#log + 1] = "b@" .. virtual:now() end)
        virtual:timer(0, function() log[#log + 1] = "now@" .. virtual:now() end)
      end)
      virtual:timer(3, function() log[#log + 1] = "c@" .. virtual:now() end)
      virtual:advance(2.5)
      assert.are.equal("a@1.0 now@1.0 b@2.0", said())
      assert.are.equal(2.5, virtual:now())
    end)

    it("may be advanced from what they run", function()
      virtual:timer(1, function()
        say "in"()
        virtual:advance(5)
        say "out"()
      end)
      virtual:timer(3, say "three")
      virtual:advance(2)
      assert.are.equal("in three out", said())
      assert.are.equal(6, virtual:now())
    end)

    it("tell tasks the time that they slept to", function()
      virtual:spawn(function()
        for _ = 1, 3 do
          virtual:sleep(0.25)
          log[#log + 1] = tostring(virtual:now())
        end
      end)
      virtual:advance(10)
      assert.are.equal("0.25 0.5 0.75", said())
    end)
  end)

  describe("timers", function()
    it("fire once", function()
      local timer = virtual:timer(1, say "fired")
      assert.are.equal("loop.Timer", lethe.type(timer))
      virtual:advance(5)
      assert.are.equal("fired", said())
      assert.is_true(timer:close())
    end)

    it("fire every so often", function()
      local timer <close> = virtual:timer(1, say "tick", { every = true })
      virtual:advance(3.5)
      assert.are.equal("tick tick tick", said())
      assert.is_not_nil(timer)
    end)

    it("fire in the order of their creation when they are due together, however often", function()
      local first <close> = virtual:timer(1, say "a", { every = true })
      virtual:timer(3, say "b")
      local last <close> = virtual:timer(1.5, say "c", { every = true })
      virtual:advance(3)
      assert.are.equal("a c a a b c", said())
      assert.are_not.equal(first, last)
    end)

    it("fire once with every = false", function()
      virtual:timer(1, say "once", { every = false })
      virtual:advance(5)
      assert.are.equal("once", said())
    end)

    it("stop when they are closed", function()
      local timer = virtual:timer(1, say "tick", { every = true })
      virtual:advance(2)
      assert.is_true(timer:close())
      assert.is_true(timer:close())
      assert.are.equal("lethe.loop.Timer (closed)", tostring(timer))
      virtual:advance(5)
      assert.are.equal("tick tick", said())
    end)

    it("may close themselves while they fire", function()
      local timer
      timer = virtual:timer(1, function()
        say "tick"()
        if #log == 2 then timer:close() end
      end, { every = true })
      virtual:advance(5)
      assert.are.equal("tick tick", said())
    end)

    it("run their function as a task, which may wait", function()
      virtual:timer(1, function()
        assert.is_true(coroutine.isyieldable())
        virtual:sleep(2)
        say "after"()
      end)
      virtual:advance(2)
      assert.are.equal("", said())
      virtual:advance(1)
      assert.are.equal("after", said())
    end)

    it("go on when they are only collected", function()
      virtual:timer(1, say "tick", { every = true })
      collector.all()
      virtual:advance(2)
      assert.are.equal("tick tick", said())
    end)

    it("report an error of their function, and go on", function()
      local timer <close> = virtual:timer(1, function() error("bad tick") end, { every = true })
      local list = errors.reported(function() virtual:advance(2) end)
      assert.are.equal(2, #list)
      assert.matches("loop_spec.lua:%d+: bad tick\nstack traceback:", list[1].message)
      assert.is_not_nil(timer)
    end)

    it("are due at once when their time is past", function()
      virtual:timer(-5, say "now")
      virtual:run()
      assert.are.equal("now", said())
      assert.are.equal(0, virtual:now())
    end)

    it("let go of their function once they have fired", function()
      local weak = setmetatable({}, { __mode = "v" })
      local function start()
        local payload = {}
        weak[1] = payload
        return virtual:timer(1, function() log[1] = payload end)
      end
      local timer = start()
      virtual:advance(1)
      log[1] = nil
      collector.all()
      assert.is_nil(weak[1])
      assert.is_not_nil(tostring(timer))
    end)

    it("may be referred to by their own function without living for ever", function()
      local weak = setmetatable({}, { __mode = "k" })
      local function start()
        local timer
        timer = virtual:timer(1, function() timer:close() end, { every = true })
        weak[timer] = true
      end
      start()
      virtual:advance(1)
      collector.all()
      assert.is_nil(next(weak))
    end)

    it("name bad arguments", function()
      assert.are.equal("bad argument #1 to 'timer' (number expected, got string)",
        errors.at_its_line(function() virtual:timer("soon", print) end))
      assert.are.equal("bad argument #1 to 'timer' (seconds expected, got nan)",
        errors.at_its_line(function() virtual:timer(0 / 0, print) end))
      assert.are.equal("bad argument #2 to 'timer' (function expected, got nil)",
        errors.at_its_line(function() virtual:timer(1) end))
      assert.are.equal('unknown option "evry" (did you mean "every"?)',
        errors.at_its_line(function() virtual:timer(1, print, { evry = true }) end))
      assert.are.equal("every must be a boolean (got number)",
        errors.at_its_line(function() virtual:timer(1, print, { every = 5 }) end))
      assert.are.equal("a table of options expected, got boolean",
        errors.at_its_line(function() virtual:timer(1, print, true) end))
    end)

    it("keep a real loop running until they have fired", function()
      local began = main:now()
      main:timer(0.01, say "real")
      main:run()
      assert.are.equal("real", said())
      assert.is_true(main:now() >= began + 0.01)
    end)

    it("that lag behind do not keep others from firing", function()
      local busy
      busy = main:timer(0, function()
        local till = main:now() + 0.0005
        while main:now() < till do end
      end, { every = true })
      main:timer(0.005, function() busy:close() end)
      local began = main:now()
      main:run()
      assert.is_true(main:now() - began < 2)
    end)
  end)

  describe("run", function()
    it("ends when nothing is left to do", function()
      main:spawn(function()
        main:sleep(0.001)
        main:spawn(say "inner")
        say "outer"()
      end)
      main:run()
      assert.are.equal("outer inner", said())
    end)

    it("follows up deaths where nothing else is left to do", function()
      local written
      local function make()
        local dirty = lethe.cache.new{ loop = virtual, backend = {
          load = function() end,
          flush = function(_, k) written = k end,
        } }
        virtual:spawn(function() dirty:insert("a", 1) end):join()
      end
      make()
      collectgarbage()
      collectgarbage()
      virtual:run()
      assert.are.equal("a", written)
    end)

    it("of a virtual loop ends when nothing more is due", function()
      virtual:spawn(say "task")
      virtual:timer(0, say "due")
      virtual:timer(1, say "later")
      virtual:run()
      assert.are.equal("task due", said())
    end)

    it("ends when stop is called, after the turn", function()
      main:spawn(function()
        main:stop()
        say "stopped"()
      end)
      main:spawn(say "same turn")
      local timer <close> = main:timer(60, say "never")
      main:run()
      assert.are.equal("stopped same turn", said())
      assert.is_not_nil(timer)
    end)

    it("forgets a stop that came before it", function()
      main:stop()
      main:spawn(say "ran")
      main:run()
      assert.are.equal("ran", said())
    end)

    it("may be called from a task", function()
      main:spawn(function()
        main:spawn(say "inner")
        main:run()
        say "outer"()
      end)
      main:run()
      assert.are.equal("inner outer", said())
    end)

    it("finds, inside a task, what came in the same turn", function()
      virtual:spawn(function()
        virtual:run()
        say "first"()
      end)
      virtual:spawn(say "second")
      virtual:step()
      assert.are.equal("second first", said())
    end)
  end)

  describe("step", function()
    it("is one turn, and says whether anything ran", function()
      assert.is_false(virtual:step())
      virtual:spawn(function()
        say "first"()
        virtual:spawn(say "second")
      end)
      assert.is_true(virtual:step())
      assert.are.equal("first", said())
      assert.is_true(virtual:step())
      assert.are.equal("first second", said())
      assert.is_false(virtual:step())
    end)

    it("does not wait for a timer", function()
      local timer <close> = main:timer(30, print)
      local began = main:now()
      assert.is_false(main:step())
      assert.is_true(main:now() < began + 10)
      assert.is_not_nil(timer)
    end)
  end)

  describe("signals", function()
    -- The process that a shell's command substitution sees as its parent is this one.
    local function raise(name)
      assert(os.execute("kill -" .. name .. " $PPID"))
    end

    it("call their function in a turn, each time", function()
      local watch <close> = main:signal("USR1", say "usr1")
      assert.are.equal("loop.Watch", lethe.type(watch))
      for n = 1, 2 do
        raise "USR1"
        assert.are.equal(n - 1, #log)
        while #log < n do
          main:step()
        end
      end
      assert.are.equal("usr1 usr1", said())
    end)

    it("run it as a task, which may wait", function()
      local watch
      watch = main:signal("USR2", function()
        main:sleep(0.001)
        say "waited"()
        watch:close()
      end)
      raise "USR2"
      main:run()
      assert.are.equal("waited", said())
    end)

    it("are not watched any more once closed", function()
      local other <close> = main:signal("USR1", say "other")
      local watch = main:signal("USR1", say "closed")
      assert.is_true(watch:close())
      assert.is_true(watch:close())
      assert.are.equal("lethe.loop.Watch (closed)", tostring(watch))
      raise "USR1"
      while #log == 0 do
        main:step()
      end
      assert.are.equal("other", said())
      assert.is_not_nil(other)
    end)

    it("go on when the watch is only collected", function()
      local out, err, code = program.script([[
        local loop = require("lethe.loop").default()
        loop:signal("USR1", function() print "caught" os.exit(0, true) end)
        for _ = 1, 4 do collectgarbage() loop:sleep(0) end
        os.execute("kill -USR1 $PPID")
        loop:sleep(10)
      ]])
      assert.are.same({ "caught\n", "", 0 }, { out, err, code })
    end)

    it("keep a loop running", function()
      local out, err, code = program.script([[
        local loop = require("lethe.loop").default()
        local watch
        watch = loop:signal("TERM", function() print "term" watch:close() end)
        loop:timer(0.01, function() os.execute("kill -TERM $PPID") end)
      ]])
      assert.are.same({ "term\n", "", 0 }, { out, err, code })
    end)

    it("have names", function()
      assert.are.equal(
        "bad argument #1 to 'signal' (unknown signal \"TREM\" (did you mean \"TERM\"?))",
        errors.at_its_line(function() main:signal("TREM", print) end))
      assert.matches("unknown signal",
        errors.at_its_line(function() main:signal("TERM\0", print) end))
      assert.are.equal("bad argument #1 to 'signal' (string expected, got number)",
        errors.at_its_line(function() main:signal(15, print) end))
      assert.are.equal("bad argument #2 to 'signal' (function expected, got table)",
        errors.at_its_line(function() main:signal("TERM", {}) end))
      for _, name in ipairs{ "HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CHLD" } do
        assert.is_true(main:signal(name, print):close())
      end
    end)
  end)

  describe("closing a loop", function()
    it("ends its tasks where they stand, with their to-be-closed variables", function()
      virtual:spawn(function()
        local _ <close> = setmetatable({}, { __close = say "closed" })
        virtual:sleep(5)
        say "never"()
      end)
      local unborn = virtual:spawn(say "never")
      virtual:step()
      virtual:spawn(say "never")
      virtual:close()
      assert.are.equal("never closed", said()) -- `unborn` had its first turn; the last had not
      assert.is_not_nil(unborn)
    end)

    it("tells whoever joined one of them that it was cancelled", function()
      local task = virtual:spawn(function() virtual:sleep(5) end)
      local got
      main:spawn(function() got = table.pack(task:join()) end)
      main:step()
      virtual:close()
      main:run()
      assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, got)
    end)

    it("tells tasks of other loops that wait on it", function()
      local got
      main:spawn(function() got = table.pack(virtual:sleep(5)) end)
      main:step()
      virtual:close()
      main:run()
      assert.are.same({ nil, "the loop was closed", "closed", n = 3 }, got)
    end)

    it("lets a task that closes it end", function()
      local list = errors.reported(function()
        virtual:spawn(function()
          virtual:close()
          say "went on"()
          log[#log + 1] = select(3, main:sleep(5))
          main:sleep(0)
          say "cleaned up"()
        end)
        virtual:run()
        main:run()
      end)
      assert.are.same({}, list)
      assert.are.equal("went on cancelled cleaned up", said())
    end)
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("lethe.loop, " .. mode.name, function() specs(mode) end)
end
