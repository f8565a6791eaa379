-- quota.track_state: the allocator of a Lua state under an account. States that end run in
-- processes of their own; one whose account collapses, in spec/c/test_lua_track.c.
local program = require "spec.support.program"
local quota = require "lethe.quota"
local scenario = require "lethe.spec".scenario

local M <const> = 1 << 20

-- What the collector says that the state holds, in bytes.
local function held()
  return math.tointeger(collectgarbage("count") * 1024)
end

-- What the account holds, and what the collector says, at one moment: the first call lets the stack
-- grow to what the others need.
local function both(account)
  held()
  local used = account:used()
  return used, held()
end

-- A tracker with an account; `options` are the account's.
local function place(s, options, tracker_options)
  local given = { max = 256 * M }
  for k, v in pairs(tracker_options or {}) do
    given[k] = v
  end
  local tracker = assert(s:quota(given))
  return s:own(assert(tracker:account(options))), tracker
end

-- Tracks this state until the scenario ends.
local function track(s, account, options)
  return s:own(assert(quota.track_state(account, options)))
end

local FILLER <const> = {}
for i = 1, 60 do
  FILLER[i] = i
end

-- Fills memory until it cannot; what pcall said, and the most that was held. It is free again then.
local function hog()
  local most = 0
  local ok, message = pcall(function()
    local t = {}
    for _ = 1, 1 << 20 do
      t = table.pack(t, table.unpack(FILLER))
      most = math.max(most, held())
    end
  end)
  collectgarbage()
  return ok, message, most
end

describe("track_state", function()
  it("claims what the state holds already, to the byte", scenario(function(s)
    local account = place(s)
    local before = held()
    local p = track(s, account)
    assert.are.equal("quota.Participation", require("lethe").type(p))
    local used, now = both(account)
    local of_p, of_account = p:used(), account:used()
    assert.are.equal(now, used)
    assert.are.equal(of_account, of_p)
    assert.is_true(used >= before - 65536)
  end))

  it("stays exact to the byte at any moment", scenario(function(s)
    local account, tracker = place(s)
    track(s, account)
    local kept = {}
    for i = 1, 2000 do
      local kind = i % 7
      if kind == 0 then
        kept[i] = ("x"):rep(i)
      elseif kind == 1 then
        kept[i] = {}
      elseif kind == 2 then
        kept[i % 100] = nil
      elseif kind == 3 then
        kept[i] = coroutine.create(function() end)
      elseif kind == 4 then
        kept[i] = function() return kept end
      elseif kind == 5 and i % 35 == 5 then
        collectgarbage("step", 100)
      end
      local used, now = both(account)
      assert(used == now, ("step %d: %d used, %d held"):format(i, used, now))
    end
    assert.is_function(kept[1999 - 1999 % 7 + 4] or print)
    collectgarbage()
    collectgarbage()
    local used, now = both(account)
    local all = tracker:used()
    assert.are.equal(now, used)
    assert.are.equal(now, all)
    assert.is_true(tracker:check())
  end))

  for _, mode in ipairs{ "generational", "incremental" } do
    it("is exact in the collector's mode " .. mode, scenario(function(s)
      local before = collectgarbage(mode)
      s:own{ close = function() collectgarbage(before) end }
      local account = place(s)
      track(s, account)
      local live = {}
      for i = 1, 20000 do
        live[i % 500] = { i, tostring(i) }
        if i % 1000 == 0 then
          local used, now = both(account)
          assert.are.equal(now, used)
        end
      end
      collectgarbage()
      local used, now = both(account)
      assert.are.equal(now, used)
      assert.is_table(live[1])
    end))
  end

  it("gives the old allocator back on close", scenario(function(s)
    local account, tracker = place(s)
    local p = assert(quota.track_state(account))
    assert.is_true(account:used() > 0)
    p:close()
    assert.are.equal(0, account:used())
    assert.are.equal(0, tracker:used())
    local _ = ("x"):rep(100000)
    assert.are.equal(0, account:used())
    p:close()
    assert.is_true(tracker:check())
    track(s, account)
    local used, now = both(account)
    assert.are.equal(now, used)
  end))

  it("ends with destroy as well, and with the last of no clones", scenario(function(s)
    local account, tracker = place(s)
    local p = assert(quota.track_state(account))
    local clone = s:own(p:clone())
    p:close()
    assert.are.equal(0, account:used())
    clone:close()
    p = assert(quota.track_state(account))
    p:destroy()
    assert.are.equal(0, tracker:used())
    local again = assert(quota.track_state(account))
    p:close()
    local used, now = both(account)
    assert.are.equal(now, used)
    again:close()
    assert.are.equal(0, account:used())
    assert.is_true(tracker:check())
  end))

  it("tracks a state once", scenario(function(s)
    local account, tracker = place(s)
    local p = track(s, account)
    local other = s:own(assert(tracker:account{}))
    for _, each in ipairs{ account, other } do
      local again, message, code = quota.track_state(each)
      assert.is_nil(again)
      assert.are.equal("already_tracked", code)
      assert.are.equal("this Lua state is tracked already", message)
    end
    p:close()
    assert(quota.track_state(other)):close()
  end))

  it("goes on when nobody keeps the participation", scenario(function(s)
    local account = place(s)
    s:own(assert(quota.track_state(account)))
    s._owned[#s._owned] = nil
    s:collect()
    local used, now = both(account)
    assert.are.equal(now, used)
    local _, _, code = quota.track_state(account)
    assert.are.equal("already_tracked", code)
    account:close() -- which leaves the state alive and uncounted
    account = place(s)
    assert.are.equal("already_tracked", (select(3, quota.track_state(account))))
    -- The one way left to end it is its object.
    for _, value in pairs(debug.getregistry()) do
      if require("lethe").type(value) == "quota.Participation" then
        value:close()
        break
      end
    end
    assert(quota.track_state(account)):close()
  end))

  it("counts the manual claims beside what Lua holds", scenario(function(s)
    local account = place(s)
    local p = track(s, account)
    assert.is_true(p:claim(1000))
    local used, now = both(account)
    assert.are.equal(now + 1000, used)
    p:release(1000)
    used, now = both(account)
    assert.are.equal(now, used)
  end))

  it("raises for what is no account, and for options that it does not know", scenario(function(s)
    local account, tracker = place(s)
    for _, wrong in ipairs{ 5, "x", {}, tracker } do
      local ok, message = pcall(function() local _ = quota.track_state(wrong) end)
      assert.is_false(ok)
      assert.matches("track_state_spec.lua:%d+: bad argument #1 to 'track_state'", message)
    end
    local ok, message = pcall(function() local _ = quota.track_state(account, { limt = 5 }) end)
    assert.is_false(ok)
    assert.matches('unknown option "limt" %(did you mean "limit"%?%)', message)
    assert.is_false(pcall(quota.track_state, account, { limit = -1 }))
    assert.is_false(pcall(quota.track_state, account, { limit = "much" }))
  end))

  it("cannot be called from a finalizer", scenario(function(s)
    local account = place(s)
    local ok, message
    setmetatable({}, { __gc = function() ok, message = pcall(quota.track_state, account) end })
    collectgarbage()
    assert.is_false(ok)
    assert.matches("a finalizer cannot begin to track the state", message)
    track(s, account)
  end))

  it("fails for what cannot be", scenario(function(s)
    local account, tracker = place(s)
    local p, _, code = quota.track_state(account, { limit = 1000 })
    assert.is_nil(p)
    assert.are.equal("over_limit", code)
    local small = s:own(assert(tracker:account{ max = 4096 }))
    assert.are.equal("over_limit", (select(3, quota.track_state(small))))
    assert.are.equal(0, tracker:used())
    local clone = account:clone()
    tracker:close()
    assert.are.equal("tracker_shutdown", (select(3, quota.track_state(clone))))
    clone:close()
  end))

  it("collects before it finds that the state holds too much", scenario(function(s)
    local account = place(s)
    collectgarbage()
    collectgarbage("stop")
    s:own{ close = function() collectgarbage("restart") end }
    local base = held()
    for _ = 1, 100 do
      local _ = ("x"):rep(100000) .. math.random()
    end
    assert.is_true(held() > base + 2 * M)
    assert.is_not_nil(track(s, account, { limit = base + 2 * M }))
  end))
end)

describe("the limit of track_state", function()
  it("makes an allocation fail as Lua's own error, and the state goes on", scenario(function(s)
    local account = place(s)
    collectgarbage()
    track(s, account, { limit = held() + 2 * M })
    for _ = 1, 3 do
      local ok, message = hog()
      assert.is_false(ok)
      assert.are.equal("not enough memory", message)
      local used, now = both(account)
      assert.are.equal(now, used)
    end
    assert.are.equal(M // 4, #("x"):rep(M // 4))
  end))

  it("is never passed", scenario(function(s)
    local account, tracker = place(s)
    collectgarbage()
    local limit = held() + M
    track(s, account, { limit = limit })
    assert.is_false((hog()))
    assert.is_true(tracker:stats().peak <= limit)
    assert.is_true(tracker:stats().peak > limit - 65536)
  end))

  it("may be a size with a unit", scenario(function(s)
    local account = place(s)
    collectgarbage()
    track(s, account, { limit = "64M" })
    assert.is_true(account:used() < 64 * M)
  end))

  it("is met after one emergency collection: garbage goes first", scenario(function(s)
    local account = place(s)
    collectgarbage()
    collectgarbage("stop")
    s:own{ close = function() collectgarbage("restart") end }
    collectgarbage()
    local limit = held() + 2 * M
    track(s, account, { limit = limit })
    local seen = setmetatable({}, { __mode = "k" })
    local most = 0
    for i = 1, 100000 do -- 10 M of garbage
      local garbage = { i, {} }
      seen[1], seen[garbage] = garbage, nil
      most = math.max(most, held())
    end
    assert.is_true(most <= limit)
    assert.is_true(most > limit - 65536)
  end))

  for what, options in pairs{
    ["an account's max"] = function(max) return { max = max } end,
    ["a parent's max"] = function(max, tracker, s)
      return { parent = s:own(assert(tracker:account{ max = max })) }
    end,
  } do
    it("is " .. what .. " too", scenario(function(s)
      local tracker = assert(s:quota{ max = 256 * M })
      collectgarbage()
      local max = held() + 2 * M
      local account = s:own(assert(tracker:account(options(max, tracker, s))))
      track(s, account)
      local ok, message = hog()
      assert.is_false(ok)
      assert.are.equal("not enough memory", message)
      assert.is_true(tracker:stats().peak <= max)
      local used, now = both(account)
      assert.are.equal(now, used)
      assert.is_true(tracker:check())
    end))
  end

  it("leaves a pass over the account to the participants beside it", scenario(function(s)
    local tracker = assert(s:quota{ max = 256 * M })
    local half = ("x"):rep(3 * M)
    collectgarbage()
    local account = s:own(assert(tracker:account{ max = held() + 8 * M }))
    local cache, p = { get_oldest = function() return 1 end }, nil
    function cache.reclaim(_, request)
      cache.reason = request.reason
      p:release(p:used())
      return "partial"
    end
    p = assert(account:participant(cache))
    assert(p:claim(4 * M))
    track(s, account)
    local function double() return half .. half end
    assert.is_false((pcall(double)))
    s.loop:run()
    assert.are.equal("account", cache.reason)
    assert.are.equal(0, p:used())
    assert.are.equal(6 * M, #double())
  end))
end)

describe("a tracked state", function()
  it("starts a pass when Lua crosses the tracker's max", scenario(function(s)
    collectgarbage()
    local account, tracker = place(s, nil, { max = held() + 4 * M, low_water = held() + 2 * M })
    local other = s:own(assert(tracker:account{ name = "cache" }))
    local asked = 0
    local cache = {
      get_oldest = function() return 1 end,
      reclaim = function() asked = asked + 1 end,
    }
    local p = assert(other:participant(cache))
    assert(p:claim(2 * M))
    track(s, account)
    s.loop:run()
    assert.are.equal(0, asked)
    local keep = ("x"):rep(3 * M)
    s.loop:run()
    assert.are.equal(1, asked)
    assert.are.equal("cache", s:events("victim")[1].name)
    assert.are.equal(1, #s:events("reclaim_start"))
    assert.are.equal(3 * M, #keep)
  end))

  it("is no candidate itself", scenario(function(s)
    local account, tracker = place(s)
    track(s, account)
    assert.are.same({}, tracker:plan(1 << 40))
    tracker:reclaim(1 << 30)
    assert.are.same({}, s:events("victim"))
    assert.are.equal("stuck", s:events("reclaim_stop")[1].outcome)
    local used, now = both(account)
    assert.are.equal(now, used)
  end))

  it("goes on uncounted when its account is closed", scenario(function(s)
    local account, tracker = place(s, { max = 512 * M })
    local p = track(s, account)
    account:close()
    assert.are.equal(0, tracker:used())
    assert.are.equal(M, #("x"):rep(M))
    assert.are.equal(0, tracker:used())
    assert.are.equal("account_closed", (select(3, p:claim(1))))
    p:close()
    assert.is_true(tracker:check())
  end))

  it("goes on uncounted when the tracker shuts down", scenario(function(s)
    local account, tracker = place(s)
    local p = track(s, account)
    tracker:close()
    assert.are.equal(M, #("x"):rep(M))
    assert.are.equal(0, p:used())
    p:close()
  end))

  it("under a noop tracker is not counted, but limited", scenario(function(s)
    local tracker = s:own(quota.noop())
    local account = s:own(tracker:account{})
    collectgarbage()
    local p = track(s, account, { limit = held() + M })
    assert.are.equal(0, account:used())
    assert.is_false((hog()))
    p:close()
    assert.is_true((pcall(function() return ("x"):rep(2 * M) end)))
  end))
end)

-- ---- ends -------------------------------------------------------------------------------------

describe("the end of a tracked state", function()
  after_each(program.clean)

  local HEAD <const> = [[
    local quota = require "lethe.quota"
    local tracker = assert(quota.new{ max = "256M" })
    local account = assert(tracker:account{ name = "all" })
  ]]

  -- A stock Lua with the modules beside the executable; a sanitizer's runtime has to come first.
  local function stock_lua()
    local folder = program.path:match("^(.*)/") or "."
    local runtime = folder:find("address") and "asan" or folder:find("thread") and "tsan"
    local preload = runtime and "LD_PRELOAD=$(gcc -print-file-name=lib%s.so) " or ""
    return ("%sLUA_PATH='lua/?.lua;lua/?/init.lua' LUA_CPATH='%s/?.so' lua5.4"):format(
      preload:format(runtime), folder)
  end

  local function ends_well(source, stock)
    local path = program.file(HEAD .. source)
    local out, err, code = program.run((stock and stock_lua() or "lethe") .. " " .. path)
    assert.are.equal("", err)
    assert.are.equal("done\n", out)
    assert.are.equal(0, code)
  end

  local ENDS <const> = {
    ["as it is"] = [[p = assert(quota.track_state(account)) print "done"]],
    ["with nothing kept"] = [[
      assert(quota.track_state(account))
      tracker, account, quota = nil, nil, nil
      collectgarbage()
      collectgarbage()
      local t = {}
      for i = 1, 1000 do t[i] = ("x"):rep(1000) .. i end
      print "done"
    ]],
    ["by os.exit, the state closed"] = [[
      p = assert(quota.track_state(account))
      print "done"
      os.exit(true, true)
    ]],
    ["by os.exit"] = [[p = assert(quota.track_state(account)) print "done" os.exit(true)]],
    ["with its tracker closed"] = [[
      p = assert(quota.track_state(account))
      tracker:close()
      print "done"
    ]],
    ["with its account closed"] = [[
      p = assert(quota.track_state(account))
      account:close()
      print "done"
    ]],
    ["with finalizers that use it"] = [[
      p = assert(quota.track_state(account, { limit = "64M" }))
      keep = setmetatable({}, { __gc = function()
        local t = {}
        for i = 1, 100 do t[i] = ("x"):rep(1000) .. i end
        pcall(string.rep, "x", 1 << 27)
        p:close()
        pcall(quota.track_state, account)
      end })
      print "done"
    ]],
    ["at its limit"] = [[
      p = assert(quota.track_state(account, { limit = "2M" }))
      keep = {}
      print "done"
      pcall(function()
        for i = 1, 1 << 24 do keep[i] = ("x"):rep(100) .. i end
      end)
    ]],
    ["inside a coroutine"] = [[
      co = coroutine.wrap(function()
        p = assert(quota.track_state(account))
        coroutine.yield()
      end)
      co()
      print "done"
    ]],
  }
  for name, source in pairs(ENDS) do
    it("goes well " .. name .. ", in lethe", function() ends_well(source) end)
    it("goes well " .. name .. ", in a stock lua5.4", function() ends_well(source, true) end)
  end
end)
