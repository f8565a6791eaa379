-- What a quota tracker tells: stats, top, accounts, plan, pressure, check; and what reserves do.
local at_its_line = require("spec.support.errors").at_its_line
local participants = require "spec.support.participants"
local lethe = require "lethe"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20
local holder, column, partial = participants.holder, participants.column, participants.partial

describe("stats", function()
  it("are one fresh table with all there is to count", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "4M" }
    local first = t:stats()
    for _, name in ipairs{ "used", "peak", "max", "low_water", "untracked", "condemned", "accounts",
      "participants", "reclaims", "victims", "freed", "policy_failures", "stuck" } do
      assert.are.equal("integer", math.type(first[name]) or name)
    end
    assert.are.equal("float", math.type(first.stall_seconds))
    assert.is_true(first ~= t:stats())
    local h = holder(t, { age = 1, bytes = "3M" })
    local idle = holder(t, { parent = h.account })
    local clone = idle.participation:clone()
    t:reclaim("1M")
    local after = t:stats()
    assert.are.same(
      { 0, 3 * MIB + 2 * 16384, 8 * MIB, 4 * MIB, 3 * MIB, 0, 0, 1, 1, 3 * MIB, 0, 0 },
      { after.used, after.peak, after.max, after.low_water, after.condemned, after.accounts,
        after.participants, after.reclaims, after.victims, after.freed, after.policy_failures,
        after.stuck })
    assert.are.equal(0, first.used)
    clone:close()
  end))

  it("measure what is not tracked", scenario(function(s)
    local t = s:quota{ max = "8G" }
    local before = t:stats().untracked
    assert.is_true(before > MIB)
    local h = holder(t, { bytes = "1M" })
    assert.is_true(t:stats().untracked < before + MIB)
    h.participation:claim("4G")
    assert.are.equal(0, t:stats().untracked)
  end))
end)

describe("top", function()
  it("lists the largest accounts", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local ids = {}
    for i, bytes in ipairs{ 100000, 300000, 200000, 300000 } do
      ids[i] = holder(t, { name = "h" .. i, age = i, bytes = bytes, reserve = i }).id
    end
    t:reclaim(1)
    local top = t:top(3)
    assert.are.same({ ids[2], ids[4], ids[3] }, column(top, "account"))
    assert.are.same({ "h2", "h4", "h3" }, column(top, "name"))
    assert.are.same({ 300000, 300000, 200000 }, column(top, "used"))
    assert.are.same({ 2, 4, 3 }, column(top, "reserve"))
    assert.are.same({ 0, 0, 0 }, column(top, "reclaims"))
    assert.are.same({ 300000 / 900000, 300000 / 900000, 200000 / 900000 }, column(top, "share"))
    assert.is_true(top[1].peak >= 300000)
    assert.are.same({ 4, 4, 10, 0 }, { #t:top(99), #t:top(), 10, #t:top(0) })
  end))

  it("asks for ages, and knows reclaims", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 7, bytes = "1M", answer = partial })
    local silent = holder(t, { bytes = 100 })
    assert.are.same({ 7, 0 }, { t:top(1)[1].oldest, t:top(1)[1].reclaims })
    h.object.age = 8
    t:reclaim("100K")
    assert.are.same({ 8, 1 }, { t:top(1)[1].oldest, t:top(1)[1].reclaims })
    assert.is_nil(t:top(2)[2].oldest)
    h.object.age = math.huge
    assert.are.equal(math.huge, t:top(1)[1].oldest)
    assert.is_true(silent.participation:claim(1))
  end))

  it("may be called where ages are told, and outlives a tracker closed there", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { bytes = "1M" })
    local seen
    function h.object.get_oldest()
      seen = t:top(1)[1].used
      return 3
    end
    assert.are.equal(3, t:top(1)[1].oldest)
    assert.is_true(seen >= 1 << 20)
    function h.object.get_oldest() t:close() end
    assert.has_error(function() t:top(1) end)
  end))

  it("is empty without accounts, and wants a count", scenario(function(s)
    local t = s:quota{ max = "8M" }
    assert.are.same({ {}, {} }, { t:top(5), t:top() })
    assert.matches("bad argument #1 to 'top'", at_its_line(function() t:top("many") end))
    assert.matches("bad argument #1 to 'top'", at_its_line(function() t:top(-1) end))
    assert.are.same({}, t:top(math.maxinteger))
  end))
end)

describe("accounts", function()
  it("goes over all, as weak accounts with their row of top", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local a = holder(t, { name = "a", bytes = 100000 })
    local b = t:account{ name = "b" }
    local seen = {}
    for account, row in t:accounts() do
      seen[account:name()] = { account:used(), row.used, row.account, account:id() }
      assert.are.equal("quota.WeakAccount", lethe.type(account))
      assert.are.equal(t, account:tracker())
      if account:name() == "a" then assert.is_true(account == a.account) end
    end
    assert.are.same({
      a = { 100000 + 16384, 100000 + 16384, a.id, a.id },
      b = { 0, 0, b:id(), b:id() },
    }, seen)
  end))

  it("keeps nothing alive, and goes on while accounts come and go", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local list = {}
    for i = 1, 10 do
      list[i] = t:account{ name = "n" .. i }
    end
    local n = 0
    for account in t:accounts() do
      n = n + 1
      local strong <close> = account:upgrade()
      if list[n] then list[n]:close() end
      assert.are.equal("n" .. n, strong:name())
    end
    assert.are.same({ 10, 0 }, { n, t:stats().accounts })
    for _ in t:accounts() do error("none is left") end
  end))

  it("ends when the tracker closes under it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local kept = { t:account(), t:account() }
    local n = 0
    for _ in t:accounts() do
      n = n + 1
      t:close()
    end
    assert.are.same({ 1, 2 }, { n, #kept })
  end))
end)

describe("plan", function()
  it("says whom a pass would take, and the pass takes them", scenario(function(s)
    local t = s:quota{ max = "8M" }
    for i = 1, 6 do
      holder(t, { age = (i * 7) % 11, bytes = 100000 + i })
    end
    local child = holder(t, { age = 99, bytes = 5000, parent = holder(t, { age = 1,
      bytes = 50000 }).account })
    for _, goal in ipairs{ 1, 100000, 250000, "1M" } do
      local before = t:stats()
      local plan = t:plan(goal)
      for name, value in pairs(before) do
        if name ~= "untracked" and not name:find("^longest") then
          assert.are.equal(value, t:stats()[name])
        end
      end
      local start = #s:events("victim")
      t:reclaim(goal)
      local victims = { table.unpack(column(s:events("victim"), "account"), start + 1) }
      assert.are.same(victims, column(plan, "account"))
    end
    assert.are.equal("account_closed", select(3, child.participation:claim(1)))
  end))

  it("has rows of account, participants, used and score", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local top = holder(t, { age = 3, bytes = 100000 })
    holder(t, { age = 5, bytes = 20000, parent = top.account })
    t:reclaim(1)
    assert.are.same({ { account = top.id, participants = 2, used = 120000, score = -3 } },
      t:plan(1))
  end))

  it("touches nothing: not even who fails to tell an age", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = 100000 })
    function h.object.get_oldest() error("not today") end
    local list = require("spec.support.errors").reported(function()
      assert.are.same({}, t:plan("1M"))
    end)
    assert.are.equal(1, #list)
    assert.is_true(h.participation:claim(1))
    assert.are.same({}, s:events("participant_lost"))
  end))

  it("takes ages as they are at that moment, and any goal", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "4M" }
    local a = holder(t, { age = 1, bytes = "1M" })
    local b = holder(t, { age = 2, bytes = "1M" })
    assert.are.equal(a.id, t:plan("512K")[1].account)
    a.object.age = 3
    assert.are.equal(b.id, t:plan("512K")[1].account)
    assert.are.same({ {}, {} }, { t:plan(0), t:plan() })
    assert.are.equal(2, #t:plan("1G"))
    assert.matches("bad argument #1 to 'plan'", at_its_line(function() t:plan(-1) end))
  end))
end)

describe("pressure", function()
  it("is 0 at low water and 1 at max, linear", scenario(function(s)
    local t = s:quota{ max = "3M", low_water = "2M" }
    local h = holder(t, { age = 1, answer = "partial" })
    t:reclaim(16384) -- its cache
    h.participation:claim(2 * MIB)
    assert.are.same({ 0, "normal" }, { t:pressure() })
    h.participation:claim(MIB // 4)
    assert.are.same({ 0.25, "soft" }, { t:pressure() })
    h.participation:claim(MIB // 4)
    assert.are.same({ 0.5, "high" }, { t:pressure() })
    h.participation:claim(MIB // 2)
    assert.are.same({ 1, "critical" }, { t:pressure() })
    h.participation:claim(MIB)
    assert.are.same({ 1, "critical" }, { t:pressure() })
  end))

  it("tells of each change of level, left a little lower than it was entered", scenario(
    function(s)
      local t = s:quota{ max = "3M", low_water = "2M" }
      local h = holder(t, { age = 1, answer = "partial" })
      local p = h.participation
      p:claim(2 * MIB)
      t:reclaim(16384)
      assert.are.equal(2 * MIB, t:used())
      local function go(part)
        local target = 2 * MIB + math.floor(part * MIB)
        local by = target - p:used()
        if by > 0 then
          p:claim(by)
        else
          p:release(-by)
        end
        t:reclaim(16384)
        return select(2, t:pressure())
      end
      local levels = {}
      for i, part in ipairs{ 0.1, 0.49, 0.5, 0.46, 0.44, 0.6, 1, 0.96, 0.94, 0.3, 0.01, 0 } do
        levels[i] = go(part)
      end
      assert.are.same({ "soft", "soft", "high", "high", "soft", "high", "critical", "critical",
        "high", "soft", "soft", "normal" }, levels)
      local told = {}
      for _, event in ipairs(s:events("pressure")) do
        assert.are.equal("number", type(event.value))
        if event.level ~= told[#told] then told[#told + 1] = event.level end
      end
      assert.are.equal("soft normal soft high soft high critical high soft normal",
        table.concat(told, " "))
    end))

  it("changes when the limits do", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "4M" }
    local h = holder(t, { age = 1, bytes = "3M", answer = "partial" })
    assert.are.equal("normal", select(2, t:pressure()))
    t:configure{ max = "3500K", low_water = "2M" }
    assert.are.equal("high", select(2, t:pressure()))
    assert.are.equal("high", s:events("pressure")[1].level)
    t:configure{ max = "1G" }
    assert.are.equal("soft", select(2, t:pressure()))
    assert.is_true(h.participation:claim(1))
  end))
end)

describe("a reserve", function()
  it("protects an account at or below it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local at = holder(t, { age = 1, bytes = 100000, reserve = 100000 })
    local above = holder(t, { age = 2, bytes = 100001, reserve = 100000 })
    t:reclaim("8M")
    assert.are.same({ 0, 1 }, { #at.object.requests, #above.object.requests })
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
  end))

  it("protects it as some victim's descendant too, and what it holds alone", scenario(
    function(s)
      local t = s:quota{ max = "8M" }
      local top = holder(t, { age = 1, bytes = 100000 })
      local kept = holder(t, { age = 2, bytes = 5000, parent = top.account, reserve = "64K" })
      local taken = holder(t, { age = 3, bytes = 5000, parent = kept.account })
      t:reclaim("100K")
      assert.are.same({ 1, 0, 1 },
        { #top.object.requests, #kept.object.requests, #taken.object.requests })
      assert.is_true(kept.participation:claim(1))
      assert.are.equal("account_closed", select(3, taken.participation:claim(1)))
    end))

  it("is compared once unspent caches are back", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = holder(t, { age = 1, bytes = 100000, reserve = 100000 })
    assert.is_true(h.account:used() > 100000)
    t:reclaim("8M")
    assert.are.equal(0, #h.object.requests)
  end))
end)

describe("check", function()
  it("finds nothing wrong", scenario(function(s)
    local t = s:quota{ max = "8M" }
    for i = 1, 5 do
      holder(t, { bytes = i * 10000, max = "1M", reserve = i, name = "a" .. i })
    end
    assert.is_true(t:check())
    t:reclaim("1M")
    assert.is_true(t:check())
  end))
end)
