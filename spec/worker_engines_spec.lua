-- What workers have beside their code: memory under an account, engines in common, and many
-- of their kind.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local chance = require "spec.support.chance"
local collector = require "spec.support.collector"
local workers = require "spec.support.workers"
local loop = require "lethe.loop"
local quota = require "lethe.quota"
local worker = require "lethe.worker"

local packed_join = workers.packed_join

-- Work for sanitizers and torture: LETHE_WORK.
local WORK <const> = chance.WORK

describe("a worker's memory", function()
  local function grow()
    local t = {}
    while true do t[#t + 1] = ("x"):rep(1000) .. #t end
  end

  it("has a limit", function()
    local w = worker.new{ run = grow, memory = "4M" }
    assert.are.same({ nil, "not enough memory", "failed", n = 3 }, packed_join(w))
  end)

  it("runs out as Lua's always does: it can be caught", function()
    local w = worker.new{ memory = "4M", run = function()
      local ok, message = pcall(string.rep, "x", 1 << 24)
      return ok, message, #("x"):rep(100000)
    end }
    assert.are.same({ false, "not enough memory", 100000, n = 3 }, packed_join(w))
  end)

  it("must suffice for a state", function()
    assert.are.same({ nil, "not enough memory", "no_memory", n = 3 },
      table.pack(worker.new{ run = grow, memory = "1K" }))
  end)

  it("is claimed under an account, and given back", function()
    local tracker <close> = quota.new{ max = "64M" }
    local account = tracker:account{ name = "worker" }
    local w = worker.new{ account = account, run = function()
      local parent = require("lethe.worker").parent()
      local s = ("x"):rep(1 << 20)
      parent:send("grown")
      parent:recv()
      return #s
    end }
    assert.are.equal("grown", w:recv())
    assert.is_true(account:used() > 1 << 20)
    assert.are.equal(account:used(), tracker:used())
    w:send("end")
    assert.are.equal(1 << 20, (w:join()))
    assert.are.equal(0, tracker:used())
    assert.is_true(tracker:check())
  end)

  it("is limited by the account's max", function()
    local tracker <close> = quota.new{ max = "64M" }
    local account = tracker:account{ max = "4M" }
    assert.are.same({ nil, "not enough memory", "failed", n = 3 },
      packed_join(worker.new{ account = account, run = grow }))
    local small = tracker:account{ max = "4K" }
    local got = packed_join(worker.new{ account = small, run = grow })
    assert.is_truthy(got[2]:find("^not enough memory"))
    assert.are.equal("failed", got[3])
    assert.are.equal(0, tracker:used())
  end)
end)

describe("engines that workers share", function()
  it("ask a participant in the state that registered it", function()
    local tracker <close> = quota.new{ max = "8M", low_water = "4M" }
    local account = tracker:account{ name = "workers'" }
    local w = worker.spawn(function(account)
      local parent = require("lethe.worker").parent()
      local participation
      local here = coroutine.running
      participation = account:participant{
        get_oldest = function() return 1 end,
        reclaim = function(_, request)
          participation:destroy()
          parent:send{ "asked", request.reason, type(here()) }
          return "collapsing"
        end,
      }
      parent:send{ "claimed", participation:claim(5000000) }
      parent:recv()
      return account:used()
    end, account)
    assert.are.same({ "claimed", true }, w:recv())
    local mine = tracker:account{ name = "mine" }
    local p = mine:participant{ get_oldest = function() return 2 end,
      reclaim = function() return "partial" end }
    assert.is_true(p:claim(4000000))
    assert.are.same({ "asked", "max", "thread" }, w:recv())
    w:send("end")
    assert.are.equal(0, w:join())
    assert.is_true(tracker:check())
    assert.is_true(tracker:used() < 5000000)
    p:destroy()
  end)

  it("run a policy in the state that set it", function()
    local asked = 0
    local tracker <close> = quota.new{ max = "8M", low_water = "4M", policy = function(c)
      asked = asked + 1
      return c.name == "worse" and 2 or 1
    end }
    local w = worker.spawn(function(tracker)
      local parent = require("lethe.worker").parent()
      local log, kept = {}, {}
      for i, name in ipairs{ "better", "worse" } do
        local account = tracker:account{ name = name }
        local p
        p = account:participant{ get_oldest = function() return i end, reclaim = function()
          log[#log + 1] = name
          p:destroy()
        end }
        p:claim(3000000)
        kept[i] = { account, p }
      end
      parent:send("claimed")
      parent:recv()
      return log, #kept
    end, tracker)
    assert.are.equal("claimed", w:recv())
    assert.is_true(tracker:reclaim(1000000) > 0)
    w:send("end")
    assert.are.same({ "worse" }, (w:join()))
    assert.is_true(asked > 0)
  end)

  it("lose a participant with the worker that registered it", function()
    local tracker <close> = quota.new{ max = "8M" }
    local account = tracker:account()
    local got = packed_join(worker.spawn(function(account)
      local object = { get_oldest = function() return 1 end, reclaim = function() end }
      kept = account:participant(object) -- luacheck: ignore
      kept:claim(1000000) -- luacheck: ignore
      return account:used()
    end, account))
    assert.is_true(got[1] >= 1000000)
    assert.are.equal(0, tracker:used())
    assert.are.equal(0, tracker:stats().participants)
  end)
end)

describe("many workers", function()
  it("are born and die without a trace", function()
    local base = require "lethe.core.base"
    local tracker <close> = quota.new{ max = "1G" }
    local account = tracker:account()
    local function births(n)
      for i = 1, n do
        local w = worker.spawn(function(i, account) return i, account:name() end, i, account)
        if i % 3 == 0 then
          w:cancel()
        end
        if i % 4 ~= 0 then w:join() end
        w:close()
      end
    end
    births(8)
    loop.default():sleep(0.05)
    collector.all()
    local alive, used = base.objects(), collectgarbage("count")
    births(WORK >= 1 and 200 or 50)
    for _ = 1, 100 do
      loop.default():sleep(0.002)
      collector.all()
      if base.objects() == alive then break end
    end
    assert.are.equal(alive, (base.objects()))
    assert.is_true(collectgarbage("count") < used + 64)
    assert.are.equal(1, tracker:stats().accounts)
  end)

  it("send through shared channels without loss", function()
    local work, done = worker.channel(8), worker.channel(0)
    local workers, n = {}, 2000
    for i = 1, 4 do
      workers[i] = worker.spawn(function(work, done)
        local count = 0
        while true do
          local job, _, code = work:recv()
          if code then return count end
          count = count + 1
          done:send{ job = job, by = { job } }
        end
      end, work, done)
    end
    local feeder = loop.default():spawn(function()
      for i = 1, n do work:send(i) end
      work:close()
    end)
    local seen, count = {}, 0
    for _ = 1, n do
      local message = done:recv()
      assert.are.equal(message.job, message.by[1])
      assert.is_nil(seen[message.job])
      seen[message.job] = true
    end
    feeder:join()
    for i = 1, 4 do count = count + workers[i]:join() end
    assert.are.equal(n, count)
  end)

  it("end in the midst of everything", function()
    local channel = worker.channel(1)
    for round = 1, 20 do
      local workers = {}
      for i = 1, 4 do
        workers[i] = worker.spawn(function(channel, round, i)
          local main = require("lethe.loop").default()
          for k = 1, 3 do
            main:spawn(function()
              while true do
                if (k + i) % 2 == 0 then channel:send{ round, i, channel } else channel:recv() end
              end
            end)
          end
          while true do channel:recv() end
        end, channel, round, i)
      end
      loop.default():sleep(0.001 * (round % 4))
      for i = 1, 4 do workers[i]:cancel() end
      for i = 1, 4 do assert.are.equal("cancelled", (select(3, workers[i]:join()))) end
    end
    channel:close()
  end)
end)
