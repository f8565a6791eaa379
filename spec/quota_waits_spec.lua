-- claim_wait: room below max instead of pushing past it, in order, and never for ever.
local participants = require "spec.support.participants"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local code_of = require("spec.support.errors").code_of

local MIB <const> = 1 << 20
local holder = participants.holder

-- A tracker of 1 MiB that is full of what stays, and a list of who was served.
local function full(s, options)
  options = options or {}
  options.max = options.max or "1M"
  local t = s:quota(options)
  local ballast = holder(t, { age = 1, answer = "partial" })
  ballast.participation:claim(t:stats().max - t:used())
  ballast.participation:claim(16384)
  t:reclaim(16384)
  assert.are.equal(t:stats().max, t:used())
  return t, ballast.participation, {}
end

-- A task that waits for n bytes and says so in `served`.
local function waiter(s, served, name, h, n, timeout)
  return s.loop:spawn(function()
    local ok, message, code = h.participation:claim_wait(n, timeout)
    served[#served + 1] = ok and name or name .. " " .. code
    return ok, message, code
  end)
end

describe("claim_wait", function()
  it("claims at once where there is room, without a task too", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local h = holder(t, {})
    assert.is_true(h.participation:claim_wait("512K"))
    assert.is_true(h.participation:claim_wait(0))
    assert.are.equal(512 << 10, h.participation:used())
    assert.is_true(t:check())
  end))

  it("never goes past max, and is served when room comes free", scenario(function(s)
    local t, ballast, served = full(s)
    local h = holder(t, {})
    local task = waiter(s, served, "a", h, 100000)
    s:advance(5)
    assert.are.same({ {}, MIB }, { served, t:used() })
    ballast:release(99999)
    s:advance(0)
    assert.are.same({}, served)
    ballast:release(1)
    s:advance(0)
    assert.is_true(task:join())
    assert.are.same({ 100000, MIB }, { h.participation:used(), t:used() })
    assert.is_true(t:check())
  end))

  it("starts a pass for its room", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "900K" }
    local old = holder(t, { age = 1, bytes = "600K" })
    local h = holder(t, { age = 2, bytes = "300K" })
    local task = s.loop:spawn(function() return h.participation:claim_wait("500K") end)
    s:advance(0)
    assert.is_true(task:join())
    assert.are.same({ 1, 0 }, { #old.object.requests, #h.object.requests })
    assert.are.equal("max", old.object.requests[1].reason)
  end))

  it("starts a pass over the account whose max is in its way", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = t:account{ max = "1M" }
    local outside = holder(t, { age = 0, bytes = "1M" })
    local old = holder(t, { age = 1, bytes = "600K", parent = top })
    local h = holder(t, { age = 2, bytes = "300K", parent = top })
    local task = s.loop:spawn(function() return h.participation:claim_wait("500K") end)
    s:advance(0)
    assert.is_true(task:join())
    assert.are.same({ 0, 1, 0 },
      { #outside.object.requests, #old.object.requests, #h.object.requests })
    assert.are.equal("account", old.object.requests[1].reason)
  end))

  it("is refused at once what can never fit", scenario(function(s)
    local t = s:quota{ max = "1M" }
    local h = holder(t, {})
    assert.are.equal("over_limit", code_of(h.participation:claim_wait(MIB + 1)))
    local top = t:account{ max = 5000 }
    local limited = holder(t, { parent = top })
    assert.are.equal("over_limit", code_of(limited.participation:claim_wait(5001, 1)))
    assert.is_true(limited.participation:claim_wait(5000, 1))
    assert.are.equal(0, t:stats().reclaims)
  end))

  it("gives up after its timeout, having claimed nothing", scenario(function(s)
    local t, ballast, served = full(s)
    local h = holder(t, {})
    local task = waiter(s, served, "a", h, 5000, 2)
    s:advance(1.9)
    assert.are.same({}, served)
    s:advance(0.1)
    local ok, message, code = task:join()
    assert.are.same({ "nil", "string", "timeout" }, { type(ok), type(message), code })
    ballast:release("512K")
    s:advance(5)
    assert.are.same({ { "a timeout" }, 0 }, { served, h.participation:used() })
    assert.is_true(t:check())
  end))

  it("leaves nothing behind that was not closed", scenario(function(s)
    local t, _, served = full(s)
    local h = { holder(t, {}), holder(t, {}) }
    local task = waiter(s, served, "a", h[1], 5000, 2)
    waiter(s, served, "b", h[2], 5000, 2)
    s:advance(0)
    task:cancel()
    s:advance(2)
    local registry = require("lethe.registry").default()
    registry:sweep()
    s:collect()
    for _, held in ipairs(registry:dead()) do
      assert.is_nil(held:match("^loop%.Timer"))
    end
    assert.are.same({ "a cancelled", "b timeout" }, served)
  end))

  it("takes no timeout at all for for ever, and none for at once", scenario(function(s)
    local t, _, served = full(s)
    local h = holder(t, {})
    waiter(s, served, "for ever", h, 5000, math.huge)
    waiter(s, served, "at once", h, 5000, 0)
    s:advance(1e6)
    assert.are.same({ "at once timeout" }, served)
  end))

  it("is first come, first served, and no small one passes a large one", scenario(function(s)
    local t, ballast, served = full(s)
    local h = { holder(t, {}), holder(t, {}), holder(t, {}) }
    waiter(s, served, "large", h[1], 300000)
    waiter(s, served, "small", h[2], 10)
    waiter(s, served, "other", h[3], 10)
    s:advance(0)
    ballast:release(299999)
    s:advance(0)
    assert.are.same({}, served)
    ballast:release(1)
    s:advance(0)
    assert.are.same({ "large" }, served)
    ballast:release(20)
    s:advance(0)
    assert.are.same({ "large", "small", "other" }, served)
  end))

  it("lets no claim of a newcomer that waits pass those who waited before", scenario(function(s)
    local t, ballast, served = full(s)
    local h = { holder(t, {}), holder(t, {}) }
    waiter(s, served, "large", h[1], 300000)
    s:advance(0)
    ballast:release(1000)
    waiter(s, served, "late", h[2], 10)
    s:advance(0)
    assert.are.same({}, served)
    ballast:release(299010)
    s:advance(0)
    assert.are.same({ "large", "late" }, served)
  end))

  it("serves higher priorities first, in order within each", scenario(function(s)
    local t, ballast, served = full(s)
    for i, priority in ipairs{ 0, 5, -5, 5, 0 } do
      waiter(s, served, ("%d of %d"):format(i, priority), holder(t, { priority = priority }), 10000)
    end
    s:advance(0)
    for _ = 1, 5 do
      ballast:release(10000)
      s:advance(0)
    end
    assert.are.same({ "2 of 5", "4 of 5", "1 of 0", "5 of 0", "3 of -5" }, served)
  end))

  it("does not hold up accounts that others' limits do not touch", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local served = {}
    local tight = holder(t, { max = 100000, bytes = 100000, age = 1, answer = "partial" })
    local object = participants.object(2, "partial")
    local second = { participation = tight.account:participant(object) }
    local free = holder(t, {})
    waiter(s, served, "blocked", second, 5000)
    waiter(s, served, "free", free, 5000)
    s:advance(0)
    assert.are.same({ "free" }, served)
    tight.participation:release(5000)
    s:advance(0)
    assert.are.same({ "free", "blocked" }, served)
  end))

  it("is refused later, when limits change so that it can never fit", scenario(function(s)
    local t, ballast, served = full(s, { max = "8M" })
    local h = { holder(t, {}), holder(t, {}), holder(t, {}) }
    waiter(s, served, "large", h[1], "5M")
    waiter(s, served, "middle", h[2], "2M")
    waiter(s, served, "small", h[3], "1M")
    s:advance(0)
    t:configure{ max = "4M" }
    s:advance(0)
    assert.are.same({ "large over_limit" }, served)
    local parent = t:account{ max = "1M" }
    assert.is_true(h[2].account:add_parent(parent))
    s:advance(0)
    assert.are.same({ "large over_limit", "middle over_limit" }, served)
    ballast:release("6M")
    s:advance(0)
    assert.are.same({ "large over_limit", "middle over_limit", "small" }, served)
    assert.is_true(t:check())
  end))

  it("is cancelled with its task, and holds up nobody after", scenario(function(s)
    local t, ballast, served = full(s)
    local task = waiter(s, served, "large", holder(t, {}), 300000)
    waiter(s, served, "small", holder(t, {}), 10)
    s:advance(0)
    ballast:release(1000)
    task:cancel()
    s:advance(0)
    assert.are.same({ "large cancelled", "small" }, served)
    assert.is_true(t:check())
  end))

  it("gives back what was granted to a task that was cancelled at that moment", scenario(
    function(s)
      local t, ballast, served = full(s)
      local h = holder(t, {})
      local task = waiter(s, served, "a", h, 300000)
      s:advance(0)
      ballast:release(300000) -- granted; the task does not know it yet
      task:cancel()
      s:advance(0)
      assert.are.same({ { "a cancelled" }, 0 }, { served, h.participation:used() })
      assert.is_true(t:used() <= MIB - 300000 + 16384)
      assert.is_true(t:check())
    end))

  it("ends with the participation, the account, the tracker", scenario(function(s)
    local t, _, served = full(s)
    local h = { holder(t, {}), holder(t, {}), holder(t, {}), holder(t, {}) }
    local clone = h[4].participation:clone()
    for i = 1, 4 do
      waiter(s, served, i, h[i], 5000)
    end
    s:advance(0)
    h[1].participation:destroy()
    h[2].account:close()
    h[4].participation:close()
    s:advance(0)
    assert.are.same(
      { "1 participant_shutdown", "2 account_closed", "4 participant_shutdown" }, served)
    assert.are.equal(0, clone:used())
    t:close()
    s:advance(0)
    assert.are.equal("3 tracker_shutdown", served[4])
  end))

  it("ends with the participation that is closed after the grant, before the answer", scenario(
    function(s)
      local t, ballast, served = full(s)
      local h = holder(t, {})
      waiter(s, served, "a", h, 300000)
      s:advance(0)
      ballast:release(300000)
      h.participation:close()
      s:advance(0)
      assert.are.equal(1, #served)
      assert.is_true(t:used() <= MIB - 300000 + 16384)
      assert.is_true(t:check())
    end))

  it("counts the time in which somebody waits", scenario(function(s)
    local t, ballast, served = full(s)
    local h = { holder(t, {}), holder(t, {}) }
    assert.are.equal(0, t:stats().stall_seconds)
    waiter(s, served, "a", h[1], 5000)
    s:advance(1)
    waiter(s, served, "b", h[2], 5000)
    s:advance(1)
    assert.are.near(2, t:stats().stall_seconds, 1e-6)
    ballast:release(5000)
    s:advance(1)
    assert.are.near(3, t:stats().stall_seconds, 1e-6)
    ballast:release(5000)
    s:advance(7)
    assert.are.same({ "a", "b" }, served)
    assert.are.near(3, t:stats().stall_seconds, 1e-6)
  end))

  it("does not keep a run of a virtual loop from ending, nor does a reclaim under way", scenario(
    function(s)
      local t, ballast, served = full(s)
      waiter(s, served, "a", holder(t, {}), 5000)
      s.loop:run()
      assert.are.same({}, served)
      ballast:release(5000)
      s.loop:run()
      assert.are.same({ "a" }, served)
      local slow = s:quota{ max = "1M" }
      holder(slow, { age = 1, bytes = 500000, answer = function() s.loop:sleep(1) end })
      local task = s.loop:spawn(function() return slow:reclaim(400000) end)
      s.loop:run()
      assert.are.equal(0, slow:stats().victims)
      s:advance(1)
      assert.is_true(task:join() >= 400000)
    end))

  it("turns the loop outside tasks", function()
    local t <close> = quota.new{ max = "1M", low_water = "512K" }
    local old = holder(t, { age = 1, bytes = "900K", answer = function()
      loop.default():sleep(0.001)
    end })
    local h = holder(t, {})
    assert.is_true(h.participation:claim_wait("512K"))
    assert.are.equal(1, #old.object.requests)
    local stuck <close> = quota.new{ max = "1M" }
    local ballast = holder(stuck, { age = 1, bytes = 1000000, answer = "partial" })
    local other = holder(stuck, {})
    assert.are.equal("timeout", code_of(other.participation:claim_wait("512K", 0.01)))
    assert.are.equal(1000000, ballast.participation:used())
  end)

  it("works through any clone, and at once in a full account of another's caches", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local a = t:account{ max = 100000 }
      local idle = {}
      for i = 1, 4 do
        idle[i] = a:participant(participants.object())
      end
      local clone = idle[1]:clone()
      local task = s.loop:spawn(function() return clone:claim_wait(100000) end)
      s:advance(0)
      assert.is_true(task:join())
      assert.are.same({ 100000, 100000 }, { a:used(), idle[1]:used() })
      assert.are.equal(0, t:stats().victims)
    end))
end)
