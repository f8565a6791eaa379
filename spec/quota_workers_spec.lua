-- One quota tracker in several threads: participants are asked in the state that registered them,
-- and a state that does not answer holds nobody up.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local participants = require "spec.support.participants"
local lethe = require "lethe"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local worker = require "lethe.worker"

local MIB <const> = 1 << 20
local holder, column = participants.holder, participants.column

-- In a worker: an account with one participant of that age, which says when it was asked. It goes
-- on until it is sent something.
local function tenant(tracker, name, age, bytes, busy)
  local loop = require "lethe.loop"
  local parent = require("lethe.worker").parent()
  local account = tracker:account{ name = name }
  local asked = 0
  local object = {
    get_oldest = function() return age end,
    reclaim = function(_, request)
      asked = asked + 1
      loop.default():sleep(0.001)
      return request.reason == "manual" and "collapsing" or "partial"
    end,
  }
  local p = account:participant(object)
  p:claim(bytes)
  parent:send("ready")
  if busy then
    local til = loop.default():now() + busy
    while loop.default():now() < til do end
  end
  parent:recv()
  return asked, p:used(), select(3, p:claim(1))
end

local function start(...)
  local w = worker.spawn(...)
  assert.are.equal("ready", w:recv())
  return w
end

describe("a tracker in several threads", function()
  it("is the same everywhere, and so are its accounts", function()
    local t <close> = quota.new{ max = "64M" }
    local a = t:account{ name = "shared", max = "1M" }
    local w = worker.spawn(function(t, a)
      local p = a:participant{ get_oldest = print, reclaim = print }
      local claimed, _, code = p:claim("600K"), p:claim("600K")
      return require("lethe").type(t), a:name(), a:id(), a:tracker() == t, claimed, code, a:used(),
        p:close() and a:close()
    end, t, a)
    local kind, name, id, same, claimed, _, used = w:join()
    assert.are.same({ "quota.Tracker", "shared", a:id(), true, true },
      { kind, name, id, same, claimed })
    assert.is_true(used >= 600 << 10)
    assert.are.same({ 0, 1 }, { t:used(), t:stats().accounts })
  end)

  it("asks participants in the state that registered them", function()
    local t <close> = quota.new{ max = "64M" }
    local young = holder(t, { age = 5, bytes = "1M" })
    local w = start(tenant, t, "theirs", 1, MIB)
    assert.is_true(t:used() >= 2 * MIB)
    assert.is_true(t:reclaim("1M") >= MIB)
    assert.are.equal(0, #young.object.requests)
    w:send("end")
    local asked, used, code = w:join()
    assert.are.same({ 1, 0, "account_closed" }, { asked, used, code })
  end)

  it("takes the oldest of all states first", function()
    local victims = {}
    local t <close> = quota.new{ max = "64M", on_event = function(e)
      if e.type == "victim" then victims[#victims + 1] = e end
    end }
    holder(t, { name = "b", age = 2, bytes = "1M" })
    local workers = { start(tenant, t, "c", 3, MIB), start(tenant, t, "a", 1, MIB) }
    holder(t, { name = "d", age = 4, bytes = "1M" })
    t:reclaim("64M")
    assert.are.same({ "a", "b", "c", "d" }, column(victims, "name"))
    for _, w in ipairs(workers) do
      w:send("end")
      assert.are.equal(1, (w:join()))
    end
    assert.is_true(t:check())
  end)

  it("goes on without a state that does not answer", function()
    local stop
    local t <close> = quota.new{ max = "64M", deadline = 0.05, on_event = function(e)
      if e.type == "reclaim_stop" then stop = e end
    end }
    local mine = holder(t, { age = 5, bytes = "1M" })
    local w = start(tenant, t, "busy", 1, 20 * MIB, 0.3)
    local before = loop.default():now()
    t:reclaim("8M") -- the other never told an age
    assert.is_true(loop.default():now() - before < 0.25)
    assert.are.same({ "stuck", 1 }, { stop.outcome, #mine.object.requests })
    w:send("end")
    w:join()
    assert.is_true(t:check())
  end)

  it("takes one that is busy by the age it told last, and waits a deadline for it", function()
    local victims = {}
    local t <close> = quota.new{ max = "64M", deadline = 0.05, on_event = function(e)
      if e.type == "victim" then victims[#victims + 1] = e.name end
    end }
    local old = holder(t, { age = 1, bytes = "1M", answer = participants.partial })
    local w = start(function(t)
      local loop, parent = require("lethe.loop").default(), require("lethe.worker").parent()
      local a = t:account{ name = "busy" }
      local p = a:participant{ get_oldest = function() return 2 end, reclaim = print }
      p:claim("1M")
      parent:send("ready")
      parent:recv()
      parent:send("busy")
      local til = loop:now() + 0.3
      while loop:now() < til do end
      return select(3, p:claim(1))
    end, t)
    repeat
      t:reclaim(1)
    until t:top(1)[1].oldest == 2 -- it may be late once or twice, on a machine that is
    old.account:close()
    victims = {}
    w:send("be busy")
    w:recv()
    holder(t, { name = "young", age = 3, bytes = "1M" })
    t:reclaim("1M")
    assert.are.same({ "busy" }, victims)
    assert.are.same({ MIB, MIB }, { t:stats().condemned, t:used() })
    assert.are.equal("account_closed", (w:join()))
  end)

  it("serves claims that wait in one state with what another releases", function()
    local t <close> = quota.new{ max = "1M" }
    local ballast = holder(t, { age = 1, bytes = 1000000, answer = "partial" })
    local w = start(function(t)
      local a = t:account()
      local p = a:participant{ get_oldest = function() end, reclaim = function() end }
      require("lethe.worker").parent():send("ready")
      return p:claim_wait("512K", 5), p:used()
    end, t)
    loop.default():sleep(0.01)
    ballast.participation:release(1000000)
    assert.are.same({ true, 512 << 10 }, { w:join() })
  end)

  it("ends the participants of a state that ends", function()
    local t <close> = quota.new{ max = "64M" }
    local a = t:account{ name = "shared" }
    worker.spawn(function(a)
      a:participant{ get_oldest = print, reclaim = print }:claim("1M")
    end, a):join()
    assert.are.same({ 0, 0, 1 }, { t:used(), t:stats().participants, t:stats().accounts })
    assert.is_true(t:check())
  end)

  it("counts right while many claim, release and are reclaimed", function()
    local t <close> = quota.new{ max = "256K", low_water = "128K" }
    local mine = holder(t, { age = 0, answer = participants.partial })
    local workers = {}
    for i = 1, 3 do
      workers[i] = worker.spawn(function(t, n, i)
        local a = t:account{ name = "w" .. i, max = "1M" }
        local held = {}
        local p
        p = a:participant{
          get_oldest = function() return held.n end,
          reclaim = function()
            p:release(p:used())
            held.n = nil
            return "partial"
          end,
        }
        local loop = require("lethe.loop").default()
        for k = 1, n do
          held.n = k
          p:claim(k % 97 * 100)
          if k % 3 == 0 then p:release(math.min(5000, p:used())) end
          if k % 50 == 0 then loop:sleep(0) end
        end
        p:close()
        a:close()
      end, t, participants.work(2000), i)
    end
    for k = 1, participants.work(2000) do
      mine.object.age = k
      mine.participation:claim(k % 89 * 100)
      if k % 50 == 0 then
        loop.default():sleep(0)
        assert.is_true(t:check())
      end
    end
    for _, w in ipairs(workers) do
      assert.are.same({ n = 0 }, table.pack(w:join()))
    end
    assert.is_true(t:check())
    assert.is_true(t:stats().reclaims > 0)
    mine.participation:destroy()
    assert.are.same({ 0, "quota.Tracker" }, { t:used(), lethe.type(t) })
  end)
end)
