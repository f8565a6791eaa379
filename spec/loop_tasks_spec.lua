-- Tasks: how they start, wait, end, fail and are cancelled. Loops themselves are in loop_spec.lua.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local lethe = require "lethe"
local loop = require "lethe.loop"

local CANNOT_WAIT <const> = "cannot wait here; use Loop:spawn"

local function specs(mode)
  local main, virtual, log

  local function say(text)
    log[#log + 1] = text
  end

  local function said()
    return table.concat(log, " ")
  end

  before_each(function()
    mode.enter()
    main = loop.default()
    virtual = loop.new{ clock = "virtual" }
    log = {}
  end)

  after_each(function()
    virtual:close()
    main:run()
    mode.leave()
  end)

  describe("spawn", function()
    it("starts on the next turn, with its arguments", function()
      local task = virtual:spawn(function(...)
        say(table.concat({ ... }, ","))
      end, "a", 1, "b")
      assert.are.equal("loop.Task", lethe.type(task))
      assert.are.equal("", said())
      virtual:step()
      assert.are.equal("a,1,b", said())
    end)

    it("passes nils along", function()
      local got
      virtual:spawn(function(...) got = table.pack(...) end, nil, 2, nil)
      virtual:step()
      assert.are.same({ nil, 2, nil, n = 3 }, got)
    end)

    it("starts tasks in order", function()
      for i = 1, 5 do
        virtual:spawn(say, i)
      end
      virtual:step()
      assert.are.equal("1 2 3 4 5", said())
    end)

    it("makes a coroutine that can yield", function()
      virtual:spawn(function()
        local co, is_main = coroutine.running()
        say(tostring(is_main))
        say(tostring(coroutine.isyieldable()))
        say(type(co))
      end)
      virtual:step()
      assert.are.equal("false true thread", said())
    end)

    it("takes functions written in C", function()
      assert.are.same({ 3, 4, 3 }, { virtual:spawn(math.max, 3, 1):join(),
        virtual:spawn(math.max, 4):join(), (select(1, virtual:spawn(math.max, 3):join())) })
    end)

    it("wants a function, at the line of the call", function()
      assert.are.equal("bad argument #1 to 'spawn' (function expected, got nil)",
        errors.at_its_line(function() virtual:spawn() end))
      assert.are.equal("bad argument #1 to 'spawn' (function expected, got table)",
        errors.at_its_line(function() virtual:spawn(setmetatable({}, { __call = print })) end))
    end)

    it("lets a task that is only collected go on", function()
      virtual:spawn(function()
        virtual:sleep(1)
        say "went on"
      end)
      virtual:step()
      collector.all()
      virtual:advance(1)
      assert.are.equal("went on", said())
    end)

    it("lets go of a task that has ended, though it knows itself", function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local task
        task = virtual:spawn(function() return task end)
        weak[task] = true
        virtual:step()
      end
      collector.all()
      assert.is_nil(next(weak))
    end)
  end)

  describe("sleep", function()
    it("returns true", function()
      local got
      virtual:spawn(function() got = table.pack(virtual:sleep(1)) end)
      virtual:advance(1)
      assert.are.same({ true, n = 1 }, got)
      assert.are.same({ true, n = 1 }, table.pack(main:sleep(0)))
    end)

    it("suspends only the calling task", function()
      virtual:spawn(function()
        say "a1"
        virtual:sleep(2)
        say "a2"
      end)
      virtual:spawn(function()
        say "b1"
        virtual:sleep(1)
        say "b2"
      end)
      virtual:advance(3)
      assert.are.equal("a1 b1 b2 a2", said())
    end)

    it("ends in order of due time, then of the call", function()
      for _, each in ipairs{ { "c", 2 }, { "a", 1 }, { "d", 2 }, { "b", 1 } } do
        virtual:spawn(function()
          virtual:sleep(each[2])
          say(each[1])
        end)
      end
      virtual:advance(2)
      assert.are.equal("a b c d", said())
    end)

    it("takes a turn even for no time, or less", function()
      virtual:spawn(function()
        virtual:sleep(0)
        say "slept"
        virtual:sleep(-1)
        say "again"
      end)
      virtual:spawn(say, "other")
      virtual:run()
      assert.are.equal("other slept again", said())
    end)

    it("outside any task turns the loop until it is over", function()
      main:spawn(say, "ran")
      local began = main:now()
      assert.is_true(main:sleep(0.01))
      assert.is_true(main:now() >= began + 0.01)
      assert.are.equal("ran", said())
    end)

    it("outside any task on a virtual loop needs someone who moves its clock", function()
      main:timer(0.001, function() virtual:advance(5) end)
      assert.is_true(virtual:sleep(5))
      assert.are.equal(5, virtual:now())
    end)

    it("outside any task raises when nothing could end it", function()
      assert.are.equal("nothing is left to run that could end this wait",
        errors.at_its_line(function() virtual:sleep(5) end))
      virtual:advance(10) -- its timer is gone too
      assert.is_false(virtual:step())
    end)

    it("wants a number", function()
      assert.are.equal("bad argument #1 to 'sleep' (number expected, got nil)",
        errors.at_its_line(function() main:sleep() end))
      assert.are.equal("bad argument #1 to 'sleep' (number expected, got string)",
        errors.at_its_line(function() main:sleep("1") end))
      assert.are.equal("bad argument #1 to 'sleep' (seconds expected, got nan)",
        errors.at_its_line(function() main:sleep(0 / 0) end))
    end)
  end)

  describe("join", function()
    it("gives a task's results, nils among them", function()
      local task = main:spawn(function()
        main:sleep(0)
        return 1, nil, "three", nil
      end)
      assert.are.same({ 1, nil, "three", nil, n = 4 }, table.pack(task:join()))
      assert.are.same({ 1, nil, "three", nil, n = 4 }, table.pack(task:join()))
      assert.are.same({ n = 0 }, table.pack(main:spawn(function() end):join()))
    end)

    it("gives many results", function()
      local task = main:spawn(function()
        return table.unpack(setmetatable({}, { __index = function(_, i) return i end }), 1, 200)
      end)
      local got = table.pack(task:join())
      assert.are.same({ 200, 200 }, { got.n, got[200] })
    end)

    it("waits in a task", function()
      local slow = virtual:spawn(function()
        virtual:sleep(2)
        return "slow"
      end)
      virtual:spawn(function() say(slow:join()) end)
      virtual:advance(1)
      assert.are.equal("", said())
      virtual:advance(1)
      assert.are.equal("slow", said())
    end)

    it("by several tasks gives all of them the same, in order", function()
      local task = virtual:spawn(function()
        virtual:sleep(1)
        return "x"
      end)
      for i = 1, 3 do
        virtual:spawn(function() say(i .. task:join()) end)
      end
      virtual:advance(1)
      assert.are.equal("1x 2x 3x", said())
    end)

    it("of a failed task gives nil, the message with its traceback, \"failed\"", function()
      local list = errors.reported(function()
        local task = main:spawn(function() error("went wrong") end)
        local got = table.pack(task:join())
        assert.are.same({ nil, "failed", 3 }, { got[1], got[3], got.n })
        assert.matches("^[^\n]*loop_tasks_spec.lua:%d+: went wrong\nstack traceback:\n", got[2])
        assert.matches("in function 'error'", got[2], 1, true)
      end)
      assert.are.same({}, list)
    end)

    it("of a task that raises a value that is no string", function()
      local named = setmetatable({}, { __tostring = function() return "named" end })
      for value, text in pairs{ [named] = "named", [true] = "true", [12] = "12" } do
        local got = table.pack(main:spawn(function() error(value) end):join())
        assert.are.equal("failed", got[3])
        assert.are.equal(text, got[2]:match("^[^\n]*"))
      end
      local _, message, code = main:spawn(function() error({}) end):join()
      assert.are.equal("failed", code)
      assert.matches("^table: ", message)
      _, message, code = main:spawn(function() error() end):join()
      assert.are.same({ "nil", "failed" }, { message:match("^[^\n]*"), code })
    end)

    it("of a task whose error cannot say what it is", function()
      for _, bad in ipairs{ function() error("no") end, function() return {} end } do
        local value = setmetatable({}, { __tostring = bad })
        local _, message, code = main:spawn(function() error(value) end):join()
        assert.are.equal("failed", code)
        assert.are.equal("(error object is a table value)", message:match("^[^\n]*"))
      end
    end)

    it("of a task that overflows its stack", function()
      local function deep() return 1 + deep() end
      local _, message, code = main:spawn(deep):join()
      assert.are.equal("failed", code)
      assert.matches("stack overflow", message)
    end)

    it("of a cancelled task gives nil, message, \"cancelled\"", function()
      local task = main:spawn(function() return "never" end)
      task:cancel()
      assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, table.pack(task:join()))
      task = main:spawn(function()
        main:sleep(9)
        return "whatever it says"
      end)
      main:step()
      task:cancel()
      assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, table.pack(task:join()))
    end)

    it("of oneself raises", function()
      local task, message
      task = virtual:spawn(function()
        message = errors.at_its_line(function() task:join() end)
      end)
      virtual:run()
      assert.are.equal("a task cannot join itself", message)
    end)

    it("in a circle waits for ever, and run ends all the same", function()
      local a, b
      a = virtual:spawn(function() b:join() end)
      b = virtual:spawn(function() a:join() end)
      virtual:run()
      assert.are.equal("nothing is left to run that could end this wait",
        errors.at_its_line(function() a:join() end))
      a:cancel()
      virtual:run()
      assert.are.equal("cancelled", select(3, a:join()))
      assert.are.equal(0, select("#", b:join()))
    end)

    it("may be cancelled, and the task goes on", function()
      local slow = virtual:spawn(function()
        virtual:sleep(2)
        say "slow"
      end)
      local joiner = virtual:spawn(function() say(select(3, slow:join())) end)
      virtual:step()
      joiner:cancel()
      virtual:advance(2)
      assert.are.equal("cancelled slow", said())
    end)
  end)

  describe("an error that nobody joined", function()
    it("goes to on_error, once, with a traceback", function()
      local task
      local list = errors.reported(function()
        task = virtual:spawn(function() error("alone") end)
        virtual:run()
        virtual:run()
      end)
      assert.are.equal(1, #list)
      assert.matches("loop_tasks_spec.lua:%d+: alone\nstack traceback:\n", list[1].message)
      assert.is_true(list[1].details.task)
      assert.matches("loop_tasks_spec.lua:%d+: alone$", list[1].details.value)
      list = errors.reported(function() -- joined too late to be unreported; it is not told again
        assert.are.equal("failed", select(3, task:join()))
      end)
      assert.are.same({}, list)
    end)

    it("hands on_error the value that was raised", function()
      local value = { code = 7 }
      local list = errors.reported(function()
        virtual:spawn(error, value)
        virtual:run()
      end)
      assert.are.equal(value, list[1].details.value)
    end)

    it("is not lost when its joiner was cancelled", function()
      local failing = virtual:spawn(function()
        virtual:sleep(1)
        error("late")
      end)
      local joiner = virtual:spawn(function() failing:join() end)
      virtual:step()
      joiner:cancel()
      local list = errors.reported(function() virtual:advance(1) end)
      assert.are.equal(1, #list)
      assert.matches("late", list[1].message)
    end)

    it("counts as a failure", function()
      local before = loop.failures()
      errors.reported(function()
        virtual:spawn(error, "one")
        virtual:spawn(error, "two"):join()
      end)
      assert.are.equal(before + 1, loop.failures())
    end)

    it("may meet an on_error that fails itself", function()
      local out, err, code = program.script([[
        local lethe = require "lethe"
        lethe.on_error(function() error("in the handler") end)
        lethe.loop.default():spawn(error, "first", 0)
        lethe.loop.default():spawn(function() lethe.on_error(nil) error("second", 0) end)
      ]])
      assert.are.same({ "", 1 }, { out, code })
      assert.matches("^lethe: first\n", err)
      assert.matches("lethe: [^\n]*in the handler\n", err)
      assert.matches("lethe: second\nstack traceback:", err)
      assert.are.equal(1, select(2, err:gsub("lethe: first\n", "")))
    end)

    it("is not raised by giving in to one's own cancellation", function()
      local task = virtual:spawn(function() -- as assert(virtual:sleep(5)) does
        error(select(2, virtual:sleep(5)), 0)
      end)
      virtual:step()
      task:cancel()
      assert.are.same({}, errors.reported(function() virtual:run() end))
      task = virtual:spawn(function()
        virtual:sleep(5)
        error("while cleaning up")
      end)
      virtual:step()
      task:cancel()
      local list = errors.reported(function() virtual:run() end)
      assert.matches("while cleaning up", list[1].message)
      assert.are.equal("cancelled", select(3, task:join()))
    end)
  end)

  describe("cancel", function()
    it("ends the pending wait with nil, message, \"cancelled\"", function()
      local got
      local task = virtual:spawn(function() got = table.pack(virtual:sleep(5)) end)
      virtual:step()
      assert.is_true(task:cancel())
      virtual:run()
      assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, got)
      assert.are.equal(0, virtual:now())
      assert.is_false(task:cancel())
    end)

    it("keeps a task from starting that has not", function()
      local task = virtual:spawn(say, "never")
      assert.is_true(task:cancel())
      virtual:run()
      assert.are.equal("", said())
    end)

    it("lets the task clean up, and wait while it does", function()
      local task = virtual:spawn(function()
        local _, _, code = virtual:sleep(5)
        say(code)
        say(tostring(virtual:sleep(1)))
        say "clean"
      end)
      virtual:step()
      task:cancel()
      virtual:run()
      assert.are.equal("cancelled", said())
      virtual:advance(1)
      assert.are.equal("cancelled true clean", said())
    end)

    it("runs to-be-closed variables, which may wait", function()
      local task = virtual:spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            say(tostring(virtual:sleep(1)))
          end,
        })
        say(select(3, virtual:sleep(5)))
      end)
      virtual:step()
      task:cancel()
      virtual:advance(1)
      assert.are.equal("cancelled true", said())
    end)

    it("ends each further wait that is pending", function()
      local task = virtual:spawn(function()
        say(select(3, virtual:sleep(5)))
        say(select(3, virtual:sleep(5)))
      end)
      virtual:step()
      task:cancel()
      virtual:run()
      task:cancel()
      virtual:run()
      assert.are.equal("cancelled cancelled", said())
    end)

    it("of a task that runs takes effect at its next wait", function()
      local task
      task = virtual:spawn(function()
        task:cancel()
        say "running"
        say(select(3, virtual:sleep(5)))
        say(tostring(virtual:sleep(0)))
      end)
      virtual:run()
      assert.are.equal("running cancelled true", said())
    end)

    it("comes too late for an answer that is there", function()
      local got
      local task = virtual:spawn(function() got = virtual:sleep(1) end)
      virtual:spawn(function()
        virtual:sleep(1)
        task:cancel()
      end)
      virtual:step()
      virtual:advance(1)
      assert.is_true(got)
    end)

    it("is what close does too", function()
      local task = virtual:spawn(function() say(select(3, virtual:sleep(5))) end)
      virtual:step()
      assert.is_true(task:close())
      assert.is_true(task:close())
      virtual:run()
      assert.are.equal("cancelled", said())
      assert.are.equal("lethe.loop.Task (closed)", tostring(task))
      assert.are.equal("attempt to use a closed lethe.loop.Task",
        errors.at_its_line(function() task:join() end))
      assert.are.equal("attempt to use a closed lethe.loop.Task",
        errors.at_its_line(function() task:cancel() end))
      do
        local _ <close> = virtual:spawn(say, "never")
      end
      virtual:run()
      assert.are.equal("cancelled", said())
    end)

    it("of many tasks at once ends them all", function()
      local list = {}
      for i = 1, 50 do
        list[i] = virtual:spawn(function() say(select(3, virtual:sleep(i))) end)
      end
      virtual:step()
      for _, task in ipairs(list) do
        task:cancel()
      end
      virtual:run()
      assert.are.equal(50, #log)
    end)
  end)

  describe("waiting", function()
    it("in a plain coroutine raises, at the line of the call", function()
      local co = coroutine.wrap(function()
        return errors.at_its_line(function() main:sleep(0) end)
      end)
      assert.are.equal(CANNOT_WAIT, co())
      co = coroutine.wrap(function()
        return errors.at_its_line(function() main:spawn(type, 1):join() end)
      end)
      assert.are.equal(CANNOT_WAIT, co())
      main:run()
    end)

    it("in a plain coroutine inside a task raises too", function()
      virtual:spawn(function()
        say(coroutine.wrap(function()
          return errors.at_its_line(function() virtual:sleep(0) end)
        end)())
      end)
      virtual:run()
      assert.are.equal(CANNOT_WAIT, said())
    end)

    it("in a task across a C boundary raises, and the task goes on", function()
      local across = {
        function(wait) table.sort({ 1, 2 }, wait) end,
        function(wait) string.gsub("x", "x", wait) end,
        function(wait) tostring(setmetatable({}, { __tostring = wait })) end,
        function(wait) load(wait) end,
        function(wait) require("lethe.core.base").size(1, "size", 1) wait() end,
      }
      for i, call in ipairs(across) do
        virtual:spawn(function()
          local ok, err = pcall(call, function() return virtual:sleep(0) end)
          if i == 4 then ok, err = load(function() return virtual:sleep(0) end) end
          say(("%s:%s"):format(ok == true, tostring(err):match(CANNOT_WAIT) or err))
          virtual:sleep(0)
        end)
      end
      virtual:run()
      local no = "false:" .. CANNOT_WAIT
      assert.are.same({ no, no, no, no, "true:nil" }, log)
    end)

    it("in a task works wherever Lua can yield", function()
      virtual:spawn(function()
        local lazy = setmetatable({}, {
          __index = function(_, key)
            virtual:sleep(1)
            return key
          end,
          __add = function()
            virtual:sleep(1)
            return "sum"
          end,
        })
        say(lazy.field)
        say(lazy + 1)
        say(select(2, pcall(function()
          virtual:sleep(1)
          error("caught", 0)
        end)))
        for i in function(_, i)
          virtual:sleep(1)
          return not i and 1 or nil
        end do
          say(i)
        end
      end)
      virtual:advance(10)
      assert.are.equal("field sum caught 1", said())
    end)

    it("leaves generators inside a task alone", function()
      local function numbers()
        return coroutine.wrap(function()
          for i = 1, 3 do
            coroutine.yield(i)
          end
        end)
      end
      virtual:spawn(function()
        for i in numbers() do
          virtual:sleep(1)
          say(i)
        end
      end)
      virtual:advance(3)
      assert.are.equal("1 2 3", said())
    end)

    it("is not needed to let others run: a task may just yield", function()
      virtual:spawn(function()
        for i = 1, 3 do
          say("a" .. i)
          coroutine.yield()
        end
      end)
      virtual:spawn(function()
        for i = 1, 3 do
          say("b" .. i)
          coroutine.yield()
        end
      end)
      virtual:run()
      assert.are.equal("a1 b1 a2 b2 a3 b3", said())
    end)

    it("is not disturbed by someone who resumes the task's coroutine", function()
      local co
      virtual:spawn(function()
        co = coroutine.running()
        say(tostring(virtual:sleep(1)))
      end)
      virtual:step()
      assert.is_true(coroutine.resume(co, "intruder"))
      assert.are.equal("suspended", coroutine.status(co))
      assert.are.equal("", said())
      virtual:advance(1)
      assert.are.equal("true", said())
    end)

    it("ends with its task when someone closes the coroutine", function()
      local co
      local task = virtual:spawn(function()
        co = coroutine.running()
        local _ <close> = setmetatable({}, { __close = function() say "closed" end })
        virtual:sleep(1)
        say "never"
      end)
      virtual:step()
      assert.is_true(coroutine.close(co))
      assert.are.equal("closed", said())
      assert.are.equal("cancelled", select(3, task:join()))
      virtual:advance(5)
      assert.are.equal("closed", said())
    end)

    it("may be on another loop: a task of the default loop on a virtual one", function()
      main:spawn(function()
        for _ = 1, 2 do
          virtual:sleep(5)
          say(tostring(virtual:now()))
        end
      end)
      main:step()
      virtual:advance(7)
      assert.are.equal("5.0", said())
      virtual:advance(7)
      assert.are.equal("5.0 10.0", said())
    end)

    it("may be on another loop: a task of a virtual loop on the default one", function()
      virtual:spawn(function()
        say(tostring(main:sleep(0.002)))
      end)
      virtual:run()
      assert.are.equal("true", said())
    end)

    it("may be on a further real loop, whichever is turned", function()
      local other <close> = loop.new()
      main:spawn(function() say(tostring(other:sleep(0.002))) end)
      main:run()
      other:spawn(function() say(tostring(main:sleep(0.002))) end)
      other:run()
      main:spawn(function()
        say(other:spawn(function()
          main:sleep(0.001)
          return "both ways"
        end):join())
      end)
      main:run()
      assert.are.equal("true true both ways", said())
      assert.is_true(other:sleep(0.001))
    end)

    it("may be for a task of a virtual loop", function()
      local task = virtual:spawn(function()
        virtual:sleep(5)
        return "five"
      end)
      main:spawn(function() say(task:join()) end)
      main:step()
      virtual:advance(5)
      main:run()
      assert.are.equal("five", said())
    end)

    it("outside any task may nest in what a loop calls back", function()
      require("lethe.core.loop").post(main, function()
        main:spawn(say, "task")
        main:sleep(0.001)
        say "callback"
      end)
      main:sleep(0)
      assert.are.equal("task callback", said())
    end)

    it("in on_error raises", function()
      local got
      local before = lethe.on_error(function()
        got = errors.at_its_line(function() main:sleep(0) end)
      end)
      virtual:spawn(error, "any")
      virtual:run()
      lethe.on_error(before)
      assert.are.equal(CANNOT_WAIT, got)
    end)

    it("passes an error through that its loop's turn raised, taking the wait back", function()
      local wait = loop.wait
      local disarmed = 0
      local function disarm() disarmed = disarmed + 1 end
      local function bad_arm() error("no arm", 0) end
      assert.are.equal("no arm", select(2, pcall(wait, main, bad_arm, disarm)))
      assert.are.equal(1, disarmed)
      local late
      assert.are.equal("nothing is left to run that could end this wait", errors.at_its_line(
        function() (function() wait(virtual, function(wake) late = wake end, disarm, 2) end)() end))
      assert.are.equal(2, disarmed)
      assert.is_false(late("too late"))
    end)
  end)

  describe("wait, for engines", function()
    local wait

    before_each(function() wait = loop.wait end)

    it("gives what wake is called with, at once or later", function()
      assert.are.same({ 1, nil, 3, nil, 5, nil, n = 6 },
        table.pack(wait(main, function(wake) wake(1, nil, 3, nil, 5, nil) end)))
      assert.are.same({ n = 0 }, table.pack(wait(main, function(wake) wake() end)))
      local got
      local later
      virtual:spawn(function()
        got = table.pack(wait(virtual, function(wake) later = wake end))
      end)
      virtual:step()
      assert.is_true(later("a", nil))
      assert.is_false(later("b"))
      virtual:run()
      assert.are.same({ "a", nil, n = 2 }, got)
    end)

    it("takes the operation back when the task is cancelled", function()
      local later
      local task = virtual:spawn(function()
        wait(virtual, function(wake) later = wake end, function() say "taken back" end)
      end)
      virtual:step()
      task:cancel()
      assert.are.equal("taken back", said())
      assert.is_false(later(1))
      virtual:run()
    end)

    it("refuses a closed loop", function()
      local other = loop.new()
      other:close()
      assert.are.equal("attempt to use a closed lethe.loop.Loop",
        errors.at_its_line(function() wait(other, print, nil, 1) end))
    end)

    it("starts what a callback may wait in", function()
      loop.start(virtual, function(text)
        say(text)
        virtual:sleep(1)
        say "waited"
      end, "at once")
      assert.are.equal("at once", said())
      virtual:advance(1)
      assert.are.equal("at once waited", said())
    end)
  end)

  describe("nested", function()
    it("turns leave the outer ones whole", function()
      local inner = loop.new{ clock = "virtual" }
      virtual:spawn(function()
        inner:spawn(function()
          inner:sleep(1)
          say "inner"
        end)
        inner:advance(1)
        virtual:sleep(1)
        say "outer"
      end)
      virtual:advance(1)
      inner:close()
      assert.are.equal("inner outer", said())
    end)

    it("tasks of tasks of tasks run", function()
      local function spawn(depth)
        if depth == 0 then return "bottom" end
        return (virtual:spawn(spawn, depth - 1):join())
      end
      virtual:spawn(function() say(spawn(50)) end)
      virtual:run()
      assert.are.equal("bottom", said())
    end)

  end)
end

for _, mode in ipairs(collector.modes) do
  describe("lethe.loop tasks, " .. mode.name, function() specs(mode) end)
end

describe("lethe.loop", function()
  it("ends with its state, whatever is under way", function()
    local out, err, code = program.script([[
      local loop = require "lethe.loop"
      local main, virtual = loop.default()
      setmetatable({}, { __gc = function() print(pcall(main.now, virtual)) end })
      virtual = loop.new{ clock = "virtual" }
      for _, each in ipairs{ main, virtual } do
        each:spawn(function() each:sleep(100) end)
        each:timer(100, print, { every = true })
        each:signal("USR1", print)
        each:spawn(print, "never started")
      end
      kept = { main:spawn(function() virtual:sleep(5) end), virtual:timer(1, print) }
      os.exit(0, true)
    ]])
    assert.are.same({ 0, "" }, { code, err })
    assert.matches("^false\t[^\n]*attempt to use a closed lethe.loop.Loop\n$", out)
  end)

  it("fails a task whose turns nest too deep for C's stack, and goes on", function()
    local out, _, code = program.script([[
      local main = require("lethe.loop").default()
      local function dive(depth)
        if depth > 250 then return end
        main:spawn(dive, depth + 1)
        main:run()
      end
      main:spawn(dive, 1)
      main:run()
      main:spawn(print, "still here")
    ]])
    assert.are.same({ "still here\n", 1 }, { out, code })
  end)

  it("lets load tell its reader's errors as they are, in a task as elsewhere", function()
    local main <const> = loop.default()
    local value = {}
    local got
    main:spawn(function() got = select(2, load(function() error(value) end)) end):join()
    assert.are.equal(value, got)
  end)
end)
