-- Participants of a quota tracker: registering, being kept, clones, ends.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local lethe = require "lethe"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local at_its_line = errors.at_its_line
local CACHE <const> = 16384

local function code_of(_, _, code)
  return code
end

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
    local h = participants.holder(t, { age = 1 })
    h.participation:claim((1 << 20) - t:used())
    assert.are.equal(1 << 20, t:used())
    s:advance(0)
    assert.are.equal(0, t:stats().reclaims)
    local late = t:account():participant(participants.object())
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
    t:account():participant(object):claim(1)
    t:reclaim(1 << 20)
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
    s.collect()
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
      s.collect()
      assert.is_nil(gone[1])
      assert.are.same({ 0, 0 }, { a:used(), t:stats().participants })
      assert.are.equal(2, #s:events("collected"))
    end))

  it("is not even kept by them when it is weak; the next pass misses it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = t:account{ name = "a" }
    local p = a:participant(participants.object(1), { weak = true })
    p:claim(100000)
    s.collect()
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
    s.collect()
    t:reclaim(1 << 20)
    assert.are.equal(1, #object.requests)
    assert.are.same({}, s:events("participant_lost"))
  end))

  it("may be one of several trackers", scenario(function(s)
    local t, other = s:quota{ max = "8M" }, s:quota{ max = "8M" }
    local mine = participants.holder(t, { age = 1, bytes = 100000 })
    local theirs = participants.holder(other, { age = 1, bytes = 100000 })
    local shared = participants.object(5)
    local both = { t:account():participant(shared), other:account():participant(shared) }
    both[2]:claim(1)
    other:reclaim("150K")
    assert.are.same({ 0, 1, 1 },
      { #mine.object.requests, #theirs.object.requests, #shared.requests })
    t:reclaim("90K")
    assert.are.same({ 1, 1, 1 },
      { #mine.object.requests, #theirs.object.requests, #shared.requests })
  end))
end)

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
      local old = participants.holder(t, { age = 1, bytes = "700K" })
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
      local h = participants.holder(t, {})
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
      local h = participants.holder(t, { bytes = 100000 })
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
    local h = participants.holder(t, { bytes = 100000 })
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
    local h = participants.holder(s:quota{ max = "8M" }, {})
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
    s.collect()
    assert.is_true(p:claim(1))
    a:close()
    assert.are.equal("tracker_shutdown", code_of(p:claim(1)))
  end))
end)
