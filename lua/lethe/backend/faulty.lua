-- A backend around another that does to its n-th call what a plan says: the inside of
-- lethe.backend.faulty.
--
--   local b = backend.faulty(inner, { [3] = "fail", [5] = 0.25, [9] = "crash" })
--
-- Loads, flushes and barriers are counted from 1, each as it begins. What may happen to one:
--
--   "fail"    nothing happens, it fails
--   "tear"    a string is written half: its first half, then what was there before; it fails
--   "cancel"  it happens, but its answer is lost: it ends as a wait that was cancelled
--   "crash"   the power goes: it and all after it fail, and nothing reaches the inner backend
--   seconds   it happens that much later
--
-- The log knows when each call began and ended. What was flushed is durable once a barrier that
-- began after it has ended; until then a crash may keep it or lose it, whatever came before or
-- after, and of a long string keep some sectors and lose others. `crash_states` goes through that.

local base = require "lethe.core.base"
local check = require "lethe.check"
local crash = require "lethe.backend.crash"
local task = require "lethe.loop.task"
local loop = require "lethe.loop"

local M = {}

---@class lethe.backend.Faulty
local Faulty = {}
local new_faulty, inside

local ACTIONS <const> = { fail = true, tear = true, cancel = true, crash = true }
local METHODS <const> = { "load", "flush", "barrier", "evict" }

-- ---- plans ------------------------------------------------------------------------------------

local function check_action(n, action, level)
  if math.type(n) ~= "integer" or n < 1 then
    error(("a plan's keys are the numbers of calls, from 1 (got %s)"):format(tostring(n)),
      level + 1)
  end
  local seconds = type(action) == "number"
  if ACTIONS[action] or (seconds and action >= 0 and action < math.huge) then return end
  error(('call %d: "fail", "tear", "cancel", "crash" or seconds expected (got %s)'):format(n,
    tostring(action)), level + 1)
end

local function copy_plan(plan, level)
  local copy = {}
  if plan == nil then return copy end
  if type(plan) ~= "table" then
    error(("bad argument #2 to 'faulty' (a plan expected, got %s)"):format(type(plan)), level + 1)
  end
  for n, action in pairs(plan) do
    check_action(n, action, level + 1)
    copy[n] = action
  end
  return copy
end

-- The methods that an object has; a backend may be a table, with or without a class, or userdata.
local function methods_of(object, level)
  local kind = type(object)
  local found = {}
  for _, name in ipairs(METHODS) do
    found[name] = (kind == "table" or kind == "userdata") and object[name] or nil
  end
  if type(found.load) ~= "function" then
    local got = base.type(object) or kind
    error(("bad argument #1 to 'faulty' (a backend with a load expected, got %s)"):format(got),
      level + 1)
  end
  return found
end

--- Wraps a backend.
---@param inner table|userdata
---@param plan table<integer, "fail"|"tear"|"cancel"|"crash"|number>?
---@return lethe.backend.Faulty
function M.new(inner, plan)
  local self <const> = {
    inner = inner,
    methods = methods_of(inner, 2),
    plan = copy_plan(plan, 2),
    log = {},
    moment = 0, -- counts what began and what ended
    crashed = false,
  }
  return new_faulty(self)
end

-- ---- calls ------------------------------------------------------------------------------------

local function moment(self)
  self.moment = self.moment + 1
  return self.moment
end

local function finish(self, record, ...)
  local value, message = ...
  record.ended = moment(self)
  record.ok = value ~= nil or message == nil
  record.message = not record.ok and tostring(message) or nil
  return ...
end

-- What raises fails in the log, and goes on.
local function finish_protected(self, record, ok, ...)
  if ok then return finish(self, record, ...) end
  finish(self, record, nil, (...))
  error((...), 0)
end

-- The inner backend's answer; where it has no such method there is nothing to do.
local function pass(self, name, ...)
  local method = self.methods[name]
  if not method then return true end
  return method(self.inner, ...)
end

local function torn(old, new)
  local half = #new // 2
  old = type(old) == "string" and old or ""
  local rest = old:sub(half + 1, #new)
  return new:sub(1, half) .. rest .. ("\0"):rep(#new - half - #rest)
end

local function tear(self, name, k, v)
  if name == "flush" and type(v) == "string" then
    local old = self.methods.load(self.inner, k)
    pass(self, name, k, torn(old, v))
  end
end

local function wait_a_while(seconds)
  local current = task.current()
  return (current and current.loop or loop.default()):sleep(seconds)
end

local function perform(self, record, name, ...)
  local action = record.action
  if action == "pass" then return pass(self, name, ...) end
  if action == "cancel" then
    pass(self, name, ...)
    return nil, "cancelled", "cancelled"
  end
  if type(action) == "number" then
    local slept, message, code = wait_a_while(action)
    if not slept then return nil, message, code end
    return pass(self, name, ...)
  end
  if action == "tear" then tear(self, name, ...) end
  local how <const> = { crash = "came after the crash", tear = "was torn, as planned" }
  return nil, ("call %d %s"):format(record.call, how[action] or "failed, as planned"), "faulty"
end

local function call(self, name, ...)
  local n <const> = #self.log + 1
  local action = self.plan[n] or "pass"
  if self.crashed or action == "crash" then
    self.crashed, action = true, "crash"
  end
  local key, value = ...
  local record <const> = {
    call = n, op = name, key = key, value = value, action = action,
    begun = moment(self), ended = false, ok = false, message = nil,
  }
  self.log[n] = record
  return finish_protected(self, record, pcall(perform, self, record, name, ...))
end

function Faulty:load(k)
  return call(inside(self), "load", k)
end

function Faulty:flush(k, v)
  return call(inside(self), "flush", k, v)
end

function Faulty:barrier()
  return call(inside(self), "barrier")
end

--- Passed on, neither counted nor logged, until the crash.
function Faulty:evict(k, v)
  local self_ <const> = inside(self)
  if not self_.crashed then return pass(self_, "evict", k, v) end
end

-- ---- what it saw ------------------------------------------------------------------------------

--- Every call so far, in the order in which they began.
---@return lethe.backend.Record[]
function Faulty:log()
  local copy = {}
  for i, record in ipairs(inside(self).log) do
    local entry = {}
    for name, value in pairs(record) do
      entry[name] = value
    end
    copy[i] = entry
  end
  return copy
end

--- How many calls there were.
---@return integer
function Faulty:calls()
  return #inside(self).log
end

local STATES <const> = { "before", "limit", "sector", "seed" }

---@class lethe.backend.CrashOptions
---@field before table? what was stored before the first call, by key; nothing by default
---@field limit integer? how many states of one moment, 4096 by default
---@field sector integer? how much of a string is written whole, 512 bytes by default
---@field seed integer? of what is drawn at random

--- Goes through what a crash may leave, at every moment of the log: `for read, at in ...`, where
--- read(k) is what is stored under a key then, nil where nothing is. At each moment
--- every choice of the writes that no barrier covers, and of their sectors; where there are more
--- than `limit`, that many drawn at random.
---@param options lethe.backend.CrashOptions?
---@return fun(): (fun(k: string|integer): any)?, integer
function Faulty:crash_states(options)
  local self_ <const> = inside(self)
  if options == nil then options = {} end
  base.options(options, STATES, 2)
  local before = check.typed(options, "before", "table", 2)
  return crash.states(self_.log, before or {}, check.positive(options, "limit", 2) or 4096,
    check.positive(options, "sector", 2) or 512, check.positive(options, "seed", 2) or 1)
end

new_faulty, inside = base.class("backend.Faulty", Faulty, function() end, false, true)

return M
