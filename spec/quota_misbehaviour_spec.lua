-- Participants and listeners that misbehave: one that errs costs itself at most, and anybody may
-- call anything from a callback.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

local code_of, reported = errors.code_of, errors.reported

local MIB <const> = 1 << 20
local holder, column = participants.holder, participants.column

-- Whether the tracker still does its work, however it was treated.
local function is_sound(t)
  local before = t:stats().victims
  local h = holder(t, { age = -1e9, bytes = "64K" })
  t:reclaim("1G")
  return #h.object.requests == 1 and h.participation:used() == 0 and t:stats().victims > before
    and t:check()
end

describe("a get_oldest", function()
  local wrong <const> = {
    { "raises", function() error("no age today") end, "no age today" },
    { "raises no string", function() error({}) end, "table" },
    { "returns a string", function() return "old" end,
      "get_oldest must return a number or nil (got string)" },
    { "returns true", function() return true end, "a number or nil (got boolean)" },
    { "returns NaN", function() return 0 / 0 end, "a number or nil (got NaN)" },
    { "waits", function() require("lethe.loop").default():sleep(0) end, "cannot wait here" },
  }
  for _, case in ipairs(wrong) do
    it("that " .. case[1] .. " has its participant torn down, unasked", scenario(function(s)
      local t = s:quota{ max = "8M" }
      local h = holder(t, { name = "bad", age = 1, bytes = 100000 })
      local good = holder(t, { age = 5, bytes = 100000 })
      h.object.get_oldest = case[2]
      local list = reported(function() t:reclaim(100000) end)
      assert.are.equal(1, #list)
      assert.matches(case[3], list[1].message, 1, true)
      local lost = s:events("participant_lost")
      assert.are.same({ 1, h.id, "bad", 100000 },
        { #lost, lost[1].account, lost[1].name, lost[1].bytes })
      assert.are.equal("participant_shutdown", code_of(h.participation:claim(1)))
      assert.is_true(h.account:participant(participants.object()):claim(1))
      assert.are.same({ 0, 0 }, { #h.object.requests, t:stats().condemned })
      assert.is_true(good.participation:claim(1))
      assert.is_true(is_sound(t))
    end))
  end

  it("that is no method any more is reported the same", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = 100000 })
    h.object.get_oldest = nil
    assert.are.equal(1, #reported(function() t:reclaim(100000) end))
    assert.are.equal(1, #s:events("participant_lost"))
  end))

  it("may call anything", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local victim = holder(t, { age = 0, bytes = 100000 })
    local others, made = {}, {}
    for i = 1, 6 do
      others[i] = holder(t, { age = i, bytes = 1000 })
    end
    local h = holder(t, { bytes = 100000 })
    function h.object:get_oldest()
      if #made > 0 then return 1 end
      made[1] = holder(t, { age = 50, bytes = 1000, parent = others[1].account })
      others[2].account:close()
      others[3].participation:destroy()
      others[4].participation:close()
      others[5].account:add_parent(others[6].account)
      made[2] = others[6].participation:clone()
      made[2]:claim(5)
      self.participation:release(1)
      self.participation:claim("1G")
      self.participation:release("1G")
      assert(t:check())
      assert(#t:top(5) == 5 and #t:plan("1M") > 0)
      t:configure{ max = "16M" }
      return 1
    end
    local list = reported(function() t:reclaim(300000) end)
    assert.are.same({}, list)
    assert.are.equal(1, #victim.object.requests)
    assert.is_true(t:check())
  end))

  it("may close the tracker", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { bytes = 100000 })
    holder(t, { age = 5, bytes = 100000 })
    function h.object.get_oldest()
      t:close()
      return 1
    end
    assert.are.equal("tracker_shutdown", code_of(t:reclaim(100000)))
    assert.are.equal("tracker_shutdown", code_of(h.participation:claim(1)))
    assert.are.same({ 0 }, { #h.object.requests })
  end))
end)

describe("a reclaim", function()
  local wrong <const> = {
    { "raises", function() error("cannot part with it") end, "cannot part with it" },
    { "raises nil", function() error() end, "nil\nstack traceback:" },
    { "raises no string", function() error({}) end, "\nstack traceback:" },
    { "returns another word", function() return "later" end, '"partial" or nil (got later)' },
    { "returns a number", function() return 5 end, '"partial" or nil (got 5)' },
    { "returns false", function() return false end, '"partial" or nil (got false)' },
  }
  for _, case in ipairs(wrong) do
    it("that " .. case[1] .. " counts as collapsing, and is reported once", scenario(function(s)
      local t = s:quota{ max = "8M" }
      local h = holder(t, { age = 1, bytes = 100000, answer = case[2] })
      local list = reported(function() t:reclaim(100000) end)
      assert.are.equal(1, #list)
      assert.matches(case[3], list[1].message, 1, true)
      assert.are.equal("reclaim", list[1].details.callback)
      assert.are.equal("account_closed", code_of(h.participation:claim(1)))
      assert.is_true(is_sound(t))
    end))
  end

  it("that raises after a wait is no different", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local h = holder(t, { age = 1, bytes = "2M", answer = function()
      s.loop:sleep(1)
      error("too late for that")
    end })
    local list = reported(function() s:advance(1) end)
    assert.matches("too late for that", list[1].message)
    assert.are.equal("account_closed", code_of(h.participation:claim(1)))
    assert.is_true(is_sound(t))
  end))

  it("that outlasts the deadline counts as collapsing; its answer comes too late", scenario(
    function(s)
      local t = s:quota{ max = "1M", deadline = 2 }
      local finished
      local stuck = holder(t, { age = 1, bytes = "2M", answer = function(self)
        s.loop:sleep(10)
        finished = self.participation:claim(1) or "refused"
        return "partial"
      end })
      local next_one = holder(t, { age = 2, bytes = "2M" })
      s:advance(1.9)
      assert.are.same({ 1, 0 }, { #stuck.object.requests, #next_one.object.requests })
      assert.is_true(stuck.participation:claim(1))
      s:advance(0.1)
      assert.are.same({ 1, 1 }, { #stuck.object.requests, #next_one.object.requests })
      assert.are.equal("account_closed", code_of(stuck.participation:claim(1)))
      assert.are.equal("complete", s:events("reclaim_stop")[1].outcome)
      s:advance(10)
      assert.are.equal("refused", finished)
      assert.are.equal("account_closed", code_of(stuck.participation:claim(1)))
      assert.is_true(is_sound(t))
    end))

  it("that reclaims by hand does not block the pass for good", scenario(function(s)
    local t = s:quota{ max = "1M", deadline = 2 }
    local inner
    local h = holder(t, { age = 1, bytes = "2M", answer = function()
      inner = t:reclaim("1K")
    end })
    s:advance(2)
    assert.are.equal(1, #h.object.requests)
    assert.are.same({ 0, 0 }, { t:used(), inner })
    assert.is_true(is_sound(t))
  end))

  it("may call anything", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local made = {}
    local h = holder(t, { age = 1, bytes = "2M" })
    local bystander = holder(t, { age = 2, bytes = "64K" })
    local gone = holder(t, { age = 3, bytes = "64K" })
    function h.object.reclaim(self)
      made[1] = self.participation:clone()
      made[2] = h.account:child()
      made[3] = holder(t, { age = 9, bytes = "3M", parent = h.account })
      gone.account:close()
      bystander.account:add_parent(made[2])
      made[1]:claim("1M")
      self.participation:release("3M")
      self.participation:release("3M")
      self.participation:destroy()
      self.participation:close()
      h.account:close()
      assert(t:check())
      t:configure{ low_water = "600K", policy = "largest" }
      return "partial"
    end
    assert.are.same({}, reported(function() s:advance(0) end))
    assert.are.equal(1, #s:events("over_release"))
    assert.is_true(t:used() <= 600 << 10)
    assert.is_true(is_sound(t))
  end))

  it("may close the tracker, and every object of it", scenario(function(s)
    for _, wait in ipairs{ 0, 1 } do
      local t = s:quota{ max = "1M" }
      local h
      h = holder(t, { age = 1, bytes = "2M", answer = function()
        if wait > 0 then s.loop:sleep(wait) end
        h.participation:close()
        t:close()
        h.account:close()
        return "partial"
      end })
      assert.are.same({}, reported(function() s:advance(2) end))
      assert.are.equal(1, #h.object.requests)
    end
  end))

  it("may have its own loop turned by a careless callback", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local h = holder(t, { age = 1, bytes = "2M", answer = function()
      s.loop:step()
      s.loop:step()
    end })
    local other = holder(t, { age = 2, bytes = "1M" })
    s:advance(0)
    assert.are.same({ 1, 1 }, { #h.object.requests, #other.object.requests })
    assert.is_true(is_sound(t))
  end))
end)

describe("an on_event", function()
  it("that raises is reported each time and harms nothing", scenario(function(s)
    local t = s:quota{ max = "8M", on_event = function(e) error("heard of " .. e.type) end }
    local h = holder(t, { age = 1, bytes = "1M" })
    local list = reported(function()
      assert.is_nil(h.participation:release("2M"))
      t:reclaim("1M")
    end)
    assert.matches("heard of over_release", list[1].message)
    assert.are.equal("on_event", list[1].details.callback)
    assert.are.equal(#s:events(), #list)
    assert.is_true(t:check())
  end))

  it("may call anything, and hears in order of what that causes", scenario(function(s)
    local t, h
    t = s:quota{ max = "8M", on_event = function(e)
      if e.type == "over_release" and e.bytes == 1 then
        h.participation:release(2)
        t:configure{ deadline = 3 }
        assert(t:check() and t:top(1) and t:stats() and t:pressure())
      elseif e.type == "reconfigured" then
        h.account:close()
      end
    end }
    h = holder(t, {})
    assert.are.same({}, reported(function() h.participation:release(1) end))
    assert.are.same({ "over_release", "over_release", "reconfigured" },
      column(s:events(), "type"))
    assert.are.equal(0, t:used())
  end))

  it("may wait, and reclaim", scenario(function(s)
    local t, freed
    t = s:quota{ max = "8M", low_water = "1M", on_event = function(e)
      if e.type == "pressure" and e.level == "high" then
        s.loop:sleep(1)
        freed = t:reclaim()
      end
    end }
    local h = holder(t, { age = 1, bytes = "6M" })
    s:advance(0.9)
    assert.are.equal(0, #h.object.requests)
    s:advance(0.1)
    assert.are.equal(1, #h.object.requests)
    assert.are.equal(6 * MIB + 16384, freed)
  end))

  it("may cause events without end, and the call that began it returns all the same", scenario(
    function(s)
      local t, h
      t = s:quota{ max = "8M", on_event = function() h.participation:release(1) end }
      h = holder(t, {})
      h.participation:release(1)
      assert.is_true(#s:events("over_release") > 1)
      t:close()
    end))

  it("may close everything", scenario(function(s)
    local t, h
    local other = s:quota{ max = "8M" }
    t = s:quota{ max = "8M", on_event = function()
      h.participation:close()
      h.account:close()
      t:close()
    end }
    h = holder(t, {})
    local beside = holder(other, {})
    assert.are.same({}, reported(function() h.participation:release(1) end))
    beside.participation:release(1)
    assert.are.same({ "over_release", "over_release" }, column(s:events(), "type"))
  end))

  it("may close everything when a pass begins, and whom it would ask", scenario(function(s)
    local t, h
    local function close()
      h.participation:close()
      h.account:close()
    end
    t = s:quota{ max = "1M", on_event = function(e)
      if e.type == "reclaim_start" then close() end
    end }
    h = holder(t, { age = 1, bytes = "2M" })
    s:advance(0)
    assert.are.same({ 0, 0, "complete" },
      { #h.object.requests, t:used(), s:events("reclaim_stop")[1].outcome })
    h = holder(t, { age = 1, bytes = "2M" })
    local other = holder(t, { age = 2, bytes = "2M" })
    function close()
      t:close()
    end
    s:advance(0)
    assert.are.same({ 0, 0 }, { #h.object.requests, #other.object.requests })
    assert.are.equal("tracker_shutdown", code_of(other.participation:claim(1)))
  end))

  it("of one tracker may cause events of another", scenario(function(s)
    local first, second, a, b
    first = s:quota{ max = "8M", on_event = function() b.participation:release(1) end }
    second = s:quota{ max = "8M" }
    a, b = holder(first, {}), holder(second, {})
    a.participation:release(7)
    assert.are.same({ 7, 1 }, column(s:events("over_release"), "bytes"))
  end))
end)
