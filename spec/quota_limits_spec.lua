-- Limits of a quota tracker: what max and low_water may be, "auto", changing them, and no limits at
-- all.
local at_its_line = require("spec.support.errors").at_its_line
local participants = require "spec.support.participants"
local quota = require "lethe.quota"
local scenario = require("lethe.spec").scenario

local MIB <const> = 1 << 20

-- What the numbers of a tracker are in single precision.
local function f32(number)
  return (string.unpack("f", string.pack("f", number)))
end

local function limits(options)
  local tracker <close> = assert(quota.new(options))
  local stats = tracker:stats()
  return stats.max, stats.low_water
end

describe("the limits of a quota tracker", function()
  it("are sizes, as numbers or with a binary unit", function()
    assert.are.same({ 64 * MIB, 32 * MIB }, { limits{ max = "64M", low_water = "32M" } })
    assert.are.same({ 3 * MIB // 2, MIB }, { limits{ max = "1.5M", low_water = MIB } })
    assert.are.same({ 8 * MIB, 6 * MIB }, { limits{ max = "8 MiB" } })
    assert.are.same({ 2 << 30, 3 << 29 }, { limits{ max = 2.0 ^ 31 } })
  end)

  it("leave a quarter of max free by default, rounded in single precision", function()
    for _, max in ipairs{ 218454, MIB, 100000007, 123456789, (1 << 40) + 12345 } do
      local low = select(2, limits{ max = max })
      assert.are.equal(f32(f32(max) * 0.75) // 1 | 0, low)
    end
    assert.are.equal(75000008, (select(2, limits{ max = 100000007 })))
  end)

  it("follow the machine's memory when max is auto", function()
    local memory = tonumber(io.open("/proc/meminfo"):read("a"):match("MemTotal:%s*(%d+)")) * 1024
    for _, path in ipairs{ "/sys/fs/cgroup/memory.max",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes" } do
      local file = io.open(path)
      memory = math.min(memory, file and tonumber(file:read("l")) or memory)
      if file then file:close() end
    end
    local share = memory >= 8 << 30 and 0.40 or 0.75
    local expected = math.max(256 * MIB, math.min(8 << 30, math.floor(memory * share)))
    assert.are.near(expected, (limits{}), 4096)
    assert.are.equal((limits{}), (limits{ max = "auto", low_water = "auto" }))
  end)

  it("may be as small as one likes below a mebibyte", function()
    assert.are.same({ 64 << 10, 48 << 10 }, { limits{ max = "64K" } })
    assert.are.same({ 10, 9 }, { limits{ max = 10, low_water = 9 } })
    assert.are.same({ 1, 0 }, { limits{ max = 1 } })
    assert.are.same({ 4096, 0 }, { limits{ max = 4096, low_water = 0 } })
  end)

  it("are refused where they do not fit", function()
    local cases = {
      { { max = "2M", low_water = 163839 }, "must be at least 163840" },
      { { max = "2M", low_water = 2055209 }, "must be <= 0.98" },
      { { max = "1M", low_water = "2M" }, "low_water" },
      { { max = "1M", low_water = "1M" }, "low_water" },
      { { max = "64K", low_water = "64K" }, "low_water" },
      { { max = "auto", low_water = "1G" }, 'max is "auto", but low_water' },
      { { low_water = "1G" }, 'max is "auto", but low_water' },
      { { max = math.maxinteger, low_water = "1G" }, "low_water" },
      { { max = 0 }, "max" },
      { { max = "lots" }, 'max is no size: "lots"' },
      { { max = "12Q" }, 'max is no size: "12Q"' },
      { { max = "99999999999G" }, "max is too large" },
      { { max = "4M", low_water = "half" }, "low_water is no size" },
      { { max = "4M", deadline = 0 }, "deadline" },
      { { max = "4M", deadline = -1 }, "deadline" },
      { { max = "4M", deadline = 0 / 0 }, "deadline" },
      { { max = "4M", deadline = math.huge }, "deadline" },
    }
    for _, case in ipairs(cases) do
      local tracker, message, code = quota.new(case[1])
      assert.is_nil(tracker)
      assert.are.equal("bad_limits", code)
      assert.matches(case[2], message, 1, true)
    end
  end)

  it("hold at their very bounds", function()
    assert.are.same({ 2 * MIB, 163840 }, { limits{ max = "2M", low_water = 163840 } })
    assert.are.same({ 2 * MIB, 2055208 }, { limits{ max = "2M", low_water = 2055208 } })
  end)

  it("raise for what can only be a mistake, at the caller's line", function()
    local cases = {
      { function() quota.new{ max = -1 } end, "max must not be negative (got -1)" },
      { function() quota.new{ max = "-5M" } end, 'max must not be negative (got "-5M")' },
      { function() quota.new{ low_water = -1 } end, "low_water must not be negative (got -1)" },
      { function() quota.new{ max = {} } end, "max must be a size" },
      { function() quota.new{ max = true } end, "max must be a size" },
      { function() quota.new{ max = 1.5 } end, "max must be a whole number of bytes" },
      { function() quota.new{ max = 0 / 0 } end, "max must be a whole number of bytes" },
      { function() quota.new{ deadline = "5" } end, "deadline must be a number of seconds" },
      { function() quota.new{ on_event = 5 } end, "on_event must be a function (got number)" },
      { function() quota.new{ policy = 5 } end, "policy must be a name, a function or a table" },
      { function() quota.new{ loop = {} } end, "loop must be a lethe.loop.Loop (got table)" },
      { function() quota.new{ sise = 5 } end, 'unknown option "sise"' },
      { function() quota.new{ maxx = 5 } end, 'unknown option "maxx" (did you mean "max"?)' },
      { function() quota.new{ low = 5 } end, 'unknown option "low"' },
      { function() quota.new{ [1] = 5 } end, 'unknown option "1"' },
      { function() quota.noop():account{ name = "a\0b" } end, "name must not have a zero byte" },
      { function() quota.new(5) end, "a table of options expected, got number" },
      { function() quota.new(false) end, "a table of options expected, got boolean" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]):sub(1, #case[2]))
    end
  end)

  it("are no news with the tracker itself, nor is its policy", scenario(function(s)
    local t = s:quota{ max = "8M", policy = "largest", deadline = 1 }
    assert.are.same({ {}, "quota.Tracker" }, { s:events(), require("lethe").type(t) })
  end))

  it("are refused a closed loop", function()
    local loop = require("lethe.loop").new{ clock = "virtual" }
    loop:close()
    assert.are.equal("loop is a closed lethe.loop.Loop",
      at_its_line(function() quota.new{ loop = loop } end))
  end)
end)

describe("configure", function()
  it("changes the limits at once and tells of it", scenario(function(s)
    local t = s:quota{ max = "8M" }
    assert.is_true(t:configure{ max = "4M", low_water = "1M" })
    local event = s:events()[1]
    assert.are.same({ "reconfigured", 4 * MIB, MIB }, { event.type, event.max, event.low_water })
    assert.are.same({ 4 * MIB, MIB }, { t:stats().max, t:stats().low_water })
    assert.are.equal(1, #s:events())
  end))

  it("keeps an explicit low_water when max alone changes", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "1M" }
    assert.is_true(t:configure{ max = "16M" })
    assert.are.equal(MIB, t:stats().low_water)
    assert.is_true(t:configure{ low_water = "auto" })
    assert.are.equal(12 * MIB, t:stats().low_water)
    assert.is_true(t:configure{ max = "4M" })
    assert.are.equal(3 * MIB, t:stats().low_water)
  end))

  it("keeps what is not named", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "1M" }
    assert.is_true(t:configure{})
    assert.is_true(t:configure{ deadline = 2 })
    assert.are.same({ 8 * MIB, MIB }, { t:stats().max, t:stats().low_water })
  end))

  it("refuses as new does, leaving all as it was", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "6M" }
    local refused = {
      { max = "1M" },
      { max = "auto" },
      { low_water = "9M" },
      { max = "16M", low_water = "16M" },
      { max = "16M", deadline = 0 },
      { max = "many" },
    }
    for _, options in ipairs(refused) do
      local ok, message, code = t:configure(options)
      assert.are.same({ "nil", "string", "bad_limits" }, { type(ok), type(message), code })
    end
    local ok, message, code = t:configure{ max = "16M", policy = "latest" }
    assert.are.same({ "nil", "string", "bad_policy" }, { type(ok), type(message), code })
    assert.are.same({ 8 * MIB, 6 * MIB }, { t:stats().max, t:stats().low_water })
    assert.are.same({}, s:events())
  end))

  it("raises for mistakes, at the caller's line", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local cases = {
      { function() t:configure() end, "a table of options expected, got nil" },
      { function() t:configure{ max = -1 } end, "max must not be negative" },
      { function() t:configure{ loop = s.loop } end, 'unknown option "loop"' },
      { function() t:configure{ low_wtaer = 1 } end,
        'unknown option "low_wtaer" (did you mean "low_water"?)' },
      { function() t:configure{ policy = 1 } end, "policy must be a name" },
      { function() t.configure({}, {}) end,
        "calling 'configure' on bad self (lethe.quota.Tracker expected, got table)" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]):sub(1, #case[2]))
    end
  end))

  it("starts a reclamation when max falls below what is used", scenario(function(s)
    local t = s:quota{ max = "8M" }
    local h = participants.holder(t, { age = 1, bytes = "5M" })
    s:advance(0)
    assert.are.same({}, h.object.requests)
    assert.is_true(t:configure{ max = "4M" })
    s:advance(0)
    assert.are.equal(1, #h.object.requests)
    assert.are.equal(0, t:used())
  end))

  it("wakes claims that a higher max has room for", scenario(function(s)
    local t = s:quota{ max = "4M" }
    local h = participants.holder(t, { age = 1, bytes = "3M", answer = "partial" })
    local task = s.loop:spawn(function() return h.participation:claim_wait("3M") end)
    s:advance(0)
    t:configure{ max = "8M" }
    s:advance(0)
    assert.is_true(task:join())
  end))

  it("takes a raised low_water into account at the next choice", scenario(function(s)
    local t = s:quota{ max = "8M", low_water = "1M" }
    local function answer()
      t:configure{ low_water = "6M" }
      return "collapsing"
    end
    local first = participants.holder(t, { age = 1, bytes = "4M", answer = answer })
    local second = participants.holder(t, { age = 2, bytes = "5M", answer = answer })
    s:advance(0)
    assert.are.same({ 1, 0 }, { #first.object.requests, #second.object.requests })
    assert.are.equal("complete", s:events("reclaim_stop")[1].outcome)
  end))

  it("takes the limit off, goes on counting, and puts it on again", scenario(function(s)
    local t = s:quota{ max = "4M" }
    local h = participants.holder(t, { age = 1 })
    assert.is_true(t:configure{ max = math.maxinteger })
    h.participation:claim("100M")
    s:advance(0)
    assert.is_true(t:used() >= 100 * MIB)
    assert.are.equal(math.maxinteger, t:stats().max)
    assert.are.same({ 0, "normal" }, { t:pressure() })
    assert.is_true(t:configure{ max = "4M" })
    s:advance(0)
    assert.are.equal(1, #h.object.requests)
  end))
end)

describe("a tracker without limits", function()
  local function check_noop(t)
    local a = t:account{ name = "a", max = 10, reserve = 5 }
    local child = a:child{ name = "child" }
    local p = a:participant(participants.object(1))
    assert.is_true(p:claim("100G"))
    assert.is_true(p:clone():claim_wait(math.maxinteger))
    assert.are.equal("made", p:try_claim(5, function() return "made" end))
    p:release(1 << 50)
    assert.are.same({ 0, 0, 0, 0 }, { t:used(), a:used(), p:used(), t:reclaim() })
    assert.are.same({ 0, "normal" }, { t:pressure() })
    assert.are.same({ {}, {} }, { t:top(10), t:plan("1M") })
    assert.are.same({ "a", "child" }, { a:name(), child:name() })
    assert.are.equal(t, a:tracker())
    assert.is_true(a ~= child)
    assert.is_true(a:add_parent(child))
    assert.are.equal("quota.Account", require("lethe").type(p:account():upgrade()))
    assert.is_true(t:check())
    assert.are.same({ 0, 0, 0 }, { t:stats().used, t:stats().accounts, t:stats().reclaims })
    for _ in t:accounts() do error("there are none") end
    p:destroy()
    assert.is_true(p:claim(1))
  end

  it("counts nothing and refuses nothing", function()
    local t <close> = quota.noop()
    check_noop(t)
  end)

  it("is what the greatest max of all makes", function()
    local t <close> = quota.new{ max = math.maxinteger }
    check_noop(t)
    local limited <close> = quota.new{ max = math.maxinteger - 1 }
    participants.holder(limited, { bytes = "1M" })
    assert.is_true(limited:used() >= MIB)
  end)

  it("cannot be given some", function()
    local t <close> = quota.noop()
    local ok, message, code = t:configure{ max = "1M" }
    assert.are.same({ "nil", "string", "bad_limits" }, { type(ok), type(message), code })
    assert.is_true(t:configure{ deadline = 1 })
  end)

  it("gives accounts to parents of others, and takes none for its own", scenario(function(s)
    local t, noop = s:quota{ max = "4M" }, s:own(quota.noop())
    local a, b = t:account{}, noop:account{}
    assert.are.equal("quota.Account", require("lethe").type(noop:account{ parent = a }))
    assert.is_true(b:add_parent(a))
    assert.are.equal("other_tracker", select(3, t:account{ parent = b }))
    assert.are.equal("other_tracker", select(3, a:add_parent(b)))
  end))

  it("closes like others", function()
    local t = quota.noop()
    local a = t:account{}
    local p = a:participant(participants.object())
    assert.is_true(p:close() and a:close() and t:close() and t:close())
    assert.are.equal("attempt to use a closed lethe.quota.Tracker",
      at_its_line(function() t:used() end))
  end)
end)
