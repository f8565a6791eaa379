-- Participants: objects of the program that claim, and that a pass asks. What is here are the calls
-- of Account and Participation that take functions or wait, and what the engine calls back.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.quota"
local timers = require "lethe.core.loop"
local loop = require "lethe.loop"

local M = {}

local Account, Participation = core.Account, core.Participation

-- Outlives a reloading of this module, as its participants do. graves: object -> list of Graves, of
-- collapsed participants; collapsed: object -> what is to be called when a pass ended it unasked.
local shared = base.shared("quota")
shared.graves = shared.graves or setmetatable({}, { __mode = "k" })
shared.collapsed = shared.collapsed or setmetatable({}, { __mode = "k" })

-- ---- making -----------------------------------------------------------------------------------

local WEAK <const> = { __mode = "v" }
local PARTICIPANT <const> = { "weak" }
local METHODS <const> = { "get_oldest", "reclaim" }

local function is_callable(value)
  if type(value) == "function" then return true end
  local meta = getmetatable(value)
  return type(meta) == "table" and type(meta.__call) == "function"
end

-- Why it can be no participant, or nil.
local function unfit(obj)
  local kind = type(obj)
  if kind ~= "table" and kind ~= "userdata" then
    return ("a participant must be an object (got %s)"):format(kind)
  end
  for _, method in ipairs(METHODS) do
    local found, value = pcall(function() return obj[method] end)
    if not found and value == "not enough memory" then error(value, 0) end
    if not found or not is_callable(value) then
      local got = type(found and value or nil)
      return ("a participant needs a method %s (got %s)"):format(method, got)
    end
  end
end

--- Makes an object a participant of the account: it is asked `obj:get_oldest() -> age | nil` and
--- `obj:reclaim(request) -> "collapsing" | "partial" | nil`. The participation keeps the object,
--- unless `weak` says otherwise.
---@param obj table|userdata
---@param options { weak: boolean? }?
---@return lethe.quota.Participation?
---@return string? message
---@return string? code
function Account:participant(obj, options)
  base.check(self, "quota.Account")
  local why = unfit(obj)
  if why then error("bad argument #1 to 'participant' (" .. why .. ")", 2) end
  local holder = { obj }
  if options ~= nil then
    base.options(options, PARTICIPANT, 2)
    if check.typed(options, "weak", "boolean", 2) then setmetatable(holder, WEAK) end
  end
  return core.participant(self, holder)
end

-- Stands for an object that is still being made: newer than anything, and nothing to give.
local nascent = {
  get_oldest = function() return math.huge end,
  reclaim = function() return "collapsing" end,
}

-- Whatever fn did, the participation of a participant that came to nothing is over.
local function call_off(participation)
  if not base.open(participation) then return end
  participation:destroy()
  participation:close()
end

-- What fn returned, or failed with.
local function made(participation, holder, ok, obj, ...)
  if not ok then
    call_off(participation)
    error(obj, 0)
  elseif obj == nil then -- fn says itself why there is none
    call_off(participation)
    return nil, ...
  end
  local why = unfit(obj)
  if why then
    call_off(participation)
    error("bad argument #1 to 'participant_with' (it returned what is none: " .. why .. ")", 3)
  end
  if not base.open(participation) then
    return nil, "the participation was closed", "participant_shutdown"
  end
  local _, message, code = core.state_of(participation)
  if code then return nil, message, code end
  holder[1] = obj
  return obj
end

--- Registers first and makes the object after: `fn(participation) -> obj`. The object is asked for
--- nothing before fn returned. What fn raises is raised again, and everything is released; so it is
--- when fn returns nil, with what more it returns.
---@param fn fun(participation: lethe.quota.Participation): table|userdata|nil
---@return table|userdata|nil obj
---@return string? message
---@return string? code
function Account:participant_with(fn)
  base.check(self, "quota.Account")
  check.argument(1, "participant_with", fn, "function", 2)
  local holder = { nascent }
  local participation, message, code = core.participant(self, holder)
  if not participation then return nil, message, code end
  local obj, why, reason = made(participation, holder, pcall(fn, participation))
  if obj == nil then return nil, why, reason end
  return obj
end

-- ---- claims -----------------------------------------------------------------------------------

local function stop_timer(wait)
  if wait.timer then timers.stop(wait.timer) end
end

-- Starts a claim that waits; wake gets its answer. A claim that is granted to a task that was
-- cancelled meanwhile is given back.
local function start_wait(wait, wake)
  local function answered(failure) -- again, where memory was short the first time
    if not wait.answered then
      wait.ticket = false
      local heard = wake(failure)
      wait.answered = true
      if not heard and failure == 0 and base.open(wait.participation) then
        wait.participation:release(wait.bytes)
      end
    end
    stop_timer(wait)
  end
  local first, message, code = core.claim_wait(wait.participation, wait.bytes, answered)
  if type(first) ~= "userdata" then
    wait.answered = true
    return wake(first, message, code)
  end
  if not wait.answered then wait.ticket = first end
end

-- Ends it unanswered, if that can still be: then nothing was claimed.
local function end_wait(wait)
  local ticket = wait.ticket
  if not ticket or not core.cancel_wait(ticket) then return false end
  wait.ticket = false
  return true
end

--- Waits for room below max instead of pushing past it: higher priority first, then first come
--- first served. No timeout waits for ever.
---@param n integer|string
---@param timeout number? seconds
---@return true?
---@return string? message
---@return string? code "timeout" | "over_limit" | ...
function Participation:claim_wait(n, timeout)
  base.check(self, "quota.Participation")
  local bytes = base.size(n, "bad argument #1 to 'claim_wait': size", 2)
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout or timeout < 0) then
    local message = "bad argument #2 to 'claim_wait' (seconds expected, got %s)"
    error(message:format(tostring(timeout)), 2)
  end
  local on = core.loop_of(self) or loop.default()
  local wait = {
    participation = self,
    bytes = bytes,
    ticket = false, -- of the engine, while it can be cancelled
    timer = false,
    answered = false,
  }
  local ok, message, code = loop.wait(on, function(wake)
    start_wait(wait, wake)
    if wait.answered or not timeout or timeout == math.huge then return end
    wait.timer = timers.timer(on, timeout, function()
      if end_wait(wait) then wake(nil, "no room came free in time", "timeout") end
    end)
  end, function()
    end_wait(wait)
    stop_timer(wait)
  end)
  if ok == 0 then return true end
  if math.type(ok) then return core.failure(ok) end
  if ok == nil then return nil, message, code end
  return ok
end

local CLAIM <const> = {
  __close = function(claim)
    if claim.bytes and base.open(claim.participation) then
      claim.participation:release(claim.bytes)
    end
  end,
}

local function kept(claim, ...)
  if (...) ~= nil then claim.bytes = nil end
  return ...
end

--- Claims n bytes and calls fn; gives them back if fn raises (the error goes on) or returns nil.
---@param n integer|string
---@param fn function
function Participation:try_claim(n, fn, ...)
  base.check(self, "quota.Participation")
  local bytes = base.size(n, "bad argument #1 to 'try_claim': size", 2)
  check.argument(2, "try_claim", fn, "function", 2)
  local ok, message, code = self:claim(bytes)
  if not ok then return nil, message, code end
  local claim <close> = setmetatable({ participation = self, bytes = bytes }, CLAIM)
  return kept(claim, fn(...))
end

-- ---- being called back -------------------------------------------------------------------------

-- A collapsed participant's object, once let go of, is watched until it is collected or closed.
local function watch(obj, grave)
  if base.type(obj) and not check.is_open(obj) then return grave:close() end
  local graves = shared.graves[obj]
  if graves then
    graves[#graves + 1] = grave
    return
  end
  graves = { grave }
  shared.graves[obj] = graves
  if not base.type(obj) then return end
  base.when_closed(obj, function()
    for _, each in ipairs(graves) do
      each:close()
    end
  end)
end

-- One participant is to give memory back, as a task: its answer, or the lack of one, goes to the
-- pass.
local function reclaim(on, obj, call, goal, older_than, deadline, reason)
  if obj == nil then return core.answer(call, false) end
  local request = { goal = goal, older_than = older_than, deadline = deadline, reason = reason }
  loop.start(on or loop.default(), function()
    local ok, answer = xpcall(function() return obj:reclaim(request) end, base.traceback)
    if ok and answer ~= nil and answer ~= "collapsing" and answer ~= "partial" then
      ok, answer = false, ('reclaim must return "collapsing", "partial" or nil (got %s)'):format(
        tostring(answer))
    end
    if not ok then base.report(answer, { callback = "reclaim" }) end
    core.answer(call, ok and answer == "partial")
  end)
end

-- A participant collapsed: its participations let go of its object.
local function collapsed(holder, grave)
  local obj = holder and holder[1]
  if obj == nil or obj == nascent then
    grave:close()
    return
  end
  holder[1] = nil
  watch(obj, grave)
  local hook = shared.collapsed[obj]
  if hook then loop.start(loop.default(), hook, obj) end
end

local function event(on, fn, table)
  loop.start(on or loop.default(), function()
    local ok, message = xpcall(fn, base.traceback, table)
    if not ok then base.report(message, { callback = "on_event", event = table }) end
  end)
end

core.upcalls{ reclaim = reclaim, collapsed = collapsed, event = event }

--- Has fn(obj) called, as a task, when a pass ended obj's participant, asked or not.
---@param obj table
---@param fn function
function M.on_collapsed(obj, fn)
  shared.collapsed[obj] = fn
end

return M
