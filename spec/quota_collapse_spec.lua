-- How a metered queue collapses: taken by a pass, or ended by its ends; and who hears of it.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local lethe = require "lethe"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local code_of, queue_of = errors.code_of, participants.queue

describe("a queue that a pass takes", function()
  it("collapses: everything goes, both ends hear of it", scenario(function(s)
    local tx, rx, t, account = queue_of(s)
    tx:send(("x"):rep(100000))
    tx:send("b")
    t:reclaim(100000)
    assert.are.same({ 0, 0, 0 }, { t:used(), t:stats().condemned, #rx })
    assert.are.equal(1, #s:events("victim"))
    for _ = 1, 2 do
      assert.are.equal("reclaimed", code_of(tx:send("c")))
      assert.are.equal("reclaimed", code_of(tx:try_send("c")))
      assert.are.equal("reclaimed", code_of(rx:recv()))
      assert.are.equal("reclaimed", code_of(rx:try_recv()))
    end
    assert.are.equal("account_closed", code_of(account:child()))
    tx:close()
    assert.are.equal("reclaimed", code_of(rx:recv()))
  end))

  it("ends the waits of both ends", scenario(function(s)
    local tx, rx, t = queue_of(s, { capacity = 1 })
    tx:send(("x"):rep(100000))
    local sending = s.loop:spawn(function() return tx:send("b") end)
    s:advance(0)
    t:reclaim(100000)
    s:advance(0)
    assert.are.equal("reclaimed", code_of(sending:join()))
    assert.are.equal("reclaimed", code_of(rx:recv()))
    local tx2, rx2, t2 = queue_of(s)
    local receiving = s.loop:spawn(function() return rx2:recv() end)
    s:advance(0)
    tx2:send(("x"):rep(100000))
    t2:reclaim(100000)
    s:advance(0)
    assert.are.equal(100000, #receiving:join())
    assert.are.same({ "quota.Sender", "quota.Sender" }, { lethe.type(tx), lethe.type(tx2) })
  end))

  it("says reclaimed too when it was full and its sender closed", scenario(function(s)
    local tx, rx, t = queue_of(s)
    tx:send(("x"):rep(100000))
    tx:close()
    t:reclaim(100000)
    assert.are.equal("reclaimed", code_of(rx:recv()))
  end))

  it("is told when it goes unasked, with an account that ends", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h, tx, rx
    h = participants.holder(t, { age = 1, bytes = "1M", answer = function()
      tx, rx = quota.queue{ account = h.account, loop = s.loop }
      tx:send("a")
    end })
    t:reclaim("1M")
    assert.are.equal("reclaimed", code_of(rx:recv()))
    assert.are.equal("reclaimed", code_of(tx:send("b")))
  end))

  it("is closed, not reclaimed, where its account is closed", scenario(function(s)
    local tx, rx, _, account = queue_of(s)
    tx:send("a")
    account:close()
    assert.are.equal("closed", code_of(tx:send("b")))
    assert.are.equal("a", rx:recv())
  end))

  it("passes on that an account is full", scenario(function(s)
    local tx, rx = queue_of(s, { max = 1000 })
    assert.is_true(tx:send(("x"):rep(900)))
    assert.are.equal("over_limit", code_of(tx:send(("x"):rep(993))))
    assert.are.equal("over_limit", code_of(tx:try_send(("x"):rep(993))))
    assert.are.equal(1, #rx)
  end))
end)

describe("on_collapse", function()
  local function endings(s, ending)
    local tx, rx, t = queue_of(s)
    local heard = {}
    rx:on_collapse(function(reason) heard[#heard + 1] = "1 " .. reason end)
    rx:on_collapse(function(reason) heard[#heard + 1] = "2 " .. reason end)
    tx:send(("x"):rep(100000))
    ending(tx, rx, t)
    return heard, rx, tx, t
  end

  it("is called once each, in order, with the reason", scenario(function(s)
    local cases = {
      reclaimed = function(_, _, t) t:reclaim(100000) end,
      sender_closed = function(tx) tx:close() end,
      receiver_closed = function(_, rx) rx:close() end,
    }
    for reason, ending in pairs(cases) do
      local heard, _, tx, t = endings(s, function(...)
        ending(...)
        ending(...)
      end)
      tx:close()
      t:close()
      assert.are.same({ "1 " .. reason, "2 " .. reason }, heard)
    end
  end))

  it("is called at once if it has collapsed already", scenario(function(s)
    local _, rx = endings(s, function(_, _, t) t:reclaim(100000) end)
    local heard
    rx:on_collapse(function(reason) heard = reason end)
    assert.are.equal("reclaimed", heard)
  end))

  it("is called before the memory counts as gone, and may do anything", scenario(function(s)
    local tx, rx, t, account = queue_of(s)
    local seen
    rx:on_collapse(function()
      seen = account:used()
      assert(code_of(tx:send("x")) == "reclaimed")
      assert(code_of(rx:recv()) == "reclaimed")
      rx:close()
      tx:close()
      account:close()
    end)
    tx:send(("x"):rep(100000))
    assert.are.same({}, errors.reported(function() t:reclaim(100000) end))
    assert.are.same({ true, 0 }, { seen >= 100000, t:used() })
  end))

  it("that raises is reported, and the others are called all the same", scenario(function(s)
    local heard = {}
    local list = errors.reported(function()
      local tx, rx = queue_of(s)
      rx:on_collapse(function() error("no ear") end)
      rx:on_collapse(function(reason) heard[#heard + 1] = reason end)
      tx:close()
      rx:on_collapse(function() error("still none") end)
    end)
    assert.are.same({ "sender_closed" }, heard)
    assert.matches("no ear", list[1].message)
    assert.matches("still none", list[2].message)
  end))

  it("may wait without holding up the pass", scenario(function(s)
    local tx, rx, t = queue_of(s)
    local heard
    rx:on_collapse(function(reason)
      s.loop:sleep(100)
      heard = reason
    end)
    tx:send(("x"):rep(100000))
    t:reclaim(100000)
    assert.are.same({ 0, nil }, { t:used(), heard })
    s:advance(100)
    assert.are.equal("reclaimed", heard)
  end))
end)
