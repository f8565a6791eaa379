--- Memory quota trackers: who holds how much, and what gives memory back when it is too much.
--
-- A tracker has a limit. Accounts belong to it, participants to accounts; a participant is an object
-- of the program that holds memory, claims it byte by byte, and can be asked how old its oldest data
-- is and to give memory back. When the sum passes the limit a pass begins: the policy ranks the
-- accounts, and the worst are asked until the sum is at low water. Policies are names, functions,
-- tables, expressions or files.
--
--   local tracker = quota.new{ max = "64M", policy = function(c) return c.used * c.age end }
--   local account = tracker:account{ name = "sessions" }
--   local p = account:participant(cache)     -- cache:get_oldest(), cache:reclaim(request)
--   p:claim(4096)   p:release(4096)
--
-- Claims cross the limit freely; the pass runs on the tracker's loop, so a program that never turns
-- its loop never reclaims. See lua/lethe/meta/quota.lua for every call.

local base = require "lethe.core.base"
local core = require "lethe.core.quota"
local loop = require "lethe.loop"

---@class lethe.quota
local M = {}

local Tracker, Account, Participation = core.Tracker, core.Account, core.Participation

-- What waits and tasks of a tracker run on: the loop that it was made with.
local function loop_of(object)
  return core.loop_of(object) or loop.default()
end

-- ---- options ----------------------------------------------------------------------------------

-- A size of an option, -1 for "auto", or nil when it is not given.
local function size_option(options, name, level)
  local value = options[name]
  if value == nil then return nil end
  if value == "auto" and (name == "max" or name == "low_water") then return -1 end
  return base.size(value, name, level + 1)
end

local function seconds_option(options, name, level)
  local value = options[name]
  if value == nil then return nil end
  if type(value) ~= "number" or not (value > 0) or value == math.huge then
    error(("%s must be a number of seconds above 0 (got %s)"):format(name, tostring(value)), level + 1)
  end
  return value
end

local function typed_option(options, name, expected, level)
  local value = options[name]
  if value ~= nil and type(value) ~= expected then
    error(("%s must be a %s (got %s)"):format(name, expected, type(value)), level + 1)
  end
  return value
end

local function integer_option(options, name, level)
  local value = options[name]
  if value == nil then return nil end
  local integer = type(value) == "number" and math.tointeger(value)
  if not integer or integer < -2 ^ 31 or integer >= 2 ^ 31 then
    error(("%s must be an integer of 32 bits (got %s)"):format(name, tostring(value)), level + 1)
  end
  return integer
end

local POLICY_TYPES <const> = { ["string"] = true, ["function"] = true, ["table"] = true }

local function policy_option(options, level)
  local policy = options.policy
  if policy ~= nil and not POLICY_TYPES[type(policy)] then
    error(("policy must be a name, a function or a table (got %s)"):format(type(policy)), level + 1)
  end
  return policy
end

-- Calls f; what it raises without a position of its own is raised at `level`.
local function at(level, f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  error(results[2], level + 1)
end

-- ---- trackers ---------------------------------------------------------------------------------

local NEW <const> = { "max", "low_water", "policy", "deadline", "loop", "on_event" }

--- A new tracker. `max` and `low_water` are sizes or "auto".
---@param options table?
---@return lethe.quota.Tracker?
---@return string? message
---@return string? code "bad_limits" | "bad_policy"
function M.new(options)
  options = options or {}
  base.options(options, NEW, 2)
  local max, low = size_option(options, "max", 2), size_option(options, "low_water", 2)
  local deadline = seconds_option(options, "deadline", 2) or 5
  local on_event = typed_option(options, "on_event", "function", 2)
  local policy = policy_option(options, 2)
  local on = options.loop
  if on == nil then
    on = loop.default()
  elseif base.type(on) ~= "loop.Loop" then
    error(("loop must be a lethe.loop.Loop (got %s)"):format(base.type(on) or type(on)), 2)
  end
  local tracker, message, code = core.new(max or -1, low or -1, deadline, on, on_event)
  if not tracker then return nil, message, code end
  if policy ~= nil then
    local ok
    ok, message, code = at(2, core.configure, tracker, false, false, false, policy)
    if not ok then
      tracker:close()
      return nil, message, code
    end
  end
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
  local max, low = size_option(options, "max", 2), size_option(options, "low_water", 2)
  local deadline = seconds_option(options, "deadline", 2)
  local policy = policy_option(options, 2)
  return at(2, core.configure, self, max or false, low or false, deadline or false, policy)
end

--- A pass now: until it freed `goal` bytes, or down to low water. Waits; the bytes that it freed.
---@param goal (integer|string)?
---@return integer? freed
---@return string? message
---@return string? code "tracker_shutdown"
function Tracker:reclaim(goal)
  base.check(self, "quota.Tracker")
  local bytes = goal ~= nil and base.size(goal, "bad argument #1 to 'reclaim': goal", 2) or 0
  local on = loop_of(self)
  return loop.wait(on, function(wake)
    core.reclaim(self, bytes, on, function(freed)
      if freed >= 0 then return wake(freed) end
      wake(nil, "the tracker is shut down", "tracker_shutdown")
    end)
  end)
end

local ACCOUNT <const> = { "name", "parent", "max", "reserve", "priority" }

local function new_account(tracker, options, parent, level)
  options = options or {}
  base.options(options, ACCOUNT, level + 1)
  local name = typed_option(options, "name", "string", level + 1)
  parent = parent or options.parent
  if parent ~= nil and base.type(parent) ~= "quota.Account" then
    error(("parent must be a lethe.quota.Account (got %s)"):format(base.type(parent) or type(parent)), level + 1)
  end
  return core.account(
    tracker,
    name,
    size_option(options, "max", level + 1),
    size_option(options, "reserve", level + 1),
    integer_option(options, "priority", level + 1),
    parent
  )
end

--- A new account. `max` covers it and all below it; `reserve` is what no ordinary pass takes.
---@param options { name: string?, parent: lethe.quota.Account?, max: integer|string|nil, reserve: integer|string|nil, priority: integer? }?
---@return lethe.quota.Account?
---@return string? message
---@return string? code "account_closed" | "tracker_shutdown" | "other_tracker"
function Tracker:account(options)
  base.check(self, "quota.Tracker")
  return new_account(self, options, nil, 2)
end

--- A new account below this one.
---@param options { name: string?, max: integer|string|nil, reserve: integer|string|nil, priority: integer? }?
---@return lethe.quota.Account?
function Account:child(options)
  base.check(self, "quota.Account")
  return new_account(self:tracker(), options, self, 2)
end

-- ---- participants ------------------------------------------------------------------------------

local WEAK <const> = { __mode = "v" }
local PARTICIPANT <const> = { "weak" }

local function check_participant(obj, level)
  local kind = type(obj)
  if kind ~= "table" and kind ~= "userdata" then
    error(("a participant must be an object (got %s)"):format(kind), level + 1)
  end
  for _, method in ipairs{ "get_oldest", "reclaim" } do
    local value = obj[method]
    if type(value) ~= "function" then
      local callable = getmetatable(value)
      if not (type(callable) == "table" and callable.__call) then
        error(("a participant needs a method %s (got %s)"):format(method, type(value)), level + 1)
      end
    end
  end
end

--- Makes an object a participant of the account: it is asked `obj:get_oldest() -> age | nil` and
--- `obj:reclaim(request) -> "collapsing" | "partial" | nil`. The participation keeps the object, unless
--- `weak` says otherwise.
---@param obj table|userdata
---@param options { weak: boolean? }?
---@return lethe.quota.Participation?
---@return string? message
---@return string? code
function Account:participant(obj, options)
  base.check(self, "quota.Account")
  check_participant(obj, 2)
  if options ~= nil then base.options(options, PARTICIPANT, 2) end
  local holder = { obj }
  if options and options.weak then setmetatable(holder, WEAK) end
  local participation, message, code = core.participant(self, holder)
  if not participation then return nil, message, code end
  return participation
end

-- Stands for an object that is still being made: newer than anything, and nothing to give.
local nascent = {
  get_oldest = function() return math.huge end,
  reclaim = function() return "collapsing" end,
}

--- Registers first and makes the object after: `fn(participation) -> obj`. The object is asked for
--- nothing before fn returned. What fn raises is raised again, and everything is released.
---@param fn fun(participation: lethe.quota.Participation): table|userdata
---@return table|userdata|nil obj
---@return string? message
---@return string? code
function Account:participant_with(fn)
  base.check(self, "quota.Account")
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'participant_with' (function expected, got %s)"):format(type(fn)), 2)
  end
  local holder = { nascent }
  local participation, message, code = core.participant(self, holder)
  if not participation then return nil, message, code end
  local ok, obj = pcall(fn, participation)
  if ok then ok, message = pcall(check_participant, obj, 0) end
  if not ok then
    participation:destroy()
    participation:close()
    error(message or obj, 0)
  end
  _, message, code = core.state_of(participation)
  if code then return nil, message, code end
  holder[1] = obj
  return obj
end

--- Waits for room below max instead of pushing past it: higher priority first, then first come first
--- served. No timeout waits for ever.
---@param n integer|string
---@param timeout number? seconds
---@return true?
---@return string? message
---@return string? code "timeout" | "over_limit" | ...
function Participation:claim_wait(n, timeout)
  base.check(self, "quota.Participation")
  local bytes = base.size(n, "bad argument #1 to 'claim_wait': size", 2)
  if timeout ~= nil and (type(timeout) ~= "number" or not (timeout >= 0)) then
    error(("bad argument #2 to 'claim_wait' (seconds expected, got %s)"):format(tostring(timeout)), 2)
  end
  local on = loop_of(self)
  local ticket, timer
  return loop.wait(on, function(wake)
    local function answered(...)
      ticket = nil
      if timer then timer:close() end
      wake(...)
    end
    local first, message, code = core.claim_wait(self, bytes, answered)
    if type(first) ~= "userdata" then return wake(first, message, code) end
    ticket = first
    if timeout then
      timer = on:timer(timeout, function()
        if ticket and core.cancel_wait(ticket) then
          ticket = nil
          wake(nil, "no room came free in time", "timeout")
        end
      end)
    end
  end, function()
    if ticket then core.cancel_wait(ticket) end
    if timer then timer:close() end
  end)
end

--- Claims n bytes and calls fn; gives them back if fn raises (which is raised again) or returns nil.
---@param n integer|string
---@param fn function
function Participation:try_claim(n, fn, ...)
  base.check(self, "quota.Participation")
  local bytes = base.size(n, "bad argument #1 to 'try_claim': size", 2)
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'try_claim' (function expected, got %s)"):format(type(fn)), 2)
  end
  local ok, message, code = self:claim(bytes)
  if not ok then return nil, message, code end
  local results = table.pack(pcall(fn, ...))
  if results[1] and results[2] ~= nil then return table.unpack(results, 2, results.n) end
  if base.open(self) then self:release(bytes) end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- ---- being asked -------------------------------------------------------------------------------

local shared = base.shared("quota")
shared.graves = shared.graves or setmetatable({}, { __mode = "k" })

-- A condemned participant's object, once let go of, is watched until it is collected or closed.
local function watch_grave(obj, grave)
  local graves = shared.graves[obj] or {}
  graves[#graves + 1] = grave
  shared.graves[obj] = graves
  if base.type(obj) then
    base.when_closed(obj, function()
      for _, each in ipairs(graves) do
        each:close()
      end
    end)
  end
end

-- One participant is to give memory back, as a task: its answer, or the lack of one, goes to the pass.
local function reclaim(on, obj, call, goal, older_than, deadline, reason)
  if obj == nil then return core.answer(call, false) end
  loop.start(on or loop.default(), function()
    local ok, answer = xpcall(obj.reclaim, debug.traceback, obj, {
      goal = goal,
      older_than = older_than,
      deadline = deadline,
      reason = reason,
    })
    if not ok then
      base.report(answer, { callback = "reclaim" })
    elseif answer ~= nil and answer ~= "collapsing" and answer ~= "partial" then
      base.report(('reclaim must return "collapsing", "partial" or nil (got %s)'):format(tostring(answer)), { callback = "reclaim" })
      ok = false
    end
    core.answer(call, ok and answer == "partial")
  end)
end

local function collapsed(port, participant)
  local holder = core.holder_of(participant)
  local obj = holder and holder[1]
  local grave = core.grave(port, participant)
  if obj == nil or obj == nascent then return grave:close() end
  holder[1] = nil
  watch_grave(obj, grave)
end

core.upcalls{ reclaim = reclaim, collapsed = collapsed }

--- Puts the calling Lua state's allocator under the account: every byte that Lua holds is claimed, exact
--- to the byte. Past `limit`, or past an account's max, an allocation fails as Lua's own "not enough
--- memory". It goes on until the participation is closed, also when nobody keeps it.
---@param account lethe.quota.Account
---@param options { limit: integer|string|nil }?
---@return lethe.quota.Participation?
---@return string? message
---@return string? code "already_tracked" | "over_limit" | ...
function M.track_state(account, options)
  if base.type(account) ~= "quota.Account" then
    error(("bad argument #1 to 'track_state' (lethe.quota.Account expected, got %s)"):format(base.type(account) or type(account)), 2)
  end
  options = options or {}
  base.options(options, { "limit" }, 2)
  return core.track_state(account, size_option(options, "limit", 2))
end

--- A metered queue; see lethe.quota.queue.
---@param options { account: lethe.quota.Account, capacity: integer?, cost: (fun(v: any): integer)?, loop: lethe.loop.Loop? }
---@return lethe.quota.Sender? sender
---@return lethe.quota.Receiver|string receiver or message
---@return string? code
function M.queue(options)
  return require("lethe.quota.queue").new(options, 2)
end

return M
