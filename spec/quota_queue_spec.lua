-- The metered queue: what is in it is claimed, and a pass takes all of it at once.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local lethe = require "lethe"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local at_its_line, code_of = errors.at_its_line, errors.code_of

local column, queue_of = participants.column, participants.queue

local function length(value)
  return #value
end

describe("a metered queue", function()
  it("gives what was sent, in order, and any value but nil", scenario(function(s)
    local tx, rx = queue_of(s, { cost = function() return 1 end })
    local sent = { 1, "two", false, {}, print, 3.5 }
    for _, value in ipairs(sent) do
      assert.is_true(tx:send(value))
    end
    assert.are.equal(6, #rx)
    for i = 1, 6 do
      assert.are.equal(sent[i], (i % 2 == 0 and rx.recv or rx.try_recv)(rx))
    end
    assert.are.same({ "quota.Sender", "quota.Receiver" }, { lethe.type(tx), lethe.type(rx) })
  end))

  it("claims what each costs and eight bytes more, and releases it", scenario(function(s)
    local tx, rx, t, account = queue_of(s)
    t:reclaim()
    local text <const> = ("x"):rep(20000)
    tx:send(text)
    tx:send(text)
    t:reclaim()
    assert.are.equal(2 * 20008, account:used())
    assert.are.equal(text, rx:recv())
    t:reclaim()
    assert.are.equal(20008, account:used())
    rx:recv()
    t:reclaim()
    assert.are.equal(0, account:used())
    assert.are.same({}, s:events("over_release"))
  end))

  it("costs eight bytes an entry without a cost", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local account = t:account()
    local tx, rx = quota.queue{ account = account, loop = s.loop }
    for i = 1, 4096 do
      tx:send(i)
    end
    t:reclaim()
    assert.are.same({ 8 * 4096, 4096 }, { account:used(), #rx })
  end))

  it("keeps what was claimed at sending, though the value changes", scenario(function(s)
    local tx, rx, _, account = queue_of(s)
    local list = { 1, 2, 3 }
    tx:send(list)
    table.move(list, 1, 3, 4)
    assert.are.equal(list, rx:recv())
    rx:close()
    assert.are.same({}, s:events("over_release"))
    assert.are.equal(0, account:used())
  end))

  it("has a waiting recv answered by the next send", scenario(function(s)
    local tx, rx = queue_of(s)
    local got = {}
    for i = 1, 2 do
      s.loop:spawn(function() got[i] = rx:recv() end)
    end
    s:advance(0)
    assert.are.same({}, got)
    tx:send("a")
    tx:send("b")
    s:advance(0)
    assert.are.same({ "a", "b" }, got)
    assert.are.equal("empty", code_of(rx:try_recv()))
  end))

  it("has send wait when it is full, in order", scenario(function(s)
    local tx, rx = queue_of(s, { capacity = 1 })
    local done = {}
    for i = 1, 3 do
      s.loop:spawn(function()
        tx:send("m" .. i)
        done[#done + 1] = i
      end)
    end
    s:advance(0)
    assert.are.same({ { 1 }, "full" }, { done, code_of(tx:try_send("x")) })
    assert.are.equal("m1", rx:recv())
    s:advance(0)
    assert.are.same({ 1, 2 }, done)
    assert.are.same({ "m2" }, { rx:recv() })
    s:advance(0)
    assert.are.same({ "m3" }, { rx:recv() })
    assert.is_true(tx:try_send("x"))
  end))

  it("lets go of a task that is cancelled, at either end", scenario(function(s)
    local tx, rx = queue_of(s, { capacity = 1 })
    local receiving = s.loop:spawn(function() return rx:recv() end)
    s:advance(0)
    receiving:cancel()
    s:advance(0)
    assert.are.equal("cancelled", code_of(receiving:join()))
    tx:send("a")
    local sending = s.loop:spawn(function() return tx:send("b") end)
    s:advance(0)
    sending:cancel()
    s:advance(0)
    assert.are.same({ "a", "empty" }, { rx:recv(), code_of(rx:try_recv()) })
  end))

  it("delivers the rest when the sender is closed, then says closed", scenario(function(s)
    local tx, rx = queue_of(s)
    tx:send("a")
    tx:send("b")
    assert.is_true(tx:close())
    assert.are.same({ "a", "b" }, { rx:recv(), rx:try_recv() })
    assert.are.same({ "closed", "closed" }, { code_of(rx:recv()), code_of(rx:try_recv()) })
  end))

  it("tells a waiting recv of the sender's end", scenario(function(s)
    local tx, rx = queue_of(s)
    local task = s.loop:spawn(function() return rx:recv() end)
    s:advance(0)
    tx:close()
    s:advance(0)
    assert.are.equal("closed", code_of(task:join()))
  end))

  it("drops all and gives everything back when the receiver is closed", scenario(function(s)
    local tx, rx, t, account = queue_of(s, { capacity = 2 })
    local gone = setmetatable({ {} }, { __mode = "v" })
    tx:send(gone[1])
    tx:send("b")
    local task = s.loop:spawn(function() return tx:send("c") end)
    s:advance(0)
    assert.is_true(rx:close())
    s:advance(0)
    s:collect()
    assert.are.same({ nil, 0, 1 }, { gone[1], t:used(), t:stats().accounts })
    assert.are.equal("closed", code_of(task:join()))
    assert.are.equal("closed", code_of(tx:send("d")))
    assert.are.equal("closed", code_of(tx:try_send("d")))
    assert.is_true(account:participant(participants.object()):claim(1))
  end))

  it("is as old as its head, by its loop's clock", scenario(function(s)
    local tx, rx, t = queue_of(s)
    local h = participants.holder(t, { age = 2.5, bytes = 20000 })
    s:advance(2)
    tx:send("a")
    s:advance(1)
    tx:send("b")
    t:plan(1)
    assert.are.equal(2, t:top(2)[2].oldest)
    rx:recv()
    t:plan(1)
    assert.are.equal(3, t:top(2)[2].oldest)
    rx:recv()
    t:plan(1)
    assert.is_nil(t:top(2)[2].oldest)
    assert.are.equal(0, #h.object.requests)
  end))

  it("stamps by the clock of its tracker's loop without one of its own", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local account = t:account()
    local tx, rx = quota.queue{ account = account }
    s:advance(5)
    tx:send("a")
    t:plan(1)
    assert.are.same({ 5, 1 }, { t:top(1)[1].oldest, #rx })
  end))

  it("turns the loop outside tasks", function()
    local t <close> = quota.new{ max = "8M" }
    local account = t:account()
    local tx, rx = quota.queue{ account = account, capacity = 1 }
    loop.default():spawn(function()
      for i = 1, 3 do
        tx:send(i)
      end
      tx:close()
    end)
    assert.are.same({ 1, 2, 3 }, { rx:recv(), rx:recv(), rx:recv() })
    assert.are.equal("closed", code_of(rx:recv()))
  end)
end)

describe("queue", function()
  it("takes named fields only, and says what is wrong", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a, closed = t:account(), t:account()
    closed:close()
    local tx, rx = quota.queue{ account = a, cost = function(v) return v end }
    local options
    local function make() quota.queue(options) end
    local cases = {
      { account = a, capacity = 0 }, "capacity must be a positive integer (got 0)",
      { account = a, capacity = "5" }, "capacity must be a positive integer (got 5)",
      { account = a, cost = 5 }, "cost must be a function (got number)",
      { account = a, loop = 5 }, "loop must be a lethe.loop.Loop (got number)",
      { account = a, cots = print }, 'unknown option "cots" (did you mean "cost"?)',
      { account = t }, "account must be a lethe.quota.Account (got lethe.quota.Tracker)",
      { account = closed }, "account is a closed lethe.quota.Account",
      {}, "account must be a lethe.quota.Account (got nil)",
      a, "a table of options expected, got userdata",
    }
    for i = 1, #cases, 2 do
      options = cases[i]
      assert.are.equal(cases[i + 1], at_its_line(make))
    end
    cases = {
      { function() tx:send() end, "bad argument #1 to 'send' (a value expected, got nil)" },
      { function() tx:try_send(nil) end, "bad argument #1 to 'try_send' (a value expected, got" },
      { function() tx:send(-1) end, "cost must not be negative (got -1)" },
      { function() tx:send{} end, "cost must be a size" },
      { function() rx:on_collapse(5) end, "bad argument #1 to 'on_collapse' (function expected" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]):sub(1, #case[2]))
    end
    assert.is_true(tx:send("1K"))
    assert.are.equal(1, #rx)
  end))

  it("is refused on an account that ended", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { age = 1, bytes = "1M" })
    t:reclaim("1M")
    assert.are.equal("account_closed", code_of(quota.queue{ account = h.account }))
    t:close()
    assert.are.equal("tracker_shutdown", code_of(quota.queue{ account = h.account }))
  end))

  it("is closed once its account has ended: what was sent still arrives", scenario(function(s)
    local a = s:quota{ max = "8M" }:account{ name = "a" }
    local tx, rx = quota.queue{ account = a }
    local reasons = {}
    rx:on_collapse(function(reason) reasons[#reasons + 1] = reason end)
    tx:send(1)
    local task = s.loop:spawn(function() return rx:recv(), rx:recv() end)
    s:advance(0)
    a:close()
    assert.are.equal("closed", code_of(tx:try_send(2)))
    s:advance(0)
    assert.are.same({ 1, nil, "closed" }, { [1] = task:join(), [3] = code_of(rx:try_recv()) })
    assert.are.same({ "sender_closed" }, reasons)
    local b = s:quota{ max = "8M" }:account{ name = "b" }
    local _, idle = quota.queue{ account = b }
    b:tracker():close()
    assert.are.equal("closed", code_of(idle:recv()))
  end))

  it("has ends that close twice and are not used after", scenario(function(s)
    local tx, rx = queue_of(s)
    assert.is_true(tx:close() and tx:close() and rx:close() and rx:close())
    assert.are.equal("attempt to use a closed lethe.quota.Sender",
      at_its_line(function() tx:send(1) end))
    assert.are.equal("attempt to use a closed lethe.quota.Receiver",
      at_its_line(function() rx:recv() end))
    assert.are.equal("attempt to use a closed lethe.quota.Receiver",
      at_its_line(function() rx:on_collapse(print) end))
  end))

  it("ends with ends that are only collected, and says so", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local account = t:account{ name = "queue" }
    local heard
    do
      local tx, rx = quota.queue{ account = account, cost = length, loop = s.loop }
      rx:on_collapse(function(reason) heard = reason end)
      tx:send(("x"):rep(100000))
    end
    s:collect()
    local events = s:events("collected")
    assert.are.same({ "quota.Sender", "quota.Receiver" }, column(events, "what"))
    assert.are.same({ 100008, 0, "queue" }, { events[2].bytes, events[1].bytes, events[1].name })
    assert.are.same({ "sender_closed", 0, 0 }, { heard, account:used(), t:stats().participants })
  end))
end)
