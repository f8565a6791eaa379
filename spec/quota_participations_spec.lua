-- Participations: made before their object, cloned, closed, destroyed.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local at_its_line, code_of = errors.at_its_line, errors.code_of
local holder = participants.holder
local CACHE <const> = 16384

describe("participant_with", function()
  it("registers first, and makes the object after", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local seen
    local object = a:participant_with(function(p)
      seen = t:used()
      local o = participants.object(1)
      o.participation, o.clone = p, p:clone()
      assert(p:claim(100000))
      return o
    end)
    assert.are.equal(CACHE, seen)
    assert.are.equal(100000, object.participation:used())
    t:reclaim("1M")
    assert.are.equal(1, #object.requests)
  end))

  it("raises again what the constructor raises, and releases everything", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local kept
    local ok, err = pcall(a.participant_with, a, function(p)
      kept = p:clone()
      p:claim(100000)
      error({ "mine" })
    end)
    assert.are.same({ false, { "mine" } }, { ok, err })
    assert.are.same({ 0, 0 }, { t:used(), t:stats().participants })
    assert.are.equal("participant_shutdown", code_of(kept:claim(1)))
    assert.is_true(t:check())
  end))

  it("passes on the failure of a constructor that returns nil", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    assert.are.same({ n = 3, nil, "no disk", "not_found" },
      table.pack(a:participant_with(function() return nil, "no disk", "not_found" end)))
    assert.are.equal(0, t:used())
  end))

  it("asks for nothing before the constructor returned, whatever passes run", scenario(
    function(s)
      local t = s:quota{ max = "1M", low_water = "512K" }
      local old = holder(t, { age = 1, bytes = "700K" })
      local a = t:account()
      local made = participants.object(-1)
      local task = s.loop:spawn(function()
        return a:participant_with(function(p)
          made.participation = p
          p:claim("400K")
          s.loop:sleep(1)
          return made
        end)
      end)
      s:advance(0)
      assert.are.same({ 1, 0, 0 }, { #old.object.requests, #made.requests, made.asked })
      s:advance(1)
      assert.are.equal(made, task:join())
      t:reclaim("400K")
      assert.are.equal(1, #made.requests)
    end))

  it("fails when the account went meanwhile", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local function constructor(ending)
      return function(p)
        p:claim(1 << 20)
        ending(p)
        return participants.object(1)
      end
    end
    local a = t:account()
    assert.are.equal("account_closed",
      code_of(a:participant_with(constructor(function() t:reclaim("1M") end))))
    assert.are.equal("account_closed", code_of(a:participant(participants.object())))
    local b = t:account()
    local weak = b:weak()
    assert.are.equal("account_closed",
      code_of(b:participant_with(constructor(function() b:close() end))))
    assert.is_nil(weak:upgrade())
    local c = t:account()
    assert.are.equal("participant_shutdown",
      code_of(c:participant_with(constructor(function(p) p:destroy() end))))
    assert.are.equal("participant_shutdown",
      code_of(c:participant_with(constructor(function(p) p:close() end))))
    assert.are.equal("tracker_shutdown",
      code_of(c:participant_with(constructor(function() t:close() end))))
  end))

  it("wants a function that returns a participant", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    assert.are.equal("bad argument #1 to 'participant_with' (function expected, got nil)",
      at_its_line(function() a:participant_with() end))
    assert.matches("needs a method get_oldest",
      at_its_line(function() a:participant_with(function() return {} end) end))
    assert.are.equal(0, t:used())
  end))
end)

describe("a participation", function()
  it("is cloned with an empty cache; either may release what the other claimed", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local h = holder(t, {})
      local clone = h.participation:clone()
      assert.are.equal(CACHE, t:used())
      h.participation:claim(100000)
      clone:release(100000)
      assert.are.same({ 0, 0 }, { h.participation:used(), clone:used() })
      assert.are.same({}, s:events("over_release"))
      assert.is_true(t:check())
    end))

  it("gives back its cache when it closes, and all that is outstanding with the last", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local h = holder(t, { bytes = 100000 })
      local clone = h.participation:clone()
      clone:claim(50000)
      assert.is_true(h.participation:close())
      assert.are.equal(150000, clone:used())
      assert.is_true(t:check())
      assert.is_true(clone:close())
      assert.are.same({ 0, 0, 1 }, { t:used(), t:stats().participants, t:stats().accounts })
    end))

  it("is destroyed for all its clones, and the account stays", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { bytes = 100000 })
    local clone = h.participation:clone()
    clone:claim(1)
    h.participation:destroy()
    assert.are.same({ 0, 0 }, { t:used(), t:stats().condemned })
    for _, p in ipairs{ h.participation, clone, clone:clone() } do
      assert.are.equal("participant_shutdown", code_of(p:claim(1)))
      assert.are.equal("participant_shutdown", code_of(p:claim(0)))
      assert.are.equal("participant_shutdown", code_of(p:claim_wait(1)))
      assert.are.equal("participant_shutdown", code_of(p:try_claim(1, print)))
      p:release(1)
      p:destroy()
      assert.are.equal(0, p:used())
      local again <close> = p:account():upgrade()
      assert.are.equal(h.account, again)
    end
    assert.is_true(h.account:participant(participants.object()):claim(1))
    assert.is_true(t:check())
  end))

  it("may be closed twice, and not be used after", scenario(function(s)
    local h = holder(s:quota{ max = "8M" }, {})
    local p = h.participation
    assert.is_true(p:close())
    assert.is_true(p:close())
    local message <const> = "attempt to use a closed lethe.quota.Participation"
    assert.are.equal(message, at_its_line(function() p:claim(1) end))
    assert.are.equal(message, at_its_line(function() p:release(1) end))
    assert.are.equal(message, at_its_line(function() p:used() end))
    assert.are.equal(message, at_its_line(function() p:clone() end))
    assert.are.equal(message, at_its_line(function() p:account() end))
    assert.are.equal(message, at_its_line(function() p:destroy() end))
    assert.are.equal(message, at_its_line(function() p:claim_wait(1) end))
    assert.are.equal(message, at_its_line(function() p:try_claim(1, print) end))
    assert.matches("lethe.quota.Participation expected, got table",
      at_its_line(function() p.claim({}, 1) end))
  end))

  it("keeps neither account nor tracker alive", scenario(function(s)
    local a = quota.new{ max = "8M", loop = s.loop }:account()
    local p = a:participant(participants.object())
    s:collect()
    assert.is_true(p:claim(1))
    a:close()
    assert.are.equal("tracker_shutdown", code_of(p:claim(1)))
  end))
end)
