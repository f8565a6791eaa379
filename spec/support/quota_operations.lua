-- The operations of the quota tracker's model test. Each takes the world and four integers, from
-- which it makes all its choices; it does the same to the tracker and to the reference, and raises
-- where they differ. Callbacks of participants do operations too, in the midst of a pass.
local lethe = require "lethe"
local quota = require "lethe.quota"
local R = require "spec.support.quota_reference"

local M = {}

local fail = R.fail

-- ---- choices ----------------------------------------------------------------------------------

local function pick(list, n)
  return list[n % #list + 1]
end

-- Of records, each with a random key: the choice stays the same when others come or go, so that a
-- run can be cut down.
local function choose(list, n)
  local best, most = nil, -1
  for _, each in ipairs(list) do
    local rank = ((each.key ~ n) * 0x9E3779B97F4A7C15) >> 33
    if rank > most then best, most = each, rank end
  end
  return best
end

-- Mostly one that lives, now and then a dead one that still has an object to call.
local function target(list, n)
  local fit = {}
  for _, each in ipairs(list) do
    if #each.handles > 0 and (each.alive or n % 11 == 0) then fit[#fit + 1] = each end
  end
  return choose(fit, n // 11)
end

local function bytes(n)
  local kind, size = n % 8, n // 8
  if kind < 3 then return size % 100 end
  if kind < 6 then return size % 20000 end
  return size % 300000
end

local function expect(what, code, ok, message, got)
  if code then
    if ok or got ~= code then
      fail("%s: %s expected, got %s (%s)", what, code, tostring(ok or got), tostring(message))
    end
    return
  end
  if not ok then fail("%s failed: %s (%s)", what, tostring(message), tostring(got)) end
end

-- ---- accounts ---------------------------------------------------------------------------------

local MAX <const> = { nil, nil, nil, 0, 5000, 60000, 400000, 2000000 }

local function options(w, a, b)
  w.made = w.made + 1
  return {
    name = a % 3 ~= 0 and "account " .. w.made or nil,
    max = MAX[a // 3 % 12 + 1],
    reserve = b % 5 == 0 and b // 5 % 50000 or nil,
    priority = b % 7 == 0 and b // 7 % 5 - 2 or nil,
  }
end

local function enter(w, key, object, given, parent)
  local account = {
    key = key, alive = true, handles = { object }, weak = object:weak(), max = given.max,
    name = given.name, parents = {}, children = {}, participants = {},
  }
  if parent then R.link(account, parent) end
  w.accounts[#w.accounts + 1] = account
end

function M.account(w, a, b, c)
  local given = options(w, a, b)
  local parent = c % 3 == 0 and target(w.accounts, c // 3) or nil
  if #w.accounts > 30 then return end
  given.parent = parent and pick(parent.handles, b)
  local object, message, code = w.tracker:account(given)
  expect("account", parent and not parent.alive and "account_closed" or nil, object, message, code)
  if object then enter(w, a, object, given, parent) end
end

function M.child(w, a, b, c)
  local parent = target(w.accounts, a)
  if not parent or #w.accounts > 30 then return end
  local given = options(w, b, c)
  local object, message, code = pick(parent.handles, b):child(given)
  expect("child", not parent.alive and "account_closed" or nil, object, message, code)
  if object then enter(w, b, object, given, parent) end
end

function M.add_parent(w, a, b, c)
  local child, parent = target(w.accounts, a), target(w.accounts, b)
  if not child or not parent then return end
  if c % 20 == 0 then
    expect("add_parent", "other_tracker", child.handles[1]:add_parent(w.foreign))
    return
  end
  local code = R.parent_code(child, parent)
  expect("add_parent", code, pick(child.handles, c):add_parent(pick(parent.handles, c)))
end

function M.clone_account(w, a, b)
  local account = target(w.accounts, a)
  if not account or #account.handles > 4 then return end
  local clone = pick(account.handles, b):clone()
  if clone ~= account.handles[1] then fail("a clone is not equal") end
  table.insert(account.handles, clone)
end

function M.upgrade(w, a, b)
  local account = choose(w.accounts, a)
  if not account then return end
  local object, message, code = account.weak:upgrade()
  expect("upgrade", not account.alive and "account_closed" or nil, object, message, code)
  if object and b % 2 == 0 then
    table.insert(account.handles, object)
  elseif object then
    object:close()
  end
end

function M.close_account(w, a, b)
  local account = target(w.accounts, a)
  if not account then return end
  pick(account.handles, b):close()
  table.remove(account.handles, b % #account.handles + 1)
  if #account.handles == 0 then R.end_account(account) end
end

-- ---- participants -----------------------------------------------------------------------------

local ANSWERS <const> = {
  "collapse", "collapse", "nothing", "partial", "partial", "give some", "give none", "raise", "bad",
}

-- What a participant's object does is laid down by its seed.
local function new_object(w, p, seed)
  local kind = pick(ANSWERS, seed)
  local object = { age = seed % 1000 }
  if seed % 13 == 0 then object.age = nil end
  local meddling, calls = seed % 6 == 0, 0
  local slow = seed % 41 == 0 and seed % 8 -- from 5 s on the pass does not wait for it
  local function meddle()
    calls = calls + 1
    if meddling and calls < 5 then M.meddle(w, seed + calls * 7919) end
  end
  local function give(n)
    w.adopt(w)
    if #p.handles > 0 then M.release_bytes(w, p, n, p.handles[1]) end
  end
  function object.get_oldest(self)
    if not p.alive then w.wrong = "a dead participant is asked for its age" end
    if seed % 29 == 0 then meddle() end
    if seed % 37 == 0 then
      p.torn = p.torn or not w.planning -- a plan takes nobody
      error("model: no age today")
    end
    return self.age
  end
  function object.reclaim(_, request)
    if not (request.goal > 0 and request.deadline > 0) then w.wrong = "a strange request" end
    if not p.alive then w.wrong = "a dead participant is asked for memory" end
    p.asked, p.answer = true, "unknown"
    meddle()
    if slow then
      w.loop:sleep(slow)
    end
    if slow and slow >= 5 then p.answer = "late" end
    if kind == "raise" or kind == "bad" then
      p.answer = "collapse"
      if kind == "bad" then return "whatever" end
      error("model: will not give")
    elseif kind:find("give") or kind == "partial" then
      local held = p.alive and p.used or 0
      give(kind == "partial" and math.min(request.goal, held) or kind == "give some" and held // 2
        or 0)
      if p.answer ~= "late" then p.answer = "partial" end
      return "partial"
    end
    p.answer = "collapse"
    return kind == "collapse" and "collapsing" or nil
  end
  return object
end

local function new_participant(key, account, weak)
  return { key = key, alive = true, account = account, handles = {}, used = 0, weak = weak }
end

function M.participant(w, a, b, c)
  local account = target(w.accounts, a)
  if not account or #w.participants > 40 then return end
  local p = new_participant(c, account, b % 4 == 0)
  p.object = new_object(w, p, c)
  local given = p.weak and { weak = true } or nil
  local object, message, code = pick(account.handles, b):participant(p.object, given)
  expect("participant", not account.alive and "account_closed" or nil, object, message, code)
  if not object then return end
  p.handles[1] = object
  table.insert(w.participants, p)
  table.insert(account.participants, p)
end

function M.participant_with(w, a, b, c)
  local account = target(w.accounts, a)
  if not account or #w.participants > 40 then return end
  local p = new_participant(c, account)
  local how = b % 4
  local ok, object, message, code = pcall(function()
    return pick(account.handles, b):participant_with(function(handle)
      p.handles[1] = handle
      table.insert(w.participants, p)
      table.insert(account.participants, p)
      M.claim_bytes(w, p, bytes(c), handle)
      if how == 0 then error("model: not made", 0) end
      if how == 1 then return nil, "model: none", "none" end
      p.object = new_object(w, p, c)
      return p.object
    end)
  end)
  local made = account.alive and how > 1
  if made then
    expect("participant_with", nil, object, message, code)
    if object ~= p.object then fail("participant_with returned something else") end
    return
  elseif how == 0 and account.alive then
    if ok or object ~= "model: not made" then fail("participant_with did not raise: %s", object) end
  else
    if not ok then fail("participant_with raised %s", object) end
    expect("participant_with", account.alive and "none" or "account_closed", object, message, code)
  end
  R.end_participant(p)
  p.handles = {}
end

function M.clone(w, a, b)
  local p = target(w.participants, a)
  if not p or #p.handles > 4 then return end
  table.insert(p.handles, (pick(p.handles, b):clone()))
end

-- The last handle of a condemned participant keeps nothing of it.
local function handle_gone(p)
  if #p.handles > 0 then return end
  R.end_participant(p)
end

function M.close(w, a, b)
  local p = target(w.participants, a)
  if not p then return end
  pick(p.handles, b):close()
  table.remove(p.handles, b % #p.handles + 1)
  handle_gone(p)
end

function M.destroy(w, a, b)
  local p = target(w.participants, a)
  if not p then return end
  pick(p.handles, b):destroy()
  R.end_participant(p)
  p.condemned = nil
end

-- What fn returns, run as a task; the clock moves until it has ended.
local function wait_for(w, fn)
  local results
  w.loop:spawn(function() results = table.pack(fn()) end)
  w.loop:run()
  for _ = 1, 1000 do
    if results then return table.unpack(results, 1, results.n) end
    w.loop:advance(20)
  end
  fail("a waiting call has no end")
end

-- ---- bytes ------------------------------------------------------------------------------------

function M.claim_bytes(w, p, n, handle)
  local code = R.claim_code(p, n)
  local ok, message, got = handle:claim(n)
  -- Room that was granted to a waiting claim is not the reference's yet.
  if w.waiting and not code and got == "over_limit" then return end
  expect(("claim of %d"):format(n), code, ok, message, got)
  if ok then p.used = p.used + n end
end

function M.release_bytes(w, p, n, handle)
  if p.alive and n > p.used then
    w.over_released = w.over_released + 1
    w.excess = w.excess + n - p.used
  end
  handle:release(n)
  if p.alive then
    p.used = math.max(0, p.used - n)
  elseif p.condemned then
    p.condemned = math.max(0, p.condemned - n)
  end
end

function M.claim(w, a, b, c)
  local p = target(w.participants, a)
  if p then M.claim_bytes(w, p, bytes(c), pick(p.handles, b)) end
end

function M.release(w, a, b, c)
  local p = target(w.participants, a)
  if not p then return end
  local held = p.alive and p.used or p.condemned or 0
  local n = c % 9 == 0 and bytes(c // 9) or held > 0 and c // 9 % (held + 1) or 0
  M.release_bytes(w, p, n, pick(p.handles, b))
end

function M.try_claim(w, a, b, c)
  local p = target(w.participants, a)
  if not p then return end
  local n, how = bytes(c), b % 3
  local code = R.claim_code(p, n)
  local handle = pick(p.handles, b)
  local ok, first, message, got = pcall(handle.try_claim, handle, n, function(x)
    if x ~= "argument" then fail("try_claim lost its argument") end
    if how == 0 then error("model: changed my mind", 0) end
    if how == 2 then p.used = p.used + n end
    return how == 2 and "kept" or nil
  end, "argument")
  if w.waiting and not code and got == "over_limit" then return end
  if code then
    if not ok then fail("try_claim raised %s", first) end
    expect("try_claim", code, first, message, got)
  elseif how == 0 and (ok or first ~= "model: changed my mind") then
    fail("try_claim did not raise: %s", first)
  elseif how > 0 and (not ok or first ~= (how == 2 and "kept" or nil)) then
    fail("try_claim returned %s", tostring(first))
  end
end

function M.claim_wait(w, a, b, c)
  local p = target(w.participants, a)
  if not p then return end
  local n, code = bytes(c), R.claim_code(p, 0)
  local handle = pick(p.handles, b)
  w.waiting = true
  local ok, message, got = wait_for(w, function()
    local ok, message, got = handle:claim_wait(n, 1)
    if ok and p.alive then p.used = p.used + n end
    return ok, message, got
  end)
  w.waiting = false
  if code then
    expect("claim_wait", code, ok, message, got)
  elseif not ok and got ~= "timeout" and got ~= "over_limit" and got ~= "account_closed"
    and got ~= "participant_shutdown" then
    fail("claim_wait: %s (%s)", tostring(message), tostring(got))
  end
end

-- ---- collections ------------------------------------------------------------------------------

-- What is dropped here is collected as soon as the operation has returned (nothing of it is in a
-- register then), so that the reference knows when it is gone.

function M.drop_account(w, a, b)
  local account = target(w.accounts, a)
  if not account then return end
  table.remove(account.handles, b % #account.handles + 1)
  if #account.handles == 0 then R.end_account(account) end
  w.collect = true
end

function M.drop(w, a, b)
  local p = target(w.participants, a)
  if not p then return end
  table.remove(p.handles, b % #p.handles + 1)
  handle_gone(p)
  w.collect = true
end

-- Lets go of an object: a weak participant is lost in the next pass that asks it, a condemned one
-- is buried; others have their participations to keep it.
function M.drop_object(w, a)
  local p = choose(w.participants, a)
  if not p or not p.object then return end
  p.object, p.condemned = nil, nil
  if p.weak and p.alive then p.torn = true end
  w.collect = true
end

function M.collect(w)
  w.collect = true
end

-- ---- the tracker ------------------------------------------------------------------------------

local POLICIES <const> = {
  "oldest", "largest", "oldest_weighted", "fair_share", "priority",
  function(c) return c.used end,
  function(c) return c.account % 3 ~= 0 and c.age or nil end,
  { score = "used * age" },
  { score = "reserve > 0 and used", degraded = true },
  { order = function(list) return list end },
  { score = function() error("model: no policy today") end },
  { score = function() return "x" end, degraded = true },
  { order = function() end },
  "spec/data/policies/tenants.lua",
}

local LIMITS <const> = { "1M", "2M", "4M", "64M", 300000, 100000 }

function M.configure(w, a, b)
  if a % 3 > 0 then
    local policy = pick(POLICIES, b)
    expect("configure", nil, w.tracker:configure{ policy = policy })
    w.policy = policy
  end
  if a % 4 == 0 then
    local max = pick(LIMITS, b // 20)
    expect("configure", nil, w.tracker:configure{ max = max, low_water = "auto" })
  end
  expect("configure", "bad_policy", w.tracker:configure{ policy = "oldets" })
end

function M.reclaim(w, a)
  local goal = a % 5 > 0 and bytes(a // 5) or nil
  local freed, message = wait_for(w, function() return w.tracker:reclaim(goal) end)
  if not freed or freed < 0 then fail("reclaim: %s", tostring(message)) end
end

function M.plan(w, a)
  local sum, goal = 0, bytes(a)
  local seen, outer = {}, w.planning
  w.planning = true
  local rows = w.tracker:plan(goal)
  w.planning = outer
  for _, row in ipairs(rows) do
    if seen[row.account] then fail("an account is planned twice") end
    seen[row.account] = true
    sum = sum + row.used
  end
  if sum > w.tracker:used() then fail("the plan frees more than there is") end
end

function M.top(w, a)
  local outer, last = w.planning, math.huge
  w.planning = true -- it asks for ages as a plan does
  local list = w.tracker:top(a % 8)
  w.planning = outer
  for _, row in ipairs(list) do
    if row.used > last or row.used > row.peak then fail("top is out of order") end
    last = row.used
  end
  if #list > a % 8 then fail("top lists too many") end
end

-- ---- in the midst of callbacks ------------------------------------------------------------------

local MEDDLING <const> = {
  "claim", "claim", "release", "release", "clone", "close", "destroy", "participant", "account",
  "child", "add_parent", "close_account", "upgrade", "clone_account", "try_claim", "configure",
  "plan", "top",
}

--- One operation that a callback may do, on a reference that knows what the pass did so far; what
--- it says wrong is kept, since callbacks' errors go elsewhere.
function M.meddle(w, seed)
  w.adopt(w)
  local ok, message = pcall(M[pick(MEDDLING, seed)], w, seed // 3, seed // 5, seed // 7, seed // 11)
  if not ok then w.wrong = w.wrong or message end
end

M.names = {}
for name in pairs(M) do
  if name ~= "meddle" and name ~= "names" and not name:find("bytes") then
    table.insert(M.names, name)
  end
end
table.sort(M.names)
M.wait_for = wait_for

--- A fresh world on a virtual loop; `adopt` is to make the reference know what a pass ended.
function M.world(loop, adopt)
  local w = {
    loop = loop, adopt = adopt, accounts = {}, participants = {}, events = {}, made = 0,
    over_released = 0, excess = 0, policy = "oldest",
  }
  local function on_event(event)
    w.events[event.type] = (w.events[event.type] or 0) + 1
    if event.type == "over_release" then w.told_excess = (w.told_excess or 0) + event.bytes end
  end
  w.tracker = assert(quota.new{ max = "4M", loop = loop, on_event = on_event })
  w.other = assert(quota.new{ max = "1M", loop = loop })
  w.foreign = assert(w.other:account{})
  w.reported = 0
  w.on_error = lethe.on_error(function(message)
    w.reported = w.reported + 1
    if not R.is_ours(message) and not tostring(message):find("whatever", 1, true) then
      w.wrong = w.wrong or tostring(message)
    end
  end)
  return w
end

return M
