-- Participants of a quota tracker: registering, and what keeps their objects.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local lethe = require "lethe"
local scenario = require("lethe.spec").scenario

local at_its_line, code_of = errors.at_its_line, errors.code_of
local holder = participants.holder
local CACHE <const> = 16384

describe("registering a participant", function()
  it("claims a full cache for it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account()
    local p = a:participant(participants.object())
    assert.are.equal("quota.Participation", lethe.type(p))
    assert.are.same({ CACHE, CACHE, 0 }, { t:used(), a:used(), p:used() })
    assert.are.equal(1, t:stats().participants)
  end))

  it("may start a pass by itself", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local h = holder(t, { age = 1 })
    h.participation:claim((1 << 20) - t:used())
    assert.are.equal(1 << 20, t:used())
    s:advance(0)
    assert.are.equal(0, t:stats().reclaims)
    local late = holder(t, {}).participation
    s:advance(0)
    assert.are.equal(1, t:stats().reclaims)
    assert.are.equal(0, late:used())
  end))

  it("wants an object with both methods", scenario(function(s)
    local a = s:quota{ max = "8M" }:account()
    local cases = {
      { function() a:participant() end, "a participant must be an object (got nil)" },
      { function() a:participant("x") end, "a participant must be an object (got string)" },
      { function() a:participant{} end, "a participant needs a method get_oldest (got nil)" },
      { function() a:participant{ get_oldest = print } end,
        "a participant needs a method reclaim (got nil)" },
      { function() a:participant{ get_oldest = 5, reclaim = print } end,
        "a participant needs a method get_oldest (got number)" },
      { function() a:participant(print) end, "a participant must be an object (got function)" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal("bad argument #1 to 'participant' (" .. case[2] .. ")", at_its_line(case[1]))
    end
    assert.are.equal('unknown option "waek" (did you mean "weak"?)',
      at_its_line(function() a:participant(participants.object(), { waek = true }) end))
    assert.are.equal("weak must be a boolean (got string)",
      at_its_line(function() a:participant(participants.object(), { weak = "v" }) end))
    assert.are.equal(0, a:used())
  end))

  it("takes methods from a metatable, and callable values", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local asked = {}
    local callable = setmetatable({}, { __call = function(_, self)
      asked[#asked + 1] = self
    end })
    local class = { get_oldest = function() return 1 end, reclaim = callable }
    local object = setmetatable({}, { __index = class })
    local a = t:account()
    local p = a:participant(object)
    p:claim(1)
    t:reclaim(1 << 20)
    assert.are.equal(a:id(), p:account():id())
    assert.are.equal(object, asked[1])
  end))
end)

describe("a participant's object", function()
  it("is kept by its participations, an inline table too", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local called = 0
    local a = t:account()
    local p = a:participant{
      get_oldest = function() return 1 end,
      reclaim = function() called = called + 1 end,
    }
    p:claim(100000)
    s:collect()
    t:reclaim(100000)
    assert.are.equal(1, called)
  end))

  it("is kept by nothing in the engine: object and participation go together", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local a = t:account{ name = "a" }
      local gone = setmetatable({}, { __mode = "v" })
      do
        local object = participants.object(1)
        object.participation = a:participant(object)
        object.account = a:clone()
        object.participation:claim(50000)
        gone[1] = object
      end
      s:collect()
      assert.is_nil(gone[1])
      assert.are.same({ 0, 0 }, { a:used(), t:stats().participants })
      assert.are.equal(2, #s:events("collected"))
    end))

  it("is not even kept by them when it is weak; the next pass misses it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "a" }
    local p = a:participant(participants.object(1), { weak = true })
    p:claim(100000)
    s:collect()
    assert.are.equal(100000, p:used())
    t:reclaim(1 << 20)
    local lost = s:events("participant_lost")
    assert.are.equal(1, #lost)
    assert.are.same({ a:id(), "a", 100000 }, { lost[1].account, lost[1].name, lost[1].bytes })
    assert.are.equal("participant_shutdown", code_of(p:claim(1)))
    assert.are.equal(a, p:account():upgrade())
    assert.are.equal(0, t:used())
  end))

  it("is asked like others while it is weak and alive", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local object = participants.object(1)
    local a = t:account()
    local p = a:participant(object, { weak = true })
    p:claim(100000)
    s:collect()
    t:reclaim(1 << 20)
    assert.are.equal(1, #object.requests)
    assert.are.same({}, s:events("participant_lost"))
  end))

  it("may be one of several trackers", scenario(function(s)
    local t, other = s:quota{ max = "8M" }, s:quota{ max = "8M" }
    local mine = holder(t, { age = 1, bytes = 100000 })
    local theirs = holder(other, { age = 1, bytes = 100000 })
    local shared = participants.object(5)
    local accounts = { t:account(), other:account() }
    local both = { accounts[1]:participant(shared), accounts[2]:participant(shared) }
    both[2]:claim(1)
    other:reclaim("150K")
    assert.are.same({ 0, 1, 1 },
      { #mine.object.requests, #theirs.object.requests, #shared.requests })
    t:reclaim("90K")
    assert.are.same({ 1, 1, 1 },
      { #mine.object.requests, #theirs.object.requests, #shared.requests })
  end))
end)
