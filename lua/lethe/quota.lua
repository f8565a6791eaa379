--- Memory quota trackers: who holds how much, and what gives memory back when it is too much.
--
-- A tracker has a limit. Accounts belong to it, participants to accounts; a participant is an
-- object of the program that holds memory, claims it byte by byte, and can be asked how old its
-- oldest data is and to give memory back. When the sum passes the limit a pass begins: the policy
-- ranks the accounts, and the worst are asked until the sum is at low water. Policies are names,
-- functions, tables, expressions or files.
--
--   local tracker = quota.new{ max = "64M", policy = function(c) return c.used * c.age end }
--   local account = tracker:account{ name = "sessions" }
--   local p = account:participant(cache)     -- cache:get_oldest(), cache:reclaim(request)
--   p:claim(4096)   p:release(4096)
--
-- Claims cross the limit freely; the pass runs on the tracker's loop, so a program that never turns
-- its loop never reclaims. See lua/lethe/meta/quota.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.quota"
local loop = require "lethe.loop"
local own = require "lethe.quota.options"

require "lethe.quota.participant"

---@class lethe.quota
local M = {}

local record <const> = base.shared("record") -- attach: who watches what is made, for lethe record

local Tracker, Account = core.Tracker, core.Account

-- Calls f; what it raises without a position of its own is raised at `level`. Not to be called as a
-- tail call: the caller's frame counts.
local function at(level, f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  error(results[2], level + 1)
end

-- ---- trackers ---------------------------------------------------------------------------------

local NEW <const> = { "max", "low_water", "policy", "deadline", "loop", "on_event" }

-- With its policy, which it is closed without.
local function with_policy(tracker, policy)
  local done, ok, message, code = pcall(core.configure, tracker, false, false, false, policy)
  if done and ok then return tracker end
  tracker:close()
  if done then return nil, message, code end
  error(ok, 3)
end

--- A new tracker. `max` and `low_water` are sizes or "auto".
---@param options table?
---@return lethe.quota.Tracker?
---@return string? message
---@return string? code "bad_limits" | "bad_policy"
function M.new(options)
  if options == nil then options = {} end
  base.options(options, NEW, 2)
  local on_event = check.typed(options, "on_event", "function", 2)
  local policy = own.policy(options, 2)
  local on = check.object(options, "loop", "loop.Loop", 2) or loop.default()
  local limits, message = own.limits(options, 2)
  if not limits then return nil, message, "bad_limits" end
  local tracker, why, code = core.new(limits.max or -1, limits.low_water or -1,
    limits.deadline or 0, on)
  if tracker and policy ~= nil then tracker, why, code = with_policy(tracker, policy) end
  if not tracker then return nil, why, code end
  if on_event then core.listen(tracker, on_event) end
  if record.attach then record.attach(tracker) end
  return tracker
end

--- A tracker with which every claim succeeds and nothing is counted.
---@return lethe.quota.Tracker
function M.noop()
  return core.new(nil, nil, nil, loop.default())
end

local CONFIGURE <const> = { "max", "low_water", "policy", "deadline" }

--- Changes limits, policy or deadline, all or nothing; takes effect at once.
---@param options table
---@return true?
---@return string? message
---@return string? code "bad_limits" | "bad_policy"
function Tracker:configure(options)
  base.check(self, "quota.Tracker")
  base.options(options, CONFIGURE, 2)
  local policy = own.policy(options, 2)
  local limits, message = own.limits(options, 2)
  if not limits then return nil, message, "bad_limits" end
  local ok, why, code = at(2, core.configure, self, limits.max, limits.low_water, limits.deadline,
    policy)
  if ok == nil then return nil, why, code end
  return ok
end

--- A pass now: until it freed `goal` bytes, or down to low water. Waits; the bytes that it freed.
---@param goal (integer|string)?
---@return integer? freed
---@return string? message
---@return string? code "tracker_shutdown"
function Tracker:reclaim(goal)
  base.check(self, "quota.Tracker")
  local bytes = goal ~= nil and base.size(goal, "bad argument #1 to 'reclaim': goal", 2)
  if bytes == 0 then return 0 end
  local on = core.loop_of(self) or loop.default()
  local ticket, answered
  return loop.wait(on, function(wake)
    ticket = core.reclaim(self, bytes or 0, on, function(freed)
      answered = true
      if freed >= 0 then return wake(freed) end
      wake(nil, "the tracker is shut down", "tracker_shutdown")
    end)
  end, function()
    if ticket and not answered then core.cancel_reclaim(ticket) end
  end)
end

-- ---- accounts ---------------------------------------------------------------------------------

---@class lethe.quota.AccountOptions
---@field name string?
---@field max integer|string|nil
---@field reserve integer|string|nil
---@field priority integer? a higher one is reclaimed later, and served first by claim_wait
---@field parent lethe.quota.Account?

local CHILD <const> = { "name", "max", "reserve", "priority" }
local ACCOUNT <const> = { "name", "max", "reserve", "priority", "parent" }

local function new_account(tracker, options, parent, names, level)
  if options == nil then options = {} end
  base.options(options, names, level + 1)
  return core.account(
    tracker,
    check.name(options, level + 1),
    check.size(options, "max", level + 1),
    check.size(options, "reserve", level + 1),
    own.integer(options, "priority", level + 1),
    parent or check.object(options, "parent", "quota.Account", level + 1)
  )
end

--- A new account. `max` covers it and all below it; `reserve` is what no ordinary pass takes.
---@param options lethe.quota.AccountOptions?
---@return lethe.quota.Account?
---@return string? message
---@return string? code "account_closed" | "tracker_shutdown" | "other_tracker"
function Tracker:account(options)
  base.check(self, "quota.Tracker")
  local account, message, code = new_account(self, options, nil, ACCOUNT, 2)
  if account == nil then return nil, message, code end -- no tail call: positions are counted
  return account
end

--- A new account below this one.
---@param options lethe.quota.AccountOptions? without `parent`
---@return lethe.quota.Account?
---@return string? message
---@return string? code "account_closed" | "tracker_shutdown"
function Account:child(options)
  base.check(self, "quota.Account")
  local account, message, code = new_account(self:tracker(), options, self, CHILD, 2)
  if account == nil then return nil, message, code end
  return account
end

-- ---- the rest ---------------------------------------------------------------------------------

local TRACK_STATE <const> = { "limit" }

--- Puts the calling Lua state's allocator under the account: every byte that Lua holds is claimed,
--- exact to the byte. Past `limit`, or past an account's max, an allocation fails as Lua's own "not
--- enough memory". It goes on until the participation is closed, also when nobody keeps it.
---@param account lethe.quota.Account
---@param options { limit: integer|string|nil }?
---@return lethe.quota.Participation?
---@return string? message
---@return string? code "already_tracked" | "over_limit" | ...
function M.track_state(account, options)
  if base.type(account) ~= "quota.Account" then
    local message = "bad argument #1 to 'track_state' (lethe.quota.Account expected, got %s)"
    error(message:format(check.kind(account)), 2)
  end
  if options == nil then options = {} end
  base.options(options, TRACK_STATE, 2)
  local limit = check.size(options, "limit", 2)
  local participation, why, code = at(2, core.track_state, account, limit)
  if participation == nil then return nil, why, code end
  return participation
end

--- A metered queue; see lethe.quota.queue.
---@param options lethe.quota.QueueOptions
---@return lethe.quota.Sender? sender
---@return lethe.quota.Receiver|string receiver or message
---@return string? code
function M.queue(options)
  local sender, receiver, code = require("lethe.quota.queue").new(options, 2)
  if sender == nil then return nil, receiver, code end
  return sender, receiver
end

return M
