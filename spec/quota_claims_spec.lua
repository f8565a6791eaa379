-- Claiming and releasing: the handle's cache to the byte, clamped releases, sums that always hold.
local errors = require "spec.support.errors"
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

local at_its_line, code_of = errors.at_its_line, errors.code_of

local CACHE <const>, KIB <const>, MIB <const> = 16384, 1 << 10, 1 << 20

describe("one handle's cache", function()
  -- What used is after each call: the model's own figures, seen in it.
  local GOLDEN <const> = {
    claim = {
      { 1, 16384 }, { 1000, 16384 }, { 14384, 16384 }, { 3000, 30673 },
      { 16384, 47057 }, { 16383, 63440 }, { 16385, 79825 }, { 0, 79825 },
    },
    release = {
      { 1, 79825 }, { 1000, 79825 }, { 14384, 56248 }, { 3000, 56248 },
      { 16384, 36864 }, { 16383, 20481 }, { 16385, 4096 },
    },
  }

  for _, max in ipairs{ "1M", "20M", "8G" } do
    it("goes the golden way on a tracker of " .. max, scenario(function(s)
      local t = s:quota{ max = max }
      local a = t:account()
      local p = a:participant(participants.object())
      assert.are.equal(16384, t:used())
      for _, call in ipairs{ "claim", "release" } do
        for i, step in ipairs(GOLDEN[call]) do
          p[call](p, step[1])
          assert.are.same({ call, i, step[2] }, { call, i, t:used() })
        end
      end
      assert.are.equal(0, p:used())
      assert.is_true(t:check())
      p:close()
      assert.are.equal(0, t:used())
      assert.are.same({}, s:events("over_release"))
    end))
  end

  it("adds all of a claim that it cannot answer, and is filled to 3/4 if that is small", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local a = t:account()
      local p = a:participant(participants.object())
      p:claim(6384) -- 10000 are left
      p:claim(16000)
      assert.are.equal(16384 + 16000, t:used())
      p:claim(10000) -- they still were
      assert.are.equal(16384 + 16000, t:used())
      p:claim(12288)
      assert.are.equal(16384 + 16000 + 2 * 12288, t:used())
    end))

  it("is min(16 KiB, max / (8 x handles))", scenario(function(s)
    local t = s:quota{ max = "256K" }
    local a = t:account()
    local first = a:participant(participants.object())
    assert.are.equal(CACHE, t:used())
    local second = a:participant(participants.object())
    assert.are.equal(2 * CACHE, t:used())
    local third = a:participant(participants.object())
    assert.are.equal(2 * CACHE + (256 * KIB) // 24, t:used())
    assert.is_true(first:claim(0) and second:claim(0) and third:claim(0))
  end))

  it("is bounded by every max above it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = t:account{ max = "64K" }
    local a = top:child{ max = "1M" }
    local p = a:participant(participants.object())
    assert.are.equal(8 * KIB, t:used())
    assert.is_true(p:claim(64 * KIB))
  end))

  it("is empty where max is next to nothing", scenario(function(s)
    local t = s:quota{ max = 7 }
    local a = t:account()
    local p = a:participant(participants.object(1))
    assert.are.equal(0, t:used())
    p:claim(5)
    assert.are.equal(5, t:used())
    p:release(5)
    assert.are.equal(0, t:used())
  end))
end)

describe("a claim", function()
  it("crosses the tracker's max freely", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local h = participants.holder(t, { age = 1 })
    assert.is_true(h.participation:claim("1G"))
    assert.is_true(t:used() >= 1 << 30)
  end))

  it("takes sizes as numbers and strings", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, {})
    assert.is_true(h.participation:claim("64K"))
    assert.is_true(h.participation:claim(64.0 * KIB))
    assert.are.equal(128 * KIB, h.participation:used())
    h.participation:release("0.125M")
    assert.are.equal(0, h.participation:used())
  end))

  it("refuses what is no size, at the caller's line", scenario(function(s)
    local h = participants.holder(s:quota{ max = "8M" }, {})
    local p = h.participation
    local cases = {
      { function() p:claim(-1) end, "bad argument #1 to 'claim': size must not be negative" },
      { function() p:claim("-1K") end, "bad argument #1 to 'claim': size must not be negative" },
      { function() p:claim(1.5) end, "bad argument #1 to 'claim': size must be a whole number" },
      { function() p:claim() end, "bad argument #1 to 'claim': size must be a size" },
      { function() p:claim{} end, "bad argument #1 to 'claim': size must be a size" },
      { function() p:claim("much") end, "bad argument #1 to 'claim': size is no size: \"much\"" },
      { function() p:release(-1) end, "bad argument #1 to 'release': size must not be" },
      { function() p:release() end, "bad argument #1 to 'release': size must be a size" },
      { function() p:claim_wait(-1) end, "bad argument #1 to 'claim_wait': size must not be" },
      { function() p:claim_wait(1, -1) end, "bad argument #2 to 'claim_wait' (seconds expected" },
      { function() p:claim_wait(1, "1") end, "bad argument #2 to 'claim_wait' (seconds expected" },
      { function() p:claim_wait(1, 0 / 0) end, "bad argument #2 to 'claim_wait' (seconds expecte" },
      { function() p:try_claim(-1, print) end, "bad argument #1 to 'try_claim': size must not be" },
      { function() p:try_claim(1) end, "bad argument #2 to 'try_claim' (function expected, got n" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]):sub(1, #case[2]))
    end
    assert.are.equal(0, p:used())
  end))

  it("beyond all numbers is refused and changes nothing", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { bytes = 1000 })
    assert.are.equal("over_limit", code_of(h.participation:claim(math.maxinteger)))
    assert.are.equal("over_limit", code_of(h.participation:claim(math.maxinteger - 20000)))
    assert.are.equal(CACHE, t:used())
    assert.is_true(h.participation:claim(1))
    assert.is_true(t:check())
  end))

  it("on a dead handle is refused at once, whatever its cache held", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { age = 1 })
    t:reclaim("16K")
    assert.is_true(h.participation:claim(1)) -- only its cache was called back
    t:reclaim("16K")
    assert.are.equal("account_closed", code_of(h.participation:claim(0)))
    local other = participants.holder(t, {})
    other.account:close()
    assert.are.equal("account_closed", code_of(other.participation:claim(1)))
    local last = participants.holder(t, {})
    t:close()
    assert.are.equal("tracker_shutdown", code_of(last.participation:claim(1)))
    assert.are.equal("tracker_shutdown", code_of(other.participation:claim(0)))
  end))
end)

describe("a release", function()
  it("never fails: not on a dead handle, not of nothing", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { bytes = 1000 })
    h.participation:release(0)
    h.account:close()
    h.participation:release(1000)
    t:close()
    h.participation:release(1000)
    assert.are.same({}, s:events("over_release"))
  end))

  it("of more than was claimed is clamped and reported, before it returns", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { name = "culprit", bytes = 1000 })
    local innocent = participants.holder(t, { bytes = "1M" })
    h.participation:release("4M")
    local events = s:events("over_release")
    assert.are.equal(1, #events)
    assert.are.same({ h.id, "culprit", 4 * MIB - 1000 },
      { events[1].account, events[1].name, events[1].bytes })
    assert.are.same({ 0, MIB }, { h.participation:used(), innocent.participation:used() })
    assert.is_true(t:used() >= MIB)
    h.participation:release(1)
    assert.are.equal(2, #s:events("over_release"))
    assert.is_true(t:check())
  end))

  it("wakes a claim that waits for the room", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local a = participants.holder(t, { age = 1, bytes = "900K", answer = "partial" })
    local b = participants.holder(t, {})
    local task = s.loop:spawn(function() return b.participation:claim_wait("500K") end)
    s:advance(0)
    a.participation:release("500K")
    s:advance(0)
    assert.is_true(task:join())
    assert.is_true(t:used() <= MIB)
  end))
end)

describe("try_claim", function()
  it("calls the function, keeps what it claimed, returns all it returned", scenario(function(s)
    local h = participants.holder(s:quota{ max = "8M" }, {})
    local function make(...) return "made", select("#", ...), nil, ... end
    assert.are.same(table.pack("made", 3, nil, 1, nil, 3),
      table.pack(h.participation:try_claim(1000, make, 1, nil, 3)))
    assert.are.equal(1000, h.participation:used())
    assert.is_false(h.participation:try_claim(500, function() return false end))
    assert.are.equal(1500, h.participation:used())
  end))

  it("releases when the function returns nil or nothing", scenario(function(s)
    local h = participants.holder(s:quota{ max = "8M" }, {})
    assert.are.same(table.pack(nil, "disk full", "io"),
      table.pack(h.participation:try_claim("64K", function() return nil, "disk full", "io" end)))
    assert.is_nil(h.participation:try_claim("64K", function() end))
    assert.are.equal(0, h.participation:used())
  end))

  it("releases when the function raises, and raises the same", scenario(function(s)
    local h = participants.holder(s:quota{ max = "8M" }, {})
    local mine = {}
    local ok, err = pcall(h.participation.try_claim, h.participation, "64K", error, mine)
    assert.are.same({ false, 0 }, { ok, h.participation:used() })
    assert.are.equal(mine, err)
  end))

  it("does not call the function when the claim is refused", scenario(function(s)
    local h = participants.holder(s:quota{ max = "8M" }, { max = 1000 })
    local called = false
    local ok, message, code = h.participation:try_claim(1001, function() called = true end)
    assert.are.same({ "nil", "string", "over_limit", false },
      { type(ok), type(message), code, called })
  end))

  it("lets the function wait, and releases when its task is closed on the way", scenario(
    function(s)
      local loop = require("lethe.loop").new{ clock = "virtual" }
      local h = participants.holder(s:quota{ max = "8M" }, {})
      local function slow()
        loop:sleep(1)
        return "made"
      end
      local task = loop:spawn(function() return h.participation:try_claim(1000, slow) end)
      loop:advance(0)
      assert.are.equal(1000, h.participation:used())
      loop:advance(1)
      assert.are.equal("made", task:join())
      loop:spawn(function() return h.participation:try_claim(500, slow) end)
      loop:advance(0)
      assert.are.equal(1500, h.participation:used())
      loop:close()
      assert.are.equal(1000, h.participation:used())
    end))

  it("survives a function that ends the participation", scenario(function(s)
    local t = s:quota{ max = "8M" }
    for _, ending in ipairs{ "close", "destroy" } do
      local h = participants.holder(t, {})
      h.participation:try_claim(1000, function() h.participation[ending](h.participation) end)
      assert.are.equal(0, h.account:used())
    end
    assert.are.same({}, s:events("over_release"))
  end))
end)

describe("the sums", function()
  it("hold whatever is done at random", scenario(function(s)
    local t = s:quota{ max = "64M" }
    local accounts, handles, held = {}, {}, {}
    for i = 1, 8 do
      accounts[i] = t:account{ max = i % 3 == 0 and "2M" or nil, parent = accounts[i // 2] }
    end
    for _ = 1, 3000 do
      local i = math.random(40)
      local p = handles[i]
      if not p then
        handles[i], held[i] = accounts[math.random(8)]:participant(participants.object()), 0
      elseif math.random(20) == 1 then
        p:close()
        handles[i] = nil
      elseif math.random(2) == 1 then
        local n = math.random(0, 40000)
        if p:claim(n) then held[i] = held[i] + n end
      else
        local n = math.random(0, held[i])
        p:release(n)
        held[i] = held[i] - n
      end
    end
    local sum, own = 0, 0
    for i, p in pairs(handles) do
      assert.are.equal(held[i], p:used())
      sum = sum + held[i]
    end
    for _, a in ipairs(accounts) do
      own = own + a:used()
    end
    assert.are.equal(t:used(), own)
    assert.is_true(sum <= own and own <= sum + 40 * CACHE)
    assert.is_true(t:check())
    assert.are.same({}, s:events("over_release"))
  end))
end)
