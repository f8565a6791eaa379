-- Passes by hand: Tracker:reclaim, with a goal and without, in tasks and outside.
local at_its_line = require("spec.support.errors").at_its_line
local participants = require "spec.support.participants"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20
local asked, holder, partial = participants.asked, participants.holder, participants.partial

describe("reclaim", function()
  it("goes down to low water without a goal, and says what came of it", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "1M" }
    local a = holder(t, { age = 1, bytes = "2M" })
    local b = holder(t, { age = 2, bytes = "1M", answer = partial })
    local before = t:used()
    local freed = t:reclaim()
    assert.are.same({ 1, 0 }, asked(a, b))
    assert.are.equal(before - t:used(), freed)
    assert.are.same({ "manual", "manual", freed }, {
      s:events("reclaim_stop")[1].outcome,
      s:events("reclaim_stop")[1].reason,
      s:events("reclaim_stop")[1].freed,
    })
  end))

  it("calls back caches alone at low water, and does nothing for nothing", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "1M" }
    local h = holder(t, { age = 1, bytes = "1000K" })
    assert.are.same({ 0, 16384, 0 }, { t:reclaim(0), t:reclaim(), t:reclaim() })
    assert.are.same({ 0 }, asked(h))
    assert.are.equal(1000 << 10, t:used())
  end))

  it("stops once the goal is freed, releases counted", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = holder(t, { age = 1, bytes = "1M", answer = partial })
    local b = holder(t, { age = 2, bytes = "1M" })
    assert.are.equal(300000, t:reclaim(300000)) -- caches too count as freed
    assert.are.same({ 1, 0 }, asked(a, b))
    assert.are.equal(2 * MIB + 2 * 16384 - 300000, t:reclaim("16M"))
  end))

  it("ends stuck when it cannot free that much", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = "1M", answer = "partial" })
    t:reclaim()
    assert.are.equal(0, t:reclaim("1M"))
    assert.are.same({ "stuck", 1 }, { s:events("reclaim_stop")[2].outcome, t:stats().stuck })
    assert.is_true(h.participation:claim(1))
  end))

  it("waits: in a task, and outside one on virtual and default loops", scenario(function(s)
    local function slow()
      s.loop:sleep(1)
    end
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = "1M", answer = slow })
    local task = s.loop:spawn(function() return t:reclaim("1M") end)
    s:advance(0)
    assert.are.same({ 1 }, asked(h))
    s:advance(1)
    assert.are.equal(MIB + 16384, task:join())

    local plain <close> = quota.new{ max = "8M" }
    local other = holder(plain, { age = 1, bytes = "1M", answer = function()
      loop.default():sleep(0.001)
    end })
    assert.are.equal(MIB + 16384, plain:reclaim("1M"))
    assert.are.same({ 1 }, asked(other))
  end))

  it("queues behind a pass that runs", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local first = holder(t, { age = 1, bytes = "1M", answer = function() s.loop:sleep(1) end })
    local second = holder(t, { age = 2, bytes = "1M" })
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = s.loop:spawn(function() return t:reclaim("1M") end)
    end
    s:advance(0)
    assert.are.same({ 1, 0 }, asked(first, second))
    s:advance(1)
    assert.are.same({ 1, 1 }, asked(first, second))
    assert.are.same({ MIB + 2 * 16384, MIB }, { tasks[1]:join(), tasks[2]:join() })
  end))

  it("answers tracker_shutdown when the tracker closes meanwhile", scenario(function(s)
    local t = s:quota{ max = "8M" }
    holder(t, { age = 1, bytes = "1M", answer = function() s.loop:sleep(1) end })
    local task = s.loop:spawn(function() return t:reclaim("1M") end)
    local behind = s.loop:spawn(function() return t:reclaim("1M") end)
    s:advance(0)
    t:close()
    s:advance(0)
    assert.are.same({ "tracker_shutdown", "tracker_shutdown" },
      { select(3, task:join()), select(3, behind:join()) })
  end))

  it("is taken back with its task before its pass began; a pass that runs goes on", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local first = holder(t, { age = 1, bytes = "1M", answer = function() s.loop:sleep(1) end })
      local second = holder(t, { age = 2, bytes = "1M" })
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = s.loop:spawn(function() return t:reclaim("1M") end)
      end
      s:advance(0)
      tasks[1]:cancel()
      tasks[2]:cancel()
      s:advance(1)
      assert.are.same({ "cancelled", "cancelled", MIB },
        { select(3, tasks[1]:join()), select(3, tasks[2]:join()), (tasks[3]:join()) })
      assert.are.same({ 1, 1 }, asked(first, second))
      assert.are.equal(2, #s:events("reclaim_stop"))
    end))

  it("answers closed when its loop closes meanwhile", scenario(function(s)
    local gone = loop.new{ clock = "virtual" }
    local t <close> = assert(quota.new{ max = "8M", loop = gone })
    local h = holder(t, { age = 1, bytes = "1M" })
    local task = s.loop:spawn(function() return t:reclaim("1M") end)
    s:advance(0)
    gone:close()
    s:advance(0)
    assert.are.equal("closed", select(3, task:join()))
    h.participation:release("1M")
    assert.is_true(t:check())
  end))

  it("refuses a goal that is no size", scenario(function(s)
    local t = s:quota{ max = "8M" }
    assert.are.equal("bad argument #1 to 'reclaim': goal must not be negative (got -1)",
      at_its_line(function() t:reclaim(-1) end))
    assert.matches("goal must be a size", at_its_line(function() t:reclaim{} end))
  end))

  it("runs where a script is no task: claims, then the default loop", function()
    local t <close> = quota.new{ max = "1M", low_water = "512K" }
    local h = holder(t, { age = 1, bytes = "2M" })
    assert.are.same({ 0 }, asked(h))
    loop.default():run()
    assert.are.same({ 1 }, asked(h))
    assert.are.equal(0, t:used())
  end)
end)
