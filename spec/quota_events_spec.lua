-- Events of a quota tracker: what each says, and when it comes.
local participants = require "spec.support.participants"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20
local holder, column = participants.holder, participants.column

describe("events", function()
  it("of a pass come in order, on its loop's turn", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "2M" }
    local a = holder(t, { name = "a", age = 1, bytes = "2M" })
    local b = holder(t, { name = "b", age = 2, bytes = "3M" })
    local before = #s:events()
    assert.are.same({}, s:events("reclaim_start"))
    s:advance(0)
    local list = {}
    for i, event in ipairs(s:events()) do
      if i > before and event.type ~= "pressure" then list[#list + 1] = event end
    end
    assert.are.same({ "reclaim_start", "victim", "victim", "reclaim_stop" }, column(list, "type"))
    local start, victim, stop = list[1], list[2], list[4]
    assert.are.same({ "max", 3 * MIB + 2 * 16384 }, { start.reason, start.goal })
    assert.are.same({ a.id, "a", 2 * MIB, -1, "max" },
      { victim.account, victim.name, victim.freed, victim.score, victim.reason })
    assert.are.same({ "complete", "max", 2, 0 },
      { stop.outcome, stop.reason, stop.victims, stop.seconds })
    assert.are.equal(5 * MIB + 2 * 16384, stop.freed)
    assert.are.equal(b.id, list[3].account)
  end))

  it("of a call come before it returns", scenario(function(s)
    local t = s:quota{ max = "4M" }
    local h = holder(t, { name = "h" })
    h.participation:release(1)
    assert.are.equal("over_release", s:events()[1].type)
    t:configure{ max = "8M" }
    assert.are.equal("reconfigured", s:events()[2].type)
    h.participation:claim("7M")
    assert.are.equal("pressure", s:events()[3].type)
    h.participation:destroy()
    assert.are.equal("pressure", s:events()[4].type)
  end))

  it("are delivered to a stock script without a task", function()
    local list = {}
    local t <close> = quota.new{ max = "1M", on_event = function(e) list[#list + 1] = e.type end }
    local h = holder(t, { age = 1, bytes = "900K" })
    assert.are.same({ "pressure" }, list)
    t:reclaim("900K")
    assert.are.same({ "pressure", "reclaim_start", "pressure", "victim", "reclaim_stop" }, list)
    assert.are.equal(1, #h.object.requests)
  end)

  it("are fresh tables that hold up nobody", scenario(function(s)
    local seen = {}
    local t = s:quota{ max = "4M", on_event = function(e)
      e.type = "spoilt"
      seen[e] = true
    end }
    local h = holder(t, {})
    h.participation:release(1)
    h.participation:release(1)
    assert.are.same({ "over_release", "over_release" }, column(s:events(), "type"))
    local n = 0
    for _ in pairs(seen) do
      n = n + 1
    end
    assert.are.equal(2, n)
  end))

  it("end with the tracker", scenario(function(s)
    local t = s:quota{ max = "4M" }
    local h = holder(t, { bytes = "3500K" })
    local n = #s:events()
    t:close()
    h.participation:release(1)
    h.account:close()
    s:collect()
    s:advance(10)
    assert.are.equal(n, #s:events())
  end))

  it("tell who is large when a pass is stuck", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local big = holder(t, { name = "big", age = 1, bytes = "900K", answer = "partial" })
    local small = holder(t, { name = "small", age = 2, bytes = "300K", answer = "partial" })
    s:advance(0)
    local stuck = s:events("stuck")[1]
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    assert.are.same({ big.id, small.id }, column(stuck.top, "account"))
    assert.are.same({ "big", "small" }, column(stuck.top, "name"))
    assert.are.same({ 900 << 10, 300 << 10 }, column(stuck.top, "used"))
    assert.are.same({ "max", (1200 - 512) << 10 }, { stuck.reason, stuck.goal })
    assert.is_true(small.participation:claim(1))
  end))
end)
