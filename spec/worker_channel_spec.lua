-- Channels: what goes from worker to worker, and who waits for it. What messages are is in
-- message_spec.lua.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local collector = require "spec.support.collector"
local workers = require "spec.support.workers"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local worker = require "lethe.worker"

local packed_join = workers.packed_join

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
