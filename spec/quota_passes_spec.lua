-- Reclamation passes: when they run, whom they ask, in which order, what follows from the answers.
local participants = require "spec.support.participants"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20
local asked, column = participants.asked, participants.column
local holder, partial = participants.holder, participants.partial

describe("a pass", function()
  it("starts above max, not at it, and ends at low water, inclusive", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local h = holder(t, { age = 1, answer = partial })
    h.participation:claim(MIB - t:used())
    s:advance(0)
    assert.are.same({ MIB, 0 }, { t:used(), t:stats().reclaims })
    h.participation:claim(h.participation:used() < MIB and 16385 or 1)
    s:advance(0)
    assert.are.same({ 1, MIB // 2 }, { t:stats().reclaims, t:used() })
  end))

  it("does not run between low water and max", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local h = holder(t, { age = 1, bytes = "600K" })
    h.participation:claim("100K")
    h.participation:release("50K")
    s:advance(10)
    assert.are.same({ 0 }, asked(h))
    assert.are.same({}, s:events("reclaim_start"))
  end))

  it("takes the oldest first, until it is enough", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "2M" }
    local c = holder(t, { age = 3, bytes = "1M" })
    local a = holder(t, { age = 1, bytes = "1M" })
    local d = holder(t, { age = 4, bytes = "1M" })
    local b = holder(t, { age = 2, bytes = "1200K" })
    s:advance(0)
    assert.are.same({ 1, 1, 0, 0 }, asked(a, b, c, d))
    assert.are.same({ a.id, b.id }, column(s:events("victim"), "account"))
    assert.are.same({ 2, 2 * MIB }, { t:stats().victims, c.participation:used()
      + d.participation:used() })
  end))

  it("takes any numbers for ages: negative, fractions, infinite ones", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local ages = { math.huge, 0.5, -3, math.maxinteger, -math.huge, 1e300 }
    local ids = {}
    for i, age in ipairs(ages) do
      ids[i] = holder(t, { age = age, bytes = "64K" })
    end
    t:reclaim("1M")
    assert.are.same(
      { ids[5].id, ids[3].id, ids[2].id, ids[4].id, ids[6].id, ids[1].id },
      column(s:events("victim"), "account"))
  end))

  it("breaks ties by the lowest account id", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local ids = {}
    for i = 1, 5 do
      ids[i] = holder(t, { age = 7, bytes = "64K" }).id
    end
    t:reclaim("1M")
    assert.are.same(ids, column(s:events("victim"), "account"))
  end))

  it("asks for ages once in a pass, afresh in each", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = holder(t, { age = 1, bytes = "64K", answer = partial })
    local b = holder(t, { age = 2, bytes = "64K", answer = partial })
    t:reclaim("40K")
    assert.are.same({ 1, 0, 1, 1 }, { #a.object.requests, #b.object.requests, a.object.asked,
      b.object.asked })
    a.object.age = 3
    t:reclaim("40K")
    assert.are.same({ 1, 1 }, asked(a, b))
  end))

  it("calls unspent caches back first, and ends if that was enough", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local idle = {}
    for i = 1, 40 do
      idle[i] = holder(t, { age = i })
    end
    local busy = holder(t, { age = 0, bytes = "450K" })
    holder(t, { age = 0, bytes = 600000 - 450 * 1024 })
    busy.participation:release(100000)
    t:configure{ max = "512K", low_water = "500K" }
    s:advance(0)
    assert.are.equal(0, t:stats().victims)
    assert.are.same({ "complete", 0 },
      { s:events("reclaim_stop")[1].outcome, s:events("reclaim_stop")[1].victims })
    assert.are.same({ 500000, 40 }, { t:used(), #idle })
  end))

  it("asks nobody who has nothing, as far as one can tell", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local nothing = holder(t, {})
    local little = holder(t, { bytes = 16384 })
    local liar = holder(t, { bytes = 16385 })
    local old = holder(t, { age = -1e300, bytes = "64K" })
    t:reclaim("8M")
    assert.are.same({ 0, 0, 1, 1 }, asked(nothing, little, liar, old))
    assert.are.same({ liar.id, old.id }, column(s:events("victim"), "account"))
  end))

  it("weighs what a participant holds against all its handles", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { bytes = 30000 })
    local clone = h.participation:clone()
    t:reclaim("8M")
    assert.are.same({ 0 }, asked(h))
    clone:close()
    t:reclaim("8M")
    assert.are.same({ 1 }, asked(h))
  end))

  it("takes an account with all below it, also those who have nothing", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = holder(t, { age = 5, bytes = "64K" })
    local child = holder(t, { age = 9, bytes = "64K", parent = top.account })
    local silent = holder(t, { parent = child.account })
    local empty = top.account:child()
    local beside = holder(t, { age = 8, bytes = "64K" })
    local second = participants.object()
    local participation = top.account:participant(second)
    t:reclaim("100K")
    assert.are.same({ 1, 1, 1, 0 }, asked(top, child, silent, beside))
    assert.are.equal(1, #second.requests)
    for _, account in ipairs{ top.account, child.account, silent.account, empty } do
      assert.are.equal("account_closed", select(3, account:child()))
    end
    assert.are.equal("account_closed", select(3, participation:claim(1)))
    assert.are.same({ 1, 1 }, { t:stats().accounts, t:stats().victims })
    assert.is_true(t:check())
  end))

  it("stops at an account that ended: what was below it stands alone", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = holder(t, { age = 1, bytes = "64K" })
    local middle = holder(t, { parent = top.account })
    local low = holder(t, { age = 2, bytes = "64K", parent = middle.account })
    middle.account:close()
    t:reclaim("60K")
    assert.are.same({ 1, 0 }, asked(top, low))
    assert.is_true(low.participation:claim(1))
  end))

  it("takes a child of several parents with any of them, once", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local one = holder(t, { age = 1, bytes = "64K" })
    local two = holder(t, { age = 2, bytes = "64K" })
    local child = holder(t, { age = 3, bytes = "64K", parent = one.account })
    assert(child.account:add_parent(two.account))
    t:reclaim("100K")
    assert.are.same({ 1, 0, 1 }, asked(one, two, child))
    assert.is_true(two.participation:claim(1))
  end))

  it("tells what it wants", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "2M", deadline = 3 }
    local a = holder(t, { age = 1, bytes = "1M", answer = partial })
    local b = holder(t, { age = 2, bytes = "4M", answer = partial })
    s:advance(0)
    assert.are.same({ { goal = 3 * MIB, older_than = 2, reason = "max", deadline = 3 } },
      a.object.requests)
    assert.are.same({ { goal = 2 * MIB, reason = "max", deadline = 3 } }, b.object.requests)
    t:reclaim(1000)
    assert.are.same({ goal = 1000, reason = "manual", deadline = 3 }, b.object.requests[2])
  end))

  it("lets a partial participant stay, and asks it again while it gives", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "2M" }
    local h = holder(t, { age = 1, bytes = "5M", answer = function(self)
      self.participation:release("1M")
      return "partial"
    end })
    s:advance(0)
    assert.are.same({ 3 }, asked(h))
    assert.are.same({ 2 * MIB, 1 }, { t:used(), t:stats().accounts })
    assert.are.same({ 3, 3 * MIB }, { t:stats().victims, t:stats().freed })
    assert.is_true(h.participation:claim(1))
  end))

  it("does not ask one again that gave nothing", scenario(function(s)
    local t = s:quota{ max = "4M", low_water = "2M" }
    local stubborn = holder(t, { age = 1, bytes = "1M", answer = "partial" })
    local willing = holder(t, { age = 2, bytes = "4M", answer = partial })
    s:advance(0)
    assert.are.same({ 1, 1 }, asked(stubborn, willing))
    assert.are.equal(2 * MIB, t:used())
  end))

  it("keeps an account where one stays, without those that collapsed", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = "64K" })
    local staying = participants.object(2, "partial")
    local p = h.account:participant(staying)
    p:claim("64K")
    t:reclaim("60K")
    assert.are.equal("participant_shutdown", select(3, h.participation:claim(1)))
    assert.is_true(p:claim(1))
    assert.are.equal(1, t:stats().accounts)
  end))

  it("takes nil, collapsing and nothing for collapsing", scenario(function(s)
    local t = s:quota{ max = "8M" }
    for _, answer in ipairs{ "collapsing", function() return nil end, function() end } do
      local h = holder(t, { age = 1, bytes = "64K", answer = answer })
      t:reclaim("64K")
      assert.are.equal("account_closed", select(3, h.participation:claim(1)))
    end
    assert.are.equal(0, t:used())
  end))

  it("waits for a reclaim that waits, with claims going on meanwhile", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local h = holder(t, { age = 1, bytes = "2M", answer = function()
      s.loop:sleep(2)
      return "collapsing"
    end })
    local other = holder(t, { age = 2 })
    s:advance(1)
    assert.are.same({ 1 }, asked(h))
    assert.is_true(other.participation:claim("100K"))
    assert.are.same({}, s:events("victim"))
    s:advance(1)
    assert.are.equal(1, #s:events("victim"))
    assert.are.equal(100 << 10, t:used())
  end))

  it("asks all participants of a victim at the same time", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local a = t:account()
    local kept = {}
    for i = 1, 3 do
      local object = participants.object(i, function() s.loop:sleep(1) end)
      kept[i] = { object = object, participation = a:participant(object) }
      kept[i].participation:claim("1M")
    end
    s:advance(0)
    assert.are.same({ 1, 1, 1 }, asked(table.unpack(kept)))
    s:advance(1)
    assert.are.equal(0, t:used())
  end))

  it("lets newcomers into the round", scenario(function(s)
    local t = s:quota{ max = "1M", low_water = "512K" }
    local late
    local h = holder(t, { age = 1, bytes = "2M", answer = function()
      late = holder(t, { age = 2, bytes = "1M" })
    end })
    s:advance(0)
    assert.are.same({ 1, 1 }, asked(h, late))
    assert.are.same({ 0, 1 }, { t:used(), t:stats().reclaims })
  end))

  it("goes over ten thousand accounts, and takes the one that is worst", scenario(function(s)
    local t = s:quota{ max = "1G" }
    local n = participants.work(10000)
    local all = {}
    for i = 1, n do
      all[i] = holder(t, { age = (i * 7919) % 100003, bytes = 1000 })
    end
    local worst = all[1]
    for i = 2, n do
      if all[i].object.age < worst.object.age then worst = all[i] end
    end
    t:reclaim()
    assert.are.same({ n, 1000 * n }, { t:stats().accounts, t:used() })
    t:reclaim(1)
    assert.are.same({ worst.id }, column(s:events("victim"), "account"))
    assert.are.equal(n - 1, #t:top(n))
    assert.is_true(t:check())
  end))

  it("of many accounts ends all that it must, in order", scenario(function(s)
    local t = s:quota{ max = "20M", low_water = "10M" }
    local all, n = {}, participants.work(3000)
    for i = 1, n do
      all[i] = holder(t, { age = -i, bytes = 12 * MIB // n })
    end
    holder(t, { age = 1, bytes = "9M" })
    s:advance(0)
    local victims = s:events("victim")
    assert.are.equal(all[n].id, victims[1].account)
    assert.is_true(t:used() <= 10 * MIB)
    assert.are.same({ n + 1 - #victims, #victims }, { t:stats().accounts, t:stats().victims })
    assert.is_true(t:check())
  end))
end)
