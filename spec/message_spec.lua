-- What can be sent from one Lua state to another, and what comes of it there. The values go through
-- a channel here; to another state they go the same way (worker_spec.lua).
local errors = require "spec.support.errors"
local lethe = require "lethe"
local quota = require "lethe.quota"
local worker = require "lethe.worker"

local function copy(value)
  local channel = worker.channel()
  assert(channel:send(value))
  return channel:recv()
end

describe("a message", function()
  local channel

  before_each(function()
    channel = worker.channel()
  end)

  it("is nil, a boolean, a number or a string as it was", function()
    local values = { false, true, 0, -1, math.maxinteger, math.mininteger, 0.5, -0.0, 1e300,
      math.huge, -math.huge, 3.0, "", "a", ("x"):rep(100000), "zero\0zero", "\255\254" }
    for _, value in ipairs(values) do
      local got = copy(value)
      assert.are.equal(value, got)
      assert.are.equal(math.type(value), math.type(got))
    end
    assert.is_nil(copy(nil))
    assert.are.equal(1 / -0.0, 1 / copy(-0.0))
    local nan = copy(0 / 0)
    assert.is_true(nan ~= nan)
  end)

  it("of nil is one value, not the failure of a closed channel", function()
    channel:send(nil)
    channel:close()
    assert.are.equal(1, select("#", channel:recv()))
    assert.are.same({ nil, "the channel is closed", "closed", n = 3 }, table.pack(channel:recv()))
  end)

  it("is a table of these, with keys of every kind that may go", function()
    local t = { 1, "two", { 3 }, [10] = "ten", [0.5] = "half", [true] = "yes", [false] = "no",
      [""] = "empty", list = { { {} } }, [math.mininteger] = 0 }
    local got = copy(t)
    assert.are.same(t, got)
    assert.are_not.equal(t, got)
    assert.are_not.equal(t.list, got.list)
  end)

  it("keeps holes, and lists of any length", function()
    local long = {}
    for i = 1, 10000 do long[i] = i * 2 end
    assert.are.same(long, copy(long))
    local holes = copy{ 1, nil, 3, nil, 5 }
    assert.are.same({ 1, nil, 3, nil, 5 }, holes)
  end)

  it("keeps cycles and sharing", function()
    local shared = { name = "shared" }
    local t = { a = shared, b = shared, list = { shared } }
    t.self, shared.up, t.list.list = t, t, t.list
    local got = copy(t)
    assert.are.equal(got, got.self)
    assert.are.equal(got, got.a.up)
    assert.are.equal(got.a, got.b)
    assert.are.equal(got.a, got.list[1])
    assert.are.equal(got.list, got.list.list)
    assert.are.equal("shared", got.a.name)
  end)

  it("is as deep as memory allows", function()
    local first, depth = {}, 200000
    local last = first
    for _ = 1, depth do
      last.next = {}
      last = last.next
    end
    last.next = first
    local got = copy(first)
    local node = got
    for _ = 1, depth + 1 do
      node = node.next
    end
    assert.are.equal(got, node)
  end)

  it("is what tables hold, whatever their metatables say", function()
    local t = setmetatable({ 1 }, {
      __index = function() error("asked") end,
      __pairs = function() error("walked") end,
      __len = function() error("counted") end,
    })
    local got = copy(t)
    assert.is_nil(getmetatable(got))
    assert.are.same({ 1 }, got)
  end)

  it("was taken when it was sent", function()
    local t = { n = 1 }
    channel:send(t)
    t.n = 2
    assert.are.same({ n = 1 }, channel:recv())
  end)

  describe("that cannot go", function()
    local function refusal(value)
      local ok, message = pcall(channel.send, channel, value)
      assert.is_false(ok)
      return message
    end

    it("is named by its path", function()
      assert.are.equal("message is a function", refusal(print))
      assert.are.equal("message is a thread", refusal(coroutine.create(print)))
      assert.are.equal("message is a userdata", refusal(io.stdout))
      assert.are.equal("message.fn is a function", refusal{ fn = print })
      assert.are.equal("message.list[3].fn is a function",
        refusal{ list = { 1, 2, { fn = print } } })
      assert.are.equal('message["a b"]["1x"][1.5][true] is a function',
        refusal{ ["a b"] = { ["1x"] = { [1.5] = { [true] = print } } } })
      assert.are.equal("message[-1] is a thread", refusal{ [-1] = coroutine.create(print) })
    end)

    it("is named by the first way to it, through cycles too", function()
      local t = { a = { b = {} } }
      t.a.b.up, t.a.b.bad = t, print
      assert.are.equal("message.a.b.bad is a function", refusal(t))
    end)

    it("is named when it is a key", function()
      assert.are.equal("a key of message is a table", refusal{ [{}] = 1 })
      assert.are.equal("a key of message.x[1] is a function", refusal{ x = { { [print] = 1 } } })
    end)

    it("is named with the end of a long path", function()
      local t = { bad = print }
      for _ = 1, 1000 do t = { next = t } end
      assert.is_truthy(refusal(t):find("^%.%.%.%.next"))
      assert.is_truthy(refusal(t):find("%.next%.next%.bad is a function$"))
    end)

    it("is reported where it was sent", function()
      assert.are.equal("message.x is a function",
        errors.at_its_line(function() channel:send{ x = print } end))
      local bad = { y = coroutine.create(print) }
      assert.are.equal("argument #2.y is a thread",
        errors.at_its_line(function() worker.spawn(function() end, 1, bad) end))
    end)

    it("leaves the channel as it was", function()
      channel:send(1)
      refusal{ worker.channel(), print }
      channel:send(2)
      assert.are.same({ 1, 2 }, { channel:recv(), channel:recv() })
    end)
  end)

  describe("with engine handles", function()
    it("brings the same channel, the same object in its state", function()
      local other = worker.channel(3)
      local got = copy{ other, list = { other } }
      assert.are.equal(other, got[1])
      assert.are.equal(other, got.list[1])
      assert.are.equal(other, copy(other))
      assert.are.equal("worker.Channel", lethe.type(got[1]))
    end)

    it("brings the same tracker, and an object for the account", function()
      local tracker <close> = quota.new{ max = "1M" }
      local account = tracker:account{ name = "sent" }
      local got = copy{ tracker = tracker, account = account }
      assert.are.equal(tracker, got.tracker)
      assert.are.equal(account, got.account)
      assert.are.equal("sent", got.account:name())
      account:close()
      assert.is_truthy(got.account:weak():upgrade())
      got.account:close()
    end)

    it("keeps an account alive on its way", function()
      local tracker <close> = quota.new{ max = "1M" }
      local account = tracker:account{ name = "on its way" }
      channel:send(account)
      account:close()
      assert.are.equal(1, tracker:stats().accounts)
      local got = channel:recv()
      assert.are.equal("on its way", got:name())
      got:close()
      assert.are.equal(0, tracker:stats().accounts)
    end)

    it("refuses what belongs to a state, and what is closed", function()
      local tracker <close> = quota.new{ max = "1M" }
      local account = tracker:account()
      local participation = account:participant{
        get_oldest = function() return 1 end, reclaim = function() end }
      local function refusal(value)
        return select(2, pcall(channel.send, channel, { x = value }))
      end
      assert.are.equal("message.x is a lethe.quota.Participation, which cannot go to another state",
        refusal(participation))
      assert.are.equal("message.x is a lethe.quota.WeakAccount, which cannot go to another state",
        refusal(account:weak()))
      account:close()
      assert.are.equal("message.x is a closed lethe.quota.Account", refusal(account))
    end)

    it("gives them back when nobody receives it", function()
      local tracker <close> = quota.new{ max = "1M" }
      local account = tracker:account()
      local lost = worker.channel()
      lost:send{ account }
      account:close()
      assert.are.equal(1, tracker:stats().accounts)
      lost = nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      assert.are.equal(0, (tracker:used() and tracker:stats().accounts))
    end)
  end)
end)
