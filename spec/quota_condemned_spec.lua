-- Freed means freed: condemned bytes are watched until their object is gone; and what the collector
-- finds dead ends at a safe point.
local participants = require "spec.support.participants"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20
local holder, column = participants.holder, participants.column

describe("condemned bytes", function()
  it("leave used at once, and are gone with their object", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "a" }
    local object = participants.object(1)
    local p = a:participant(object)
    p:claim("1M")
    t:reclaim("1M")
    assert.are.same({ 0, MIB }, { t:used(), t:stats().condemned })
    s:collect()
    assert.are.equal(MIB, t:stats().condemned)
    object = nil
    s:collect()
    assert.are.same({ 0, nil }, { t:stats().condemned, object })
    s:advance(10)
    assert.are.same({}, s:events("not_freed"))
  end))

  it("stay while the object does, also when nobody has its participation", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local object = participants.object(1)
    do
      local p = a:participant(object)
      p:claim("1M")
      t:reclaim("1M")
    end
    s:collect()
    assert.are.equal(MIB, t:stats().condemned)
    assert.are.equal(1, #object.requests)
  end))

  it("are let go of by the participation", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local gone = setmetatable({}, { __mode = "v" })
    local p
    do
      local object = participants.object(1)
      gone[1] = object
      p = a:participant(object)
    end
    p:claim("1M")
    t:reclaim("1M")
    s:collect()
    assert.is_nil(gone[1])
    assert.are.same({ 0, 0 }, { t:stats().condemned, p:used() })
  end))

  it("are gone as they are released", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = "1M" })
    t:reclaim("1M")
    h.participation:release("256K")
    assert.are.equal(768 << 10, t:stats().condemned)
    h.participation:release("768K")
    h.participation:release(1)
    assert.are.same({ 0, 0 }, { t:stats().condemned, t:used() })
    s:advance(10)
    assert.are.same({}, s:events("not_freed"))
    assert.is_true(t:check())
  end))

  it("are gone when the participation is destroyed", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = "1M" })
    t:reclaim("1M")
    h.participation:destroy()
    assert.are.equal(0, t:stats().condemned)
  end))

  it("are gone when a lethe object is closed", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local base = require "lethe.core.base"
    local new = base.class("spec.Participant", {
      get_oldest = function() return 1 end,
      reclaim = function() return "collapsing" end,
    }, function() end)
    local a, b = t:account(), t:account()
    local object = new{}
    local p, q = a:participant(object), b:participant(object)
    p:claim("1M")
    q:claim("1M")
    t:reclaim("2M")
    assert.are.equal(2 * MIB, t:stats().condemned)
    object:close()
    assert.are.equal(0, t:stats().condemned)
    assert.are.same({ 0, 0 }, { p:used(), q:used() })
  end))

  it("that are still there one deadline later are reported", scenario(function(s)
    local t = s:quota{ max = "8M", deadline = 2 }
    local h = holder(t, { name = "leaky", age = 1, bytes = "1M" })
    t:reclaim("1M")
    h.participation:release(48576)
    s:advance(1.9)
    assert.are.same({}, s:events("not_freed"))
    s:advance(0.1)
    local event = s:events("not_freed")[1]
    assert.are.same({ h.id, "leaky", 1000000 }, { event.account, event.name, event.bytes })
    s:advance(100)
    assert.are.equal(1, #s:events("not_freed"))
    assert.are.equal(1000000, t:stats().condemned)
  end))

  it("are none where the reclaim gave everything back", scenario(function(s)
    local t = s:quota{ max = "8M" }
    holder(t, { age = 1, bytes = "1M", answer = function(self)
      self.participation:release("1M")
      return "collapsing"
    end })
    holder(t, { age = 2, bytes = "1M", answer = function(self)
      self.participation:destroy()
      return "collapsing"
    end })
    t:reclaim("3M")
    s:advance(10)
    assert.are.same({ 0, 2 * MIB }, { t:stats().condemned, t:stats().freed })
    assert.are.same({}, s:events("not_freed"))
  end))

  it("outlive the tracker without harm", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local object = participants.object(1)
    do
      local a = t:account()
      local p = a:participant(object)
      p:claim("1M")
      t:reclaim("1M")
      p:close()
      a:close()
    end
    t:close()
    t = nil
    s:collect()
    object = nil
    s:collect()
    assert.are.same({}, { t, object })
  end))
end)

describe("a handle that is only collected", function()
  it("ends its account at the next safe point, with an event", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local kept
    do
      local a = t:account{ name = "sessions" }
      kept = a:participant(participants.object())
      kept:claim("1M")
    end
    s:collect()
    local events = s:events("collected")
    assert.are.equal(1, #events)
    assert.are.same({ "quota.Account", "sessions", MIB },
      { events[1].what, events[1].name, events[1].bytes })
    assert.are.same({ 0, 0 }, { t:used(), t:stats().accounts })
    assert.are.equal("account_closed", select(3, kept:claim(1)))
  end))

  it("gives back a participation's bytes", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "sessions" }
    do
      a:participant(participants.object()):claim("1M")
    end
    s:collect()
    local event = s:events("collected")[1]
    assert.are.same({ "quota.Participation", "sessions", MIB, a:id() },
      { event.what, event.name, event.bytes, event.account })
    assert.are.equal(0, t:used())
  end))

  it("ends nothing while a clone lives", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "a" }
    local p = a:participant(participants.object())
    do
      a:clone()
      p:clone():claim(100000)
    end
    s:collect()
    assert.are.same({ 0, 0 }, column(s:events("collected"), "bytes"))
    assert.are.equal(100000, p:used())
    assert.is_true(t:check())
  end))

  it("does not end a tracker while an account lives", scenario(function(s)
    local events = {}
    local a = quota.new{
      max = "1M",
      loop = s.loop,
      on_event = function(e) events[#events + 1] = e.type end,
    }:account()
    s:collect()
    assert.are.same({ "collected" }, events)
    local object = participants.object(1)
    local p = a:participant(object)
    p:claim("2M")
    s:advance(0)
    assert.are.equal(1, #object.requests)
    assert.is_true(a:tracker():check())
    a:tracker():close()
    assert.are.equal("tracker_shutdown", select(3, a:child()))
  end))

  it("tells nothing of what was closed, nor of weak accounts", scenario(function(s)
    local t = s:quota{ max = "8M" }
    do
      local a = t:account()
      local p = a:participant(participants.object())
      p:account()
      a:weak()
      p:close()
      a:close()
    end
    s:collect()
    assert.are.same({}, s:events("collected"))
  end))

  it("ends its account by the next call into the engine, not before", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local p
    do
      local a = t:account()
      p = a:participant(participants.object())
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(p:claim(1)) -- hot: no safe point
    assert.are.equal(0, t:used())
    assert.are.equal("account_closed", select(3, p:claim(1)))
  end))
end)
