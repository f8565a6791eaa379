-- The quota tracker's Lua face against a naive reference: random operations, also inside callbacks.
-- What single calls answer is predicted; what a pass takes is learnt from the tracker, and checked
-- to be something that a pass may take. A run that fails is cut down to a few operations and
-- printed. SEED= repeats a run; LETHE_WORK multiplies its length.
local lethe = require "lethe"
local loop = require "lethe.loop"
local chance = require "spec.support.chance"
local O = require "spec.support.quota_operations"
local R = require "spec.support.quota_reference"

local EPISODE <const> = 300 -- operations in one world
local WORK <const> = math.max(0.1, chance.WORK)
local OPERATIONS <const> = math.tointeger(3000 * WORK // 1)
local SEED <const> = chance.SEED

local fail = R.fail

-- ---- random operations ------------------------------------------------------------------------

local OFTEN <const> = {
  "claim", "claim", "claim", "claim", "release", "release", "participant", "participant", "account",
  "child", "clone", "close", "reclaim",
}

local function random_operations(seed, n)
  local random = chance.below(seed)
  local list = {}
  for i = 1, n do
    local names = random(2) == 0 and OFTEN or O.names
    list[i] = { names[random(#names) + 1], random(1 << 30), random(1 << 30), random(1 << 30) }
  end
  return list
end

-- ---- what a pass did ---------------------------------------------------------------------------

-- An account may have ended only if a participant of it collapsed (one that is closed when it is to
-- be asked counts as that), or if it had none to ask and stood below one that ended.
local function check_account_end(a, ended)
  local asked = false
  for _, p in ipairs(a.participants) do
    if p.just_ended or p.asked and p.answer ~= "partial" then return end
    asked = asked or p.asked
  end
  if asked then fail("account %s ended though nobody in it collapsed", a.name) end
  if a.orphan then return end
  for _, above in ipairs((R.reach(a, "parents"))) do
    if above ~= a and (ended[above] or above.orphan) then return end
  end
  fail("account %s ended though nothing above it did", a.name)
end

local function adopt_accounts(w)
  local ended, list = {}, {}
  for _, a in ipairs(w.accounts) do
    if a.alive then
      local object <close> = a.weak:upgrade()
      if not object then
        ended[a] = true
        list[#list + 1] = a
      end
    end
  end
  for _, a in ipairs(list) do
    check_account_end(a, ended)
  end
  for _, a in ipairs(list) do
    R.end_account(a, true)
  end
end

-- Makes the reference know what the tracker ended by itself.
local function adopt(w)
  adopt_accounts(w)
  for _, p in ipairs(w.participants) do
    if p.alive and not p.handles[1]:claim(0) then
      if not p.torn and not (p.asked and p.answer ~= "partial") then
        fail("a participant ended that did not collapse (%s)", p.answer or "not asked")
      end
      R.end_participant(p, not p.torn)
    end
  end
end

-- After a pass: who collapsed is over, and so are accounts in which nobody stays.
local function settle(w)
  adopt(w)
  for _, p in ipairs(w.participants) do
    if p.alive and p.asked and p.answer == "collapse" then fail("a collapsed participant lives") end
    if p.alive and p.torn and p.object then fail("a participant without an age lives") end
    if not p.object and p.asked then w.collect = true end
  end
  for _, a in ipairs(w.accounts) do
    local collapsed, stays = false, false
    for _, p in ipairs(a.participants) do
      collapsed = collapsed or p.asked and p.answer == "collapse" and not p.torn
      stays = stays or p.alive or p.answer == "partial" -- it may have ended itself since
    end
    if a.alive and collapsed and not stays then fail("an account outlives its participants") end
    a.orphan = nil
  end
  for _, p in ipairs(w.participants) do
    p.asked, p.answer, p.just_ended = nil, nil, nil
    if p.object then p.torn = nil end
  end
end

local function quiesce(w)
  w.loop:run()
  for _ = 1, 1000 do -- some participants are slow
    if w.events.reclaim_start == w.events.reclaim_stop then break end
    w.loop:advance(20)
  end
  if w.events.reclaim_start ~= w.events.reclaim_stop then fail("a pass has no end") end
  if w.wrong then fail("%s", w.wrong) end
  settle(w)
end

local function collect(w)
  if not w.collect then return end
  w.collect = nil
  collectgarbage()
  collectgarbage()
  w.tracker:used() -- a safe point
end

-- ---- comparing --------------------------------------------------------------------------------

local function within(what, value, least, most)
  if value < least or value > most then
    fail("%s is %d, expected %d to %d", what, value, least, most)
  end
end

-- `exact`: no cache is out.
local function compare(w, exact)
  local used, accounts, participants, handles, condemned = R.totals(w)
  local cache = exact and 0 or R.CACHE
  local stats = w.tracker:stats()
  within("used", w.tracker:used(), used, used + handles * cache)
  within("accounts", stats.accounts, accounts, accounts)
  within("participants", stats.participants, participants, participants)
  within("condemned", stats.condemned, condemned, condemned)
  within("policy_failures", stats.policy_failures, w.events.policy_failed or 0,
    w.events.policy_failed or 0)
  within("over_release", w.events.over_release or 0, w.over_released, w.over_released)
  within("bytes released too much", w.told_excess or 0, w.excess, w.excess)
  for _, p in ipairs(w.participants) do
    if p.handles[1] then
      local held = p.alive and p.used or 0
      within("a participant's used", p.handles[#p.handles]:used(), held, held)
    end
  end
  for _, a in ipairs(w.accounts) do
    if a.handles[1] then
      local own = a.alive and R.own(a) or 0
      within("an account's used", a.handles[1]:used(), own, own + R.open_handles(a) * cache)
      if a.handles[1]:name() ~= a.name then fail("an account lost its name") end
    end
    if a.alive and a.max and R.tree(a) > a.max then fail("an account is above its max") end
  end
  local ok, message = w.tracker:check()
  if not ok then fail("check: %s", message) end
end

local function spare() end

-- Calls all caches back without taking anybody, and compares to the byte.
local function compare_exactly(w)
  assert(w.tracker:configure{ policy = spare })
  for _ = 1, 2 do -- the first may end with the caches; the second asks everybody
    O.wait_for(w, function() return w.tracker:reclaim(1) end)
  end
  assert(w.tracker:configure{ policy = w.policy })
  quiesce(w)
  collect(w)
  compare(w, true)
end

-- ---- running ----------------------------------------------------------------------------------

-- Forgets the dead that would only fill the lists.
local function bury(w)
  for i = #w.participants, 1, -1 do
    local p = w.participants[i]
    if not p.alive and not p.condemned and (#p.handles == 0 or #w.participants > 30) then
      for _, handle in ipairs(p.handles) do
        handle:close()
      end
      R.remove(p.account.participants, p)
      table.remove(w.participants, i)
    end
  end
  for i = #w.accounts, 1, -1 do
    local a = w.accounts[i]
    if not a.alive and #w.accounts > 20 then
      for _, handle in ipairs(a.handles) do
        handle:close()
      end
      table.remove(w.accounts, i)
    end
  end
end

local function step(w, i, operation)
  O[operation[1]](w, operation[2], operation[3], operation[4])
  collect(w)
  quiesce(w)
  collect(w)
  if i % 8 == 0 then compare(w, false) end
  if i % 32 == 0 then compare_exactly(w) end
  bury(w)
end

-- Everything ends with the tracker.
local function shut(w)
  compare_exactly(w)
  w.tracker:close()
  for _, a in ipairs(w.accounts) do
    local _, _, code = a.weak:upgrade()
    if code ~= "tracker_shutdown" then fail("an account outlives its tracker") end
  end
  for _, p in ipairs(w.participants) do
    local _, _, code = nil, nil, "tracker_shutdown"
    if p.handles[1] then
      _, _, code = p.handles[1]:claim(1)
    end
    if code ~= "tracker_shutdown" then fail("a participant outlives its tracker") end
  end
end

local function clean_up(w)
  lethe.on_error(w.on_error)
  w.tracker:close()
  w.other:close()
  w.loop:close()
end

-- The number of the operation that went wrong, and how; nil if none did.
local function run(operations)
  local w = O.world(loop.new{ clock = "virtual" }, adopt)
  local at = 0
  local ok, message = xpcall(function()
    for i, operation in ipairs(operations) do
      at = i
      step(w, i, operation)
    end
    shut(w)
  end, function(err) return R.is_ours(err) and err or debug.traceback(err) end)
  clean_up(w)
  if not ok then return at, message end
end

-- ---- cutting down -----------------------------------------------------------------------------

local function without(list, first, n)
  local result = {}
  for i, each in ipairs(list) do
    if i < first or i >= first + n then result[#result + 1] = each end
  end
  return result
end

-- Fewer operations that still go wrong, and how they do.
local function cut(operations, message)
  local size, tries = (#operations + 1) // 2, 0
  while size > 0 and tries < 500 do
    local first = 1
    while first <= #operations and tries < 500 do
      local fewer = without(operations, first, size)
      local at, how = run(fewer)
      tries = tries + 1
      if at then
        operations, message = { table.unpack(fewer, 1, at) }, how
      else
        first = first + size
      end
    end
    size = size // 2
  end
  return operations, message
end

local function report(seed, operations, message)
  operations, message = cut(operations, message)
  local lines = { ("SEED=%d: %s"):format(seed, message), "after these operations:" }
  for _, operation in ipairs(operations) do
    lines[#lines + 1] = "  " .. table.concat(operation, " ")
  end
  return table.concat(lines, "\n"), #operations
end

-- ---- specs ------------------------------------------------------------------------------------

describe("the quota tracker agrees with a naive reference", function()
  it(("over %d random operations (SEED=%d)"):format(OPERATIONS, SEED), function()
    for seed = SEED, SEED + OPERATIONS // EPISODE - 1 do
      local operations = random_operations(seed, EPISODE)
      local at, message = run(operations)
      if at then error(report(seed, { table.unpack(operations, 1, at) }, message), 0) end
    end
  end)

  it("and would tell if it did not: a mistake is found and cut down", function()
    local fits = R.fits
    R.fits = function(account, n) return n % 10 ~= 9 and fits(account, n) end
    local found, length
    for seed = 1, 20 do
      local operations = random_operations(seed, EPISODE)
      local at, message = run(operations)
      if at then
        found, length = report(seed, { table.unpack(operations, 1, at) }, message)
        break
      end
    end
    R.fits = fits
    assert.matches("SEED=%d+: model: [%w_]+[^:]*: over_limit expected", found)
    assert.is_true(length <= 12)
  end)
end)
